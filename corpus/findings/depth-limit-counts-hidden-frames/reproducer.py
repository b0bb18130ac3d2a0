"""RemoteUnwinder raises for a stack of 800 Python frames, although it can return 1,500.

For each call from C to Python there is an additional frame, which is not returned. The limit of 1,536 frames in a chain
counts them. Here each function is called by map(), so 800 functions are 1,600 frames. Under -X perf every function is
called that way, so the limit is half of what it is otherwise.

Expected output on CPython 3.15.2:
  1500 frames, called by Python: 1500 frames are returned
  800 frames, called by C:       RuntimeError: Too many stack frames (possible infinite loop)
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
import os, sys

def plain(depth):
    if depth:
        plain(depth - 1)
    else:
        os.write(1, b".\n")
        os.read(0, 1)

def through_c(depth):
    if depth:
        list(map(through_c, [depth - 1]))
    else:
        os.write(1, b".\n")
        os.read(0, 1)

sys.setrecursionlimit(10_000)
plain(1498)
through_c(798)
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
    unwinder = None
    failed = False
    for text in ("1500 frames, called by Python:", "800 frames, called by C:      "):
        target.gate()
        try:
            unwinder = unwinder or RemoteUnwinder(target.pid)
            print(text, names(unwinder).count("<") , "frames are returned")
        except RuntimeError as error:
            print(text, f"RuntimeError: {error}")
            failed = True
        target.go()
    return failed


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
