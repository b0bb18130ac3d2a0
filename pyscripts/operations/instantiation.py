"""A class whose `__init__` is a Python function is instantiated."""
class Object:
    def __init__(self):
        pass


def main():
    before, after = gates()
    for out, into in ROUNDS:
        write(out, before); read(into, 1)
        Object()
        write(out, after); read(into, 1)


main()
