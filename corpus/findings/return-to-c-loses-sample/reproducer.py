"""RemoteUnwinder returns nothing for a thread that is about to return from Python to C.

A function that was called from C (here by map) has returned, so current_frame of the thread is a frame of the
interpreter's own, a shim. It is not returned, and its callers are as they were. But the unwinder raises, and the whole
sample is lost, with those of all other threads. The program is stopped there by a hardware watchpoint on current_frame.
Such samples are missing from every profile, at always the same places, so the profile is biased. See gh-157605.

Expected output on CPython 3.15.2:
  the program is in:  main < <module>
  the unwinder:       RuntimeError: Failed to parse initial frame in chain
  the fault is there

Exit status: 1 the fault is there, 0 it is not, 2 it cannot be tried here.
"""

import ctypes
import os
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
if sys.version_info[:2] != (3, 15):
    give_up("the offsets of other versions than 3.15 are elsewhere")

# The program.
PROGRAM = r'''
import ctypes, os, sys

def account():
    frame, names = sys._getframe(1), []
    while frame is not None:
        names.append(frame.f_code.co_qualname)
        frame = frame.f_back
    return (" < ".join(names) + "\n").encode()


def field():
    # _PyRuntime begins with _Py_DebugOffsets; word 26 is the offset of current_frame in the thread state.
    thread_state = ctypes.pythonapi.PyThreadState_Get
    thread_state.restype = ctypes.c_void_p
    offsets = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, "_PyRuntime"))
    return thread_state() + ctypes.c_uint64.from_address(offsets + 8 * 26).value

def called(_):
    os.write(1, b".\n")
    os.read(0, 1)

def main():
    os.write(1, b"%d\n" % field())
    list(map(called, [None]))

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


if os.uname().machine != "x86_64":
    give_up("it traces processes as on x86-64")
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long] * 4
POKEUSER, CONTINUE, ATTACH, SETOPTIONS, CHILD_ENDS_WITH_ME = 6, 7, 16, 0x4200, 0x100000
DEBUG_REGISTERS = 848  # offsetof(struct user, u_debugreg) on x86-64


def ptrace(request, pid, address=0, data=0):
    if libc.ptrace(request, pid, address, data) < 0:
        give_up(f"ptrace: {os.strerror(ctypes.get_errno())}")


def wait(target):
    _, status = os.waitpid(target.pid, 0)
    if not os.WIFSTOPPED(status):
        give_up("the program has ended")
    return os.WSTOPSIG(status)


def stop_at_next_access(target, address):
    """Lets the program go on until it has written a word of its memory. It stands still then."""
    ptrace(ATTACH, target.pid)
    wait(target)
    ptrace(SETOPTIONS, target.pid, 0, CHILD_ENDS_WITH_ME)
    ptrace(POKEUSER, target.pid, DEBUG_REGISTERS, address)
    # Register 0 is on, for writes of 8 bytes.
    ptrace(POKEUSER, target.pid, DEBUG_REGISTERS + 7 * 8, 0x90001)
    target.go()
    ptrace(CONTINUE, target.pid)
    if wait(target) != signal.SIGTRAP:
        give_up("the program did not stop at the access")


def main(target):
    field = int(target.gate())
    target.gate()
    unwinder = RemoteUnwinder(target.pid)
    stop_at_next_access(target, field)
    print("the program is in:  main < <module>")
    try:
        seen = names(unwinder)
    except RuntimeError as error:
        seen = f"RuntimeError: {error}"
    print("the unwinder:      ", seen)
    return seen.startswith("RuntimeError")


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
