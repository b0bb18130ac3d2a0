"""Stand-ins for `_remote_debugging`: each wraps the real extension module and does one thing wrong on purpose.

They need no machine code, so they work with any version. Run as a script, this file prints a list of them as one JSON document:
  [[name, lane, description, fault of the past or null, why it cannot be used or null], ...]
For the import as `_remote_debugging`, a call of `stand_in` is appended to the text of this file. The lane is the one that must
find the fault: "stopped" and "stepped" within numbers of stops and schedules, "live" within the time of a default run. A fault
of the live lane does not show while the target is stopped or traced. A fault in something that `check` never uses cannot be
found: it says what is missing.
"""

import importlib.machinery
import importlib.util
import json
import os
import random
import sys

FULL, PARTIAL, MISSES = "frame_cache_hits", "frame_cache_partial_hits", "frame_cache_misses"
FROM_CACHE, FROM_MEMORY = "frames_read_from_cache", "frames_read_from_memory"
COUNTERS = (FULL, PARTIAL, MISSES, FROM_CACHE, FROM_MEMORY)
# Every unwinder raises this now and then, so the text does not reveal the fault.
USUAL_ERROR = "Failed to parse initial frame in chain"

FAULTS = {}
real = None
chance = random.Random(7).random


def fault(name, description, lane="stopped", issue=None, missing=None):
    """Puts a class into the table. `missing` is what `check` does not do, and the fault needs to show."""

    def add(cls):
        cls.lane, cls.description, cls.issue, cls.missing = lane, description, issue, missing
        FAULTS[name] = cls
        return cls

    return add


def stand_in(names, name, file):
    """Fills `names` with what the module at `file` has, and with an unwinder that has the fault `name`."""
    global real
    loader = importlib.machinery.ExtensionFileLoader("_remote_debugging", file)
    spec = importlib.util.spec_from_file_location("_remote_debugging", file, loader=loader)
    real = importlib.util.module_from_spec(spec)
    loader.exec_module(real)
    names.update({key: value for key, value in vars(real).items() if not key.startswith("__")})
    names["RemoteUnwinder"] = FAULTS[name]


class Faithful:
    """Passes everything on. A fault overrides what it gets wrong."""

    needs_fields = False

    def __init__(self, pid, **options):
        self.pid, self.options = pid, options
        self.cached, self.counts = options.get("cache_frames", False), options.get("stats", False)
        self.samples = 0
        self.added = dict.fromkeys(COUNTERS, 0)
        self.grown = dict.fromkeys(COUNTERS, 0)
        self.fields = Fields(pid) if self.needs_fields else None
        self.make()

    def __getattr__(self, name):
        return getattr(self.__dict__["real"], name)

    def make(self):
        self.real = real.RemoteUnwinder(self.pid, **self.options)

    def forget(self):
        """Empties the cache; the counters go on."""
        for key, value in self.counters().items():
            self.added[key] += value
        self.real = None
        self.real = real.RemoteUnwinder(self.pid, **self.options)

    def counters(self):
        if not self.counts:
            return dict.fromkeys(COUNTERS, 0)
        stats = self.real.get_stats()
        return {key: stats[key] for key in COUNTERS}

    def get_stats(self):
        stats = self.real.get_stats()
        return stats | {key: stats[key] + self.added[key] for key in COUNTERS}

    def get_stack_trace(self):
        self.samples += 1
        if not self.acts():
            return self.real.get_stack_trace()
        self.before()
        counters = self.counters()
        try:
            result = self.real.get_stack_trace()
        except Exception as error:
            return self.raised(error)
        self.grown = {key: value - counters[key] for key, value in self.counters().items()}
        return self.after(result)

    def acts(self):
        """Whether the fault may show in this sample."""
        return self.lane != "live" or is_running(self.pid)

    def before(self):
        """Comes before the walk."""

    def raised(self, error):
        """Comes after a walk that failed."""
        raise error

    def after(self, interpreters):
        """Comes after a walk."""
        return [one.__replace__(threads=self.threads(one.threads)) for one in interpreters]

    def threads(self, threads):
        return [self.thread(thread) for thread in threads]

    def thread(self, thread):
        return thread.__replace__(frame_info=self.stack(list(thread.frame_info), thread))

    def stack(self, frames, thread):
        return [self.frame(frame) for frame in frames]

    def frame(self, frame):
        return frame

    @property
    def hit(self):
        """Whether this sample of a cached unwinder used its cache."""
        return self.cached and self.grown[FULL] + self.grown[PARTIAL] > 0


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rsplit(b")", 1)[1].split()[0] not in (b"T", b"t")
    except OSError:
        return True


def without_caller(frames):
    return frames[:2] + frames[3:] if len(frames) > 3 else frames


