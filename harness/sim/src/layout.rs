//! Offsets in the simulated interpreter that no walker uses.

/// Offset of the inline frame in a generator object (`_Py_DebugOffsets.gen_object.gi_iframe`).
pub const GENERATOR_FRAME: u64 = 72;
/// `FRAME_OWNED_BY_GENERATOR`, shifted to the position of the owner in its word.
pub(super) const GENERATOR_OWNER: u64 = 1 << 16;
/// `FRAME_OWNED_BY_INTERPRETER`, shifted like [`GENERATOR_OWNER`].
pub(super) const SHIM_OWNER: u64 = 3 << 16;
