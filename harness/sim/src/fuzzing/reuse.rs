//! Freeing code objects and creating others at their addresses.

use std::collections::BTreeSet;

use arbitrary::Arbitrary;
use framewalk::memory::Address;
use serde::{Deserialize, Serialize};

use super::chains::{Chain, Reader, states};
use super::recorded::Loaded;
use super::sheet::ScratchImage;

/// A code object is freed, which its interpreter counts, and another one is created at its address.
#[derive(Clone, Copy, Debug, Arbitrary, Serialize, Deserialize)]
pub struct Reuse {
    /// Index of the code object, counted over the frames of all threads, modulo their number.
    pub frame: u16,
    /// Index of the new content, counted over the code objects of the image, modulo their number.
    pub content: u16,
    /// Whether only the name is replaced, so that all frames keep their lines.
    pub name_alone: bool,
    /// Whether the code object was freed by an interpreter other than the one whose frames run the new one.
    pub taken: bool,
}

/// Address of a second interpreter's state. No image has anything there.
const SECOND: Address = 0x10_0000;
/// Size of that state in bytes. Walkers read less.
const SIZE: usize = 1 << 16;

/// Identifies the code objects of an interpreter. Since 3.14, the code object at an address stays the same until its
/// interpreter frees one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Generation {
    interpreter: Address,
    /// The interpreter's id and the number of code objects it has freed, if the image has both.
    number: Option<(u64, u64)>,
}

impl Generation {
    /// The generation of a thread's interpreter.
    pub(super) fn of(loaded: &Loaded, sheet: &ScratchImage, chain: &Chain) -> Self {
        let layout = &loaded.site.layout;
        let reader = Reader(sheet);
        let interpreter = reader.word(chain.state.wrapping_add(layout.thread.interpreter)).unwrap_or(0);
        let word = |offset: u64| reader.word(interpreter.wrapping_add(offset));
        let number = layout.interpreter.code_object_generation.and_then(|freed| {
            let id = word(layout.interpreter.id)?;
            Some((id, word(freed)?))
        });
        Self { interpreter, number }
    }
}

/// Moves all threads except the first to a second interpreter.
pub(super) fn divide(loaded: &Loaded, sheet: &mut ScratchImage) {
    let (thread, interpreter) = (&loaded.site.layout.thread, &loaded.site.layout.interpreter);
    let threads = states(sheet, &loaded.site);
    let Some((&first, [second, ..])) = threads.split_first() else { return };
    let Some(own) = Reader(sheet).word(first.wrapping_add(thread.interpreter)) else { return };
    sheet.patch(first.wrapping_add(thread.next), &[0; 8]);
    sheet.patch(own.wrapping_add(interpreter.next), &SECOND.to_le_bytes());
    sheet.map(SECOND, vec![0; SIZE]);
    sheet.patch(SECOND + interpreter.threads_head, &second.to_le_bytes());
    for other in threads.iter().skip(1) {
        sheet.patch(other.wrapping_add(thread.interpreter), &SECOND.to_le_bytes());
    }
}

/// Gives each interpreter of the image an id and the same number of freed code objects, whatever was recorded.
pub(super) fn count_from(loaded: &Loaded, stop: usize, freed: u64, sheet: &mut ScratchImage) {
    let layout = &loaded.site.layout.interpreter;
    let Some(generation) = layout.code_object_generation else { return };
    for (id, &interpreter) in (0..).zip(loaded.marks[stop].interpreters.iter().chain([&SECOND])) {
        for (offset, value) in [(layout.id, id), (generation, freed)] {
            sheet.map_word(interpreter.wrapping_add(offset), value);
        }
    }
}

impl Reuse {
    /// Changes the image of a stop whose threads have these chains. Does nothing if the build has no counter. The
    /// interpreters that run the code object have freed `freed` more code objects than in images without this change.
    /// If the object was taken from another interpreter, all other interpreters have instead.
    pub(super) fn apply(self, loaded: &Loaded, stop: usize, chains: &[Chain], freed: u64, sheet: &mut ScratchImage) {
        let layout = &loaded.site.layout;
        let Some(generation) = layout.interpreter.code_object_generation else { return };
        let codes: Vec<Address> =
            chains.iter().flat_map(|chain| &chain.links).filter(|link| link.is_python).map(|link| link.code).collect();
        let pick = |among: &[Address], index: u16| among.get(usize::from(index) % among.len().max(1)).copied();
        let (Some(code), Some(other)) = (pick(&codes, self.frame), pick(&loaded.marks[stop].codes, self.content))
        else {
            return;
        };
        let interpreter = |chain: &Chain| Generation::of(loaded, sheet, chain).interpreter;
        let runs = |chain: &&Chain| chain.links.iter().any(|link| link.is_python && link.code == code);
        let all: BTreeSet<Address> = chains.iter().map(interpreter).collect();
        let own: BTreeSet<Address> = if self.taken {
            chains.iter().filter(runs).take(1).map(interpreter).collect()
        } else {
            chains.iter().filter(runs).map(interpreter).collect()
        };
        let counts = |interpreter: &&Address| own.contains(*interpreter) != self.taken;
        for interpreter in all.iter().filter(counts) {
            let address = interpreter.wrapping_add(generation);
            let Some(before) = Reader(sheet).word(address) else { return };
            sheet.patch(address, &before.wrapping_add(freed).to_le_bytes());
        }
        let fields = &layout.code;
        let all = [
            (fields.qualname, 8),
            (fields.filename, 8),
            (fields.linetable, 8),
            (fields.first_line, 4),
            (fields.flags, 4),
            (fields.bytes_size, 8),
        ];
        for &(offset, width) in if self.name_alone { &all[..1] } else { &all[..] } {
            let Some(bytes) = sheet.get(other.wrapping_add(offset), width).map(<[u8]>::to_vec) else { continue };
            sheet.patch(code.wrapping_add(offset), &bytes);
        }
    }
}
