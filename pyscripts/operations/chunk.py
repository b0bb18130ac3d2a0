"""A call needs a new chunk of the data stack, and returning releases it."""


def locals_of(count):
    return "if 0: " + " = ".join(f"local{number}" for number in range(count)) + " = 0"


# A chunk has 16 KiB, or twice that if a frame plus a thousand words need it. So `first` gets a chunk of 4096 words.
# The space that it and `second` leave is enough for `main` and too little for `leaf`.
exec(f"def first():\n    {locals_of(3000)}\n    second()\n")
exec(f"def second():\n    {locals_of(900)}\n    main()\n")
exec(f"def leaf():\n    {locals_of(250)}\n")


def main():
    before, after = gates()
    for out, into in ROUNDS:
        write(out, before); read(into, 1)
        leaf()
        write(out, after); read(into, 1)


first()
