//! Replaces instructions by others of the same length.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic};

use super::NotViable;

/// Bytes to write at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) address: u64,
    pub(super) old: Vec<u8>,
    pub(super) new: Vec<u8>,
}

/// The recommended no-op instructions, by length.
const NOPS: [&[u8]; 8] = [
    &[],
    &[0x90],
    &[0x66, 0x90],
    &[0x0f, 0x1f, 0x00],
    &[0x0f, 0x1f, 0x40, 0x00],
    &[0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
];

fn not_viable(reason: &str, instruction: &Instruction) -> NotViable {
    NotViable(format!("{reason} at {:#x}: {:?}", instruction.ip(), instruction.code()))
}

/// Replaces `old` by `start`, padded with no-ops. The result must decode to what `wanted` accepts.
fn replace(
    instruction: &Instruction,
    old: &[u8],
    start: &[u8],
    wanted: impl Fn(&[Instruction]) -> bool,
) -> Result<Edit, NotViable> {
    let wrong = || not_viable("no way to rewrite the instruction", instruction);
    let nops = old.len().checked_sub(start.len()).and_then(|rest| NOPS.get(rest)).ok_or_else(wrong)?;
    let new = [start, nops].concat();
    let mut decoder = Decoder::with_ip(64, &new, instruction.ip(), DecoderOptions::NONE);
    let decoded: Vec<_> = decoder.iter().collect();
    let whole = decoded.last().is_some_and(|last| !last.is_invalid() && last.next_ip() == instruction.next_ip());
    let rest = decoded.iter().skip(1).all(|instruction| instruction.mnemonic() == Mnemonic::Nop);
    if old.len() == instruction.len() && whole && rest && wanted(&decoded) {
        return Ok(Edit { address: instruction.ip(), old: old.to_vec(), new });
    }
    Err(wrong())
}

/// Makes an equality jump behave as if the operands were equal.
pub(super) fn as_if_equal(jump: &Instruction, old: &[u8]) -> Result<Edit, NotViable> {
    match (jump.mnemonic(), old) {
        (Mnemonic::Jne, _) => replace(jump, old, &[], |new| new.iter().all(|it| it.mnemonic() == Mnemonic::Nop)),
        (Mnemonic::Je, _) => always(jump, old),
        _ => Err(not_viable("no equality jump", jump)),
    }
}

/// Makes a conditional jump unconditional.
fn always(jump: &Instruction, old: &[u8]) -> Result<Edit, NotViable> {
    let new = match old {
        [0x70..=0x7f, distance] => vec![0xeb, *distance],
        // The new jump is one byte shorter. A no-op before it keeps the distance correct.
        [0x0f, 0x80..=0x8f, distance @ ..] if distance.len() == 4 => [&[0x90, 0xe9], distance].concat(),
        _ => return Err(not_viable("no conditional jump of a known form", jump)),
    };
    let target = jump.near_branch_target();
    let mut decoder = Decoder::with_ip(64, &new, jump.ip(), DecoderOptions::NONE);
    let last = decoder.iter().last();
    let right = |last: Instruction| {
        last.mnemonic() == Mnemonic::Jmp && last.near_branch_target() == target && last.next_ip() == jump.next_ip()
    };
    if last.is_some_and(right) {
        return Ok(Edit { address: jump.ip(), old: old.to_vec(), new });
    }
    Err(not_viable("no way to rewrite the jump", jump))
}

/// Turns `cmp [m], r` into `cmp r, r`, which always compares as equal.
pub(super) fn with_itself(compare: &Instruction, old: &[u8]) -> Result<Edit, NotViable> {
    let &[rex, 0x39, modrm, ..] = old else { return Err(not_viable("no comparison of a known form", compare)) };
    let register = modrm >> 3 & 7;
    // The high bit of a register number is at a different position in the prefix for each operand.
    let rex = rex & !0b0011 | rex >> 2 & 1;
    let same = |new: &[Instruction]| {
        new.first().is_some_and(|new| {
            new.code() == Code::Cmp_rm64_r64
                && new.op0_register() == compare.op1_register()
                && new.op1_register() == compare.op1_register()
        })
    };
    replace(compare, old, &[rex, 0x39, 0xc0 | register << 3 | register], same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> Instruction {
        Decoder::with_ip(64, bytes, 0x1000, DecoderOptions::NONE).decode()
    }

    fn new(edit: Result<Edit, NotViable>) -> Vec<u8> {
        edit.unwrap().new
    }

    #[test]
    fn all_jump_forms_are_patched_to_act_as_equal() {
        let rewritten = |bytes: &[u8]| new(as_if_equal(&decoded(bytes), bytes));
        assert_eq!(rewritten(&[0x74, 0x10]), [0xeb, 0x10]);
        assert_eq!(rewritten(&[0x0f, 0x84, 1, 2, 3, 0]), [0x90, 0xe9, 1, 2, 3, 0]);
        assert_eq!(rewritten(&[0x75, 0x10]), [0x66, 0x90]);
        assert_eq!(rewritten(&[0x0f, 0x85, 1, 2, 3, 0]), [0x66, 0x0f, 0x1f, 0x44, 0, 0]);
        let other = [0x7f, 0x10];
        assert!(as_if_equal(&decoded(&other), &other).is_err());
    }
}