class Fields:
    """The fields of a target that faults read and write. The target runs the same interpreter as this process."""

    # Words of _Py_DebugOffsets in 3.15, counted from its cookie.
    HEAD, NEXT_INTERPRETER, THREADS, GENERATION = 5, 8, 9, 20
    NEXT_THREAD, CURRENT, ANCHOR, SEQUENCE, NATIVE_ID, PREVIOUS = 24, 26, 28, 29, 31, 40

    @staticmethod
    def unknown():
        """Why they cannot be used with this interpreter."""
        if sys.version_info[:2] != (3, 15):
            return "where CPython %d.%d has its fields is not known here" % sys.version_info[:2]
        return None

    def __init__(self, pid):
        import ctypes

        self.pid, self.libc = pid, ctypes.CDLL(None, use_errno=True)
        self.ctypes = ctypes
        own = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, "_PyRuntime"))
        words = ctypes.cast(own, ctypes.POINTER(ctypes.c_uint64))
        self.offset = lambda word: words[word]
        start, path = self.mapping("self", lambda first, last, _: first <= own < last)
        base, _ = self.mapping("self", lambda *mapping: mapping[2] == path)
        there, _ = self.mapping(pid, lambda *mapping: mapping[2] == path)
        self.runtime = own - base + there
        self.memory = os.open(f"/proc/{pid}/mem", os.O_RDWR)

    def __del__(self):
        if hasattr(self, "memory"):
            os.close(self.memory)

    @staticmethod
    def mapping(process, wanted):
        """Start and path of the first mapping of a file that is wanted. Zeroed data behind a file's counts as the file's."""
        path = ""
        with open(f"/proc/{process}/maps") as maps:
            for line in maps:
                bounds, _, _, _, _, *rest = line.split(maxsplit=5)
                first, last = (int(bound, 16) for bound in bounds.split("-"))
                path = rest[0].strip() if rest else path
                if wanted(first, last, path):
                    return first, path
        raise RuntimeError(f"process {process} has another interpreter")

    def peek(self, address):
        return int.from_bytes(os.pread(self.memory, 8, address), "little")

    def poke(self, address, value):
        """Writes a word past the accesses that a tracer of this process stops at."""
        os.pwrite(self.memory, (value & (1 << 64) - 1).to_bytes(8, "little"), address)

    def access(self, call, address, data):
        """Reads or writes as an unwinder does."""
        c = self.ctypes

        class Range(c.Structure):
            _fields_ = [("base", c.c_void_p), ("length", c.c_size_t)]

        here, there = Range(c.addressof(data), len(data)), Range(address, len(data))
        getattr(self.libc, call)(self.pid, c.byref(here), 1, c.byref(there), 1, 0)

    def write(self, address, value):
        self.access("process_vm_writev", address, self.ctypes.create_string_buffer(value.to_bytes(8, "little"), 8))

    def read(self, address, length):
        self.access("process_vm_readv", address, self.ctypes.create_string_buffer(length))

    def interpreters(self):
        address = self.peek(self.runtime + self.offset(self.HEAD))
        while address:
            yield address
            address = self.peek(address + self.offset(self.NEXT_INTERPRETER))

    def threads(self):
        """The fields of every thread."""
        for interpreter in self.interpreters():
            address = self.peek(interpreter + self.offset(self.THREADS))
            while address:
                yield Thread(self, address)
                address = self.peek(address + self.offset(self.NEXT_THREAD))


class Thread:
    def __init__(self, fields, address):
        self.fields, self.address = fields, address

    def at(self, word):
        return self.address + self.fields.offset(word)

    def get(self, word):
        return self.fields.peek(self.at(word))

    def set(self, word, value):
        self.fields.poke(self.at(word), value)

    @property
    def native_id(self):
        return self.get(Fields.NATIVE_ID)


# Wrong stacks.


class CallerDropped(Faithful):
    def stack(self, frames, thread):
        return without_caller(frames) if self.drops(thread) else frames


@fault("caller-dropped-on-full-hit", "a full hit leaves out a caller")
class _(CallerDropped):
    def drops(self, thread):
        return self.cached and self.grown[FULL]


@fault("caller-dropped-on-partial-hit", "a partial hit leaves out a caller")
class _(CallerDropped):
    def drops(self, thread):
        return self.cached and self.grown[PARTIAL]


@fault("caller-dropped-on-miss", "a cached miss leaves out a caller")
class _(CallerDropped):
    def drops(self, thread):
        return self.cached and self.grown[MISSES]


@fault("caller-dropped-at-once", "the first sample of a cached unwinder leaves out a caller")
class _(CallerDropped):
    def drops(self, thread):
        return self.cached and self.samples == 1


@fault("caller-dropped-now-and-then", "every 97th sample of a cached unwinder leaves out a caller")
class _(CallerDropped):
    def drops(self, thread):
        return self.cached and self.samples % 97 == 0


@fault("caller-dropped-in-other-threads", "a hit leaves out a caller in threads that are not the main thread")
class _(CallerDropped):
    def drops(self, thread):
        return self.hit and thread.thread_id != self.pid


def dropped_after(count):
    @fault(f"caller-dropped-after-{count}-samples", f"after {count:,} samples of one unwinder a hit leaves out a caller")
    class _(CallerDropped):
        def drops(self, thread):
            return self.hit and self.samples > count


dropped_after(600)
dropped_after(1500)


def cut_at(limit):
    @fault(f"chain-cut-at-{limit}", f"a chain ends after {limit:,} frames")
    class _(Faithful):
        def stack(self, frames, thread):
            return frames[:limit]


cut_at(1024)
cut_at(1400)
cut_at(1500)


@fault("outermost-dropped", "a cached unwinder leaves out the outermost frame of a hit")
class _(Faithful):
    def stack(self, frames, thread):
        return frames[:-1] if self.hit else frames


@fault("neighbours-merged", "of equal frames next to each other one is returned")
class _(Faithful):
    def stack(self, frames, thread):
        return [frame for index, frame in enumerate(frames) if index == 0 or frame != frames[index - 1]]


class Remembering(Faithful):
    """Knows the last stack of each thread."""

    def make(self):
        super().make()
        self.last = {}

    def stack(self, frames, thread):
        new = self.mixed(frames, self.last.get(thread.thread_id, []))
        self.last[thread.thread_id] = frames
        return new


