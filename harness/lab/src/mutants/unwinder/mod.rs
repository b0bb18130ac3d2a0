//! Puts gh-151613 into the profiler's own code: small in-place patches of CPython's `_remote_debugging`, each of which
//! removes a comparison of the sequence. Other faults of an unwinder are covered by stand-ins ([`super::stand_in`]) and
//! by this project's walkers with a check left out. This fault is in the code that once had it, with that code's own
//! accesses.
//!
//! The checks are found in the machine code of the module from three things only: the names of functions (symbol
//! table), the offsets of fields (debug information), and the form of a check, which is a comparison with a field of a
//! cache entry followed by a conditional jump. In case of doubt (a name is missing, or a check is found twice or not at
//! all) the fault is *not viable* in this module, and the reason is reported. Nothing is guessed.
//!
//! A wrong patch would be worse than none. So every patch is decoded again: it must be the intended instruction and end
//! where the old one ended.
//!
//! All of this is pure: bytes in, patches out. A patched copy of the module is imported from a folder in `PYTHONPATH`,
//! which an interpreter searches before its own library.

mod code;
mod edit;
mod fields;
mod find;
pub mod module;

use std::fmt;

use object::{Object, ObjectSection};
use thiserror::Error;

use self::code::Code;
use self::fields::Fields;

/// A check that a patched module leaves out. A fault that also exists as a [`framewalk::weakening::Weakening`] has the
/// same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UnwinderFault {
    /// A full hit does not compare the sequence (gh-151613).
    NoSequenceCheckOnFullHit,
    /// A partial hit does not compare the sequence (gh-151613).
    NoSequenceCheckOnPartialHit,
    /// The second look compares only the anchor, not the sequence (gh-151613).
    NoSequenceCheckOnSecondLook,
    /// The sequence is never compared: gh-151613 in full.
    NoSequenceCheck,
}

impl UnwinderFault {
    /// All faults, in the order of reports.
    pub const ALL: [Self; 4] = [
        Self::NoSequenceCheckOnFullHit,
        Self::NoSequenceCheckOnPartialHit,
        Self::NoSequenceCheckOnSecondLook,
        Self::NoSequenceCheck,
    ];

    /// The name used on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoSequenceCheckOnFullHit => "no-sequence-check-on-full-hit",
            Self::NoSequenceCheckOnPartialHit => "no-sequence-check-on-partial-hit",
            Self::NoSequenceCheckOnSecondLook => "no-sequence-check-on-second-look",
            Self::NoSequenceCheck => "no-sequence-check-anywhere",
        }
    }

    /// What the patched module does.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::NoSequenceCheckOnFullHit => "a full hit does not compare the sequence",
            Self::NoSequenceCheckOnPartialHit => "a partial hit does not compare the sequence",
            Self::NoSequenceCheckOnSecondLook => "the second look compares the anchor but not the sequence",
            Self::NoSequenceCheck => "neither hit nor the second look compares the sequence",
        }
    }

    /// The reason why no lane can distinguish an unwinder with this fault from the original, or `None` if a lane can.
    /// `anchor_first` means that the interpreter stores the anchor before it increments the sequence, at every site of
    /// its own code.
    #[must_use]
    pub fn equivalent(self, anchor_first: bool) -> Option<String> {
        (self == Self::NoSequenceCheckOnSecondLook && anchor_first).then(|| {
            "at every site, this build stores the anchor before it increments the sequence. Between the two looks of a \
             sample, the anchor can change without the sequence, but not the other way round, so comparing the anchor \
             is enough. The exception would be another profiler that sets the anchor back in between, and no lane \
             takes two samples at a time"
                .to_owned()
        })
    }
}

impl fmt::Display for UnwinderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A replacement of some bytes in the module's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Offset of the first byte in the file.
    pub offset: u64,
    /// The bytes that must be there.
    pub old: Vec<u8>,
    /// The new bytes, of the same length.
    pub new: Vec<u8>,
    /// The position for readers: function and offset from its start.
    pub place: String,
}

