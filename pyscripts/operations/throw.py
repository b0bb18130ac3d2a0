"""An exception is thrown into a generator, which handles it and yields."""
ERROR = ValueError()


def values():
    try:
        yield 1
    except ValueError:
        pass
    yield 2


def main():
    before, after = gates()
    for out, into in ROUNDS:
        ERROR.__traceback__ = None
        made = values()
        next(made)
        write(out, before); read(into, 1)
        made.throw(ERROR)
        write(out, after); read(into, 1)


main()
