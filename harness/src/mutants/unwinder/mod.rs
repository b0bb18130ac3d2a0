//! Known faults for the profiler's side: small in-place patches of CPython's own `_remote_debugging`, each of which takes
//! one check of the frame cache's protocol away.
//!
//! The checks are found in the machine code of the very module, by three things only: the names of functions (the symbol
//! table), the offsets of fields (the debug information), and the shape of a check: a comparison with a field of a cache
//! entry, and the conditional jump after it. Wherever that leaves a doubt (a name is missing, a check is found twice or not
//! at all) the fault is *not viable* in this module, with the reason; nothing is guessed.
//!
//! To be wrong about a patch would be worse than to have none, so every patch is decoded again after it was made: it must
//! be the instruction that was meant, and end where the old one ended.
//!
//! All of this is pure: bytes in, patches out. A patched copy of the module is imported from a folder that stands in
//! `PYTHONPATH`, which an interpreter searches before its own library.

pub mod alone;
mod code;
mod edit;
mod fields;
mod find;
pub mod module;

use std::fmt;

use object::{Object, ObjectSection, ObjectSegment};
use thiserror::Error;

use self::code::Code;
use self::fields::Fields;

/// A check that a patched module leaves out. Where [`crate::walk::weakening::Weakening`] has the same, it has the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// A full hit does not compare the sequence (gh-151613).
    NoSequenceCheckOnFullHit,
    /// A partial hit does not compare the sequence (gh-151613).
    NoSequenceCheckOnPartialHit,
    /// The second look compares the anchor, and not the sequence (gh-151613).
    NoSequenceCheckOnSecondLook,
    /// The sequence is compared nowhere: gh-151613 put back in full.
    NoSequenceCheck,
    /// A partial hit compares the sequence as if no frame had returned since the entry was stored.
    IndexNotAdded,
    /// Anchor and sequence are not read again before cached frames are used.
    NotReadAgainBeforeUse,
    /// An entry is used whatever thread state it was stored for.
    ThreadStateNotCompared,
    /// A full hit does not compare the current frame with the anchor.
    CurrentFrameNotCompared,
    /// A full hit does not compare the entry's first frame with the current one.
    StoredLeafNotCompared,
    /// A chain that does not end at the base frame is returned, but not stored.
    ChainReturnedWithoutBase,
    /// A chain that does not end at the base frame is returned and stored (gh-142852).
    ChainStoredWithoutBase,
    /// The anchor is never written.
    AnchorNotWritten,
    /// The anchor is written, but NULL.
    AnchorWrittenNull,
    /// A miss walks live memory, frame by frame, instead of chunk copies (gh-151424).
    ChunksNotCopied,
    /// A full hit returns the stored leaf instead of decoding it afresh (gh-142137).
    LeafReusedOnFullHit,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 15] = [
        Self::NoSequenceCheckOnFullHit,
        Self::NoSequenceCheckOnPartialHit,
        Self::NoSequenceCheckOnSecondLook,
        Self::NoSequenceCheck,
        Self::IndexNotAdded,
        Self::NotReadAgainBeforeUse,
        Self::ThreadStateNotCompared,
        Self::CurrentFrameNotCompared,
        Self::StoredLeafNotCompared,
        Self::ChainReturnedWithoutBase,
        Self::ChainStoredWithoutBase,
        Self::AnchorNotWritten,
        Self::AnchorWrittenNull,
        Self::ChunksNotCopied,
        Self::LeafReusedOnFullHit,
    ];

    /// The name used on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoSequenceCheckOnFullHit => "no-sequence-check-on-full-hit",
            Self::NoSequenceCheckOnPartialHit => "no-sequence-check-on-partial-hit",
            Self::NoSequenceCheckOnSecondLook => "no-sequence-check-on-second-look",
            Self::NoSequenceCheck => "no-sequence-check-anywhere",
            Self::IndexNotAdded => "index-not-added",
            Self::NotReadAgainBeforeUse => "not-read-again-before-use",
            Self::ThreadStateNotCompared => "thread-state-not-compared",
            Self::CurrentFrameNotCompared => "current-frame-not-compared",
            Self::StoredLeafNotCompared => "stored-leaf-not-compared",
            Self::ChainReturnedWithoutBase => "chain-returned-without-base",
            Self::ChainStoredWithoutBase => "chain-stored-without-base",
            Self::AnchorNotWritten => "anchor-not-written",
            Self::AnchorWrittenNull => "anchor-written-null",
            Self::ChunksNotCopied => "chunks-not-copied",
            Self::LeafReusedOnFullHit => "leaf-reused-on-full-hit",
        }
    }

    /// What the patched module does.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::NoSequenceCheckOnFullHit => "a full hit does not compare the sequence",
            Self::NoSequenceCheckOnPartialHit => "a partial hit does not compare the sequence",
            Self::NoSequenceCheckOnSecondLook => "the second look compares the anchor, and not the sequence",
            Self::NoSequenceCheck => "neither hit nor the second look compares the sequence",
            Self::IndexNotAdded => "a partial hit compares the sequence as if no frame had returned",
            Self::NotReadAgainBeforeUse => "anchor and sequence are not read again before cached frames are used",
            Self::ThreadStateNotCompared => "an entry is used whatever thread state it was stored for",
            Self::CurrentFrameNotCompared => "a full hit does not compare the current frame with the anchor",
            Self::StoredLeafNotCompared => "a full hit does not compare the entry's first frame with the current one",
            Self::ChainReturnedWithoutBase => "a chain that does not end at the base frame is returned",
            Self::ChainStoredWithoutBase => "a chain that does not end at the base frame is returned and stored",
            Self::AnchorNotWritten => "the anchor is never written",
            Self::AnchorWrittenNull => "NULL is written for the anchor",
            Self::ChunksNotCopied => "a miss walks live memory instead of chunk copies",
            Self::LeafReusedOnFullHit => "a full hit returns the stored leaf instead of decoding it afresh",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Some bytes of the module's file, and what replaces them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Where they start in the file.
    pub offset: u64,
    /// What must be there.
    pub old: Vec<u8>,
    /// What is to be there; of the same length.
    pub new: Vec<u8>,
    /// Where that is, for people: function and distance from its start.
    pub place: String,
}

