"""Gates for a program under `framediff check --program`.

At a gate the program writes its own account of its stack and stops. Walkers are then compared with this account:

    from framediff_gate import gate, run

    def body():
        gate()

    run(body)

If framediff stops the program at random moments, or is not running, a gate spins for a moment instead.

GATE_MODE is "gate" or "run". GATE_OUT is the file for the accounts, one JSON line each:
[thread id, [[qualified name, file, line, [line, end line, column, end column] or "out"], ...]], leaf first, beginning with the caller of
the gate. After writing the line, the thread sends itself SIGSTOP, which stops the process.
"""
# Import few modules, and small ones: they run inside the user's program.
import os
from _json import encode_basestring_ascii as _text
from _signal import SIGSTOP, pthread_kill
from _thread import get_ident, get_native_id
from itertools import islice
from sys import _getframe

MODE = os.environ.get("GATE_MODE", "run")
_file = os.environ.get("GATE_OUT")
# The file exists from here on, which shows that the program has imported this module.
_out = os.open(_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT) if _file else None
_process = os.getpid()


def _number(number):
    return "null" if number is None else str(number)


def _where(frame):
    code = frame.f_code
    at = frame.f_lasti // 2
    place = next(islice(code.co_positions(), at, None), None) if at >= 0 else None
    place = '"out"' if place is None else "[" + ", ".join(map(_number, place)) + "]"
    return f"[{_text(code.co_qualname)}, {_text(code.co_filename)}, {_number(frame.f_lineno)}, {place}]"


def gate_gate():
    """Writes the account, and stops the process."""
    if _out is None or os.getpid() != _process:
        # framediff does not wait for children that the program forks.
        return gate_run()
    stack, frame = [], _getframe(1)
    while frame is not None:
        stack.append(_where(frame))
        frame = frame.f_back
    os.write(_out, f"[{get_native_id()}, [{', '.join(stack)}]]\n".encode())
    pthread_kill(get_ident(), SIGSTOP)


def gate_run():
    """Spins for a moment."""
    n = 0
    for i in range(60):
        n += i
    return n


gate = gate_gate if MODE == "gate" else gate_run


def run(body):
    """Calls `body` forever."""
    while True:
        body()
