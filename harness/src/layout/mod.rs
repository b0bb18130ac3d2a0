//! Where things are in a target: `_Py_DebugOffsets` by exact version.
