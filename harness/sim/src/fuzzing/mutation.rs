//! Damage to an image, anywhere or in the fields that walkers read.

use arbitrary::Arbitrary;
use framewalk::layout::Layout;
use framewalk::memory::Address;
use serde::{Deserialize, Serialize};

use super::chains::Reader;
use super::recorded::{Loaded, Marks};
use super::sheet::ScratchImage;

/// One change to an image.
#[derive(Clone, Debug, Arbitrary, Serialize, Deserialize)]
pub enum Mutation {
    /// Overwrites a field of a structure that walkers read.
    Field(WordChoice, Value),
    /// Overwrites four bytes at any mapped address.
    Bytes {
        /// Offset over all ranges, modulo their total length.
        at: u32,
        /// The bytes that are written at the offset.
        bytes: [u8; 4],
    },
    /// Unmaps one range of the image.
    Gone {
        /// Index of the range, modulo their number.
        range: u16,
    },
}

/// A field of a structure.
#[derive(Clone, Copy, Debug, Arbitrary, Serialize, Deserialize)]
pub struct WordChoice {
    /// Kind of the structure.
    pub kind: MutationKind,
    /// Index of the structure, modulo their number.
    pub index: u16,
    /// Index of the field, modulo their number.
    pub field: u8,
}

/// The kinds of structures that walkers read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Arbitrary, Serialize, Deserialize)]
pub enum MutationKind {
    /// The `_PyRuntime` structure.
    Runtime,
    /// Interpreter states (`PyInterpreterState`).
    Interpreter,
    /// Thread states (`PyThreadState`).
    Thread,
    /// Frames of any owner.
    Frame,
    /// Headers of data-stack chunks (`_PyStackChunk`).
    Chunk,
    /// Code objects (`PyCodeObject`).
    Code,
    /// Text objects: names and file names.
    Text,
    /// Location tables: bytes objects in `co_linetable`.
    Table,
}

/// The new value of a field.
#[derive(Clone, Copy, Debug, Arbitrary, Serialize, Deserialize)]
pub enum Value {
    /// Zero, which is NULL in a pointer.
    Null,
    /// The old value plus a small number.
    Plus(i8),
    /// The address of another structure, plus an offset.
    Address {
        /// Kind of the structure.
        kind: MutationKind,
        /// Index of the structure.
        index: u16,
        /// Offset from that address, in words of 8 bytes.
        words: i8,
    },
    /// The value of another field.
    Copy(WordChoice),
    /// A power of two with the exponent modulo 64, minus one if the flag is set.
    Power(u8, bool),
    /// Any value of 64 bits.
    Any(u64),
}

/// Offsets and widths of the fields of a kind.
fn fields(kind: MutationKind, layout: &Layout) -> ([(u64, usize); 7], usize) {
    let (thread, frame, code) = (&layout.thread, &layout.frame, &layout.code);
    let mut all = [(0, 8); 7];
    let used: &[(u64, usize)] = match kind {
        MutationKind::Runtime => &[(layout.interpreters_head, 8)],
        MutationKind::Interpreter => &[(layout.interpreter.threads_head, 8), (layout.interpreter.next, 8)],
        MutationKind::Thread => {
            let cache = thread.cache.unwrap_or(framewalk::layout::CacheLayout {
                base_frame: thread.current_frame,
                anchor: thread.current_frame,
                sequence: thread.next,
            });
            &[
                (thread.next, 8),
                (thread.current_frame, 8),
                (thread.native_thread_id, 8),
                (thread.datastack_chunk, 8),
                (cache.base_frame, 8),
                (cache.anchor, 8),
                (cache.sequence, 8),
            ]
        }
        MutationKind::Frame => &[(frame.previous, 8), (frame.executable, 8), (frame.instr_ptr, 8), (frame.owner, 1)],
        MutationKind::Chunk => &[(0, 8), (8, 8), (16, 8)],
        MutationKind::Code => &[(code.qualname, 8), (code.filename, 8), (code.linetable, 8), (code.first_line, 4)],
        MutationKind::Text => {
            &[(code.text_length, 8), (code.text_state, 4), (code.ascii_data, 4), (code.compact_data, 4)]
        }
        MutationKind::Table => &[(code.bytes_size, 8), (code.bytes_data, 1), (code.bytes_data + 1, 1)],
    };
    all[..used.len()].copy_from_slice(used);
    (all, used.len())
}

