//! The faults that can be put into an update of anchor and sequence.

use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code, IcedError, Instruction, InstructionBlock, MemoryOperand, Register,
};
use serde::Serialize;

use super::code::{Kind, Section, Span};
use super::site::{Increment, UpdateSite};

/// How a mutant differs from the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The anchor moves but the sequence does not count it, as in gh-151613.
    SequenceKept,
    /// Neither moves, as in gh-151436.
    UpdateSkipped,
    /// The anchor does not move, but the sequence is incremented.
    AnchorKept,
    /// The sequence grows by two, or shrinks by one where the encoding has no room for another number.
    SequenceMiscounted,
    /// Every frame that leaves moves the anchor to its caller, even if the anchor was another frame.
    GuardAlwaysTrue,
    /// The anchor moves two callers up instead of one.
    AnchorToGrandparent,
    /// The two stores are made in the opposite order.
    StoresSwapped,
}

impl Fault {
    /// All faults, in the order of reports.
    pub const ALL: [Self; 7] = [
        Self::SequenceKept,
        Self::UpdateSkipped,
        Self::AnchorKept,
        Self::SequenceMiscounted,
        Self::GuardAlwaysTrue,
        Self::AnchorToGrandparent,
        Self::StoresSwapped,
    ];

    /// The name in command lines and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SequenceKept => "sequence-kept",
            Self::UpdateSkipped => "update-skipped",
            Self::AnchorKept => "anchor-kept",
            Self::SequenceMiscounted => "sequence-miscounted",
            Self::GuardAlwaysTrue => "guard-always-true",
            Self::AnchorToGrandparent => "anchor-to-grandparent",
            Self::StoresSwapped => "stores-swapped",
        }
    }

    /// Whether the fault has an effect only if the guard holds.
    #[must_use]
    pub fn needs_update(self) -> bool {
        self != Self::GuardAlwaysTrue
    }
}

/// A replacement of some bytes in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Offset of the first byte in the file.
    pub offset: u64,
    /// The bytes that must be there.
    pub old: Vec<u8>,
    /// The new bytes, of the same length.
    pub new: Vec<u8>,
}

/// Unused executable bytes of an image, for code that does not fit in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Address of the first byte.
    pub address: u64,
    /// Offset of the first byte in the file.
    pub offset: u64,
    /// Number of unused bytes that are left.
    pub length: u64,
}

impl Room {
    fn take(&mut self, length: usize) -> Option<Room> {
        let length = length as u64;
        let taken = Room { length, ..*self };
        self.length = self.length.checked_sub(length)?;
        self.address += length;
        self.offset += length;
        Some(taken)
    }
}

/// Maximum size of moved code in bytes.
const DETOUR_LIMIT: usize = 64;
/// Size of the jump to moved code in bytes.
const JUMP: usize = 5;

/// The offsets that the faults need.
#[derive(Clone, Copy, Debug)]
pub struct FieldOffsets {
    /// Offset of `last_profiled_frame` in the thread state.
    pub anchor: u64,
    /// Offset of `previous` in a frame.
    pub previous: u64,
}

/// Puts faults into the sites of one section.
pub struct Surgeon<'a> {
    /// The section that contains the site.
    pub section: &'a Section<'a>,
    /// Offsets in the target's structures.
    pub offsets: FieldOffsets,
}

