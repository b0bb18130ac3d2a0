"""In a debug build, RemoteUnwinder ends the whole profiler with SIGABRT if it reads text that is not valid.

The name of a function has a character above U+10FFFF. No program makes such a name (this one writes to its own memory).
But an unwinder reads memory that changes, so it takes arbitrary bytes for a name now and then. RemoteUnwinder makes a str
of it without a check. A debug build checks it later and aborts. A release build goes on with an invalid str.

Expected output on a debug build of CPython 3.15.2:
  the process that takes the sample ends with: SIGABRT
  the fault is there

Exit status: 1 the fault is there, 0 it is not, 2 it cannot be tried here.
"""

import signal
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
import ctypes, os

def wait():
    os.write(1, b".\n")
    os.read(0, 1)

def garble(function):
    function.__code__ = function.__code__.replace(co_qualname="wait" + chr(0x20000))
    name = function.__code__.co_qualname
    # The characters follow the header, four bytes each.
    words = [ctypes.c_uint32.from_address(id(name) + offset) for offset in range(0, 120, 4)]
    [character] = [word for word in words if word.value == 0x20000]
    character.value = 0x7FFFFFFF

garble(wait)
wait()
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


SAMPLE = """
import sys
from _remote_debugging import RemoteUnwinder
[interpreter] = RemoteUnwinder(int(sys.argv[1])).get_stack_trace()
print(" < ".join(frame.funcname for frame in interpreter.threads[0].frame_info).encode(errors="replace"))
"""


def main(target):
    if not hasattr(sys, "gettotalrefcount"):
        give_up("only debug builds check text")
    target.gate()
    status = subprocess.run([sys.executable, "-c", SAMPLE, str(target.pid)], capture_output=True).returncode
    ending = signal.Signals(-status).name if status < 0 else f"status {status}"
    print("the process that takes the sample ends with:", ending)
    return status == -signal.SIGABRT


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
