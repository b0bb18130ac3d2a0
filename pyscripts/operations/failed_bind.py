"""A call whose arguments do not fit, after one whose arguments do."""
def leaf(argument):
    pass


def main():
    before, after = gates()
    for out, into in ROUNDS:
        write(out, before); read(into, 1)
        leaf(1)
        try: leaf()
        except TypeError: pass
        write(out, after); read(into, 1)


main()
