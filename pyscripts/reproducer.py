"""@@TITLE@@

@@ABOUT@@

Exit status:
  1  an impossible stack was seen, or the cache gave another answer than it must (it is printed)
  0  nothing was seen
  2  it could not be tried here: the message says why

@@ORIGIN@@
"""

@@IMPORTS@@

# The schedule: before sample N, the target passes GATES[N] gates. None: target and unwinder run freely.
GATES = @@GATES@@
# The unwinders that exist from the start. Then, for each sample: what happens to unwinders before it, and who takes it.
AT_START = @@AT_START@@
TURNS = @@TURNS@@
WARM_UP = @@WARM_UP@@
LIMIT = @@LIMIT@@
CACHE = @@CACHE@@
OPTIONS = dict(@@OPTIONS@@)
# Only stacks of samples with this answer of the cache count. None: any.
ANSWER = @@ANSWER@@
# What the cache must answer, an entry for each sample. None: only stacks are judged.
ANSWERS = @@ANSWERS@@
JIT = @@JIT@@
MADE_FOR = @@VERSION@@
ROUND = 0xFFFFFFFF

# The program of the target. On start it writes `framdiff` to file descriptor 1 and waits for `g` on 0. At each of its
# gates it writes its context and its native thread id (two little-endian u32) and waits for `g` again.
PROGRAM = @@PROGRAM@@

# The stacks that the program can have. Functions: name, file, first line, last line.
FUNCTIONS = @@FUNCTIONS@@
# Contexts, a tree: function, context of the caller (None: a thread begins here), lines on which the caller can be
# (None: any).
CONTEXTS = @@CONTEXTS@@

COUNTERS = (
    "frame_cache_hits",
    "frame_cache_partial_hits",
    "frame_cache_misses",
    "frames_read_from_cache",
    "frames_read_from_memory",
)


def give_up(why):
    print(f"cannot be tried: {why}", file=sys.stderr)
    sys.exit(2)


class Grammar:
    """Judges stacks; each is a tuple of (function, file, line), leaf first."""

    def __init__(self):
        self.children = {}
        for number, (function, parent, _) in enumerate(CONTEXTS):
            name, file, _, _ = FUNCTIONS[function]
            self.children.setdefault((parent, name, file), []).append(number)
        self.legal = set()

    def fault(self, stack):
        """What is impossible about a stack; None if nothing is."""
        if stack in self.legal:
            return None
        here = [None]
        for index in range(len(stack) - 1, -1, -1):
            name, file, line = stack[index]
            caller_line = stack[index + 1][2] if index + 1 < len(stack) else None
            below = [child for context in here for child in self.children.get((context, name, file), ())]
            if not below:
                if here == [None]:
                    return index, "no thread begins with it: callers are missing"
                return index, "it never runs under these callers"
            below = [child for child in below if self.calls_from(child, caller_line)]
            if not below:
                return index + 1, "it calls nothing of the kind on that line"
            here = [child for child in below if self.can_be_on(child, line)]
            if not here:
                return index, "it has no such line"
        if not stack:
            return 0, "there is no frame"
        self.legal.add(stack)
        return None

    def calls_from(self, context, line):
        _, parent, lines = CONTEXTS[context]
        return parent is None or lines is None or line in lines

    def can_be_on(self, context, line):
        _, _, first, last = FUNCTIONS[CONTEXTS[context][0]]
        return line is None or first <= line <= last

    def path(self, context):
        """The functions from a context to its root, leaf first, each with the lines that it can be on (None: any)."""
        path = []
        lines = None
        while context is not None:
            function, context, called_from = CONTEXTS[context]
            path.append((*FUNCTIONS[function][:2], lines))
            lines = called_from
        return path


