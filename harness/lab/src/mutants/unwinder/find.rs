//! Recognises the checks in machine code and the edits that remove them.
//!
//! Two properties make the checks recognisable even in optimised code, where most functions are inlined into one.
//! First, an entry is so large that the offsets of its count and its list occur nowhere else. A register used with
//! these offsets points to an entry. Second, the compiler always compares the field of a check and then jumps on
//! equality.

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use super::code::{Code, Function, has_register, is_equality_jump, pointer_at};
use super::edit::{self, Edit};
use super::fields::Fields;
use super::{Findings, NotViable, Patch, UnwinderFault};

/// Maximum distance, in instructions, between a check and a use of the same register with a field that only entries
/// have.
const NEAR: usize = 24;

type Place<'a> = (&'a Function, usize);

/// Looks for all faults. `offset` converts an address to an offset in the file.
pub(super) fn all(code: &Code, fields: &Fields, offset: &dyn Fn(u64) -> Option<u64>) -> Findings {
    let finder = Finder { code, fields };
    let patches = |fault| {
        let edits = finder.edits(fault)?;
        edits.into_iter().map(|edit| patch(code, edit, offset)).collect()
    };
    Findings { faults: UnwinderFault::ALL.into_iter().map(|fault| (fault, patches(fault))).collect() }
}

fn patch(code: &Code, edit: Edit, offset: &dyn Fn(u64) -> Option<u64>) -> Result<Patch, NotViable> {
    let Edit { address, old, new } = edit;
    let outside = || NotViable(format!("{address:#x} is not in the file"));
    let function = code.functions.iter().find(|function| function.index_of(address).is_some()).ok_or_else(gone)?;
    let place = format!("{}+{:#x}", function.name, address.wrapping_sub(function.start));
    Ok(Patch { offset: offset(address).ok_or_else(outside)?, old, new, place })
}

/// The single place, or the reason why there is not exactly one.
fn only<'a>(what: &str, places: Vec<Place<'a>>) -> Result<Place<'a>, NotViable> {
    match places.as_slice() {
        [place] => Ok(*place),
        [] => Err(NotViable(format!("{what} was not found"))),
        several => {
            let names: Vec<_> = several.iter().map(|(function, _)| function.name.as_str()).collect();
            Err(NotViable(format!("{what} was found {} times instead of once, in {}", several.len(), names.join(", "))))
        }
    }
}

struct Finder<'a> {
    code: &'a Code,
    fields: &'a Fields,
}

impl<'a> Finder<'a> {
    fn edits(&self, fault: UnwinderFault) -> Result<Vec<Edit>, NotViable> {
        match fault {
            UnwinderFault::NoSequenceCheckOnFullHit => Ok(vec![equal(self.full_hit()?)?]),
            UnwinderFault::NoSequenceCheckOnPartialHit => Ok(vec![equal(self.partial_hit()?)?]),
            UnwinderFault::NoSequenceCheckOnSecondLook => Ok(vec![self.second_look()?]),
            UnwinderFault::NoSequenceCheck => {
                Ok(vec![equal(self.full_hit()?)?, equal(self.partial_hit()?)?, self.second_look()?])
            }
        }
    }

    /// Whether the register points to an entry near this place.
    fn is_entry(&self, function: &Function, index: usize, register: Register) -> bool {
        let of_entries = |instruction: &Instruction| {
            [self.fields.entry_count, self.fields.entry_frames]
                .iter()
                .any(|&offset| pointer_at(instruction, offset) == Some(register))
        };
        function.around(index, NEAR).any(|near| function.at(near).is_some_and(of_entries))
    }

    /// Whether the instruction is a `mnemonic` on this field of an entry.
    fn on_entry(&self, function: &Function, index: usize, offset: u64, mnemonic: Mnemonic) -> bool {
        function.at(index).filter(|instruction| instruction.mnemonic() == mnemonic).is_some_and(|instruction| {
            pointer_at(instruction, offset).is_some_and(|register| self.is_entry(function, index, register))
        })
    }

    /// The comparison of the sequence on a full hit. Its operand is the field itself.
    fn full_hit(&self) -> Result<Place<'a>, NotViable> {
        let compares = |function: &Function, index| {
            self.on_entry(function, index, self.fields.entry_sequence, Mnemonic::Cmp)
                && function.decided(index).is_some()
        };
        only("the comparison of the sequence on a full hit", self.code.places(compares))
    }

    /// The comparison of the sequence on a partial hit, which uses the stored sequence plus a count.
    fn partial_hit(&self) -> Result<Place<'a>, NotViable> {
        let sums = self.code.places(|function, index| self.sum_compared(function, index).is_some());
        let (function, index) = only("the comparison of the sequence on a partial hit", sums)?;
        Ok((function, self.sum_compared(function, index).ok_or_else(gone)?))
    }

    /// The comparison that uses the sum or value read from an entry's sequence by the instruction at `index`.
    fn sum_compared(&self, function: &Function, index: usize) -> Option<usize> {
        let reads = [Mnemonic::Add, Mnemonic::Mov]
            .iter()
            .any(|&mnemonic| self.on_entry(function, index, self.fields.entry_sequence, mnemonic));
        let read = function.at(index).filter(|read| reads && read.op0_kind() == OpKind::Register)?;
        let compares =
            |compare: &Instruction| compare.mnemonic() == Mnemonic::Cmp && has_register(compare, read.op0_register());
        (index + 1..index + 7)
            .take_while(|&next| function.at(next).is_some_and(|next| !is_equality_jump(next)))
            .find(|&next| function.at(next).is_some_and(compares) && function.decided(next).is_some())
    }

    /// The comparison in the second look. It compares the expected sequence, which is the function's fourth argument,
    /// with the one that was just read.
    fn second_look(&self) -> Result<Edit, NotViable> {
        const NAME: &str = "frame_cache_anchor_matches";
        let [function] = self.code.named(NAME)[..] else { return Err(no_function(NAME)) };
        let instructions = &function.instructions;
        let kept = instructions.iter().find(|it| {
            it.mnemonic() == Mnemonic::Mov
                && it.op0_kind() == OpKind::Register
                && it.op1_kind() == OpKind::Register
                && it.op1_register() == Register::RCX
        });
        let kept = kept.ok_or_else(|| NotViable("the sequence to look for is not kept in a register".to_owned()))?;
        let compares = |&index: &usize| {
            function.at(index).is_some_and(|compare| {
                compare.mnemonic() == Mnemonic::Cmp
                    && compare.op0_kind() == OpKind::Memory
                    && has_register(compare, kept.op0_register())
            })
        };
        let places = (0..instructions.len()).filter(compares).map(|index| (function, index)).collect();
        let (_, index) = only("the comparison of the sequence in the second look", places)?;
        let compare = function.at(index).ok_or_else(gone)?;
        edit::with_itself(compare, function.bytes_of(compare))
    }
}

