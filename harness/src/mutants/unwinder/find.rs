//! What each check looks like in machine code, and what takes it away.
//!
//! Two things make the checks findable in optimised code as well, where most functions are inlined into one: an entry is so
//! large that the offsets of its count and its list occur nowhere else, so a register that they are reached by points to an
//! entry; and whatever the compiler does, it compares the field of one check and jumps on equality right after.

use std::ops::Range;

use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

use super::code::{Code, Function, calls, has_register, is_equality_jump, pointer_at, tested};
use super::edit::{self, Edit};
use super::fields::Fields;
use super::{Fault, Findings, NotViable, Patch};

/// How far from a check, in instructions, the same register must be used for a field that only entries have.
const NEAR: usize = 24;
/// How far before the comparison of the sequence the other comparisons of a hit are.
const HIT: usize = 32;
/// How far from the beginning of a full hit its comparison of the sequence is.
const FULL_HIT: usize = 40;
/// How far before the entry is written it is decided whether it is.
const STORE: usize = 80;
/// How far the parts of one call are from each other.
const CALL: usize = 10;

type Place<'a> = (&'a Function, usize);

/// Looks for everything.
/// `room` is where more code can be put, `offset` where an address is in the file.
pub(super) fn all(code: &Code, fields: &Fields, room: Option<u64>, offset: &dyn Fn(u64) -> Option<u64>) -> Findings {
    let finder = Finder { code, fields, room };
    let patches = |fault| {
        let edits = finder.edits(fault)?;
        edits.into_iter().map(|edit| patch(code, edit, offset)).collect()
    };
    Findings { faults: Fault::ALL.into_iter().map(|fault| (fault, patches(fault))).collect() }
}

fn patch(code: &Code, edit: Edit, offset: &dyn Fn(u64) -> Option<u64>) -> Result<Patch, NotViable> {
    let Edit { address, old, new } = edit;
    let outside = || NotViable(format!("{address:#x} is not in the file"));
    let function = code.functions.iter().find(|function| function.index_of(address).is_some());
    let place = match function {
        Some(function) => format!("{}+{:#x}", function.name, address.wrapping_sub(function.start)),
        None => format!("{address:#x}, after all code"),
    };
    Ok(Patch { offset: offset(address).ok_or_else(outside)?, old, new, place })
}

/// The one place, or why there is a doubt.
fn only<'a>(what: &str, places: Vec<Place<'a>>) -> Result<Place<'a>, NotViable> {
    match places.as_slice() {
        [place] => Ok(*place),
        [] => Err(NotViable(format!("{what} was not found"))),
        several => {
            let names: Vec<_> = several.iter().map(|(function, _)| function.name.as_str()).collect();
            Err(NotViable(format!("{what} was found {} times, in {}", several.len(), names.join(", "))))
        }
    }
}

struct Finder<'a> {
    code: &'a Code,
    fields: &'a Fields,
    room: Option<u64>,
}

impl<'a> Finder<'a> {
    fn edits(&self, fault: Fault) -> Result<Vec<Edit>, NotViable> {
        match fault {
            Fault::NoSequenceCheckOnFullHit => Ok(vec![equal(self.full_hit()?)?]),
            Fault::NoSequenceCheckOnPartialHit => Ok(vec![equal(self.partial_hit()?.1)?]),
            Fault::NoSequenceCheckOnSecondLook => Ok(vec![self.second_look()?]),
            Fault::NoSequenceCheck => {
                Ok(vec![equal(self.full_hit()?)?, equal(self.partial_hit()?.1)?, self.second_look()?])
            }
            Fault::IndexNotAdded => {
                let ((function, index), _) = self.partial_hit()?;
                let add = function.at(index).filter(|load| load.mnemonic() == Mnemonic::Add);
                let add = add.ok_or_else(|| NotViable("the sequence is loaded, and then added to".to_owned()))?;
                Ok(vec![edit::load_for_add(add, function.bytes_of(add))?])
            }
            Fault::NotReadAgainBeforeUse => self.not_read_again(),
            Fault::ThreadStateNotCompared => {
                let (full, (partial, _)) = (self.full_hit()?, self.partial_hit()?);
                let of = |hit, what: &str| equal(self.compared_before(what, hit, self.fields.entry_thread_state)?);
                Ok(vec![of(full, "the thread state on a full hit")?, of(partial, "the thread state on a partial hit")?])
            }
            Fault::CurrentFrameNotCompared => Ok(vec![equal(self.current_and_anchor()?)?]),
            Fault::StoredLeafNotCompared => {
                let leaf = self.compared_before("the first frame", self.full_hit()?, self.fields.entry_addresses)?;
                Ok(vec![equal(leaf)?])
            }
            Fault::ChainReturnedWithoutBase => Ok(vec![self.returned_without_base()?]),
            Fault::ChainStoredWithoutBase => Ok(vec![self.returned_without_base()?, self.stored_without_base()?]),
            Fault::AnchorNotWritten => {
                let (function, index) = self.anchor_write()?;
                let call = function.at(index).ok_or_else(gone)?;
                Ok(vec![edit::returns_zero(call, function.bytes_of(call))?])
            }
            Fault::AnchorWrittenNull => self.anchor_null(),
            Fault::ChunksNotCopied => {
                let (function, index) = self.copies_chunks()?;
                let call = function.at(index).ok_or_else(gone)?;
                Ok(vec![edit::returns_zero(call, function.bytes_of(call))?])
            }
            Fault::LeafReusedOnFullHit => self.leaf_reused(),
        }
    }