@fault("leaf-reused-on-full-hit", "a full hit returns the stored leaf, whose line may have moved since", issue="gh-142137")
class _(Remembering):
    def mixed(self, frames, last):
        return last[:1] + frames[1:] if self.cached and self.grown[FULL] and last else frames


@fault("anchored-frame-reused-on-partial-hit", "a partial hit returns the stored frame of the anchor, whose line may have moved")
class _(Remembering):
    def mixed(self, frames, last):
        parents = self.grown[FROM_CACHE]
        if not (self.cached and self.grown[PARTIAL]) or len(last) <= parents or len(frames) <= parents:
            return frames
        return frames[: -parents - 1] + last[-parents - 1 :][:1] + frames[len(frames) - parents :]


@fault("callers-lines-kept", "a caller keeps the line that it had when its function was first seen at that depth")
class _(Remembering):
    def mixed(self, frames, last):
        if not self.cached:
            return frames
        same = 0
        while same < min(len(frames), len(last)) - 1 and frames[-1 - same].funcname == last[-1 - same].funcname:
            same += 1
        frames[len(frames) - same :] = last[len(last) - same :]
        return frames


# Wrong names, places and fields.


def names_cut_at(limit):
    @fault(f"names-cut-at-{limit}", f"names end after {limit:,} characters")
    class _(Faithful):
        def frame(self, frame):
            return frame.__replace__(funcname=frame.funcname[:limit])


names_cut_at(100)
names_cut_at(1000)


@fault("names-in-ascii", "characters of names that are not ASCII become question marks")
class _(Faithful):
    def frame(self, frame):
        return frame.__replace__(funcname=frame.funcname.encode("ascii", "replace").decode())


@fault("names-not-qualified", "a name is that of the function alone, without its class")
class _(Faithful):
    def frame(self, frame):
        return frame.__replace__(funcname=frame.funcname.rsplit(".", 1)[-1])


@fault("paths-cut-to-base-name", "a file is reported without its folder")
class _(Faithful):
    def frame(self, frame):
        return frame.__replace__(filename=os.path.basename(frame.filename))


@fault("files-kept-by-name", "a function's file is that of the first function of the same name")
class _(Faithful):
    files = {}

    def frame(self, frame):
        return frame.__replace__(filename=self.files.setdefault((self.pid, frame.funcname), frame.filename))


class Moved(Faithful):
    """Gets the location of frames wrong, where they have one."""

    def frame(self, frame):
        place = frame.location
        return frame if place is None else frame.__replace__(location=self.moved(place))


@fault("locations-dropped", "every hundredth sample has no locations")
class _(Moved):
    def moved(self, place):
        return None if self.samples % 100 == 0 else place


@fault("columns-dropped", "columns are not reported")
class _(Moved):
    def moved(self, place):
        return place.__replace__(col_offset=-1, end_col_offset=-1)


@fault("columns-off-by-one", "the end column is one too high")
class _(Moved):
    def moved(self, place):
        return place.__replace__(end_col_offset=place.end_col_offset + 1)


@fault("columns-in-8-bits", "columns lose what is above 8 bits")
class _(Moved):
    def moved(self, place):
        return place.__replace__(col_offset=place.col_offset & 255, end_col_offset=place.end_col_offset & 255)


@fault("end-lines-dropped", "the end line is the line")
class _(Moved):
    def moved(self, place):
        return place.__replace__(end_lineno=place.lineno)


def lines_in(bits):
    @fault(f"lines-in-{bits}-bits", f"lines lose what is above {bits} bits")
    class _(Moved):
        def moved(self, place):
            mask = (1 << bits) - 1
            return place.__replace__(lineno=place.lineno & mask, end_lineno=place.end_lineno & mask)


lines_in(8)
lines_in(16)


@fault("opcode-told", "an opcode is reported although it was not requested")
class _(Faithful):
    def frame(self, frame):
        return frame.__replace__(opcode=255)


@fault("opcode-wrong", "a wrong opcode is reported if opcodes are requested")
class _(Faithful):
    def frame(self, frame):
        return frame if frame.opcode is None else frame.__replace__(opcode=frame.opcode ^ 1)


# Wrong threads and interpreters.


@fault("status-garbage", "the status of every thread has bits that mean nothing")
class _(Faithful):
    def thread(self, thread):
        return thread.__replace__(status=0xDEAD00)


@fault("status-of-the-lock-wrong", "a thread is said to hold the lock if it does not, and not to hold it if it does")
class _(Faithful):
    def thread(self, thread):
        return thread.__replace__(status=thread.status ^ real.THREAD_STATUS_HAS_GIL)


@fault("status-all-main", "every thread is said to be the main thread")
class _(Faithful):
    def thread(self, thread):
        return thread.__replace__(status=thread.status | real.THREAD_STATUS_MAIN_THREAD)


@fault("interpreter-id-wrong", "every interpreter's id is 777")
class _(Faithful):
    def after(self, interpreters):
        return [one.__replace__(interpreter_id=777) for one in interpreters]


SEVERAL_INTERPRETERS = "needs a program with several interpreters"


@fault("interpreters-missing", "only the first interpreter is reported", missing=SEVERAL_INTERPRETERS)
class _(Faithful):
    def after(self, interpreters):
        return interpreters[:1]


@fault("interpreters-merged", "all threads are reported as threads of the first interpreter", missing=SEVERAL_INTERPRETERS)
class _(Faithful):
    def after(self, interpreters):
        return [one.__replace__(threads=[t for each in interpreters for t in each.threads]) for one in interpreters[:1]]


