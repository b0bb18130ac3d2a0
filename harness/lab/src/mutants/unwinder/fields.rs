//! Reads the offsets of the fields that the checks use from the module's debug information.

use process::debug_info;

use super::ModuleError;

/// The structure type of a cache entry.
const ENTRY: &str = "FrameCacheEntry";

/// Offsets of fields, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    /// The sequence of a cache entry.
    pub(super) entry_sequence: u64,
    /// The number of addresses in a cache entry.
    pub(super) entry_count: u64,
    /// The list of frames of a cache entry.
    pub(super) entry_frames: u64,
}

impl Fields {
    /// Reads the offsets from the module's file.
    pub(super) fn of(file: &object::File<'_>) -> Result<Self, ModuleError> {
        let fields = debug_info::with(file, |types| {
            let field =
                |name: &str| types.offset(ENTRY, name).ok_or_else(|| ModuleError::Field(format!("{ENTRY}.{name}")));
            Ok(Self {
                entry_sequence: field("last_profiled_frame_seq")?,
                entry_count: field("num_addrs")?,
                entry_frames: field("frame_list")?,
            })
        });
        fields.map_err(|error| ModuleError::Field(format!("anything ({error})")))?
    }
}
