//! Where the simulated memory has its structures, and how its words are numbered and written.

use framewalk::memory::Address;

/// Address of `_PyRuntime` in the simulated memory.
pub const RUNTIME: Address = 0x1_0000;
pub(super) const INTERPRETERS: Address = 0x10_0000;
pub(super) const THREADS: Address = 0x20_0000;
pub(super) const CHUNKS: Address = 0x100_0000;
pub(super) const GENERATORS: Address = 0x200_0000;
pub(super) const CODES: Address = 0x300_0000;
pub(super) const SHIMS: Address = 0x7fff_0000;
/// Distance between two structures of a kind. A smaller one would make no difference.
pub(super) const STRIDE: Address = 0x1_0000;
/// Index of a word that can change.
pub type Word = u16;

/// Writes a word at an offset. What lies beyond the end is left out.
pub(super) fn put(bytes: &mut [u8], offset: u64, word: u64) {
    if let Some(there) = usize::try_from(offset).ok().and_then(|start| bytes.get_mut(start..start.checked_add(8)?)) {
        there.copy_from_slice(&word.to_le_bytes());
    }
}
