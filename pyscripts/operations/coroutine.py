"""Coroutines await each other; the innermost yields."""
class Awaitable:
    def __await__(self):
        yield 1


async def inner():
    await Awaitable()


async def outer():
    await inner()


def main():
    before, after = gates()
    for out, into in ROUNDS:
        made = outer()
        write(out, before); read(into, 1)
        made.send(None)
        write(out, after); read(into, 1)


main()
