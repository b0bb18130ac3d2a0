"""Two RemoteUnwinders that take turns: one of them returns stacks that the program never has.

The program does not move during any sample. Both unwinders exist from the start. h > g > f, and later k > g, are called by
map(), so there is a frame of the interpreter's own (a shim) below each of them. When f returns, last_profiled_frame goes
to its shim. When the shim leaves, last_profiled_frame stays, so g and h are not counted when they return. Then the second
unwinder sets last_profiled_frame to the new g, which is where the old g was. The first one finds it in its entry, with
the right count.

Expected output on CPython 3.15.2:
  first unwinder:  f < g < h < main < <module>
  the program is:  g < k < main < <module>
  second unwinder: g < k < main < <module>
  first unwinder:  g < h < main < <module>
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


def f(_):
    os.write(1, account())
    os.read(0, 1)

def g(calls_f):
    if calls_f:
        list(map(f, [None]))
    else:
        os.write(1, account())
        os.read(0, 1)

def h(_):
    list(map(g, [True]))

def k(_):
    list(map(g, [False]))

def main():
    list(map(h, [None]))
    list(map(k, [None]))

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
    first, second = (RemoteUnwinder(target.pid, cache_frames=True) for _ in range(2))
    print("first unwinder: ", names(first))
    target.go()
    truth = target.gate()
    print("the program is: ", truth)
    print("second unwinder:", names(second))
    seen = names(first)
    print("first unwinder: ", seen)
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
