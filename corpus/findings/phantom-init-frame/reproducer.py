"""RemoteUnwinder returns a frame __init__ that does not exist.

A class with an __init__ in Python is instantiated again and again, so the call is specialised. From then on the
interpreter pushes a frame of its own below __init__, a trampoline. Its code object is called __init__, too. The
interpreter skips it in sys._getframe() and in tracebacks. The unwinder returns it, without a line.

Expected output on CPython 3.15.2:
  the program says:      Made.__init__ < make < <module>
  the unwinder returns:  Made.__init__ < __init__ < make < <module>
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

def account():
    frame, names = sys._getframe(1), []
    while frame is not None:
        names.append(frame.f_code.co_qualname)
        frame = frame.f_back
    return (" < ".join(names) + "\n").encode()


class Made:
    def __init__(self, waits):
        if waits:
            os.write(1, account())
            os.read(0, 1)

def make(waits):
    Made(waits)

for _ in range(1000):
    make(False)
make(True)
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
    truth = target.gate()
    seen = names(RemoteUnwinder(target.pid))
    print("the program says:     ", truth)
    print("the unwinder returns: ", seen)
    return seen != truth


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
