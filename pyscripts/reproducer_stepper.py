

# What follows moves the target inside samples: the unwinder is in a traced process, which stops before each of its
# accesses to the target's memory. Only the accesses to the thread's state and frames have a number, because how many
# others there are depends on the heap.

# Before access A of sample N, the target does this many steps: (N, A): steps.
SCHEDULE = @@SCHEDULE@@
# A step goes to the next gate ("gate"), to the next store to current frame, last_profiled_frame or its sequence
# ("store"), or also to the next load of last_profiled_frame ("load").
STEP = @@STEP@@

if os.uname().machine != "x86_64" or sys.version_info[:2] != (3, 15):
    give_up("it needs the system calls of x86-64 and the offsets of CPython 3.15")
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long] * 4
TRACEME, PEEKUSER, POKEUSER, ATTACH, TO_SYSTEM_CALL, SETOPTIONS, SYSCALL_INFO = 0, 3, 6, 16, 24, 0x4200, 0x420E
STOP_IS_MARKED_AND_TRACEE_ENDS_WITH_ME = 0x100001
MARKED = signal.SIGTRAP | 0x80
READ, WRITE, READV, WRITEV = 0, 1, 310, 311  # x86-64: read, write, process_vm_readv, process_vm_writev
DEBUG_REGISTERS = 848  # offsetof(struct user, u_debugreg)
LONGEST_PERIOD = 60


def ptrace(request, pid, address=0, data=0):
    result = libc.ptrace(request, pid, address, data)
    if result < 0:
        give_up(f"ptrace: {os.strerror(ctypes.get_errno())}")
    return result


def allow_any_reader():
    """Lets the sampler read the program, which is not its child, where Yama limits that."""
    libc.prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)  # PR_SET_PTRACER, PR_SET_PTRACER_ANY


Target.prepare = staticmethod(allow_any_reader)


class Tracee:
    def __init__(self, pid):
        self.pid = pid
        self.stopped_by = 0
        self.wait()
        ptrace(SETOPTIONS, pid, 0, STOP_IS_MARKED_AND_TRACEE_ENDS_WITH_ME)

    def wait(self):
        _, status = os.waitpid(self.pid, 0)
        if not os.WIFSTOPPED(status):
            give_up("a traced process has ended")
        self.stopped_by = os.WSTOPSIG(status)

    def go_on(self):
        """To the next system call, the end of one, or the next watched access; what stopped it."""
        ours = (0, MARKED, signal.SIGTRAP, signal.SIGSTOP)
        ptrace(TO_SYSTEM_CALL, self.pid, 0, 0 if self.stopped_by in ours else self.stopped_by)
        self.wait()
        return self.stopped_by

    def call(self):
        """The system call that begins, with its arguments; nothing if one ends."""
        info = ctypes.create_string_buffer(88)
        ptrace(SYSCALL_INFO, self.pid, 88, ctypes.addressof(info))
        kind, number, *arguments = struct.unpack_from("B23x7Q", info.raw)
        return (number, arguments) if kind == 1 else (None, arguments)


