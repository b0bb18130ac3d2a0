"""A coroutine takes the values of an asynchronous generator."""
async def values():
    yield 1


async def consumer():
    async for _ in values(): pass


def main():
    before, after = gates()
    for out, into in ROUNDS:
        made = consumer()
        write(out, before); read(into, 1)
        try: made.send(None)
        except StopIteration: pass
        write(out, after); read(into, 1)


main()
