"""A thread that ends, and what reuses the memory of its thread state.

AFTER, a line in front of this text, names it: "nothing", "bytes" or "thread".
Gates: 1 in the thread that ends; in the new thread, if there is one, 2 and 3 under two different callers; in the main thread, 4 if
all bytes are unchanged, and 5 if not.
"""
import sys
from _thread import get_native_id, start_joinable_thread
from posix import _exit, read, write

# About the size of a thread state: an allocator reuses freed memory for requests of the same size.
SIZES = range(600, 3000, 4)


def gate(context):
    write(1, (context | get_native_id() << 32).to_bytes(8, "little"))
    if read(0, 1) != b"g":
        _exit(0)


def inner(context):
    gate(context)


def ends():
    inner(1)


def first():
    inner(2)


def second():
    inner(3)


def follows():
    first()
    second()


def main():
    start_joinable_thread(ends).join()
    kept = [bytearray(size) for size in SIZES] if AFTER == "bytes" else []
    if AFTER == "thread":
        start_joinable_thread(follows).join()
    gate(4)
    whole = not any(any(one) for one in kept)
    while True:
        gate(4 if whole else 5)


write(1, b"framdiff")
read(0, 1)
main()