class TracedSampler:
    """An unwinder in its own process. It answers each byte with a line."""

    def __init__(self, pid):
        self.target = pid
        self.process = subprocess.Popen(
            [sys.executable, __file__, "sampler", str(pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self.tracee = Tracee(self.process.pid)
        self.memory = open(f"/proc/{self.process.pid}/mem", "rb", 0)

    def sample(self, before):
        """Takes a sample. Calls `before` before each access."""
        self.process.stdin.write(b"s")
        while True:
            if self.tracee.go_on() != MARKED:
                continue
            number, (first, _, _, remote, count, _) = self.tracee.call()
            if number == WRITE and first == 1:
                break
            if number in (READV, WRITEV) and first == self.target:
                words = struct.unpack(f"{2 * count}Q", os.pread(self.memory.fileno(), 16 * count, remote))
                before(number, list(zip(words[::2], words[1::2])))
        self.tracee.go_on()
        stacks, growth = json.loads(self.process.stdout.readline())
        return [tuple(map(tuple, stack)) for stack in stacks], growth

    def end(self):
        self.memory.close()
        self.process.kill()
        self.process.wait()


def serve(pid):
    """What the traced process does."""
    sampler = Sampler(pid)
    ptrace(TRACEME, 0)
    os.kill(os.getpid(), signal.SIGSTOP)
    while os.read(0, 1):
        os.write(1, (json.dumps(sampler.sample()) + "\n").encode())


class Stepper:
    """The target's thread, step by step."""

    def __init__(self, target, context):
        self.target, self.context = target, context
        self.pid = target.process.pid
        self.memory = open(f"/proc/{self.pid}/mem", "rb", 0)
        # _PyRuntime begins with _Py_DebugOffsets, and this interpreter is the target's. The words by number are those of
        # CPython 3.15.
        runtime = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, "_PyRuntime"))
        offsets = (ctypes.c_uint64 * 64).from_address(runtime)
        interpreter = self.word(self.in_target(runtime) + offsets[5])
        self.thread, self.size = self.word(interpreter + offsets[9]), offsets[22]
        self.words = [self.thread + offsets[number] for number in (26, 28, 29)]
        self.chunk_head, self.previous = self.thread + offsets[32], offsets[40]
        self.chunks, self.frames = {}, set()
        # Where the target was during the sample: contexts of gates, or stacks.
        self.places = []
        self.without_cache = Sampler(self.pid, cache=False)
        self.sample = self.access = 0
        if STEP != "gate":
            self.watch()
        self.look()

    def in_target(self, address):
        """Where the target has what is at this address here."""
        for line in open("/proc/self/maps"):
            span, _, offset, *_, path = line.split()
            start, end = (int(one, 16) for one in span.split("-"))
            if start <= address < end:
                break
        for line in open(f"/proc/{self.pid}/maps"):
            if line.split()[2] == offset and line.split()[-1] == path:
                return address - start + int(line.split("-")[0], 16)
        give_up("the target runs another interpreter")

    def word(self, address):
        return int.from_bytes(os.pread(self.memory.fileno(), 8, address), "little")

    def watch(self):
        """Traces the target, and brings it to the start of a round from which on everything repeats."""
        ptrace(ATTACH, self.pid)
        self.tracee = Tracee(self.pid)
        kind = {"store": 0x999, "load": 0x9B9}[STEP]
        for number, address in enumerate(self.words):
            ptrace(POKEUSER, self.pid, DEBUG_REGISTERS + 8 * number, address)
        ptrace(POKEUSER, self.pid, DEBUG_REGISTERS + 8 * 7, kind << 16 | 0x15)
        context, self.context = self.context, None
        # The read that the stop interrupted begins again.
        while self.run(announced=False) is not None:
            pass
        self.context = context
        rounds = []
        while len(rounds) < 2 * LONGEST_PERIOD:
            rounds.append(self.round())
            if any(rounds[-2 * n : -n] == rounds[-n:] for n in range(1, len(rounds) // 2 + 1)):
                return
        give_up("the target does not repeat its steps")

    def run(self, announced=True):
        """To the next watched access; the words and their values. None: the target waits at a gate before that."""
        if self.context is not None:
            self.context = None
            self.target.go()
        while True:
            stop = self.tracee.go_on()
            if stop == MARKED:
                number, arguments = self.tracee.call()
                if number == READ and arguments[0] == 0:
                    self.context = self.target.gate() if announced else None
                    return None
            elif stop == signal.SIGTRAP:
                status = DEBUG_REGISTERS + 8 * 6
                hit = ptrace(PEEKUSER, self.pid, status)
                ptrace(POKEUSER, self.pid, status, 0)
                if hit & 7:
                    return [(n, self.word(address)) for n, address in enumerate(self.words) if hit >> n & 1]

    def round(self):
        stores = []
        while True:
            stored = self.run()
            if stored is None and self.context == ROUND:
                return stores
            self.look()
            stores += stored or []

    def step(self):
        if STEP == "gate":
            self.target.go()
            self.context = self.target.gate()
        else:
            while self.run() is None:
                pass
        self.look()

    def look(self):
        """Learns where chunks and frames are."""
        chunk = self.word(self.chunk_head)
        while chunk:
            self.chunks[chunk] = self.word(chunk + 8)
            chunk = self.word(chunk)
        frame = self.word(self.words[0])
        while frame:
            self.frames.add(frame)
            frame = self.word(frame + self.previous)

    def place(self):
        """Where the target stands still: its gate, or else the stack that an unwinder without the cache returns."""
        if STEP == "gate":
            return self.context
        stacks, _ = self.without_cache.sample()
        return stacks[0] if stacks else None

    def has_number(self, call, ranges):
        def covers(place, address):
            return place[0] <= address and address + 8 <= place[0] + place[1]

        if call == WRITEV:
            return len(ranges) == 1 and covers(ranges[0], self.words[1])
        return any(
            address in self.frames
            or 0 <= address - self.thread < self.size
            or any(0 <= address - chunk < size for chunk, size in self.chunks.items())
            or any(covers((address, length), word) for word in self.words)
            for address, length in ranges
        )

    def before(self, call, ranges):
        """Moves the target before an access."""
        if not self.has_number(call, ranges):
            return
        steps = SCHEDULE.get((self.sample, self.access), 0)
        for _ in range(steps):
            self.step()
            self.places.append(self.place())
        if self.access == 0:
            # A stack from before the first access is not a right answer.
            self.places = [self.place()]
        self.access += 1


def differs(grammar, stack, place):
    """Where a stack differs from the one that the program had in a place, and why that is wrong."""
    if place is None or place == ROUND:
        return None
    if STEP == "gate":
        return misplaced(grammar, stack, place)
    # The leaf's line moves on between two steps.
    pairs = [(one[:2], other[:2]) if n == 0 else (one, other) for n, (one, other) in enumerate(zip(stack, place))]
    index = next((n for n, (one, other) in enumerate(pairs) if one != other), len(pairs))
    return None if index == len(stack) == len(place) else (index, "the program was somewhere else")


def moving(target, grammar):
    """The target moves inside samples, and every run is the same. The last sample is judged."""
    stepper = Stepper(target, warm_up(target))
    samplers = {name: TracedSampler(stepper.pid) for name in AT_START}
    try:
        for stepper.sample, (happenings, name) in enumerate(TURNS):
            for happening in happenings:
                what, _, whose = happening.partition("-")
                if what == "make":
                    samplers[whose] = TracedSampler(stepper.pid)
                else:
                    samplers.pop(whose).end()
            stepper.access = 0
            stacks, growth = samplers[name].sample(stepper.before)
    finally:
        for sampler in samplers.values():
            sampler.end()
    if ANSWER is not None and answer(growth) != ANSWER:
        print(f"the cache answers {answer(growth)}, where the fault needs {ANSWER}")
        return False
    for stack in stacks:
        fault, expected = grammar.fault(stack), None
        wrong = [differs(grammar, stack, place) for place in stepper.places]
        if STEP == "gate" and stepper.context != ROUND:
            expected = grammar.path(stepper.context)
        fault = fault or (wrong[-1] if None not in wrong else None)
        if fault is not None:
            tell(stack, fault, growth, stepper.sample, expected)
            for place in stepper.places if STEP != "gate" else ():
                names = "nobody knows where" if place is None else " < ".join(f"{name}:{line}" for name, _, line in place)
                print("the program was in:", names)
            return True
    print(f"{len(TURNS)} samples, the last one with {len(stacks)} stacks, none of them impossible")
    return False
