"""A process whose memory holds text that is not valid Unicode: one function's name has a character above U+10FFFF.

An unwinder gets such text from torn reads by chance; here it exists on purpose. The process itself never uses that name. It spends
most of each second under a plain name, so an unwinder that dies of the other one can be replaced and continue.
"""
import ctypes
from posix import _exit, read, write
from select import select
from time import monotonic

PLAIN = 0.6
GARBLED = 0.1
CHARACTER = 0x20000
NO_CHARACTER = 0x7FFFFFFF


def spin(seconds):
    until = monotonic() + seconds
    while monotonic() < until:
        pass


def plain():
    spin(PLAIN)


def garbled():
    spin(GARBLED)


def garble(function):
    """Makes the function's qualified name one that no Python program could have made."""
    function.__code__ = function.__code__.replace(co_qualname="garbled_" + chr(CHARACTER))
    name = function.__code__.co_qualname
    # The characters follow the header, four bytes each.
    words = [ctypes.c_uint32.from_address(id(name) + offset) for offset in range(0, 120, 4)]
    [character] = [word for word in words if word.value == CHARACTER]
    character.value = NO_CHARACTER


def main():
    garble(garbled)
    write(1, b"framdiff")
    while read(0, 1) == b"g":
        while not select([0], [], [], 0)[0]:
            plain()
            garbled()
    _exit(0)


main()
