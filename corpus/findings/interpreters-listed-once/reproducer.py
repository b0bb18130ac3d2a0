"""A RemoteUnwinder never sees interpreters that are made after it.

The program waits in interpreter 0 while an unwinder is made. Then it makes a second interpreter, in which a thread waits.
The unwinder still lists interpreter 0 only; a new unwinder lists both. The head of the list of interpreters is read when
the unwinder is made, and a new interpreter becomes the head.

Expected output on CPython 3.15.2:
  interpreters of the program:              0 1
  interpreters that the old unwinder lists: 0
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
from concurrent import interpreters

os.write(1, b"0\n")
os.read(0, 1)
other = interpreters.create()
other.prepare_main(number=other.id)
other.exec("""
import os
os.write(1, b"0 %d" % number + bytes([10]))
os.read(0, 1)
""")
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


def interpreters(unwinder):
    return " ".join(sorted(str(interpreter.interpreter_id) for interpreter in unwinder.get_stack_trace()))


def main(target):
    target.gate()
    old = RemoteUnwinder(target.pid, all_threads=True)
    if interpreters(old) != "0":
        give_up("the unwinder does not list interpreter 0")
    target.go()
    truth = target.gate()
    seen = interpreters(old)
    print("interpreters of the program:             ", truth)
    print("interpreters that the old unwinder lists:", seen)
    return seen != truth and interpreters(RemoteUnwinder(target.pid, all_threads=True)) == truth


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