    /// Whether a register points to an entry around this place.
    fn is_entry(&self, function: &Function, index: usize, register: Register) -> bool {
        let of_entries = |instruction: &Instruction| {
            [self.fields.entry_count, self.fields.entry_frames]
                .iter()
                .any(|&offset| pointer_at(instruction, offset) == Some(register))
        };
        function.around(index, NEAR).any(|near| function.at(near).is_some_and(of_entries))
    }

    /// Whether the instruction is `mnemonic` on a field of an entry.
    fn on_entry(&self, function: &Function, index: usize, offset: u64, mnemonic: Mnemonic) -> bool {
        function.at(index).filter(|instruction| instruction.mnemonic() == mnemonic).is_some_and(|instruction| {
            pointer_at(instruction, offset).is_some_and(|register| self.is_entry(function, index, register))
        })
    }

    /// Where a full hit compares the sequence: it does so with the field itself.
    fn full_hit(&self) -> Result<Place<'a>, NotViable> {
        let compares = |function: &Function, index| {
            self.on_entry(function, index, self.fields.entry_sequence, Mnemonic::Cmp)
                && function.decided(index).is_some()
        };
        only("the comparison of the sequence on a full hit", self.code.places(compares))
    }

    /// Where a partial hit reads the stored sequence, and where it compares the sum.
    fn partial_hit(&self) -> Result<(Place<'a>, Place<'a>), NotViable> {
        let sums = self.code.places(|function, index| self.sum_compared(function, index).is_some());
        let (function, index) = only("the comparison of the sequence on a partial hit", sums)?;
        Ok(((function, index), (function, self.sum_compared(function, index).ok_or_else(gone)?)))
    }

    /// The comparison of what the instruction at `index` adds or reads from an entry's sequence.
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

    /// The comparison with a field of an entry that is part of the hit whose comparison of the sequence is known.
    fn compared_before(&self, what: &str, hit: Place<'a>, offset: u64) -> Result<Place<'a>, NotViable> {
        let (function, sequence) = hit;
        let compares = |&index: &usize| {
            self.on_entry(function, index, offset, Mnemonic::Cmp)
                && function.at(index).is_some_and(is_with_register)
                && function.decided(index).is_some()
        };
        let places = before(sequence, HIT).filter(compares).map(|index| (function, index)).collect();
        only(&format!("the comparison of {what}"), places)
    }

    /// Where a full hit compares current frame and anchor: `if (anchor == 0 || anchor != current) no hit`, and on equality
    /// what follows is the rest of the full hit.
    fn current_and_anchor(&self) -> Result<Place<'a>, NotViable> {
        let (function, sequence) = self.full_hit()?;
        let compares = |&index: &usize| {
            let Some((test, jump, compare)) = three(function, index) else { return false };
            let Some(anchor) = tested(test).filter(|_| jump.mnemonic() == Mnemonic::Je) else { return false };
            let with_entry =
                compare.memory_base() != Register::None && self.is_entry(function, index, compare.memory_base());
            let equal = function.decided(index).and_then(|jump| function.branches(jump)).map(|(equal, _)| equal);
            let goes_on = equal
                .and_then(|equal| function.index_of(equal))
                .is_some_and(|start| start < sequence && sequence - start <= FULL_HIT);
            compare.mnemonic() == Mnemonic::Cmp && has_register(compare, anchor) && !with_entry && goes_on
        };
        let places = (2..function.instructions.len()).filter(compares).map(|index| (function, index)).collect();
        only("the comparison of current frame and anchor", places)
    }

    /// Where the second look compares the sequence, its fourth argument, with what it read.
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
        let kept = kept.ok_or_else(|| NotViable("the sequence that is asked for is not kept".to_owned()))?;
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

    /// The function that reads anchor and sequence again, made to say that they are unchanged.
    fn not_read_again(&self) -> Result<Vec<Edit>, NotViable> {
        const NAME: &str = "frame_cache_anchor_matches";
        let [function] = self.code.named(NAME)[..] else { return Err(no_function(NAME)) };
        // One call for either kind of hit; one that was inlined would go on reading.
        let count = self.code.calls_of(function.start).len();
        if count != 2 {
            return Err(NotViable(format!("{NAME} is called {count} times, not twice")));
        }
        let bytes: Vec<u8> = function.instructions.iter().flat_map(|it| function.bytes_of(it)).copied().collect();
        Ok(vec![edit::returns_one(&function.instructions, &bytes)?])
    }

    /// The comparison of the chain's end with the base frame that decides whether the chain is an error.
    fn returned_without_base(&self) -> Result<Edit, NotViable> {
        const NAME: &str = "process_frame_chain";
        let [function] = self.code.named(NAME)[..] else { return Err(no_function(NAME)) };
        let compares = |&index: &usize| {
            let Some((test, jump, compare)) = three(function, index) else { return false };
            let load = index.checked_sub(3).and_then(|load| function.at(load));
            let Some((load, base)) = load.zip(tested(test)) else { return false };
            let walk = pointer_at(load, self.fields.walk_base)
                .filter(|_| load.mnemonic() == Mnemonic::Mov && load.op0_register() == base);
            let is_walk = walk.is_some_and(|walk| {
                function.around(index, CALL).any(|near| {
                    function.at(near).is_some_and(|near| pointer_at(near, self.fields.walk_stopped) == Some(walk))
                })
            });
            is_walk
                && jump.mnemonic() == Mnemonic::Je
                && compare.mnemonic() == Mnemonic::Cmp
                && has_register(compare, base)
                && function.decided(index).is_some()
        };
        let places = (3..function.instructions.len()).filter(compares).map(|index| (function, index)).collect();
        equal(only("the comparison of the chain's end with the base frame", places)?)
    }

    /// The same comparison where it decides whether the chain is stored.
    fn stored_without_base(&self) -> Result<Edit, NotViable> {
        let stores = |function: &Function, index| {
            let store = function.at(index).filter(|store| {
                store.mnemonic() == Mnemonic::Mov
                    && store.op0_kind() == OpKind::Memory
                    && store.op1_kind() == OpKind::Register
            });
            store.is_some() && self.on_entry(function, index, self.fields.entry_sequence, Mnemonic::Mov)
        };
        // Emptying an entry writes its fields, too, and asks nothing.
        let stores = self.code.places(stores).into_iter();
        let places = stores.flat_map(|(function, stored)| {
            before(stored, STORE).filter(|&index| is_base_check(function, index)).map(move |index| (function, index))
        });
        let places = places.collect();
        let (function, index) = only("the comparison with the base frame before an entry is written", places)?;
        let jump = function.at(index).ok_or_else(gone)?;
        edit::as_if_equal(jump, function.bytes_of(jump))
    }

    /// The call that writes the anchor after a sample.
    fn anchor_write(&self) -> Result<Place<'a>, NotViable> {
        // Making an unwinder writes it, too.
        let other = |function: &Function| {
            function.source_name().contains("__init__") || function.source_name() == "clear_last_profiled_frames"
        };
        let places = match self.code.named("set_last_profiled_frame")[..] {
            [] => self.code.places(|function, index| !other(function) && self.writes_anchor(function, index)),
            [setter] => {
                let calls = self.code.calls_of(setter.start);
                calls.into_iter().filter(|(function, _)| !other(function)).collect()
            }
            _ => return Err(no_function("set_last_profiled_frame")),
        };
        only("the call that writes the anchor", places)
    }

    /// Whether this calls the function that writes to the target, just after the anchor's offset was read.
    fn writes_anchor(&self, function: &Function, index: usize) -> bool {
        let mut writers = self.code.named("_Py_RemoteDebug_WriteRemoteMemory").into_iter();
        function.at(index).is_some_and(|call| writers.any(|writer| calls(call, writer.start)))
            && before(index, CALL)
                .any(|near| function.at(near).is_some_and(|it| pointer_at(it, self.fields.unwinder_anchor).is_some()))
    }

    /// The anchor that is written, made NULL.
    fn anchor_null(&self) -> Result<Vec<Edit>, NotViable> {
        let (function, index) = self.anchor_write()?;
        if let [setter] = self.code.named("set_last_profiled_frame")[..] {
            // The third argument is the anchor; all other calls pass NULL anyway.
            let mark = setter.at(0).ok_or_else(gone)?;
            return Ok(vec![edit::third_argument_zero(mark, setter.bytes_of(mark))?]);
        }
        let stores = |&near: &usize| {
            function.at(near).is_some_and(|store| {
                store.mnemonic() == Mnemonic::Mov
                    && store.op0_kind() == OpKind::Memory
                    && store.op1_kind() == OpKind::Register
            })
        };
        let places = before(index, CALL)
            .rev()
            .take_while(|&near| function.at(near).is_some_and(|it| it.flow_control() == iced_x86::FlowControl::Next))
            .filter(stores)
            .map(|near| (function, near))
            .collect();
        let (_, at) = only("the place where the anchor to be written is put", places)?;
        let store = function.at(at).ok_or_else(gone)?;
        let points_there = |lea: &Instruction| {
            lea.mnemonic() == Mnemonic::Lea
                && lea.memory_base() == store.memory_base()
                && lea.memory_index() == Register::None
                && store.memory_index() == Register::None
                && lea.memory_displacement64() == store.memory_displacement64()
        };
        let pointer = before(at, CALL).rev().find(|&near| function.at(near).is_some_and(points_there));
        let lea = pointer.and_then(|near| function.at(near)).ok_or_else(|| {
            NotViable("no register points to the place where the anchor to be written is put".to_owned())
        })?;
        Ok(vec![edit::store_zero(store, function.bytes_of(store), lea.op0_register())?])
    }

    /// The call that copies the chunks when the cache is in use.
    fn copies_chunks(&self) -> Result<Place<'a>, NotViable> {
        const NAME: &str = "copy_stack_chunks";
        let [copy] = self.code.named(NAME)[..] else { return Err(no_function(NAME)) };
        let calls = self.code.calls_of(copy.start);
        // `if (chunks->count == 0)`: a walk without the cache copies them unasked.
        let asked = |function: &Function, index: usize| {
            before(index, CALL).any(|near| {
                function.at(near).is_some_and(|compare| {
                    compare.mnemonic() == Mnemonic::Cmp
                        && compare.op0_kind() == OpKind::Memory
                        && compare.memory_size().size() == 8
                        && !matches!(compare.op1_kind(), OpKind::Register)
                        && compare.immediate(1) == 0
                }) && function.decided(near).is_some()
            })
        };
        let places = calls.into_iter().filter(|&(function, index)| asked(function, index)).collect();
        only("the call that copies chunks on a miss", places)
    }

    /// The stored leaf appended in the place of the fresh one: the first frame that is appended after anchor and sequence
    /// were read again.
    fn leaf_reused(&self) -> Result<Vec<Edit>, NotViable> {
        const APPEND: usize = 40;
        let (function, sequence) = self.full_hit()?;
        let reads_again = self.code.named("frame_cache_anchor_matches");
        let after = |index: usize| index + 1..(index + APPEND).min(function.instructions.len());
        let confirmed = after(sequence)
            .find(|&near| reads_again.iter().any(|it| function.at(near).is_some_and(|call| calls(call, it.start))))
            .ok_or_else(|| NotViable("no second read follows the comparison".to_owned()))?;
        let (append, call) = after(confirmed)
            .filter_map(|near| Some((near, function.at(near)?)))
            .find(|(_, call)| call.mnemonic() == Mnemonic::Call && call.op0_kind() == OpKind::NearBranch64)
            .ok_or_else(|| NotViable("the fresh leaf is not appended".to_owned()))?;
        // A register that the call keeps, and that points to the entry after it without having been written, does before.
        let list = after(append)
            .filter_map(|near| Some((near, pointer_at(function.at(near)?, self.fields.entry_frames)?)))
            .next()
            .ok_or_else(|| NotViable("the stored frames are not looked at after the fresh leaf".to_owned()))?;
        let (used, entry) = list;
        if (append + 1..used).any(|near| function.at(near).is_some_and(|it| writes(it, entry))) {
            return Err(NotViable("the entry's register is written after the fresh leaf is appended".to_owned()));
        }
        let room = self.room.ok_or_else(|| NotViable("there is no room for more code".to_owned()))?;
        let list = (entry, self.fields.entry_frames, self.fields.list_items);
        Ok(edit::with_first_of(call, function.bytes_of(call), list, room)?.into())
    }
}

