"""A call with wrong arguments, after one with correct arguments."""
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
