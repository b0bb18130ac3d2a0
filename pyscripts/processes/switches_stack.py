"""A thread whose chain of frames does not reach its base frame, as after an extension switched to its own stack.

CURRENT_FRAME and PREVIOUS are offsets in a thread state and in a frame; the test puts them in front of this text. The stack stays
switched while the thread works, until its input ends.
"""
import ctypes
from posix import read, write
from select import select

get_state = ctypes.pythonapi.PyThreadState_Get
get_state.restype = ctypes.c_void_p


def leaf(number):
    return sum(range(number))


def works():
    for number in range(100):
        leaf(number)


def switched():
    current = ctypes.c_uint64.from_address(get_state() + CURRENT_FRAME).value
    caller = ctypes.c_uint64.from_address(current + PREVIOUS)
    kept = caller.value
    caller.value = 0
    while not select([0], [], [], 0)[0] or read(0, 1):
        works()
    caller.value = kept


def main():
    write(1, b"ready\n")
    switched()


main()