fn gone() -> NotViable {
    NotViable("what was found is not what it seemed".to_owned())
}

fn no_function(name: &str) -> NotViable {
    NotViable(format!("the module does not have one function of the name {name}"))
}

/// The places before `index`, not further than `distance`.
fn before(index: usize, distance: usize) -> Range<usize> {
    index.saturating_sub(distance)..index
}

/// The instruction at `index` and the two before it.
fn three(function: &Function, index: usize) -> Option<(&Instruction, &Instruction, &Instruction)> {
    Some((function.at(index.checked_sub(2)?)?, function.at(index - 1)?, function.at(index)?))
}

/// Whether an instruction may write a register.
fn writes(instruction: &Instruction, register: Register) -> bool {
    let mut factory = InstructionInfoFactory::new();
    factory.info(instruction).used_registers().iter().any(|used| {
        used.register().full_register() == register && !matches!(used.access(), OpAccess::Read | OpAccess::CondRead)
    })
}

/// Whether a comparison is with a register, not with a number.
fn is_with_register(compare: &Instruction) -> bool {
    (0..compare.op_count()).any(|operand| compare.op_kind(operand) == OpKind::Register)
}

/// The comparison at a place, made to come out equal.
fn equal((function, index): Place<'_>) -> Result<Edit, NotViable> {
    let jump = function.decided(index).and_then(|jump| function.at(jump)).ok_or_else(gone)?;
    edit::as_if_equal(jump, function.bytes_of(jump))
}

