//! What a stopped thread stands in.

use crate::memory::RemoteMemory;
use crate::schedule::fingerprint::LeafKind;
use crate::walk::code::Decoder;
use crate::walk::raw_frame::{Owner, RawFrame};
use crate::walk::rejection::Rejection;

/// The kind of `leaf`, the thread's current frame; none is what a thread stands in that runs no Python.
pub(super) fn kind(
    memory: &mut dyn RemoteMemory,
    decoder: &mut Decoder,
    leaf: Option<&RawFrame>,
) -> Result<LeafKind, Rejection> {
    Ok(match leaf {
        Some(raw) if raw.owner == Owner::Generator => LeafKind::Generator,
        Some(raw) if raw.is_python() && decoder.is_generator(memory, raw.code)? => LeafKind::GeneratorBeingMade,
        Some(raw) if raw.is_python() => LeafKind::Function,
        _ => LeafKind::Shim,
    })
}
