"""One thread without Python frames, and RemoteUnwinder returns no thread at all.

The program starts a thread that runs a C function (it acquires a lock) and no Python code. From then on, each sample of
all threads raises, so the main thread is lost, too, although it has not changed. See gh-157605.

Expected output on CPython 3.15.2:
  before: wait < main < <module>
  after:  RuntimeError: Failed to parse initial frame in chain
  the fault is there

Exit status: 1 the fault is there, 0 it is not, 2 it cannot be tried here.
"""

import subprocess
import sys


def give_up(why):
    print(f"cannot be tried: {why}", file=sys.stderr)
    sys.exit(2)


try:
    from _remote_debugging import RemoteUnwinder
except ImportError as error:
    give_up(error)
if not hasattr(RemoteUnwinder, "get_stats"):
    give_up("this RemoteUnwinder has no frame cache")

# The program.
PROGRAM = r'''
import os
from _thread import allocate_lock, start_joinable_thread

def wait():
    os.write(1, b".\n")
    os.read(0, 1)

def main():
    wait()
    lock = allocate_lock()
    lock.acquire()
    start_joinable_thread(lock.acquire, daemon=True)
    while lock_waiters():
        pass
    wait()

def lock_waiters():
    # The thread waits in the kernel as soon as it has no more to do.
    [other] = [one for one in os.listdir("/proc/self/task") if int(one) != os.getpid()]
    with open(f"/proc/self/task/{other}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "S"

main()
'''


class Target:
    """The program in its own process. At each gate it tells its stack and waits."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self.pid = self.process.pid

    def gate(self):
        line = self.process.stdout.readline().decode().strip()
        return line or give_up("the program has ended")

    def go(self):
        self.process.stdin.write(b"\n")


def names(unwinder):
    """The stack of the only thread, leaf first."""
    [thread] = [thread for interpreter in unwinder.get_stack_trace() for thread in interpreter.threads]
    return " < ".join(frame.funcname for frame in thread.frame_info)


def main(target):
    target.gate()
    unwinder = RemoteUnwinder(target.pid, all_threads=True)
    print("before:", names(unwinder))
    target.go()
    target.gate()
    try:
        threads = [thread for interpreter in unwinder.get_stack_trace() for thread in interpreter.threads]
    except RuntimeError as error:
        print(f"after:  RuntimeError: {error}")
        return True
    print(f"after:  {len(threads)} threads")
    return False


def run():
    target = Target()
    try:
        return main(target)
    finally:
        target.process.kill()
        target.process.wait()


if __name__ == "__main__":
    try:
        seen = run()
    except Exception as error:
        give_up(f"{type(error).__name__}: {error}")
    print("the fault is there" if seen else "the fault is not there")
    sys.exit(1 if seen else 0)
