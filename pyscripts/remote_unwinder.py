"""Drives this build's own `_remote_debugging.RemoteUnwinder`: one JSON document per line, in on stdin, out on stdout.

Requests:
  {"do": "open", "pid": PID, "cache": BOOL, "stats": BOOL, "options": {...}}
        a new unwinder; the previous one is dropped. The options are those of `RemoteUnwinder`. Those that have their
        default value are not passed on, so only a build that lacks another one raises TypeError
  {"do": "sample"}                              one walk
  {"do": "run", "samples": N, "seconds": S}     walks at full speed until N, S (either may be null) or "stop"
        with "interval": S, one walk every S seconds; with "batch": S, a batch is sent at least every S seconds; with
        "times": true, each batch has the time of each of its walks
  {"do": "stop"}                                ends a run
  {"do": "close"}                               drops the unwinder
  {"do": "positions", "file": F, "source": S}   compiles S as F and lists the positions of its code objects' instructions
With "mark": true, an empty write to stdout precedes the answer to "open", "sample" and "close": it shows a tracer
that the unwinder is done.

The first line of output describes the build. `open` and `close` are answered by {"ok": true}, `sample` by one batch, `run`
by batches of which only the last has "last": true. `positions` is answered by {"ok": true, "positions": [[qualified name,
[[line, end line, column, end column], ...]], ...]}, each position once. An exception outside a walk is answered by {"error": [type, text]}.

A batch has the samples, the frames and stacks that no earlier batch had, and how long the walks took:
  "frames"   [[function, file, line, end line, column, end column, opcode], ...], numbered from 0 across batches
  "stacks"   [[frame number, ...], ...], leaf first, numbered from 0 across batches
  "samples"  [full hits, partial hits, misses, frames from the cache, frames from memory, then interpreter id, thread id,
             status and stack number for each thread], or [error number] if the walk raised, or returned a value that its
             documentation does not allow
  "errors"   [[type, text], ...], numbered from 0 in each batch
  "reset"    frames and stacks are numbered from 0 again
  "times"    [nanoseconds of each walk, ...], if they were requested
The first five are the growth of the unwinder's own counters during the sample; they are null if it has none, or
is created without them.
"""

import gc
import json
import os
import re
import select
import sys
import time

COUNTERS = (
    "frame_cache_hits",
    "frame_cache_partial_hits",
    "frame_cache_misses",
    "frames_read_from_cache",
    "frames_read_from_memory",
)
# Lone surrogates, which Python allows in names, and code points above U+10FFFF. An unwinder makes strings of any memory that it
# reads, and memory that is not text contains many of them. No JSON reader accepts them.
NO_CHARACTER = re.compile("[^\x00-\ud7ff\ue000-\U0010ffff]")
BATCH_SAMPLES = 2000
BATCH_SECONDS = 0.2
BATCH_FRAMES = 50_000
INTERNED_STACKS = 50_000
INTERNED_FRAMES = 200_000
ERROR_TEXT = 500

try:
    from _remote_debugging import RemoteUnwinder
except ImportError:
    RemoteUnwinder = None
HAS_CACHE = hasattr(RemoteUnwinder, "get_stats")
DEFAULTS = {
    "all_threads": False,
    "only_active_thread": False,
    "mode": 0,
    "gc": False,
    "native": False,
    "opcodes": False,
    "skip_non_matching_threads": True,
}


def described(error):
    return [type(error).__name__, str(error)[:ERROR_TEXT]]


class Pipe:
    """Lines over file descriptors 0 and 1, with nothing hidden in a buffer that `select` cannot see."""

    def __init__(self):
        self.received = b""
        self.closed = False

    def receive(self, wait=True):
        """The next document; None at the end of the input, or if none has arrived and `wait` is false."""
        while b"\n" not in self.received:
            if self.closed or not wait and not select.select([0], [], [], 0)[0]:
                return None
            data = os.read(0, 65536)
            self.closed = not data
            self.received += data
        line, self.received = self.received.split(b"\n", 1)
        return json.loads(line)

    def send(self, document):
        text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
        data = memoryview(NO_CHARACTER.sub("\ufffd", text).encode() + b"\n")
        while data:
            data = data[os.write(1, data) :]


