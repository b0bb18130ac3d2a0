"""Stops itself in known states after it has said what they are. Needs only the core of the standard library."""
import _thread, gc, json, os, select, signal, sys

ME = os.getpid()
gc.disable()
sys.setswitchinterval(1e6)  # No thread gives the GIL away while it runs.


def say(**facts):
    os.write(1, json.dumps(facts).encode() + b"\n")


# Threads that wait for a lock. The last one's is released first.
ids = [_thread.get_native_id()]
ready, seen, *locks = [_thread.allocate_lock() for _ in range(5)]
ready.acquire()
seen.acquire()


def waiter(lock):
    ids.append(_thread.get_native_id())
    ready.release()
    lock.acquire()


def watcher(lock):
    waiter(lock)
    while True:
        say()
        os.kill(ME, signal.SIGSTOP)
        seen.release()
        lock.acquire()


for function, lock in zip((waiter, watcher, waiter), locks):
    lock.acquire()
    _thread.start_new_thread(function, (lock,))
    ready.acquire()

try:
    import _interpreters
    _interpreters.create()
    interpreters = [entry[0] if isinstance(entry, tuple) else entry for entry in _interpreters.list_all()]
except ImportError:
    interpreters = [0]


def generator(function, argument):
    yield function(argument)


def descend(depth):
    if depth:
        return descend(depth - 1)
    return rest()


def stack(frame):
    frames = []
    while frame:
        code = frame.f_code
        frames.append([id(code), frame.f_lasti, code.co_qualname, code.co_filename, frame.f_lineno, code.co_flags & 0x20 != 0])
        frame = frame.f_back
    return frames


def code_facts(code):
    table = code.co_linetable
    return {
        "address": id(code), "filename": id(code.co_filename), "qualname": id(code.co_qualname),
        "linetable": id(table), "table": table.hex(), "firstlineno": code.co_firstlineno,
        "argcount": code.co_argcount, "flags": code.co_flags,
    }


made = compile("\n" * 77 + "class Made:\n def method(a, b, c, d, *, e): yield", "made", "exec").co_consts[0]
made = next(constant for constant in made.co_consts if hasattr(constant, "co_code"))
texts = ["".join(list(text)) for text in ("abc", "ab\xe9", "ab\u6f22", "ab\U0001f600", "\ud800x")]
running = None


def rest():
    """The leaf. Its callers are calls, a generator and calls again."""
    created, suspended, finished = (generator(abs, -1) for _ in range(3))
    next(suspended)
    for _ in finished:
        pass
    codes = [rest.__code__, generator.__code__, say.__code__, code_facts.__code__, made]
    say(
        main=ids[0], threads=ids, interpreters=interpreters, stack=stack(sys._getframe()),
        generator=id(running), states=[id(it) for it in (created, suspended, running, finished)],
        codes=[code_facts(code) for code in codes], code_size=type(made).__basicsize__,
        texts=[[id(text), [ord(character) for character in text]] for text in texts],
    )
    os.kill(ME, signal.SIGSTOP)
    # Exactly five code objects are freed.
    for _ in range(5):
        compile("1", "freed", "exec")
    say()
    os.kill(ME, signal.SIGSTOP)
    return 1


running = generator(descend, 5)
next(running)


def leaf(error):
    say(handled=id(error))
    os.kill(ME, signal.SIGSTOP)
    return 1


def caller():
    try:
        raise ValueError
    except ValueError as error:
        leaf(error)
    say()
    os.kill(ME, signal.SIGSTOP)


# The profiler writes an anchor while the leaf is stopped, and finds it on the caller after the leaf has returned.
caller()

# The main thread holds the GIL and calls nothing that gives it away, while another thread wants it.
go_on = []
signal.signal(signal.SIGUSR1, lambda *_: go_on.append(1))
say()
locks[-1].release()
while not go_on:
    pass


# When an exception is raised, the values that the expression had computed are freed first. One of them gives the GIL
# away while it is freed. The watcher takes it there: it asked for it while the multiplication, which cannot be
# interrupted, took longer than the switch interval.
sys.setswitchinterval(1e-4)
number, empty = 3 ** 200_000, []


def fail():
    return [select.epoll(), locks[1].release(), number * number, empty[0]]


say()
while os.read(0, 1) == b"r":
    try:
        fail()
    except IndexError as error:
        seen.acquire()
        say(raised=id(error))


class Last:
    def __del__(self, write=os.write, kill=os.kill, me=ME, stop=signal.SIGSTOP):
        write(1, b"{}\n")
        kill(me, stop)


# The dictionary of `sys` is cleared when the interpreter finalizes. Threads keep the one of this program.
sys.last = Last()
