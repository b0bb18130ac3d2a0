//! Finds the places where an interpreter updates anchor and sequence.
//!
//! The source is `if (tstate->last_profiled_frame == frame) { tstate->last_profiled_frame = frame->previous;
//! tstate->last_profiled_frame_seq++; }`.
//! The machine code has a *guard*, which compares the word at the anchor's offset with a register, and a branch on it.
//! If they are equal, one run of instructions stores to the anchor and increments the sequence through the same
//! register. Nothing else counts as a site. A partial match is a doubt, and a doubt is an error.

use std::collections::BTreeMap;

use framewalk::layout::CacheLayout;
use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, Register};
use thiserror::Error;

use super::code::{Kind, Section, Span};

/// Maximum number of instructions between a guard and its branch.
const GUARD_REACH: usize = 6;
/// Maximum number of instructions of an update.
const UPDATE_REACH: usize = 12;
/// Stores within this many instructions of each other may belong to one update.
const NEIGHBOURHOOD: usize = 6;

/// Why the sites could not be determined.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SiteError {
    /// No site was found.
    #[error(
        "the image contains no known form of the update of anchor (offset {anchor:#x}) and sequence (offset \
         {sequence:#x}): its compiler generates different code"
    )]
    None {
        /// Offset of the anchor in the thread state.
        anchor: u64,
        /// Offset of the sequence in the thread state.
        sequence: u64,
    },
    /// Some code may be a site.
    #[error("the code at {address:#x} may be an update of anchor and sequence: {why}")]
    Doubt {
        /// The address of the code.
        address: u64,
        /// Why it is in doubt.
        why: &'static str,
    },
}

/// The comparison of the anchor with the frame that leaves, and the branch that depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The instruction that compares the anchor.
    pub compare: Span,
    /// The register that holds the frame that leaves.
    pub frame: Register,
    /// The conditional jump after the comparison.
    pub branch: Span,
    /// Whether the branch jumps to the update (`je`) or over it (`jne`).
    pub taken_if_equal: bool,
}

/// How the sequence is incremented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Increment {
    /// With one instruction, in memory.
    InMemory(Span),
    /// In a register, with an addition and a store.
    InRegister {
        /// The instruction that adds one.
        add: Span,
        /// The instruction that stores the sum.
        store: Span,
    },
}

impl Increment {
    /// The instruction that changes memory.
    #[must_use]
    pub fn store(self) -> Span {
        match self {
            Self::InMemory(span) | Self::InRegister { store: span, .. } => span,
        }
    }
}

/// One update of anchor and sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateSite {
    /// Whether it is executed in place or copied by the JIT.
    pub kind: Kind,
    /// The guards that lead to it. There are several if the compiler merged equal updates.
    pub guards: Vec<Guard>,
    /// The store to the anchor.
    pub pointer: Span,
    /// The increment of the sequence.
    pub increment: Increment,
    /// The register that holds the thread state.
    pub thread: Register,
    /// The register that is stored to the anchor.
    pub value: Register,
}

impl UpdateSite {
    /// The address of the update's first instruction.
    #[must_use]
    pub fn address(&self) -> u64 {
        let increment = match self.increment {
            Increment::InMemory(span) => span,
            Increment::InRegister { add, store } => add.min(store),
        };
        self.pointer.min(increment).address
    }
}

/// All sites of `sections`, ordered by address.
///
/// # Errors
/// See [`SiteError`].
pub fn find(sections: &[Section<'_>], cache: &CacheLayout) -> Result<Vec<UpdateSite>, SiteError> {
    let mut sites = Vec::new();
    for section in sections {
        sites.extend(Finder { section, cache }.find()?);
    }
    sites.sort_by_key(UpdateSite::address);
    if sites.is_empty() {
        return Err(SiteError::None { anchor: cache.anchor, sequence: cache.sequence });
    }
    Ok(sites)
}

/// The instructions of an update, without its guards.
struct Update {
    pointer: Span,
    increment: Increment,
    thread: Register,
    value: Register,
}

struct Finder<'a> {
    section: &'a Section<'a>,
    cache: &'a CacheLayout,
}