/// Why a fault cannot be put into a module.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not viable: {0}")]
pub struct NotViable(pub String);

/// Why a module cannot be analysed.
#[derive(Debug, Error)]
pub enum ModuleError {
    /// It is not an ELF file for x86-64.
    #[error("this is not an ELF file for x86-64: {0}")]
    Elf(String),
    /// It has no symbol table.
    #[error("the module has no symbols for its functions because it was stripped; use a module with a symbol table")]
    Stripped,
    /// Its debug information lacks the offset of a field.
    #[error("the module's debug information does not contain {0}: it was stripped, or belongs to another version")]
    Field(String),
}

/// Why a patch was not applied.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the bytes at offset {offset:#x} are not the ones to be replaced: this is not the file that was examined")]
pub struct OtherBytes {
    /// The patch's offset in the file.
    pub offset: u64,
}

/// The patches that are possible for a module.
#[derive(Clone, Debug)]
pub struct Findings {
    /// Each fault of [`UnwinderFault::ALL`] with its patches, or the reason why there are none.
    pub faults: Vec<(UnwinderFault, Result<Vec<Patch>, NotViable>)>,
}

impl Findings {
    /// The patches of a fault.
    ///
    /// # Errors
    /// The reason why the fault is not viable.
    pub fn patches(&self, fault: UnwinderFault) -> Result<&[Patch], NotViable> {
        let of = self.faults.iter().find(|(other, _)| *other == fault);
        let (_, found) = of.ok_or_else(|| NotViable("this fault was not looked for".to_owned()))?;
        found.as_deref().map_err(Clone::clone)
    }
}

/// Looks for the checks in the bytes of a `_remote_debugging` module.
///
/// # Errors
/// The file is not an ELF file for x86-64, or has no symbols or debug information.
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
    Ok(find::all(&code, &fields, &|address| offset_in_file(&file, address)))
}

/// The offset in the file of the code byte that is loaded at `address`.
fn offset_in_file(file: &object::File<'_>, address: u64) -> Option<u64> {
    file.sections().find_map(|section| {
        let (start, size) = section.file_range()?;
        let within = address.checked_sub(section.address())?;
        let is_code = section.kind() == object::SectionKind::Text;
        start.checked_add(within).filter(|_| within < size && is_code)
    })
}

/// Returns a patched copy.
///
/// # Errors
/// The patches belong to another module.
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
    fn only_the_second_look_may_be_equivalent() {
        let called = |anchor_first| -> Vec<UnwinderFault> {
            UnwinderFault::ALL.into_iter().filter(|fault| fault.equivalent(anchor_first).is_some()).collect()
        };
        assert_eq!((called(false), called(true)), (vec![], vec![UnwinderFault::NoSequenceCheckOnSecondLook]));
    }

    #[test]
    fn all_faults_have_distinct_names() {
        let names: std::collections::BTreeSet<_> = UnwinderFault::ALL.iter().map(|fault| fault.name()).collect();
        assert_eq!(names.len(), UnwinderFault::ALL.len());
    }

    #[test]
    fn a_patch_is_applied_only_to_its_original_bytes() {
        let patch = Patch { offset: 1, old: vec![2, 3], new: vec![8, 9], place: String::new() };
        assert_eq!(apply(&[1, 2, 3, 4], std::slice::from_ref(&patch)), Ok(vec![1, 8, 9, 4]));
        for other in [&[1, 2, 4, 4][..], &[1, 2], &[]] {
            assert_eq!(apply(other, std::slice::from_ref(&patch)), Err(OtherBytes { offset: 1 }));
        }
        let longer = Patch { new: vec![1, 2, 3], ..patch };
        assert!(apply(&[1, 2, 3, 4], &[longer]).is_err());
    }

    #[test]
    fn files_that_are_not_modules_are_refused() {
        for bytes in [&b""[..], b"\x7fELF", b"#!/bin/sh"] {
            assert!(matches!(find(bytes), Err(ModuleError::Elf(_))), "{bytes:?}");
        }
    }
}