/// Why a fault cannot be put into a module.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not viable: {0}")]
pub struct NotViable(pub String);

/// Why a file is no module that can be looked at.
#[derive(Debug, Error)]
pub enum ModuleError {
    /// Not an ELF file for x86-64.
    #[error("this is no ELF file for x86-64: {0}")]
    Elf(String),
    /// No symbol table.
    #[error("the module has no symbols of its functions: it was stripped; use one with its symbol table")]
    Stripped,
    /// The offsets of fields are not told.
    #[error("the module's debug information does not tell where {0} is: it was stripped, or this is another version")]
    Field(String),
}

/// Why a patch was not applied.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "the file does not have the bytes at {offset:#x} that are to be replaced: it is not the one that was looked at"
)]
pub struct OtherBytes {
    /// The patch's place in the file.
    pub offset: u64,
}

/// What can be done to a module.
#[derive(Clone, Debug)]
pub struct Findings {
    /// Every fault of [`Fault::ALL`], with its patches or why there are none.
    pub faults: Vec<(Fault, Result<Vec<Patch>, NotViable>)>,
}

impl Findings {
    /// The patches of a fault.
    ///
    /// # Errors
    /// Says why it is not viable.
    pub fn patches(&self, fault: Fault) -> Result<&[Patch], NotViable> {
        let of = self.faults.iter().find(|(other, _)| *other == fault);
        let (_, found) = of.ok_or_else(|| NotViable("it was not looked for".to_owned()))?;
        found.as_deref().map_err(Clone::clone)
    }
}

