"""A process that forks in the middle of its stack, and whose child continues from there.

Gates: 1 before the fork; 2 and 3 in the child, on the stack that it inherited and on another one; 4 and 5 in the parent, on
the same two stacks, after the child has ended. Both use the same pipes, one at a time.
"""
from _thread import get_native_id
from posix import _exit, fork, read, waitpid, write


def gate(context):
    write(1, (context | get_native_id() << 32).to_bytes(8, "little"))
    if read(0, 1) != b"g":
        _exit(0)


def forks():
    gate(1)
    child = fork()
    if child:
        waitpid(child, 0)
    gate(4 if child else 2)
    return child


def top():
    return forks()


def inner(child):
    gate(5 if child else 3)


def other(child):
    inner(child)


def main():
    child = top()
    other(child)
    if not child:
        _exit(0)
    gate(6)


write(1, b"framdiff")
read(0, 1)
main()
