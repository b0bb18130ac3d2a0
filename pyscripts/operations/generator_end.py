"""A loop takes the last value of a generator, which returns."""
def values():
    yield 1


def main():
    before, after = gates()
    for out, into in ROUNDS:
        made = values()
        next(made)
        write(out, before); read(into, 1)
        for _ in made: pass
        write(out, after); read(into, 1)


main()