/// Whether the jump at `index` decides `if (base != 0 && last != base)`, in one of two forms: two jumps past the same
/// block, or two bits that are combined. Made never to be taken, either form passes on.
fn is_base_check(function: &Function, index: usize) -> bool {
    let at = |back: usize| index.checked_sub(back).and_then(|index| function.at(index));
    let Some(jump) = at(0).filter(|jump| jump.mnemonic() == Mnemonic::Jne) else { return false };
    // test base, base; je past; cmp base, last; jne elsewhere; past:
    if let (Some(test), Some(je), Some(compare)) = (at(3), at(2), at(1)) {
        let base = tested(test).filter(|base| base.size() == 8);
        if je.mnemonic() == Mnemonic::Je
            && je.near_branch_target() == jump.next_ip()
            && compare.mnemonic() == Mnemonic::Cmp
            && base.is_some_and(|base| has_register(compare, base))
        {
            return true;
        }
    }
    // test base, base; setne a; cmp base, last; setne b; test a, b; jne elsewhere
    if let (Some(test), Some(first), Some(compare), Some(second), Some(both)) = (at(5), at(4), at(3), at(2), at(1)) {
        let base = tested(test).filter(|base| base.size() == 8);
        return first.mnemonic() == Mnemonic::Setne
            && second.mnemonic() == Mnemonic::Setne
            && compare.mnemonic() == Mnemonic::Cmp
            && base.is_some_and(|base| has_register(compare, base))
            && matches!(both.mnemonic(), Mnemonic::Test | Mnemonic::And)
            && has_register(both, first.op0_register())
            && has_register(both, second.op0_register());
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: Fields = Fields {
        entry_thread_state: 8,
        entry_sequence: 16,
        entry_addresses: 24,
        entry_count: 0x2018,
        entry_frames: 0x2028,
        list_items: 0x18,
        walk_base: 16,
        walk_stopped: 0x88,
        unwinder_anchor: 0x8110,
    };
    /// cmp qword [rax+0x2018], 0
    const OF_AN_ENTRY: [u8; 8] = [0x48, 0x83, 0xb8, 0x18, 0x20, 0, 0, 0];
    /// cmp [rax+0x10], rcx
    const COMPARE: [u8; 4] = [0x48, 0x39, 0x48, 0x10];
    /// jne, je, ja, each to the next but one byte
    const JNE: [u8; 2] = [0x75, 1];
    const JE: [u8; 2] = [0x74, 1];
    const JA: [u8; 2] = [0x77, 1];
    /// mov ecx, eax
    const MOVE: [u8; 2] = [0x89, 0xc1];
    /// add ecx, eax
    const ADD: [u8; 2] = [0x01, 0xc1];
    const RET: [u8; 1] = [0xc3];

    fn patches(functions: &[(&str, &[&[u8]])], fault: Fault) -> Result<Vec<Patch>, NotViable> {
        let decoded = |(number, (name, parts)): (usize, &(&str, &[&[u8]]))| {
            Function::new(name, 0x1000 * (number as u64 + 1), &parts.concat())
        };
        let code = Code { functions: functions.iter().enumerate().map(decoded).collect() };
        all(&code, &FIELDS, None, &|address| Some(address - 0x800)).patches(fault).map(<[Patch]>::to_vec)
    }

    fn full_hit(parts: &[&[u8]]) -> Result<Vec<Patch>, NotViable> {
        patches(&[("f", parts)], Fault::NoSequenceCheckOnFullHit)
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
    fn in_doubt_nothing_is_patched() {
        let reason = |parts: &[&[u8]]| full_hit(parts).unwrap_err().to_string();
        let none = "not viable: the comparison of the sequence on a full hit was not found";
        // The register may point to anything.
        assert_eq!(reason(&[&COMPARE, &JNE, &RET, &RET]), none);
        // It is no question of equality, or not this comparison's.
        assert_eq!(reason(&[&OF_AN_ENTRY, &COMPARE, &JA, &RET, &RET]), none);
        assert_eq!(reason(&[&OF_AN_ENTRY, &COMPARE, &ADD, &JNE, &RET, &RET]), none);
        assert_eq!(reason(&[&OF_AN_ENTRY, &COMPARE, &RET, &JNE, &RET, &RET]), none);
        // Either may be the one.
        let twice = reason(&[&OF_AN_ENTRY, &COMPARE, &JNE, &COMPARE, &JNE, &RET, &RET]);
        assert_eq!(twice, "not viable: the comparison of the sequence on a full hit was found 2 times, in f, f");
    }

    #[test]
    fn a_function_that_is_missing_or_inlined_is_named() {
        let reason =
            |functions: &[(&str, &[&[u8]])]| patches(functions, Fault::NotReadAgainBeforeUse).unwrap_err().to_string();
        assert!(reason(&[("f", &[&RET])]).contains("frame_cache_anchor_matches"));
        assert!(reason(&[("frame_cache_anchor_matches", &[&RET])]).contains("called 0 times"));
    }

    #[test]
    fn both_forms_of_the_question_for_the_base_are_known() {
        let check = |parts: &[&[u8]]| {
            let function = Function::new("f", 0x1000, &parts.concat());
            (0..function.instructions.len()).filter(|&index| is_base_check(&function, index)).count()
        };
        // test rsi, rsi; je +5; cmp rsi, rdx; jne +1
        let (test, compare) = ([0x48, 0x85, 0xf6], [0x48, 0x39, 0xd6]);
        assert_eq!(check(&[&test, &[0x74, 5], &compare, &JNE, &RET]), 1);
        assert_eq!(check(&[&test, &[0x74, 6], &compare, &JNE, &RET]), 0);
        // test rax, rax; setne dl; cmp rax, [rbp+0x20]; setne al; test dl, al; jne +1
        let (test, compare) = ([0x48, 0x85, 0xc0], [0x48, 0x3b, 0x45, 0x20]);
        let (set_dl, set_al) = ([0x0f, 0x95, 0xc2], [0x0f, 0x95, 0xc0]);
        assert_eq!(check(&[&test, &set_dl, &compare, &set_al, &[0x84, 0xc2], &JNE, &RET]), 1);
        assert_eq!(check(&[&test, &set_dl, &compare, &set_al, &[0x84, 0xc9], &JNE, &RET]), 0);
    }
}