@fault("interpreter-told-twice", "an interpreter is reported a second time, without threads")
class _(Faithful):
    def after(self, interpreters):
        return interpreters + [one.__replace__(threads=[]) for one in interpreters[:1]]


@fault("threads-told-twice", "every other sample has each thread twice")
class _(Faithful):
    def threads(self, threads):
        return [thread for thread in threads for _ in range(1 + self.samples % 2)]


@fault("threads-reversed", "the threads come in the opposite order")
class _(Faithful):
    def threads(self, threads):
        return threads[::-1]


@fault("thread-ids-shifted", "each thread has the id of the next one")
class _(Faithful):
    def threads(self, threads):
        ids = [thread.thread_id for thread in threads]
        return [thread.__replace__(thread_id=id) for thread, id in zip(threads, ids[1:] + ids[:1])]


def threads_cut_at(limit):
    @fault(f"threads-missing-above-{limit}", f"no more than {limit} threads are reported")
    class _(Faithful):
        def threads(self, threads):
            return threads[:limit]


threads_cut_at(1)
threads_cut_at(8)
threads_cut_at(32)


# Wrong errors.


@fault("raises-30-percent", "three of ten samples raise")
class _(Faithful):
    def before(self):
        if chance() < 0.3:
            raise RuntimeError(USUAL_ERROR)


@fault("raises-once", "the 200th sample of a cached unwinder raises")
class _(Faithful):
    def before(self):
        if self.cached and self.samples == 200:
            raise RuntimeError(USUAL_ERROR)


@fault("errors-of-another-type", "what raises, raises MemoryError")
class _(Faithful):
    def raised(self, error):
        raise MemoryError(str(error))


@fault("errors-without-text", "what raises, does not say why")
class _(Faithful):
    def raised(self, error):
        raise type(error)()


@fault("errors-hidden-as-nothing", "what should raise returns no interpreter")
class _(Faithful):
    def raised(self, error):
        return []


@fault("errors-hidden-as-the-last-answer", "what should raise returns the last answer")
class _(Faithful):
    answer = []

    def raised(self, error):
        return self.answer

    def after(self, interpreters):
        self.answer = interpreters
        return interpreters


# Wrong counters.


@fault("counters-frozen", "the counters stay as they are after 20 samples")
class _(Faithful):
    def get_stats(self):
        if self.samples <= 20:
            self.kept = super().get_stats()
        return self.kept


@fault("counters-doubled", "everything is counted twice")
class _(Faithful):
    def get_stats(self):
        stats = super().get_stats()
        return stats | {key: 2 * stats[key] for key in COUNTERS}


class Miscounted(Faithful):
    def after(self, interpreters):
        if self.cached:
            self.count()
        return interpreters

    def move(self, source, to, count):
        self.added[source] -= count
        self.added[to] += count


@fault("full-hits-counted-as-partial", "99 of 100 full hits are counted as partial hits")
class _(Miscounted):
    def count(self):
        if self.samples % 100:
            self.move(FULL, PARTIAL, self.grown[FULL])


@fault("partial-hits-counted-as-full", "99 of 100 partial hits are counted as full hits")
class _(Miscounted):
    def count(self):
        if self.samples % 100:
            self.move(PARTIAL, FULL, self.grown[PARTIAL])


@fault("misses-counted-as-partial-hits", "misses are counted as partial hits, but for the first and every 100th sample")
class _(Miscounted):
    def count(self):
        if self.samples > 1 and self.samples % 100:
            self.move(MISSES, PARTIAL, self.grown[MISSES])


@fault("cached-frames-miscounted", "one frame more is counted as from the cache, and one less as read")
class _(Miscounted):
    def count(self):
        if self.grown[FULL] or self.grown[PARTIAL]:
            self.move(FROM_MEMORY, FROM_CACHE, 1)


@fault("counters-disagree", "frames from the cache are not counted")
class _(Miscounted):
    def count(self):
        self.added[FROM_CACHE] -= self.grown[FROM_CACHE]


# A missing cache, or one that is too small.


@fault("cache-never-hits", "the cache is lost before each sample")
class _(Faithful):
    def before(self):
        if self.cached and self.samples > 1:
            self.forget()


@fault("cache-lost-with-threads", "the cache is lost before each sample of a process with several threads")
class _(Faithful):
    several = False

    def before(self):
        if self.cached and self.several:
            self.forget()

    def threads(self, threads):
        self.several = len(threads) > 1
        return threads


@fault("cache-lost-by-the-sweep", "every 1,024 samples all entries are dropped, and not only those of threads that are gone")
class _(Faithful):
    def before(self):
        if self.cached and self.samples % 1024 == 0:
            self.forget()


class WithoutEntry(Faithful):
    """Some threads have no entry: without an anchor nothing is found."""

    needs_fields = True

    def before(self):
        if self.cached:
            for thread in self.fields.threads():
                if self.misses(thread):
                    thread.set(Fields.ANCHOR, 0)


@fault("hits-become-misses", "every tenth sample misses")
class _(WithoutEntry):
    def misses(self, thread):
        return self.samples % 10 == 0


@fault("full-hits-become-misses", "no full hit is found")
class _(WithoutEntry):
    def misses(self, thread):
        return thread.get(Fields.CURRENT) == thread.get(Fields.ANCHOR)


@fault("partial-hits-become-misses", "no partial hit is found")
class _(WithoutEntry):
    def misses(self, thread):
        return thread.get(Fields.CURRENT) != thread.get(Fields.ANCHOR)