/// Looks for the checks in the bytes of a `_remote_debugging` module.
///
/// # Errors
/// The file is no ELF file for x86-64, or has no symbols or debug information.
pub fn find(module: &[u8]) -> Result<Findings, ModuleError> {
    let wrong = |error: object::Error| ModuleError::Elf(error.to_string());
    let file = object::File::parse(module).map_err(wrong)?;
    if file.architecture() != object::Architecture::X86_64 || file.format() != object::BinaryFormat::Elf {
        return Err(ModuleError::Elf(format!("it is for {:?}", file.architecture())));
    }
    let code = Code::of(&file).map_err(wrong)?;
    if code.functions.is_empty() {
        return Err(ModuleError::Stripped);
    }
    let fields = Fields::of(&file)?;
    let room = room_for_code(&file, module);
    let in_room = |address: u64| {
        let room = room?;
        let within = address.checked_sub(room.address)?;
        (within < room.size).then(|| room.offset + within)
    };
    let room_start = room.map(|room| room.address);
    Ok(find::all(&code, &fields, room_start, &|address| offset_in_file(&file, address).or_else(|| in_room(address))))
}

/// Where in the file the byte of a function is that is loaded at `address`.
fn offset_in_file(file: &object::File<'_>, address: u64) -> Option<u64> {
    file.sections().find_map(|section| {
        let (start, size) = section.file_range()?;
        let within = address.checked_sub(section.address())?;
        let is_code = section.kind() == object::SectionKind::Text;
        start.checked_add(within).filter(|_| within < size && is_code)
    })
}

/// Bytes that are loaded as code and belong to nothing.
#[derive(Clone, Copy, Debug)]
struct Room {
    address: u64,
    offset: u64,
    size: u64,
}

/// Code is mapped page by page: after its end there is room up to the end of the page, if the file has only zeros there and
/// nothing else lies in them.
fn room_for_code(file: &object::File<'_>, module: &[u8]) -> Option<Room> {
    const PAGE: u64 = 4096;
    let executable = |segment: &object::Segment<'_, '_>| matches!(segment.flags(), object::SegmentFlags::Elf { p_flags, .. } if p_flags.0 & object::elf::PF_X.0 != 0);
    let segment = file.segments().find(executable)?;
    let (start, size) = segment.file_range();
    let (offset, address) = (start.checked_add(size)?, segment.address().checked_add(size)?);
    let end = offset.checked_next_multiple_of(PAGE)?;
    let bytes = module.get(usize::try_from(offset).ok()?..usize::try_from(end).ok()?)?;
    let others = file.segments().map(|segment| segment.file_range());
    let free = others.into_iter().all(|(other, size)| other >= end || other.saturating_add(size) <= offset);
    let unused = segment.size() == size && address % PAGE == offset % PAGE && bytes.iter().all(|&byte| byte == 0);
    (free && unused && end > offset).then_some(Room { address, offset, size: end - offset })
}

/// A patched copy.
///
/// # Errors
/// The module is not the one that the patches are for.
pub fn apply(module: &[u8], patches: &[Patch]) -> Result<Vec<u8>, OtherBytes> {
    let mut copy = module.to_vec();
    for patch in patches {
        let other = || OtherBytes { offset: patch.offset };
        let start = usize::try_from(patch.offset).map_err(|_| other())?;
        let end = start.checked_add(patch.old.len()).ok_or_else(other)?;
        let bytes = copy.get_mut(start..end).filter(|bytes| *bytes == patch.old && patch.new.len() == patch.old.len());
        bytes.ok_or_else(other)?.copy_from_slice(&patch.new);
    }
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_none_is_forgotten() {
        let names: std::collections::BTreeSet<_> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        assert_eq!(names.len(), Fault::ALL.len());
    }

    #[test]
    fn a_patch_is_applied_only_to_the_bytes_that_it_is_for() {
        let patch = Patch { offset: 1, old: vec![2, 3], new: vec![8, 9], place: String::new() };
        assert_eq!(apply(&[1, 2, 3, 4], std::slice::from_ref(&patch)), Ok(vec![1, 8, 9, 4]));
        for other in [&[1, 2, 4, 4][..], &[1, 2], &[]] {
            assert_eq!(apply(other, std::slice::from_ref(&patch)), Err(OtherBytes { offset: 1 }));
        }
        let longer = Patch { new: vec![1, 2, 3], ..patch };
        assert!(apply(&[1, 2, 3, 4], &[longer]).is_err());
    }

    #[test]
    fn what_is_no_module_is_refused() {
        for bytes in [&b""[..], b"\x7fELF", b"#!/bin/sh"] {
            assert!(matches!(find(bytes), Err(ModuleError::Elf(_))), "{bytes:?}");
        }
    }
}
