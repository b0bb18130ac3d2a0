"""A second RemoteUnwinder makes the first one return stacks that the program never has.

The program does not move during any sample. It has two branches, main > a > a_leaf and main > b > b_leaf, whose frames
have the same addresses. An unwinder samples the first branch. Then a second unwinder is made. That sets
last_profiled_frame of the thread to NULL, so the frames that leave from now on are not counted. The second unwinder
samples the other branch and sets last_profiled_frame again. Now the entry of the first unwinder seems valid.

Expected output on CPython 3.15.2:
  the program is in:          b_leaf < b < main < <module>
  the first unwinder returns: b_leaf < a < main < <module>
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


def a_leaf():
    os.write(1, account())
    os.read(0, 1)

def b_leaf():
    os.write(1, account())
    os.read(0, 1)

def a():
    a_leaf()

def b():
    b_leaf()

def main():
    while True:
        a()
        b()

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
    first = RemoteUnwinder(target.pid, cache_frames=True)
    names(first)
    second = RemoteUnwinder(target.pid, cache_frames=True)
    target.go()
    truth = target.gate()
    names(second)
    seen = names(first)
    print("the program is in:         ", truth)
    print("the first unwinder returns:", seen)
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
