"""Runs while the interpreter starts, right before the program under test.

It reports that the interpreter is ready, waits for permission to continue, and then restores the standard streams: the program reads
nothing, and what it prints goes to its standard error. The interpreter then runs the program like `python FILE ARGS`, so none of this is
on its stack. Later interpreters in the same process, and processes that the program starts, only get the folder of the gates.
"""
import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [path for path in sys.path if path != _here]
# Append: modules next to the program and installed modules take precedence.
sys.path.append(os.path.join(os.path.dirname(_here), "modules"))

if os.environ.pop("FRAMEDIFF_START", None):
    os.environ["FRAMEDIFF_TARGET"] = str(os.getpid())
    os.write(1, b"framdiff")
    if os.read(0, 1) != b"g":
        os._exit(0)
    _null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(_null, 0)
    os.close(_null)
    os.dup2(2, 1)
elif os.environ.get("FRAMEDIFF_TARGET") != str(os.getpid()):
    # framediff does not wait at the gates of processes that the program starts.
    os.environ["GATE_MODE"] = "run"
