"""A generator that is suspended inside a `try` is closed: an exception leaves it."""
def values():
    try:
        yield 1
    finally:
        pass


def main():
    before, after = gates()
    for out, into in ROUNDS:
        made = values()
        next(made)
        write(out, before); read(into, 1)
        made.close()
        write(out, after); read(into, 1)


main()