class Target:
    """The program in its own process."""

    prepare = None

    def __init__(self, folder):
        path = os.path.join(folder, "workload.py")
        with open(path, "w", encoding="utf-8") as file:
            file.write(PROGRAM)
        environment = dict(os.environ, PYTHONHASHSEED="0", PYTHONUTF8="1")
        if JIT is not None:
            environment["PYTHON_JIT"] = "1" if JIT else "0"
        self.process = subprocess.Popen(
            [sys.executable, "-s", "-P", "-S", "-B", "-u", path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            env=environment,
            bufsize=0,
            preexec_fn=self.prepare,
        )
        if self.read(8) != b"framdiff":
            give_up("the target wrote something unexpected")
        self.go()

    def read(self, count):
        data = b""
        while len(data) < count:
            some = self.process.stdout.read(count - len(data))
            if not some:
                give_up("the target has ended")
            data += some
        return data

    def go(self):
        self.process.stdin.write(b"g")

    def gate(self):
        """Waits for the next gate; its context."""
        return int.from_bytes(self.read(8)[:4], "little")

    def end(self):
        self.process.kill()
        self.process.wait()


class Sampler:
    """CPython's own unwinder, on one process."""

    def __init__(self, pid, cache=CACHE):
        try:
            from _remote_debugging import RemoteUnwinder
        except ImportError as error:
            give_up(f"this CPython has no RemoteUnwinder: {error}")
        if not hasattr(RemoteUnwinder, "get_stats"):
            give_up("the RemoteUnwinder of this CPython has no frame cache: it needs 3.15")
        try:
            self.unwinder = RemoteUnwinder(pid, cache_frames=cache, stats=True, **OPTIONS)
        except (OSError, RuntimeError) as error:
            give_up(f"RemoteUnwinder refuses process {pid}: {error}; may this process trace its children?")
        self.counters = self.read_counters()
        self.rejected = 0

    def read_counters(self):
        stats = self.unwinder.get_stats()
        return [stats[name] for name in COUNTERS]

    def sample(self):
        """One walk: the stacks of all threads, and by how much each counter grew."""
        try:
            result = self.unwinder.get_stack_trace()
        except (OSError, RuntimeError, ValueError):
            # A walk that raises is rejected. It is not an impossible stack.
            self.rejected += 1
            result = []
        before, self.counters = self.counters, self.read_counters()
        growth = [new - old for new, old in zip(self.counters, before)]
        threads = [thread for interpreter in result for thread in interpreter.threads]
        # <GC> and <native> are of the file ~.
        stacks = [[frame for frame in thread.frame_info if frame.filename != "~"] for thread in threads]
        return [tuple(map(plain, stack)) for stack in stacks], growth


def plain(frame):
    line = None if frame.location is None else frame.location.lineno
    file = frame.filename
    # The grammar does not know the folder of the program's file.
    return frame.funcname, file.rsplit("/", 1)[-1], line if line and line > 0 else None


def fits(seen, there):
    return seen[:2] == there[:2] and (there[2] is None or seen[2] in there[2])


def answer(growth):
    full, partial, miss, _, _ = growth
    if full + partial + miss != 1:
        return "unknown"
    return "full-hit" if full else "partial-hit" if partial else "miss"


def tell(stack, fault, growth, sample, expected=None):
    index, why = fault
    print(f"impossible stack in sample {sample}, leaf first:")
    for position, (name, file, line) in enumerate(stack):
        print(f"  {'>' if position == index else ' '} {name} ({file}:{line})")
    print(f"  {why}")
    if expected is not None:
        print("the program was waiting in, leaf first:")
        for name, file, lines in expected:
            on = "" if lines is None else ":" + " or ".join(map(str, lines))
            print(f"    {name} ({file}{on})")
    if CACHE:
        print(f"cache: {answer(growth)}, frames from the cache {growth[3]}, read from memory {growth[4]}")


def warm_up(target):
    """Passes gates until code no longer changes and a round begins; the context."""
    context = target.gate()
    passed = 0
    while passed < WARM_UP or context != ROUND:
        target.go()
        context = target.gate()
        passed += 1
    return context


def misplaced(grammar, stack, context):
    """Where a stack differs from the one that the program has in a context, and why that is wrong."""
    there = [frame for frame in grammar.path(context) if frame[0] != "__init__"]
    seen = [frame for frame in stack if frame[0] != "__init__"]
    pairs = list(zip(seen, there))
    differs = next((n for n, (one, other) in enumerate(pairs) if not fits(one, other)), len(pairs))
    if differs == len(pairs) and len(seen) == len(there):
        return None
    return differs, "the program was somewhere else"


def stepped(target, grammar):
    """The target does not move during a sample. Between samples it moves from gate to gate."""
    context = warm_up(target)
    samplers = {name: Sampler(target.process.pid) for name in AT_START}
    rejected = 0
    for sample, (gates, (happenings, name)) in enumerate(zip(GATES, TURNS)):
        for happening in happenings:
            what, _, whose = happening.partition("-")
            if what == "make":
                samplers[whose] = Sampler(target.process.pid)
            else:
                # The program cannot distinguish a dropped unwinder from one whose process was killed.
                del samplers[whose]
        for _ in range(gates):
            target.go()
            context = target.gate()
        stacks, growth = samplers[name].sample()
        rejected += not stacks
        for stack in stacks:
            fault = grammar.fault(stack)
            expected = None
            if context != ROUND:
                expected = grammar.path(context)
                fault = fault or misplaced(grammar, stack, context)
            if fault is not None:
                tell(stack, fault, growth, sample, expected)
                return True
        if ANSWERS is not None and answer(growth) != ANSWERS[sample]:
            print(f"sample {sample}: the cache answers {answer(growth)}, where it must answer {ANSWERS[sample]}")
            return True
    print(f"{len(GATES)} samples, {rejected} without a stack, no impossible stack")
    return False


def live(target, grammar):
    """Target and unwinder run freely."""
    sampler = Sampler(target.process.pid)
    begun = time.monotonic()
    sample = others = 0
    while time.monotonic() - begun < LIMIT:
        stacks, growth = sampler.sample()
        for stack in stacks:
            fault = grammar.fault(stack)
            if fault is None:
                continue
            if ANSWER is not None and answer(growth) != ANSWER:
                others += 1
                continue
            tell(stack, fault, growth, sample)
            print(f"after {time.monotonic() - begun:.1f} s")
            return True
        sample += 1
        if target.process.poll() is not None:
            give_up("the target has ended")
    print(f"{sample} samples in {LIMIT} s, {sampler.rejected} without a stack, no impossible stack")
    if others:
        print(f"({others} impossible stacks of samples that were no {ANSWER}: another fault)")
    return False
@@STEPPER@@

def main():
    version = "%d.%d.%d" % sys.version_info[:3]
    print(f"CPython {sys.version}".splitlines()[0])
    if not MADE_FOR.startswith(version):
        print(f"note: this was made for {MADE_FOR}; another version may not have the fault, or have it elsewhere")
    print(@@EXPECTED@@, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        target = Target(folder)
        try:
            seen = @@RUN@@(target, Grammar())
        finally:
            target.end()
    sys.exit(1 if seen else 0)


if __name__ == "__main__":
    @@ENTRY@@