class Interned:
    """The frames and stacks seen so far, so that a stack that comes again costs one number."""

    def __init__(self):
        self.frames = {}
        self.stacks = {}
        self.held = 0
        self.reset = True
        self.forget()

    def forget(self):
        self.frames.clear()
        self.stacks.clear()
        self.held = 0
        self.reset = True
        self.new_frames = []
        self.new_stacks = []

    def number(self, frames):
        key = tuple(frames)
        number = self.stacks.get(key)
        if number is None:
            self.new_stacks.append([self.frame_number(frame) for frame in key])
            number = self.stacks[key] = len(self.stacks)
            self.held += len(key)
        return number

    def frame_number(self, frame):
        number = self.frames.get(frame)
        if number is None:
            self.new_frames.append(plain(frame))
            number = self.frames[frame] = len(self.frames)
        return number

    def is_full(self):
        return len(self.stacks) >= INTERNED_STACKS or self.held >= INTERNED_FRAMES


def plain(frame):
    if not hasattr(frame, "location"):
        return texts(frame) + [frame.lineno, None, None, None, None]
    location = frame.location
    if location is None:
        return texts(frame) + [None, None, None, None, number(frame.opcode)]
    parts = location.lineno, location.end_lineno, location.col_offset, location.end_col_offset
    return texts(frame) + [number(part) for part in (*parts, frame.opcode)]


def texts(frame):
    for text in (frame.funcname, frame.filename):
        if type(text) is not str:
            raise TypeError(f"a name of a frame is of type {type(text).__name__}")
    return [frame.funcname, frame.filename]


def number(value):
    if value is not None and type(value) is not int:
        raise TypeError(f"a number of a frame is of type {type(value).__name__}")
    return value


def listed_threads(result):
    """Interpreter id, thread id, status and frames of each thread."""
    if not HAS_CACHE:
        return [(None, thread.thread_id, None, thread.frame_info) for thread in result]
    listed = set()
    threads = []
    for interpreter in result:
        # The result has no trace of an interpreter without threads, so look for duplicates of its id here.
        if interpreter.interpreter_id in listed:
            raise ValueError(f"interpreter {interpreter.interpreter_id} is listed twice")
        listed.add(interpreter.interpreter_id)
        for thread in interpreter.threads:
            numbers = interpreter.interpreter_id, thread.thread_id, thread.status
            if not all(type(value) is int and value >= 0 for value in numbers):
                raise TypeError(f"the numbers of a thread are {numbers!r}")
            threads.append((*numbers, thread.frame_info))
    return threads


def positions(code):
    found = [[code.co_qualname, [list(position) for position in dict.fromkeys(code.co_positions())]]]
    for constant in code.co_consts:
        if isinstance(constant, type(code)):
            found += positions(constant)
    return found


class Batch:
    def __init__(self, driver, seconds=BATCH_SECONDS, timed=False):
        self.driver = driver
        self.samples = []
        self.times = [] if timed else None
        self.errors = []
        self.error_numbers = {}
        self.nanoseconds = 0
        self.until = time.monotonic() + seconds

    def walk(self):
        driver = self.driver
        before = driver.counters
        started = time.perf_counter_ns()
        try:
            result = driver.unwinder.get_stack_trace()
        except Exception as error:
            self.took(time.perf_counter_ns() - started)
            driver.counters = driver.read_counters()
            self.raised(error)
            return not isinstance(error, ProcessLookupError)
        self.took(time.perf_counter_ns() - started)
        after = driver.counters = driver.read_counters()
        sample = [None] * len(COUNTERS) if after is None else [new - old for new, old in zip(after, before)]
        try:
            if after is not None and min(sample) < 0:
                raise ValueError(f"counters went down: {before} to {after}")
            for *numbers, frames in listed_threads(result):
                sample += [*numbers, driver.interned.number(frames)]
        except (AttributeError, TypeError, ValueError) as error:
            self.raised(error)
            return True
        self.samples.append(sample)
        return True

    def raised(self, error):
        key = tuple(described(error))
        number = self.error_numbers.setdefault(key, len(self.errors))
        if number == len(self.errors):
            self.errors.append(key)
        self.samples.append([number])

    def took(self, nanoseconds):
        self.nanoseconds += nanoseconds
        if self.times is not None:
            self.times.append(nanoseconds)

    def is_full(self):
        return (
            len(self.samples) >= BATCH_SAMPLES
            or time.monotonic() >= self.until
            or len(self.driver.interned.new_frames) >= BATCH_FRAMES
        )

    def send(self, last):
        interned = self.driver.interned
        self.driver.pipe.send(
            {
                "samples": self.samples,
                "errors": self.errors,
                "frames": interned.new_frames,
                "stacks": interned.new_stacks,
                "reset": interned.reset,
                "nanoseconds": self.nanoseconds,
                "times": self.times or [],
                "last": last,
            }
        )
        interned.new_frames = []
        interned.new_stacks = []
        interned.reset = False
        if interned.is_full():
            interned.forget()


