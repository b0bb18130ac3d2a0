"""The code at the start of every operation in this folder.

Each file warms its operation up until it is specialised (and compiled, if there is a JIT), with gates that go to /dev/null,
and runs it once more between two real ones. The gate is two calls on one line, so between the gates only the frames
of the operation come and go.
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
    """The messages of the gates before and after the next operation, numbered from 1."""
    thread = get_native_id() << 32
    return [(context | thread).to_bytes(8, "little") for context in (next(_numbers), 0)]


write(1, b"framdiff")
read(0, 1)
