"""RemoteUnwinder gives a function of one interpreter the name of a function of another one, which is gone.

The unwinder keeps decoded code objects in one table for all interpreters, by address. While it goes through the
interpreters, it empties the table at each one whose code_object_generation has changed. The main interpreter is the last
in the list. Here it runs functions called mains, which are sampled, and frees them. The other interpreter frees nothing.
It makes functions called others until one has its code object where that of a function mains was. Its stack is made
before the unwinder gets to the main interpreter, so from the old table. The frame cache plays no part.

Expected output on CPython 3.15.2:
  the function that runs is:  others
  the unwinder calls it:      mains
  a new unwinder calls it:    others
  the fault is there

Exit status: 1 the fault is there, 0 it is not, 2 it cannot be tried here.
"""

import subprocess
import sys


def give_up(why):
    print(f"cannot be tried: {why}", file=sys.stderr)
    sys.exit(2)


try:
    from _remote_debugging import RemoteUnwinder
except ImportError as error:
    give_up(error)
if not hasattr(RemoteUnwinder, "get_stats"):
    give_up("this RemoteUnwinder has no frame cache")

# The program.
PROGRAM = r'''
import gc
from concurrent import interpreters

SOURCE = "def {}(more):\n if more: more[0](more[1:])\n else: print(1, flush=True), input()\n " + "x = 1; " * 100

def made(name):
    space = {}
    exec(SOURCE.format(name), space)
    return space[name]

def main():
    functions = [made("mains") for _ in range(50)]
    addresses = tuple(id(function.__code__) for function in functions)
    other = interpreters.create()
    other.prepare_main(source=SOURCE.format("others"), addresses=addresses)
    other.exec("kept = []")
    functions[0](functions[1:])
    functions = None
    gc.collect()
    # Frees no code.
    other.exec("""
for _ in range(1000):
    kept.append(compile(source, "", "exec"))
    exec(kept[-1])
    kept.append(others)
    if id(others.__code__) in addresses:
        others([])
""")

main()
'''


class Target:
    """The program in its own process. At each gate it tells its stack and waits."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self.pid = self.process.pid

    def gate(self):
        line = self.process.stdout.readline().decode().strip()
        return line or give_up("the program has ended")

    def go(self):
        self.process.stdin.write(b"\n")


def name(unwinder):
    """The function at the top of the interpreter that runs."""
    stacks = [thread.frame_info for interpreter in unwinder.get_stack_trace() for thread in interpreter.threads]
    return stacks[0][0].funcname


def main(target):
    target.gate()
    old = RemoteUnwinder(target.pid, all_threads=True)
    if name(old) != "mains":
        give_up("the unwinder does not see the first function")
    target.go()
    target.gate()
    seen, fresh = name(old), name(RemoteUnwinder(target.pid, all_threads=True))
    print("the function that runs is:  others")
    print("the unwinder calls it:     ", seen)
    print("a new unwinder calls it:   ", fresh)
    return seen != "others"


def run():
    target = Target()
    try:
        return main(target)
    finally:
        target.process.kill()
        target.process.wait()


if __name__ == "__main__":
    try:
        seen = run()
    except Exception as error:
        give_up(f"{type(error).__name__}: {error}")
    print("the fault is there" if seen else "the fault is not there")
    sys.exit(1 if seen else 0)
