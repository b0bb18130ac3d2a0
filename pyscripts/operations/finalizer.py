"""A function returns; clearing its locals runs a finalizer."""
class Finalized:
    def __del__(self):
        pass


def leaf():
    local = Finalized()


def main():
    before, after = gates()
    for out, into in ROUNDS:
        write(out, before); read(into, 1)
        leaf()
        write(out, after); read(into, 1)


main()
