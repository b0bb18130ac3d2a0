//! Where the simulated interpreter puts what no walker reads.

/// Offset of the inline frame in a generator object (`_Py_DebugOffsets.gen_object.gi_iframe`).
pub const GENERATOR_FRAME: u64 = 72;
/// `FRAME_OWNED_BY_GENERATOR` and `FRAME_OWNED_BY_INTERPRETER`, shifted to where the owner is in its word.
pub(super) const GENERATOR_OWNER: u64 = 1 << 16;
/// See [`GENERATOR_OWNER`].
pub(super) const SHIM_OWNER: u64 = 3 << 16;
