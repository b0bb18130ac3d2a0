"""A function calls another, which returns."""
def leaf():
    return 1


def main():
    before, after = gates()
    for out, into in ROUNDS:
        write(out, before); read(into, 1)
        leaf()
        write(out, after); read(into, 1)


main()
