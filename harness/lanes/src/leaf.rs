//! The kind of a stopped thread's current frame.

use framewalk::code::{CodeGeneration, Decoder};
use framewalk::layout::Layout;
use framewalk::memory::RemoteMemory;
use framewalk::raw_frame::{Owner, RawFrame};
use framewalk::rejection::Rejection;
use framewalk::thread_state::ThreadState;
use model::schedule::fingerprint::LeafKind;

/// The kind of `leaf`, the thread's current frame. `None` means that the thread runs no Python. The decoder must have
/// entered the thread's interpreter.
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

/// The same for a frame that was not read yet. A frame that cannot be read counts as `None`.
pub(super) fn kind_of(
    memory: &mut dyn RemoteMemory,
    layout: &Layout,
    decoder: &mut Decoder,
    thread: &ThreadState,
) -> Result<LeafKind, Rejection> {
    decoder.enter(CodeGeneration::read(memory, layout, thread.interpreter));
    let leaf = RawFrame::read(memory, layout, thread.current_frame).ok();
    kind(memory, decoder, leaf.as_ref())
}
