"""A generator is created, and a loop takes its first value."""
def values():
    yield 1
    yield 2


def main():
    before, after = gates()
    for out, into in ROUNDS:
        made = None
        write(out, before); read(into, 1)
        made = values()
        for _ in made: break
        write(out, after); read(into, 1)


main()