class FewThreads(WithoutEntry):
    def make(self):
        super().make()
        self.entries = set()

    def misses(self, thread):
        if thread.native_id not in self.entries and len(self.entries) < self.limit:
            self.entries.add(thread.native_id)
        return thread.native_id not in self.entries


@fault("one-thread-cached", "only one thread has an entry")
class _(FewThreads):
    limit = 1


@fault("31-threads-cached", "31 threads have entries, and not 32")
class _(FewThreads):
    limit = 31

    def misses(self, thread):
        here = {thread.native_id for thread in self.fields.threads()}
        self.entries &= here
        return super().misses(thread)


@fault("sweep-removed", "threads that are gone keep their entries: after 32 of them no new thread gets one")
class _(FewThreads):
    limit = 32


@fault("1023-addresses-cached", "a chain of 1,024 frames or more has no entry")
class _(WithoutEntry):
    longest = 0

    def misses(self, thread):
        return self.longest > 1023

    def stack(self, frames, thread):
        self.longest = max(self.longest, len(frames))
        return frames

    def threads(self, threads):
        self.longest = 0
        return super().threads(threads)


@fault("address-1024-not-cached", "an entry holds 1,023 addresses, and not 1,024")
class _(WithoutEntry):
    held = 1023

    def make(self):
        super().make()
        # By thread: the addresses in the real unwinder's entry, and those in this one's.
        self.entries, self.anchors = {}, {}

    def misses(self, thread):
        anchor = thread.get(Fields.ANCHOR)
        real, short = self.entries.get(thread.native_id, ([], []))
        beyond = anchor in real and anchor not in short
        self.anchors[thread.native_id] = 0 if beyond else anchor
        return beyond

    def after(self, interpreters):
        if self.cached:
            for thread in self.fields.threads():
                self.store(thread.native_id, list(self.chain(thread)))
        return interpreters

    def chain(self, thread):
        frame = thread.get(Fields.CURRENT)
        while frame:
            yield frame
            frame = self.fields.peek(frame + self.fields.offset(Fields.PREVIOUS))

    def store(self, thread, chain):
        anchor = self.anchors.get(thread) if self.hit else None

        def joined(entry):
            """After a hit: the chain down to the anchor, and from there on what the entry held."""
            if anchor not in entry or anchor not in chain:
                return chain
            return chain[: chain.index(anchor)] + entry[entry.index(anchor) :]

        real, short = self.entries.get(thread, ([], []))
        self.entries[thread] = joined(real)[: self.held + 1], joined(short)[: self.held]


@fault("sequence-stored-in-32-bits", "an entry's sequence has 32 bits, and the thread's has more")
class _(WithoutEntry):
    def misses(self, thread):
        return thread.get(Fields.SEQUENCE) >> 32 != 0


# Protocol: comparisons and writes.


class Stored(Faithful):
    """Knows of each thread what an entry has: the address of the leaf, the sequence, the frames."""

    needs_fields = True

    def make(self):
        super().make()
        self.entries, self.now = {}, {}

    def before(self):
        self.now = {thread.native_id: thread for thread in self.fields.threads()} if self.cached else {}
        for thread in self.now.values():
            words = Fields.CURRENT, Fields.ANCHOR, Fields.SEQUENCE
            thread.current, thread.anchor, thread.sequence = (thread.get(word) for word in words)
            self.look(thread, *self.entries.get(thread.native_id, (None, None, None)))

    def look(self, thread, leaf, sequence, frames):
        """Comes before the walk, for each thread."""

    def stack(self, frames, thread):
        fields = self.now.get(thread.thread_id)
        if fields is None:
            return frames
        new = self.found(fields, frames, *self.entries.get(thread.thread_id, (None, None, None)))
        self.entries[thread.thread_id] = fields.current, fields.sequence, frames
        return new

    def found(self, thread, frames, leaf, sequence, stored):
        """Gives what is returned for a thread."""
        return frames


@fault("current-frame-not-compared", "a full hit does not compare the current frame with the anchor")
class _(Stored):
    def look(self, thread, leaf, sequence, frames):
        if thread.anchor and thread.anchor != thread.current and (leaf, sequence) == (thread.current, thread.sequence):
            thread.set(Fields.ANCHOR, leaf)


@fault("stored-leaf-not-compared", "a full hit does not compare the entry's first frame with the current one")
class _(Stored):
    def found(self, thread, frames, leaf, sequence, stored):
        hit = thread.anchor == thread.current and sequence == thread.sequence
        return frames[:1] + stored[1:] if hit and stored else frames


@fault("not-read-again-before-use", "anchor and sequence are not read again before cached frames are used", "stepped")
class _(Stored):
    def found(self, thread, frames, leaf, sequence, stored):
        hit = thread.anchor == thread.current == leaf and sequence == thread.sequence
        return frames[:1] + stored[1:] if hit else frames


def sequence_compared_in(bits):
    @fault(f"sequence-compared-in-{bits}-bits", f"of the sequence {bits} bits are compared")
    class _(Faithful):
        needs_fields = True

        def get_stack_trace(self):
            cut = []
            if self.cached:
                for thread in self.fields.threads():
                    sequence = thread.get(Fields.SEQUENCE)
                    if sequence >> bits:
                        cut.append((thread, sequence))
                        thread.set(Fields.SEQUENCE, sequence & (1 << bits) - 1)
            try:
                return super().get_stack_trace()
            finally:
                for thread, sequence in cut:
                    thread.set(Fields.SEQUENCE, sequence)