class Driver:
    def __init__(self):
        self.pipe = Pipe()
        self.unwinder = None
        self.interned = Interned()
        self.counters = None
        self.has_counters = False

    def open(self, request):
        # Drop the previous one first: making an unwinder clears anchors, and dropping one may do so too.
        self.unwinder = None
        options = {name: value for name, value in request["options"].items() if value != DEFAULTS[name]}
        if HAS_CACHE:
            options |= {"cache_frames": request["cache"], "stats": request["stats"]}
        self.unwinder = RemoteUnwinder(request["pid"], **options)
        self.has_counters = HAS_CACHE and request["stats"]
        self.counters = self.read_counters()

    def read_counters(self):
        if not self.has_counters:
            return None
        stats = self.unwinder.get_stats()
        return [stats[name] for name in COUNTERS]

    def mark(self, request):
        if request.get("mark"):
            os.write(1, b"")

    def sample(self, request):
        batch = Batch(self)
        batch.walk()
        self.mark(request)
        batch.send(last=True)

    def run(self, request):
        left = request["samples"]
        until = None if request["seconds"] is None else time.monotonic() + request["seconds"]
        interval, timed = request.get("interval"), request.get("times", False)
        seconds = request.get("batch") or BATCH_SECONDS
        due = time.monotonic()
        going = True
        while going:
            batch = Batch(self, seconds, timed)
            while going and not batch.is_full():
                if interval is not None:
                    # Late walks are skipped, not made up for.
                    due = max(due, time.monotonic() - interval) + interval
                    time.sleep(max(0, due - time.monotonic()))
                going = batch.walk()
                if left is not None:
                    left -= 1
                    going = going and left > 0
                if until is not None and time.monotonic() >= until:
                    going = False
            request = self.pipe.receive(wait=False)
            if request is not None or self.pipe.closed:
                going = False
            batch.send(last=not going)

    def serve(self):
        self.pipe.send(
            {"version": "%d.%d.%d" % sys.version_info[:3], "unwinder": RemoteUnwinder is not None, "cache": HAS_CACHE}
        )
        while (request := self.pipe.receive()) is not None:
            try:
                match request["do"]:
                    case "open":
                        self.open(request)
                        self.mark(request)
                        self.pipe.send({"ok": True})
                    case "sample":
                        self.sample(request)
                    case "run":
                        self.run(request)
                    case "close":
                        self.unwinder = None
                        # The next target runs another program, so its stacks are others.
                        self.interned.forget()
                        self.mark(request)
                        self.pipe.send({"ok": True})
                    case "positions":
                        code = compile(request["source"], request["file"], "exec", dont_inherit=True)
                        self.pipe.send({"ok": True, "positions": positions(code)})
                    case "stop":
                        # The run ended before this request arrived. The last batch of the run was the answer.
                        pass
            except Exception as error:
                self.mark(request)
                self.pipe.send({"error": described(error)})


if __name__ == "__main__":
    # Nothing here makes cycles, and a collection during a run would leave a gap in the samples.
    gc.disable()
    Driver().serve()
