"""The first sample of a RemoteUnwinder mixes two stacks that a later sample would not mix.

An unwinder copies the chunks of the data stack and walks the copy, so that a program that moves meanwhile does no harm.
For its first sample it takes the address of the newest chunk from a page that it read when it was made. Here the
program has left that chunk since then. So the frames are not in the copy, and are read one by one. The program moves once
between the first and the second one, from main > a > a_leaf to main > b > b_leaf. Only with cache_frames=True is that page read.

The unwinder is traced and stops before each of its accesses to the program, so every run is the same.

Expected output on CPython 3.15.2:
  the program is in:    a_leaf < a < main < <module>
  then it is in:        b_leaf < b < main < <module>
  the unwinder returns: a_leaf < b < main < <module>
  the fault is there

Exit status: 1 the fault is there, 0 it is not, 2 it cannot be tried here.
"""

import ctypes
import os
import signal
import struct
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


# Its frame is larger than 16 KiB, so it is in a chunk of the data stack of its own.
exec("def large(all=False):\n    if all:\n        " + " = ".join(f"x{i}" for i in range(2100)) + " = 0\n    wait()")

def wait():
    os.write(1, b".\n")
    os.read(0, 1)

def main():
    large()
    while True:
        a()
        b()

main()
'''


class Target:
    """The program in its own process. At each gate it tells its stack and waits."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, preexec_fn=allow_any_reader
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
TRACEME, TO_SYSTEM_CALL, SETOPTIONS, SYSCALL_INFO = 0, 24, 0x4200, 0x420E
STOP_IS_MARKED_AND_CHILD_ENDS_WITH_ME = 0x100001
WRITE, READV, WRITEV = 1, 310, 311  # x86-64: write, process_vm_readv, process_vm_writev


def allow_any_reader():
    """Lets the sampler read the program, which is not its child, where Yama limits that."""
    libc.prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)  # PR_SET_PTRACER, PR_SET_PTRACER_ANY


def ptrace(request, pid, address=0, data=0):
    if libc.ptrace(request, pid, address, data) < 0:
        give_up(f"ptrace: {os.strerror(ctypes.get_errno())}")


def sampler(pid):
    """The process that samples: it takes a sample for each byte on its input, and answers with a line."""
    unwinder = RemoteUnwinder(pid, cache_frames=True)
    ptrace(TRACEME, 0)
    os.kill(os.getpid(), signal.SIGSTOP)
    while os.read(0, 1):
        try:
            answer = names(unwinder)
        except (OSError, RuntimeError) as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(1, answer.encode() + b"\n")


class Sampler:
    """CPython's unwinder in a traced process, which stops before each access to the target's memory."""

    def __init__(self, pid):
        self.target = pid
        self.process = subprocess.Popen(
            [sys.executable, __file__, "sampler", str(pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self.pid = self.process.pid
        self.wait()
        ptrace(SETOPTIONS, self.pid, 0, STOP_IS_MARKED_AND_CHILD_ENDS_WITH_ME)

    def wait(self):
        _, status = os.waitpid(self.pid, 0)
        if not os.WIFSTOPPED(status):
            give_up("the sampler has ended")

    def call(self):
        """Lets the sampler run to its next system call, or to the end of one; the call, or None at its end."""
        ptrace(TO_SYSTEM_CALL, self.pid)
        self.wait()
        info = ctypes.create_string_buffer(88)
        ptrace(SYSCALL_INFO, self.pid, 88, ctypes.addressof(info))
        kind, number, first, _, _, remote, count, _ = struct.unpack_from("B23x7Q", info.raw)
        return (number, first, remote, count) if kind == 1 else None

    def sample(self, before):
        """Takes a sample. Calls `before` before each access: `before(number of the call, [(address, length), ...])`."""
        self.process.stdin.write(b"s")
        while True:
            call = self.call()
            if call is None:
                continue
            number, first, remote, count = call
            if number == WRITE and first == 1:
                break
            if number in (READV, WRITEV) and first == self.target:
                with open(f"/proc/{self.pid}/mem", "rb", 0) as memory:
                    memory.seek(remote)
                    words = struct.unpack(f"{2 * count}Q", memory.read(16 * count))
                before(number, list(zip(words[::2], words[1::2])))
        self.call()
        return self.process.stdout.readline().decode().strip()

    def end(self):
        self.process.kill()
        self.process.wait()


def main(target):
    target.gate()
    sampler = Sampler(target.pid)
    target.go()
    first, second = target.gate(), None
    frames = 0

    def before(call, ranges):
        nonlocal second, frames
        # A single frame has 88 bytes.
        frames += ranges[0][1] == 88
        if frames == 2 and second is None:
            target.go()
            second = target.gate()

    try:
        seen = sampler.sample(before)
    finally:
        sampler.end()
    print("the program is in:   ", first)
    print("then it is in:       ", second)
    print("the unwinder returns:", seen)
    return seen not in (first, second)


def run():
    target = Target()
    try:
        return main(target)
    finally:
        target.process.kill()
        target.process.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["sampler"]:
        sampler(int(sys.argv[2]))
        sys.exit()
    try:
        seen = run()
    except Exception as error:
        give_up(f"{type(error).__name__}: {error}")
    print("the fault is there" if seen else "the fault is not there")
    sys.exit(1 if seen else 0)