impl Finder<'_> {
    fn find(&self) -> Result<Vec<UpdateSite>, SiteError> {
        // Sites by the address of the store to the anchor.
        let mut sites: BTreeMap<u64, UpdateSite> = BTreeMap::new();
        let mut updates = Vec::new();
        match self.section.kind {
            Kind::Text => {
                let mut window: Vec<Instruction> = Vec::new();
                for instruction in sweep(self.section) {
                    self.guarded(&instruction, &mut sites)?;
                    if window.len() > 2 * NEIGHBOURHOOD {
                        window.remove(0);
                    }
                    window.push(instruction);
                    let stores = stores(&instruction, self.cache.anchor) || stores(&instruction, self.cache.sequence);
                    // Unrelated instructions nearby do not cause a doubt.
                    if stores && let Ok(Some(update)) = self.update(window.iter().copied()) {
                        updates.push(update.pointer);
                    }
                }
            }
            Kind::Data => {
                for start in 0..self.section.bytes.len() {
                    let bytes = self.section.bytes.get(start..).unwrap_or_default();
                    // REX.W and one of the two encodings of the comparison.
                    if let [0x48..=0x4f, 0x39 | 0x3b, ..] = bytes
                        && let Some(instruction) = self.section.instructions(self.section.address + start as u64).next()
                    {
                        self.guarded(&instruction, &mut sites)?;
                    }
                }
            }
        }
        if let Some(update) = updates.iter().find(|update| !sites.contains_key(&update.address)) {
            return Err(SiteError::Doubt { address: update.address, why: "the anchor is not compared before it" });
        }
        Ok(sites.into_values().collect())
    }

    /// If `compare` is a guard, records its site.
    fn guarded(&self, compare: &Instruction, sites: &mut BTreeMap<u64, UpdateSite>) -> Result<(), SiteError> {
        if !compares(compare, self.cache.anchor) {
            return Ok(());
        }
        let after = self.section.instructions(compare.next_ip()).take(GUARD_REACH);
        let mut branch = None;
        for instruction in after {
            if instruction.flow_control() == FlowControl::ConditionalBranch {
                branch = Some(instruction);
                break;
            }
            if instruction.flow_control() != FlowControl::Next || instruction.rflags_modified() != 0 {
                break;
            }
        }
        let Some(branch) = branch else { return Ok(()) };
        let taken_if_equal = match branch.mnemonic() {
            Mnemonic::Je => true,
            Mnemonic::Jne => false,
            _ => return Ok(()),
        };
        let equal = if taken_if_equal { branch.near_branch_target() } else { branch.next_ip() };
        let Some(update) = self.update(run(self.section, equal))? else { return Ok(()) };
        let register = |operand| compare.op_kind(operand) == OpKind::Register;
        let frame = compare.op_register(if register(0) { 0 } else { 1 });
        let guard = Guard { compare: compare.into(), frame, branch: (&branch).into(), taken_if_equal };
        let site = sites.entry(update.pointer.address).or_insert_with(|| UpdateSite {
            kind: self.section.kind,
            guards: Vec::new(),
            pointer: update.pointer,
            increment: update.increment,
            thread: update.thread,
            value: update.value,
        });
        site.guards.push(guard);
        Ok(())
    }

    /// The update contained in `instructions`, if there is one.
    fn update(&self, instructions: impl Iterator<Item = Instruction>) -> Result<Option<Update>, SiteError> {
        let mut pointer: Option<(Instruction, Register)> = None;
        let mut increment: Option<(Increment, Register)> = None;
        // The registers that hold the sequence and the sequence plus one.
        let mut loaded: Option<Register> = None;
        let mut added: Option<(Register, Span)> = None;
        for instruction in instructions {
            let target = instruction.op0_register().full_register();
            if stores(&instruction, self.cache.anchor) && instruction.mnemonic() == Mnemonic::Mov {
                pointer = Some((instruction, instruction.op1_register()));
            } else if stores(&instruction, self.cache.sequence) {
                let base = instruction.memory_base();
                match (instruction.mnemonic(), added) {
                    (Mnemonic::Inc, _) => increment = Some((Increment::InMemory((&instruction).into()), base)),
                    (Mnemonic::Add, _) if is_one(&instruction) => {
                        increment = Some((Increment::InMemory((&instruction).into()), base));
                    }
                    (Mnemonic::Mov, Some((sum, add))) if instruction.op1_register() == sum => {
                        increment = Some((Increment::InRegister { add, store: (&instruction).into() }, base));
                    }
                    _ => {}
                }
            } else if instruction.mnemonic() == Mnemonic::Mov && reads(&instruction, self.cache.sequence) {
                loaded = Some(target);
            } else if loaded.is_some() && adds_one(&instruction, loaded) {
                added = Some((target, (&instruction).into()));
            }
        }
        let (Some((pointer, value)), Some((increment, thread))) = (pointer, increment) else { return Ok(None) };
        if pointer.memory_base() != thread {
            return Err(SiteError::Doubt {
                address: pointer.ip(),
                why: "anchor and sequence are addressed through different registers",
            });
        }
        Ok(Some(Update { pointer: (&pointer).into(), increment, thread, value }))
    }
}