sequence_compared_in(16)
sequence_compared_in(32)


@fault("code-cache-kept", "what was decoded is kept although code was freed since")
class _(Faithful):
    needs_fields = True
    since = None

    def get_stack_trace(self):
        fields = self.fields
        generations = [one + fields.offset(Fields.GENERATION) for one in fields.interpreters()]
        now = [fields.peek(address) for address in generations]
        self.since = (self.since or now) + now[len(self.since or now) :]
        for address, generation in zip(generations, self.since):
            fields.poke(address, generation)
        try:
            return super().get_stack_trace()
        finally:
            for address, generation in zip(generations, now):
                fields.poke(address, generation)


@fault("entry-kept-for-a-thread-id", "a thread gets the stack of an earlier one with the same id")
class _(Faithful):
    needs_fields = True

    def make(self):
        super().make()
        self.stored = {}

    def threads(self, threads):
        if not self.cached:
            return threads
        addresses = {thread.native_id: thread.address for thread in self.fields.threads()}
        result = []
        for thread in threads:
            address = addresses.get(thread.thread_id)
            stored, frames = self.stored.setdefault(thread.thread_id, (address, thread.frame_info))
            if stored == address:
                self.stored[thread.thread_id] = (address, thread.frame_info)
            else:
                thread = thread.__replace__(frame_info=frames)
            result.append(thread)
        return result


class Anchors(Faithful):
    """Writes other anchors than the walk did."""

    needs_fields = True

    def get_stack_trace(self):
        there = [(thread, thread.get(Fields.ANCHOR)) for thread in self.fields.threads()]
        try:
            return super().get_stack_trace()
        finally:
            for thread, anchor in there:
                self.write(thread, anchor)


@fault("anchor-not-written", "the anchor is never written")
class _(Anchors):
    def write(self, thread, anchor):
        if self.cached:
            thread.set(Fields.ANCHOR, anchor)


@fault("anchor-written-null", "NULL is written for the anchor")
class _(Anchors):
    def write(self, thread, anchor):
        if self.cached and thread.get(Fields.ANCHOR) != anchor:
            thread.set(Fields.ANCHOR, 0)


@fault("anchor-on-caller", "the anchor is set to the caller of the current frame")
class _(Anchors):
    def write(self, thread, anchor):
        now = thread.get(Fields.ANCHOR)
        if self.cached and now != anchor:
            thread.set(Fields.ANCHOR, self.fields.peek(now + self.fields.offset(Fields.PREVIOUS)))


@fault("anchor-written-by-uncached", "an unwinder without a cache writes anchors")
class _(Anchors):
    def write(self, thread, anchor):
        if not self.cached:
            thread.set(Fields.ANCHOR, thread.get(Fields.CURRENT))


@fault("anchor-written-for-filtered-threads", "anchors are written for threads that the sample leaves out, too")
class _(Anchors):
    told = frozenset()

    def threads(self, threads):
        self.told = {thread.thread_id for thread in threads}
        return threads

    def write(self, thread, anchor):
        if self.cached and self.told and thread.native_id not in self.told:
            thread.set(Fields.ANCHOR, thread.get(Fields.CURRENT))


@fault("sequence-written", "the unwinder counts in the sequence where it writes the anchor")
class _(Anchors):
    def write(self, thread, anchor):
        if self.cached and thread.get(Fields.ANCHOR) != anchor:
            thread.set(Fields.SEQUENCE, thread.get(Fields.SEQUENCE) + 1)


@fault("anchor-written-although-raised", "anchors are written although the sample raises")
class _(Faithful):
    needs_fields = True

    def raised(self, error):
        if self.cached:
            for thread in self.fields.threads():
                thread.set(Fields.ANCHOR, thread.get(Fields.CURRENT))
        raise error


@fault("constructor-keeps-anchors", "a new unwinder does not clear the anchors")
class _(Faithful):
    needs_fields = True

    def make(self):
        there = [(thread, thread.get(Fields.ANCHOR)) for thread in self.fields.threads()]
        super().make()
        for thread, anchor in there:
            thread.set(Fields.ANCHOR, anchor)


@fault("anchors-left", "an unwinder that is dropped leaves its anchors")
class _(Faithful):
    needs_fields = True

    def __del__(self):
        there = [(thread, thread.get(Fields.ANCHOR)) for thread in self.fields.threads()] if self.cached else []
        self.real = None
        for thread, anchor in there:
            thread.set(Fields.ANCHOR, anchor)


# Cost, access by access.


@fault("anchor-written-again", "the anchor is written although it already has that value", "stepped")
class _(Faithful):
    needs_fields = True

    def after(self, interpreters):
        if self.cached and self.grown[FULL]:
            for thread in self.fields.threads():
                self.fields.write(thread.at(Fields.ANCHOR), thread.get(Fields.ANCHOR))
        return interpreters


@fault("anchor-rewritten-although-raised", "the anchor is written before an error is raised", "stepped")
class _(Faithful):
    needs_fields = True

    def raised(self, error):
        if self.cached:
            for thread in self.fields.threads():
                self.fields.write(thread.at(Fields.ANCHOR), thread.get(Fields.CURRENT))
        raise error


class Second(Faithful):
    """Has an uncached unwinder of its own."""

    def make(self):
        super().make()
        self.other = real.RemoteUnwinder(self.pid, **(self.options | {"cache_frames": False}))


@fault("cache-unused-but-counted", "the answer is from a second walk without cache; the counters are those of the first", "stepped")
class _(Second):
    def after(self, interpreters):
        return self.other.get_stack_trace() if self.cached else interpreters