impl Surgeon<'_> {
    /// The edits that put `fault` into `site`. Moved code takes its space from `room`.
    ///
    /// # Errors
    /// The reason why this is not possible.
    pub fn edits(&self, fault: Fault, site: &UpdateSite, room: &mut Room) -> Result<Vec<Edit>, String> {
        match fault {
            Fault::SequenceKept => Ok(vec![self.nothing(site.increment.store())?]),
            Fault::AnchorKept => Ok(vec![self.nothing(site.pointer)?]),
            Fault::UpdateSkipped => Ok(vec![self.nothing(site.increment.store())?, self.nothing(site.pointer)?]),
            Fault::SequenceMiscounted => Ok(vec![self.miscounted(site.increment)?]),
            Fault::GuardAlwaysTrue => {
                site.guards.iter().map(|guard| self.always(guard.branch, guard.taken_if_equal)).collect()
            }
            Fault::AnchorToGrandparent => self.grandparent(site, room),
            Fault::StoresSwapped => Ok(vec![self.swapped(site)?]),
        }
    }

    fn bytes(&self, span: Span) -> Result<&[u8], String> {
        let bytes = self.section.from(span.address).and_then(|bytes| bytes.get(..span.length));
        bytes.ok_or_else(|| format!("the code at {:#x} is not in its section", span.address))
    }

    fn edit(&self, span: Span, new: Vec<u8>) -> Result<Edit, String> {
        let old = self.bytes(span)?.to_vec();
        if old.len() != new.len() {
            return Err(format!(
                "the code at {:#x} has {} bytes, but the edit needs {}",
                span.address,
                old.len(),
                new.len()
            ));
        }
        Ok(Edit { offset: self.section.file_offset(span.address), old, new })
    }

    /// Replaces an instruction by no-ops.
    fn nothing(&self, span: Span) -> Result<Edit, String> {
        self.edit(span, nops(span.length))
    }

    fn miscounted(&self, increment: Increment) -> Result<Edit, String> {
        let span = match increment {
            Increment::InMemory(span) => span,
            Increment::InRegister { add, .. } => add,
        };
        let mut new = self.bytes(span)?.to_vec();
        let instruction = self.section.instructions(span.address).next();
        let code = instruction.map(|instruction| instruction.code());
        match (code, new.as_mut_slice()) {
            (Some(Code::Inc_rm64), [_, _, mode, ..]) => *mode |= 1 << 3,
            (Some(Code::Add_rm64_imm8 | Code::Lea_r64_m), [.., one]) if *one == 1 => *one = 2,
            _ => return Err(format!("the code at {:#x} adds one in an unknown way", span.address)),
        }
        self.edit(span, new)
    }

    fn always(&self, branch: Span, taken_if_equal: bool) -> Result<Edit, String> {
        if !taken_if_equal {
            return self.nothing(branch);
        }
        let new = match self.bytes(branch)? {
            [0x74, distance] => vec![0xeb, *distance],
            // The new jump is one byte shorter. A no-op before it keeps the distance correct.
            [0x0f, 0x84, distance @ ..] => [&[0x90, 0xe9], distance].concat(),
            _ => return Err(format!("the branch at {:#x} has an unknown form", branch.address)),
        };
        self.edit(branch, new)
    }

    fn swapped(&self, site: &UpdateSite) -> Result<Edit, String> {
        let increment = match site.increment {
            Increment::InMemory(span) => vec![span],
            Increment::InRegister { .. } => {
                return Err("the sequence is incremented in a register, with other code in between".into());
            }
        };
        let mut spans = [increment, vec![site.pointer]].concat();
        spans.sort();
        let [first, second] = spans.as_slice() else { return Err("the update does not consist of two stores".into()) };
        if first.end() != second.address {
            return Err("there is other code between the two stores".into());
        }
        let new = [self.bytes(*second)?, self.bytes(*first)?].concat();
        self.edit(Span { address: first.address, length: first.length + second.length }, new)
    }

    /// Moves the update elsewhere and adds a second step to the caller.
    fn grandparent(&self, site: &UpdateSite, room: &mut Room) -> Result<Vec<Edit>, String> {
        if site.kind == Kind::Data {
            return Err("code of the JIT is copied, so it cannot jump to free space in the image".into());
        }
        let start = site.address();
        let end = site.pointer.end().max(site.increment.store().end());
        let length = usize::try_from(end - start).unwrap_or(usize::MAX);
        let whole = Span { address: start, length };
        if !(JUMP..=DETOUR_LIMIT / 2).contains(&length) {
            return Err(format!("the update has {length} bytes: too few for a jump, or too many to move"));
        }
        let mut detour: Vec<Instruction> =
            self.section.instructions(start).take_while(|instruction| instruction.ip() < end).collect();
        if detour.iter().any(Instruction::is_ip_rel_memory_operand) {
            return Err("the update uses addresses relative to itself, so it cannot be moved".into());
        }
        let there = room.take(DETOUR_LIMIT).ok_or("the image has no free space left")?;
        let (thread, value) = (site.thread, site.value);
        let anchor = MemoryOperand::with_base_displ(thread, self.offsets.anchor.cast_signed());
        let caller = MemoryOperand::with_base_displ(value, self.offsets.previous.cast_signed());
        let done = u64::MAX;
        let failed = |error: IcedError| format!("the new code cannot be encoded: {error}");
        let step_down = || -> Result<Vec<Instruction>, IcedError> {
            // A leaf function may keep data below its stack pointer.
            let below = |displacement| MemoryOperand::with_base_displ(Register::RSP, displacement);
            let mut last = Instruction::with1(Code::Pop_r64, value)?;
            last.set_ip(done);
            Ok(vec![
                Instruction::with2(Code::Lea_r64_m, Register::RSP, below(-128))?,
                Instruction::with1(Code::Push_r64, value)?,
                Instruction::with2(Code::Mov_r64_rm64, value, anchor)?,
                Instruction::with2(Code::Test_rm64_r64, value, value)?,
                Instruction::with_branch(Code::Je_rel8_64, done)?,
                Instruction::with2(Code::Mov_r64_rm64, value, caller)?,
                Instruction::with2(Code::Mov_rm64_r64, anchor, value)?,
                last,
                Instruction::with2(Code::Lea_r64_m, Register::RSP, below(128))?,
                Instruction::with_branch(Code::Jmp_rel32_64, end)?,
            ])
        };
        detour.extend(step_down().map_err(failed)?);
        let block = InstructionBlock::new(&detour, there.address);
        let encoded = BlockEncoder::encode(64, block, BlockEncoderOptions::NONE).map_err(failed)?;
        let mut code = encoded.code_buffer;
        if code.len() > DETOUR_LIMIT {
            return Err(format!("the new code has {} bytes, more than the free space", code.len()));
        }
        code.resize(DETOUR_LIMIT, 0);
        let distance = there.address.wrapping_sub(start + JUMP as u64).cast_signed();
        let distance = i32::try_from(distance).map_err(|_| "the free space is too far away for a jump".to_owned())?;
        let mut jump = [&[0xe9][..], &distance.to_le_bytes()].concat();
        jump.extend(nops(length - JUMP));
        Ok(vec![self.edit(whole, jump)?, Edit { offset: there.offset, old: vec![0; DETOUR_LIMIT], new: code }])
    }
}

/// `length` bytes of no-ops.
fn nops(length: usize) -> Vec<u8> {
    vec![0x90; length]
}
