"""An exception leaves two functions and is handled in a third."""
ERROR = ValueError()


def leaf():
    raise ERROR


def middle():
    leaf()


def handler():
    try:
        middle()
    except ValueError:
        pass


def main():
    before, after = gates()
    for out, into in ROUNDS:
        ERROR.__traceback__ = None
        write(out, before); read(into, 1)
        handler()
        write(out, after); read(into, 1)


main()
