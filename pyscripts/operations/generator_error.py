"""An exception leaves a generator."""
ERROR = ValueError()


def values():
    yield 1
    raise ERROR


def main():
    before, after = gates()
    for out, into in ROUNDS:
        ERROR.__traceback__ = None
        made = values()
        next(made)
        write(out, before); read(into, 1)
        try:
            for _ in made: pass
        except ValueError: pass
        write(out, after); read(into, 1)


main()
