"""A process that spends nearly all of its time in the frame of a generator, until its input ends."""
from posix import read, write
from select import select


def numbers():
    while True:
        number = 0
        while number < 10_000:
            number += 1
        yield number


def main():
    write(1, b"ready\n")
    for _ in numbers():
        if select([0], [], [], 0)[0] and not read(0, 1):
            return


main()