fn address(kind: MutationKind, index: u16, marks: &Marks, runtime: Address) -> Option<Address> {
    let places = match kind {
        MutationKind::Runtime => return Some(runtime),
        MutationKind::Interpreter => &marks.interpreters,
        MutationKind::Thread => &marks.threads,
        MutationKind::Frame => &marks.frames,
        MutationKind::Chunk => &marks.chunks,
        MutationKind::Code => &marks.codes,
        MutationKind::Text => &marks.texts,
        MutationKind::Table => &marks.tables,
    };
    places.get(usize::from(index) % places.len().max(1)).copied()
}

impl WordChoice {
    fn find(self, loaded: &Loaded, marks: &Marks) -> Option<(Address, usize)> {
        let structure = address(self.kind, self.index, marks, loaded.site.runtime)?;
        let (fields, count) = fields(self.kind, &loaded.site.layout);
        let (offset, width) = fields[usize::from(self.field) % count];
        Some((structure + offset, width))
    }
}

/// A change as addresses and bytes, which applies to every image of a process.
#[derive(Clone, Copy, Debug)]
pub(super) enum Effect {
    /// Overwrites bytes at an address. The number gives how many of them.
    Bytes(Address, [u8; 8], usize),
    /// Unmaps the range that starts at this address.
    Gone(Address),
}

impl Effect {
    pub(super) fn apply(self, sheet: &mut ScratchImage) {
        match self {
            Self::Bytes(at, bytes, width) => {
                sheet.patch(at, &bytes[..width]);
            }
            Self::Gone(start) => sheet.drop_range(start),
        }
    }

    /// Whether it may change code objects or the objects that they point to.
    pub(super) fn changes_code(self, loaded: &Loaded) -> bool {
        match self {
            Self::Bytes(at, _, width) => loaded.is_immutable(at, width),
            Self::Gone(_) => true,
        }
    }
}

impl Mutation {
    /// Address and new content of the changed bytes. `None` if the change unmaps a range or its place does not exist.
    fn change(&self, loaded: &Loaded, marks: &Marks, sheet: &ScratchImage) -> Option<(Address, [u8; 8], usize)> {
        match *self {
            Self::Field(place, value) => {
                let (at, width) = place.find(loaded, marks)?;
                let word = |at| Reader(sheet).word(at).unwrap_or(0);
                let new = match value {
                    Value::Null => 0,
                    Value::Plus(more) => word(at).wrapping_add_signed(more.into()),
                    Value::Address { kind, index, words } => {
                        let to = address(kind, index, marks, loaded.site.runtime)?;
                        to.wrapping_add_signed(8 * i64::from(words))
                    }
                    Value::Copy(from) => word(from.find(loaded, marks)?.0),
                    Value::Power(exponent, less) => (1_u64 << (exponent % 64)) - u64::from(less),
                    Value::Any(value) => value,
                };
                Some((at, new.to_le_bytes(), width))
            }
            Self::Bytes { at, bytes } => {
                let mut left = usize::try_from(at).unwrap_or(0) % marks.bytes.max(1);
                for &(start, length) in &marks.ranges {
                    if left < length {
                        let mut word = [0; 8];
                        word[..4].copy_from_slice(&bytes);
                        return Some((start + left as u64, word, bytes.len().min(length - left)));
                    }
                    left -= length;
                }
                None
            }
            Self::Gone { .. } => None,
        }
    }

    /// The effect on the image of a stop.
    pub(super) fn effect(&self, loaded: &Loaded, stop: usize, sheet: &ScratchImage) -> Option<Effect> {
        let marks = &loaded.marks[stop];
        if let Self::Gone { range } = *self {
            let (start, _) = marks.ranges.get(usize::from(range) % marks.ranges.len().max(1))?;
            return Some(Effect::Gone(*start));
        }
        self.change(loaded, marks, sheet).map(|(at, bytes, width)| Effect::Bytes(at, bytes, width))
    }

    /// Applies the change to the image of a stop.
    pub(super) fn apply(&self, loaded: &Loaded, stop: usize, sheet: &mut ScratchImage) {
        if let Some(effect) = self.effect(loaded, stop, sheet) {
            effect.apply(sheet);
        }
    }

    /// As [`Mutation::apply`], unless it would change a code object or an object that it points to, or would unmap a
    /// range.
    pub(super) fn apply_to_the_mutable(&self, loaded: &Loaded, stop: usize, sheet: &mut ScratchImage) {
        if let Some((at, bytes, width)) = self.change(loaded, &loaded.marks[stop], sheet)
            && !loaded.is_immutable(at, width)
        {
            sheet.patch(at, &bytes[..width]);
        }
    }
}
