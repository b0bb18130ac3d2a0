"""A generator that is not suspended inside a `try` is closed: it does not run again."""
def values():
    yield 1


def main():
    before, after = gates()
    for out, into in ROUNDS:
        write(out, before); read(into, 1)
        made = values()
        for _ in made: break
        made.close()
        write(out, after); read(into, 1)


main()
