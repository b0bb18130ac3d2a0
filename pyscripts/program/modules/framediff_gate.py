"""Gates for a program under `framediff check --program`.

At a gate the program writes its own account of its stack and stops, so that whoever walks it can be held against what it says itself:

    from framediff_gate import gate, run

    def body():
        gate()

    run(body)

Where the program is to be stopped at random moments, or where framediff is not there, a gate spins for a moment instead.

GATE_MODE is "gate" or "run". GATE_OUT is the file that the accounts go to, one JSON line each:
[thread id, [[qualified name, file, line, [line, end line, column, end column] or "out"], ...]], leaf first, beginning with the caller of
the gate. After its line the thread sends itself SIGSTOP, which stops the process.
"""
import itertools
import json
import os
import signal
from _thread import get_ident, get_native_id
from sys import _getframe

MODE = os.environ.get("GATE_MODE", "run")
_file = os.environ.get("GATE_OUT")
# The file is there from here on: that tells that the program has imported this.
_out = os.open(_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT) if _file else None
_process = os.getpid()


def _where(frame):
    code = frame.f_code
    at = frame.f_lasti // 2
    places = itertools.islice(code.co_positions(), at, None)
    place = next(places, "out") if at >= 0 else "out"
    return [code.co_qualname, code.co_filename, frame.f_lineno, place]


def gate_gate():
    """Writes the account, and stops the process."""
    if _out is None or os.getpid() != _process:
        # Nobody waits for a child that the program forked.
        return gate_run()
    stack, frame = [], _getframe(1)
    while frame is not None:
        stack.append(_where(frame))
        frame = frame.f_back
    os.write(_out, (json.dumps([get_native_id(), stack]) + "\n").encode())
    signal.pthread_kill(get_ident(), signal.SIGSTOP)


def gate_run():
    """Spins for a moment."""
    n = 0
    for i in range(60):
        n += i
    return n


gate = gate_gate if MODE == "gate" else gate_run


def run(body):
    """Calls `body` for ever."""
    while True:
        body()