/// The instructions from `address` up to the first one after which execution may continue elsewhere.
fn run<'a>(section: &'a Section<'a>, address: u64) -> impl Iterator<Item = Instruction> + 'a {
    section
        .instructions(address)
        .take(UPDATE_REACH)
        .take_while(|instruction| instruction.flow_control() == FlowControl::Next)
}

/// All instructions in order. Bytes that do not decode are skipped one at a time.
fn sweep<'a>(section: &'a Section<'a>) -> impl Iterator<Item = Instruction> + 'a {
    let mut decoder = iced_x86::Decoder::with_ip(64, section.bytes, section.address, iced_x86::DecoderOptions::NONE);
    std::iter::from_fn(move || {
        while decoder.can_decode() {
            let start = decoder.position();
            let address = decoder.ip();
            let instruction = decoder.decode();
            if !instruction.is_invalid() {
                return Some(instruction);
            }
            decoder.set_position(start + 1).ok()?;
            decoder.set_ip(address + 1);
        }
        None
    })
}

/// Whether the memory operand is the word at a base register plus `offset`.
fn at(instruction: &Instruction, offset: u64) -> bool {
    instruction.memory_index() == Register::None
        && instruction.memory_base().is_gpr64()
        && instruction.memory_displacement64() == offset
        && instruction.memory_size().size() == 8
        && instruction.segment_prefix() == Register::None
}

fn stores(instruction: &Instruction, offset: u64) -> bool {
    instruction.op_count() > 0
        && instruction.op0_kind() == OpKind::Memory
        && matches!(instruction.mnemonic(), Mnemonic::Mov | Mnemonic::Add | Mnemonic::Inc)
        && at(instruction, offset)
}

fn reads(instruction: &Instruction, offset: u64) -> bool {
    instruction.op_count() > 1 && instruction.op1_kind() == OpKind::Memory && at(instruction, offset)
}

fn compares(instruction: &Instruction, offset: u64) -> bool {
    let (first, second) = (instruction.op0_kind(), instruction.op1_kind());
    instruction.mnemonic() == Mnemonic::Cmp
        && matches!((first, second), (OpKind::Memory, OpKind::Register) | (OpKind::Register, OpKind::Memory))
        && at(instruction, offset)
}

fn is_one(instruction: &Instruction) -> bool {
    instruction.try_immediate(1).is_ok_and(|immediate| immediate == 1)
}

fn adds_one(instruction: &Instruction, register: Option<Register>) -> bool {
    match instruction.mnemonic() {
        Mnemonic::Inc => Some(instruction.op0_register()) == register,
        Mnemonic::Add => Some(instruction.op0_register()) == register && is_one(instruction),
        Mnemonic::Lea => {
            Some(instruction.memory_base()) == register
                && instruction.memory_index() == Register::None
                && instruction.memory_displacement64() == 1
        }
        _ => false,
    }
}
