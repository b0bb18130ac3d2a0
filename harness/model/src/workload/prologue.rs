//! The Python text at the start of every program.

/// Imports and names. Everything that a loop needs is here, so that nothing is imported later.
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

/// The helpers of a gate: reading the next command, and the account.
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

/// The account's text for the line of a frame, and the same with the rest of its position. Only programs of
/// [`super::Mode::Gated`] report whole positions. The text of the others must stay the same, because schedules are kept
/// for them.
const TOLD: &str = r##"{frame.f_lineno or 'null'}]")"##;
const TOLD_WITH_PLACE: &str = r##"{frame.f_lineno or 'null'}, {_place(code, frame.f_lasti)}]")"##;
/// Computes the rest of the position of an instruction. Each position is looked up only once, because recursion asks
/// for the same ones again and again.
const PLACE: &str = r##"

_places = {}


def _place(code, at):
    key = id(code), at
    if key not in _places:
        place = next(itertools.islice(code.co_positions(), at // 2, None))
        _places[key] = ", ".join(["null" if part is None else str(part) for part in place[1:]])
    return _places[key]"##;

/// The helpers of a gate in programs whose account reports whole positions.
pub fn gate_with_places() -> String {
    GATE.replace(TOLD, TOLD_WITH_PLACE) + PLACE
}

/// The end of every gate's statement.
const WAIT: &str = "any(map(_account, iter(_next, b'g')))";

/// Whether a line of a program is a gate.
pub(crate) fn is_gate(line: &str) -> bool {
    line.ends_with(WAIT)
}

/// The statement of a gate at the context that `context` evaluates to. Message, wait and account are on one line, so
/// that a walker that looks between the message and the answer sees the line that the account reports.
pub fn gate(context: &str) -> String {
    format!("_write(1, ({context} | _tid() << 32).to_bytes(8, 'little')); {WAIT}")
}
