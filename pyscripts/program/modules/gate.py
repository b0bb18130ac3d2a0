"""The gates under the name by which small programs know them; a gate.py beside the program comes first."""
from framediff_gate import MODE, gate, gate_gate, gate_run, run

__all__ = ["MODE", "gate", "gate_gate", "gate_run", "run"]
