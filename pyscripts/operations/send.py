"""C code resumes a generator, which yields."""
def values():
    yield 1
    yield 2
    yield 3


def main():
    before, after = gates()
    for out, into in ROUNDS:
        made = values()
        next(made)
        write(out, before); read(into, 1)
        made.send(None)
        write(out, after); read(into, 1)


main()
