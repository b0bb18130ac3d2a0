"""What every operation in this folder begins with.

Each file warms its operation up until it is specialised (and compiled, if there is a JIT), with gates that nobody sees,
and does it once more between two real ones. The gate is two calls in a line of their own, so that no frame but the
operation's comes and goes between them.
"""
import gc
import itertools
import sys
from _thread import get_native_id
from posix import O_RDONLY, O_WRONLY, open as _open, read, write

gc.disable()
_numbers = itertools.count(1)
_warm = 6000 if sys._jit.is_enabled() else 100
ROUNDS = [(_open("/dev/null", O_WRONLY), _open("/dev/zero", O_RDONLY))] * _warm + [(1, 0)]


def gates():
    """The messages of the gate before the next operation, numbered on from 1, and of the one after it."""
    thread = get_native_id() << 32
    return [(context | thread).to_bytes(8, "little") for context in (next(_numbers), 0)]


write(1, b"framdiff")
read(0, 1)