@fault("torn-between-two-walks", "a stack is the inner half of one walk and the outer half of another", "stepped", "gh-151424")
class _(Second):
    def stack(self, frames, thread):
        if not self.cached:
            return frames
        outer = self.outer.get(thread.thread_id, frames)
        half = min(len(outer), len(frames) // 2)
        return frames[: len(frames) - half] + outer[len(outer) - half :]

    def after(self, interpreters):
        if self.cached:
            others = self.other.get_stack_trace()
            self.outer = {thread.thread_id: thread.frame_info for one in others for thread in one.threads}
        return super().after(interpreters)


@fault("walks-twice", "a second walk without cache comes before each sample, for nothing", "stepped")
class _(Second):
    def before(self):
        if self.cached:
            self.other.get_stack_trace()


@fault("reads-frame-by-frame", "a miss reads the frames one by one", "stepped", "gh-151424")
class _(Faithful):
    needs_fields = True
    reads = 0

    def get_stats(self):
        stats = super().get_stats()
        return stats | {"memory_reads": stats["memory_reads"] + self.reads}

    def after(self, interpreters):
        if self.cached and self.grown[MISSES]:
            for thread in self.fields.threads():
                frame = thread.get(Fields.CURRENT)
                while frame:
                    self.fields.read(frame, 80)
                    self.reads += 1
                    frame = self.fields.peek(frame + self.fields.offset(Fields.PREVIOUS))
        return interpreters


@fault("reads-the-stack-on-full-hits", "a full hit reads 16 KiB of the stack that it does not need", "stepped")
class _(Faithful):
    needs_fields = True

    def after(self, interpreters):
        if self.cached and self.grown[FULL]:
            for thread in self.fields.threads():
                self.fields.read(thread.get(Fields.CURRENT) & ~0x3FFF, 0x4000)
        return interpreters


# Faults that only other options show.


@fault(
    "markers-stored",
    "a stack with markers is stored so that it is never found again",
    issue="marker frames",
)
class _(Faithful):
    marked = False

    def before(self):
        if self.cached and self.marked:
            self.forget()

    def stack(self, frames, thread):
        self.marked = any(map(is_marker, frames))
        return frames


def is_marker(frame):
    return frame.filename == "~"


def without(frames, marker):
    return [frame for frame in frames if not (is_marker(frame) and frame.funcname == marker)]


@fault(
    "markers-counted-as-pops",
    "no partial hit is found in a stored stack with a marker above the anchor",
    issue="marker frames",
)
class _(WithoutEntry):
    """The index of the anchor's frame in the entry, markers counted, is compared with the number of frames that left."""

    def make(self):
        super().make()
        self.entries = {}

    def misses(self, thread):
        frames, sequence = self.entries.get(thread.native_id, ([], 0))
        left = thread.get(Fields.SEQUENCE) - sequence
        for frame in frames:
            if is_marker(frame):
                return True
            left -= 1
            if left < 0:
                return False
        return False

    def stack(self, frames, thread):
        for one in self.fields.threads():
            if one.native_id == thread.thread_id:
                self.entries[thread.thread_id] = frames, one.get(Fields.SEQUENCE)
        return frames


@fault("collections-kept", "a hit keeps the <GC> of the sample before")
class _(Remembering):
    def mixed(self, frames, last):
        markers = [frame for frame in last if frame.funcname == "<GC>" and is_marker(frame)]
        is_there = any(frame.funcname == "<GC>" for frame in frames)
        return frames[:1] + markers + frames[1:] if self.hit and not is_there else frames


@fault("collections-dropped", "a hit leaves out the <GC>")
class _(Faithful):
    def stack(self, frames, thread):
        return without(frames, "<GC>") if self.hit else frames


@fault("native-dropped", "a partial hit leaves out every <native>")
class _(Faithful):
    def stack(self, frames, thread):
        return without(frames, "<native>") if self.cached and self.grown[PARTIAL] else frames


@fault("native-told-twice", "a miss has every <native> twice")
class _(Faithful):
    def stack(self, frames, thread):
        if not (self.cached and self.grown[MISSES]):
            return frames
        return [frame for one in frames for frame in [one] * (1 + (is_marker(one) and one.funcname == "<native>"))]


@fault("leaf-opcode-from-the-cache", "a full hit has the stored opcode of the leaf")
class _(Remembering):
    def mixed(self, frames, last):
        if not (self.cached and self.grown[FULL] and last):
            return frames
        return [frames[0].__replace__(opcode=last[0].opcode)] + frames[1:]


@fault("opcodes-of-callers-missing", "what comes from the cache has no opcode")
class _(Faithful):
    def stack(self, frames, thread):
        return frames[:1] + [one.__replace__(opcode=None) for one in frames[1:]] if self.hit else frames


@fault("status-stale-on-hits", "a hit has the status of the sample before")
class _(Faithful):
    def make(self):
        super().make()
        self.statuses = {}

    def thread(self, thread):
        status = self.statuses.get(thread.thread_id, thread.status) if self.hit else thread.status
        self.statuses[thread.thread_id] = thread.status
        return thread.__replace__(status=status)


@fault("status-of-the-processor-in-every-mode", "the status never says that the processor is unknown")
class _(Faithful):
    def thread(self, thread):
        return thread.__replace__(status=thread.status & ~real.THREAD_STATUS_UNKNOWN)


@fault("without-counters-otherwise", "without counters a hit leaves out a caller")
class _(CallerDropped):
    def drops(self, thread):
        return self.cached and not self.counts and self.samples > 1


# Faults that need a running target.


def raises_live(percent, text, name):
    @fault(name, f"a cached walk of a running target raises in {percent} % of samples", "live")
    class _(Faithful):
        def before(self):
            if self.cached and chance() * 100 < percent:
                raise RuntimeError(text)


raises_live(99, USUAL_ERROR, "raises-99-percent-live")
raises_live(30, USUAL_ERROR, "raises-30-percent-live")
raises_live(1, "Frame is gone", "raises-a-new-text-live")


@fault("errors-hidden-live", "what should raise on a running target returns the last answer", "live")
class _(Faithful):
    answer = []

    def raised(self, error):
        return self.answer

    def after(self, interpreters):
        self.answer = interpreters
        return interpreters


@fault("cache-never-hits-live", "the cache is lost before each sample of a running target", "live")
class _(Faithful):
    def before(self):
        if self.cached and self.samples > 1:
            self.forget()


@fault("deep-chains-miss-live", "on a running target a chain of more than 12 frames is not found in the cache", "live")
class _(Faithful):
    deep = False

    def before(self):
        if self.cached and self.deep:
            self.forget()

    def stack(self, frames, thread):
        self.deep = len(frames) > 12
        return frames


class WithoutEntryLive(WithoutEntry):
    """Between a look at the fields and the walk the target moves: some hits are left."""


@fault("full-hits-lost-live", "on a running target hardly a full hit is found", "live")
class _(WithoutEntryLive):
    def misses(self, thread):
        return thread.get(Fields.CURRENT) == thread.get(Fields.ANCHOR)


@fault("partial-hits-lost-live", "on a running target hardly a partial hit is found", "live")
class _(WithoutEntryLive):
    def misses(self, thread):
        return thread.get(Fields.CURRENT) != thread.get(Fields.ANCHOR)


def stale_live(percent):
    @fault(f"stale-{percent}-percent-live", f"on a running target {percent} % of hits leave out a caller", "live")
    class _(CallerDropped):
        def drops(self, thread):
            return self.hit and chance() * 100 < percent


stale_live(30)
stale_live(8)
stale_live(2)


def torn_live(percent):
    @fault(f"torn-{percent}-percent-live", f"on a running target {percent} % of walks leave out a caller, cached or not", "live")
    class _(CallerDropped):
        def drops(self, thread):
            return chance() * 100 < percent


torn_live(20)
torn_live(5)


@fault("uncached-torn-live", "on a running target 20 % of walks without cache leave out a caller", "live")
class _(CallerDropped):
    def drops(self, thread):
        return not self.cached and chance() < 0.2


@fault("other-threads-stale-live", "on a running target 30 % of stacks leave out a caller in threads that are not the main one", "live")
class _(CallerDropped):
    def drops(self, thread):
        return self.cached and thread.thread_id != self.pid and chance() < 0.3


@fault("spliced-live", "on a running target 10 % of hits have the callers of an earlier stack", "live")
class _(Remembering):
    def mixed(self, frames, last):
        return frames[:1] + last[1:] if self.hit and chance() < 0.1 and last else frames


@fault("frozen-live", "on a running target every cached sample is the first one", "live")
class _(Faithful):
    first = None

    def after(self, interpreters):
        if self.cached:
            self.first = self.first or interpreters
            return self.first
        return interpreters


@fault("one-sample-late-live", "on a running target a hit returns the sample before", "live")
class _(Remembering):
    def mixed(self, frames, last):
        return last if self.hit and last else frames


@fault("columns-garbage-live", "on a running target every end column is 1", "live")
class _(Moved):
    def moved(self, place):
        return place.__replace__(end_col_offset=1)


@fault("columns-wrong-at-times-live", "on a running target the columns of 10 % of stacks are one too high", "live")
class _(Moved):
    wrong = False

    def stack(self, frames, thread):
        self.wrong = chance() < 0.1
        return super().stack(frames, thread)

    def moved(self, place):
        return place.__replace__(end_col_offset=place.end_col_offset + 1) if self.wrong else place


@fault("paths-cut-live", "on a running target a file is reported without its folder", "live")
class _(Faithful):
    def frame(self, frame):
        return frame.__replace__(filename=os.path.basename(frame.filename))


@fault("lines-off-live", "on a running target the leaf's line is one too high in 20 % of hits", "live")
class _(Moved):
    def stack(self, frames, thread):
        return [super().frame(frames[0])] + frames[1:] if frames and self.hit and chance() < 0.2 else frames

    def moved(self, place):
        return place.__replace__(lineno=place.lineno + 1, end_lineno=place.end_lineno + 1)


@fault("thread-missing-live", "on a running target the last of several threads is left out", "live")
class _(Faithful):
    def threads(self, threads):
        return threads[:-1] or threads


@fault("thread-told-twice-live", "on a running target every thread is reported twice", "live")
class _(Faithful):
    def threads(self, threads):
        return [thread for thread in threads for _ in range(2)]


@fault("counters-frozen-live", "on a running target nothing is counted after 20 samples", "live")
class _(Faithful):
    def get_stats(self):
        if self.samples <= 20 or not is_running(self.pid):
            self.kept = super().get_stats()
        return self.kept


if __name__ == "__main__":
    unknown = Fields.unknown()
    json.dump(
        [
            [name, cls.lane, cls.description, cls.issue, cls.missing or (unknown if cls.needs_fields else None)]
            for name, cls in FAULTS.items()
        ],
        sys.stdout,
    )
