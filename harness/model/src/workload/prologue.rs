//! The Python text that every program begins with.

/// Imports and names: everything that a loop needs, so that nothing is imported later.
pub const IMPORTS: &str = "\
import gc
import itertools
import sys
import _functools
import _operator
import _thread
import _weakref
from posix import _exit, read as _read, write as _write

# A collection runs finalizers under whatever line allocated last: only deliberate ones are wanted.
gc.disable()
sys.setrecursionlimit(10000)
_getframe = sys._getframe
_tid = _thread.get_native_id
_lock = _thread.allocate_lock()
_w = [0, 0]";

/// What a gate needs: the next command, and the account.
pub const GATE: &str = r##"
_next = _functools.partial(_read, 0, 1)


def _json(text):
    return '"' + text.replace('\\', '\\\\').replace('"', '\\"') + '"'


def _account(command):
    if command != b"a":
        _exit(0)
    frame = _getframe(1)
    frames = []
    while frame is not None:
        code = frame.f_code
        frames.append(f"[{_json(code.co_qualname)}, {_json(code.co_filename)}, {frame.f_lineno or 'null'}]")
        frame = frame.f_back
    text = ("[" + ", ".join(frames) + "]").encode("utf-8", "replace")
    message = len(text).to_bytes(4, "little") + text
    while message:
        message = message[_write(1, message):]"##;

/// The account's line for a frame, and the same with the rest of its position. It is told where programs have gates all over:
/// the text of the others is that of the schedules that are kept for them.
const TOLD: &str = r##"{frame.f_lineno or 'null'}]")"##;
const TOLD_WITH_PLACE: &str = r##"{frame.f_lineno or 'null'}, {_place(code, frame.f_lasti)}]")"##;
/// The rest of the position of an instruction. Positions are looked up once for each: recursion comes by the same again and again.
const PLACE: &str = r##"

_places = {}


def _place(code, at):
    key = id(code), at
    if key not in _places:
        place = next(itertools.islice(code.co_positions(), at // 2, None))
        _places[key] = ", ".join(["null" if part is None else str(part) for part in place[1:]])
    return _places[key]"##;

/// What a gate needs where the account tells whole positions.
pub fn gate_with_places() -> String {
    GATE.replace(TOLD, TOLD_WITH_PLACE) + PLACE
}

/// How every gate's statement ends.
const WAIT: &str = "any(map(_account, iter(_next, b'g')))";

/// Whether a line of a program is a gate's.
pub(crate) fn is_gate(line: &str) -> bool {
    line.ends_with(WAIT)
}

/// The statement of a gate at the context that `context` evaluates to: message, wait and account on one line, so that
/// whoever looks between the message and the answer sees the line that the account tells.
pub fn gate(context: &str) -> String {
    format!("_write(1, ({context} | _tid() << 32).to_bytes(8, 'little')); {WAIT}")
}