fn gone() -> NotViable {
    NotViable("the code found does not have the expected form".to_owned())
}

fn no_function(name: &str) -> NotViable {
    NotViable(format!("the module does not have exactly one function with the name {name}"))
}

/// The edit that makes the comparison at a place act as equal.
fn equal((function, index): Place<'_>) -> Result<Edit, NotViable> {
    let jump = function.decided(index).and_then(|jump| function.at(jump)).ok_or_else(gone)?;
    edit::as_if_equal(jump, function.bytes_of(jump))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: Fields = Fields { entry_sequence: 16, entry_count: 0x2018, entry_frames: 0x2028 };
    /// cmp qword [rax+0x2018], 0
    const OF_AN_ENTRY: [u8; 8] = [0x48, 0x83, 0xb8, 0x18, 0x20, 0, 0, 0];
    /// cmp [rax+0x10], rcx
    const COMPARE: [u8; 4] = [0x48, 0x39, 0x48, 0x10];
    /// jne, je, ja; each skips one byte
    const JNE: [u8; 2] = [0x75, 1];
    const JE: [u8; 2] = [0x74, 1];
    const JA: [u8; 2] = [0x77, 1];
    /// mov ecx, eax
    const MOVE: [u8; 2] = [0x89, 0xc1];
    /// add ecx, eax
    const ADD: [u8; 2] = [0x01, 0xc1];
    const RET: [u8; 1] = [0xc3];

    fn patches(functions: &[(&str, &[&[u8]])], fault: UnwinderFault) -> Result<Vec<Patch>, NotViable> {
        let decoded = |(number, (name, parts)): (usize, &(&str, &[&[u8]]))| {
            Function::new(name, 0x1000 * (number as u64 + 1), &parts.concat())
        };
        let code = Code { functions: functions.iter().enumerate().map(decoded).collect() };
        all(&code, &FIELDS, &|address| Some(address - 0x800)).patches(fault).map(<[Patch]>::to_vec)
    }

    fn full_hit(parts: &[&[u8]]) -> Result<Vec<Patch>, NotViable> {
        patches(&[("f", parts)], UnwinderFault::NoSequenceCheckOnFullHit)
    }

    #[test]
    fn a_comparison_is_patched_at_its_jump() {
        let patch = |old: [u8; 2], new: [u8; 2], distance: u64| {
            let place = format!("f+{distance:#x}");
            Ok(vec![Patch { offset: 0x800 + distance, old: old.to_vec(), new: new.to_vec(), place }])
        };
        assert_eq!(full_hit(&[&OF_AN_ENTRY, &COMPARE, &JNE, &RET, &RET]), patch(JNE, [0x66, 0x90], 12));
        assert_eq!(full_hit(&[&OF_AN_ENTRY, &COMPARE, &MOVE, &JE, &RET, &RET]), patch(JE, [0xeb, 1], 14));
        assert_eq!(full_hit(&[&COMPARE, &JNE, &OF_AN_ENTRY, &RET]), patch(JNE, [0x66, 0x90], 4));
    }

    #[test]
    fn ambiguous_code_is_not_patched() {
        let reason = |parts: &[&[u8]]| full_hit(parts).unwrap_err().to_string();
        let none = "not viable: the comparison of the sequence on a full hit was not found";
        // The register may point to anything.
        assert_eq!(reason(&[&COMPARE, &JNE, &RET, &RET]), none);
        // The jump is not on equality, or depends on another comparison.
        assert_eq!(reason(&[&OF_AN_ENTRY, &COMPARE, &JA, &RET, &RET]), none);
        assert_eq!(reason(&[&OF_AN_ENTRY, &COMPARE, &ADD, &JNE, &RET, &RET]), none);
        assert_eq!(reason(&[&OF_AN_ENTRY, &COMPARE, &RET, &JNE, &RET, &RET]), none);
        // Each of the two may be the right one.
        let twice = reason(&[&OF_AN_ENTRY, &COMPARE, &JNE, &COMPARE, &JNE, &RET, &RET]);
        assert_eq!(
            twice,
            "not viable: the comparison of the sequence on a full hit was found 2 times instead of once, in f, f"
        );
    }

    #[test]
    fn a_missing_function_is_named() {
        let reason = patches(&[("f", &[&RET])], UnwinderFault::NoSequenceCheckOnSecondLook).unwrap_err().to_string();
        assert!(reason.contains("frame_cache_anchor_matches"), "{reason}");
    }
}
