"""The gates under their short name for small programs; a gate.py next to the program takes precedence."""
from framediff_gate import MODE, gate, gate_gate, gate_run, run

__all__ = ["MODE", "gate", "gate_gate", "gate_run", "run"]
