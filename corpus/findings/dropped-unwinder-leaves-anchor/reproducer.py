"""A RemoteUnwinder that is gone leaves its address in the thread state of the program.

An unwinder with the frame cache writes the address of a frame to last_profiled_frame of the thread. It sets the field to
NULL when it is made, and not when it is dropped. So the interpreter goes on to compare each frame that leaves with it,
although there is no profiler any more. The program reads the field itself, at the offset that _Py_DebugOffsets has.

Expected output on CPython 3.15.2:
  before any sample:         last_profiled_frame is NULL
  after a sample:            last_profiled_frame is set
  the unwinder was dropped:  last_profiled_frame is set
  the fault is there

Exit status: 1 the fault is there, 0 it is not, 2 it cannot be tried here.
"""

import gc
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
if sys.version_info[:2] != (3, 15):
    give_up("the offsets of other versions than 3.15 are elsewhere")

# The program.
PROGRAM = r'''
import ctypes, os

def word(address):
    return ctypes.c_uint64.from_address(address).value

def wait():
    # _PyRuntime begins with _Py_DebugOffsets; word 28 is the offset of last_profiled_frame.
    offset = word(ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, "_PyRuntime")) + 8 * 28)
    os.write(1, b"set\n" if word(thread_state() + offset) else b"NULL\n")
    os.read(0, 1)

thread_state = ctypes.pythonapi.PyThreadState_Get
thread_state.restype = ctypes.c_void_p
while True:
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


def main(target):
    seen = [target.gate()]
    unwinder = RemoteUnwinder(target.pid, cache_frames=True)
    unwinder.get_stack_trace()
    target.go()
    seen.append(target.gate())
    unwinder.get_stack_trace()
    del unwinder
    gc.collect()
    target.go()
    seen.append(target.gate())
    for when, what in zip(("before any sample:       ", "after a sample:          ", "the unwinder was dropped:"), seen):
        print(when, " last_profiled_frame is", what)
    if seen[:2] != ["NULL", "set"]:
        give_up("the unwinder does not use the field")
    return seen[2] == "set"


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
