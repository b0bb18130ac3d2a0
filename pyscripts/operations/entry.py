"""C code calls a function, which returns."""
def key(value):
    return value


def main():
    before, after = gates()
    mapped = map(key, itertools.repeat(1))
    for out, into in ROUNDS:
        write(out, before); read(into, 1)
        next(mapped)
        write(out, after); read(into, 1)


main()
