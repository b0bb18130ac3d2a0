//! Instructions of the same length that do something else.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, Register};

use super::NotViable;

/// Bytes to be put at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) address: u64,
    pub(super) old: Vec<u8>,
    pub(super) new: Vec<u8>,
}

/// The recommended instructions without effect, by length.
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

/// `start` and then nothing, in the place of `old`; what comes out must decode to `wanted`.
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

/// Makes an equality jump go where it goes when both are equal.
pub(super) fn as_if_equal(jump: &Instruction, old: &[u8]) -> Result<Edit, NotViable> {
    match (jump.mnemonic(), old) {
        (Mnemonic::Jne, _) => replace(jump, old, &[], |new| new.iter().all(|it| it.mnemonic() == Mnemonic::Nop)),
        (Mnemonic::Je, _) => always(jump, old),
        _ => Err(not_viable("no equality jump", jump)),
    }
}

/// Makes a conditional jump one that is always taken.
pub(super) fn always(jump: &Instruction, old: &[u8]) -> Result<Edit, NotViable> {
    let new = match old {
        [0x70..=0x7f, distance] => vec![0xeb, *distance],
        // One byte shorter, so that a byte without effect before it keeps the distance right.
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

/// Makes a call one that does nothing and returns 0.
pub(super) fn returns_zero(call: &Instruction, old: &[u8]) -> Result<Edit, NotViable> {
    replace(call, old, &[0x31, 0xc0], |new| new.first().is_some_and(|it| it.code() == Code::Xor_rm32_r32))
}

/// Turns `cmp [m], r` into `cmp r, r`, which always comes out equal.
pub(super) fn with_itself(compare: &Instruction, old: &[u8]) -> Result<Edit, NotViable> {
    let &[rex, 0x39, modrm, ..] = old else { return Err(not_viable("no comparison of a known form", compare)) };
    let register = modrm >> 3 & 7;
    // The register's high bit is at another place of the prefix for either operand.
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

/// Turns `add r, [m]` into `mov r, [m]`.
pub(super) fn load_for_add(add: &Instruction, old: &[u8]) -> Result<Edit, NotViable> {
    let &[rex, 0x03, ref rest @ ..] = old else { return Err(not_viable("no addition of a known form", add)) };
    let same = |new: &[Instruction]| {
        new.first().is_some_and(|new| {
            new.code() == Code::Mov_r64_rm64
                && new.op0_register() == add.op0_register()
                && new.memory_base() == add.memory_base()
                && new.memory_displacement64() == add.memory_displacement64()
        })
    };
    replace(add, old, &[&[rex, 0x8b], rest].concat(), same)
}

/// Puts 0 in the place of a register that is stored, where `pointer` points to the same place.
pub(super) fn store_zero(store: &Instruction, old: &[u8], pointer: Register) -> Result<Edit, NotViable> {
    let modrm = match pointer {
        Register::RAX => 0x20,
        Register::RCX => 0x21,
        Register::RDX => 0x22,
        Register::RSI => 0x26,
        Register::RDI => 0x27,
        _ => return Err(not_viable("no store through this register", store)),
    };
    let right = |new: &[Instruction]| {
        new.first().is_some_and(|new| new.code() == Code::And_rm64_imm8 && new.memory_base() == pointer)
    };
    replace(store, old, &[0x48, 0x83, modrm, 0x00], right)
}

/// Turns the landing mark at the start of a function, which a direct call does not need, into `xor edx, edx`.
pub(super) fn third_argument_zero(mark: &Instruction, old: &[u8]) -> Result<Edit, NotViable> {
    if mark.mnemonic() != Mnemonic::Endbr64 {
        return Err(not_viable("no endbr64", mark));
    }
    let right = |new: &[Instruction]| new.first().is_some_and(|new| new.op0_register() == Register::EDX);
    replace(mark, old, &[0x31, 0xd2], right)
}

/// Makes the call of a function whose second argument is an item of a list one whose second argument is the first item of
/// another list, which `entry` has at `frames`: the call goes to `room`, and from there on.
pub(super) fn with_first_of(
    call: &Instruction,
    old: &[u8],
    (entry, frames, items): (Register, u64, u64),
    room: u64,
) -> Result<[Edit; 2], NotViable> {
    let wrong = || not_viable("no way to redirect the call", call);
    let distance = |from: u64, to: u64| i32::try_from(to.wrapping_sub(from).cast_signed()).map_err(|_| wrong());
    let frames_at = i32::try_from(frames).map_err(|_| wrong())?;
    let items_at = i8::try_from(items).map_err(|_| wrong())?;
    // mov rsi, [entry + frames]
    let load: &[u8] = match entry {
        Register::RBX => &[0x48, 0x8b, 0xb3],
        Register::R12 => &[0x49, 0x8b, 0xb4, 0x24],
        Register::R13 => &[0x49, 0x8b, 0xb5],
        Register::R14 => &[0x49, 0x8b, 0xb6],
        Register::R15 => &[0x49, 0x8b, 0xb7],
        _ => return Err(not_viable("no register that a call keeps points to the entry", call)),
    };
    let mut stub = [load, &frames_at.to_le_bytes()].concat();
    // mov rsi, [rsi + items]; mov rsi, [rsi]; jmp to the function
    stub.extend([0x48, 0x8b, 0x76, items_at.cast_unsigned(), 0x48, 0x8b, 0x36, 0xe9]);
    let end = room.wrapping_add(stub.len() as u64 + 4);
    stub.extend(distance(end, call.near_branch_target())?.to_le_bytes());
    let decoded: Vec<_> = Decoder::with_ip(64, &stub, room, DecoderOptions::NONE).iter().collect();
    let [load, items_load, item, jump] = decoded.as_slice() else { return Err(wrong()) };
    let loads = |it: &Instruction, base, offset| {
        it.code() == Code::Mov_r64_rm64
            && it.op0_register() == Register::RSI
            && it.memory_base() == base
            && it.memory_displacement64() == offset
    };
    let right = loads(load, entry, frames)
        && loads(items_load, Register::RSI, items)
        && loads(item, Register::RSI, 0)
        && jump.near_branch_target() == call.near_branch_target();
    if !right {
        return Err(wrong());
    }
    let to_room = [&[0xe8], distance(call.next_ip(), room)?.to_le_bytes().as_slice()].concat();
    let redirected = |new: &[Instruction]| {
        new.first().is_some_and(|new| new.mnemonic() == Mnemonic::Call && new.near_branch_target() == room)
    };
    let call = replace(call, old, &to_room, redirected)?;
    Ok([call, Edit { address: room, old: vec![0; stub.len()], new: stub }])
}

/// Makes a function return 1 at once: `mov eax, 1; ret` in the place of its first instructions.
pub(super) fn returns_one(instructions: &[Instruction], bytes: &[u8]) -> Result<Edit, NotViable> {
    const RETURN_ONE: [u8; 6] = [0xb8, 1, 0, 0, 0, 0xc3];
    let body: Vec<_> = instructions.iter().skip_while(|it| it.mnemonic() == Mnemonic::Endbr64).collect();
    let too_short = || NotViable("the function is too short".to_owned());
    let first = body.first().ok_or_else(too_short)?;
    let start = instructions.first().ok_or_else(too_short)?.ip();
    let from = usize::try_from(first.ip().wrapping_sub(start)).map_err(|_| too_short())?;
    let old = bytes.get(from..from.saturating_add(RETURN_ONE.len())).ok_or_else(too_short)?;
    // A jump from inside the function into the replaced bytes would find something else there.
    let into =
        |it: &&Instruction| (1..RETURN_ONE.len() as u64).contains(&it.near_branch_target().wrapping_sub(first.ip()));
    if instructions.iter().any(|it| into(&it)) {
        return Err(NotViable("the function jumps to its own beginning".to_owned()));
    }
    Ok(Edit { address: first.ip(), old: old.to_vec(), new: RETURN_ONE.to_vec() })
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
    fn both_forms_of_both_jumps_go_the_way_of_equality() {
        let rewritten = |bytes: &[u8]| new(as_if_equal(&decoded(bytes), bytes));
        assert_eq!(rewritten(&[0x74, 0x10]), [0xeb, 0x10]);
        assert_eq!(rewritten(&[0x0f, 0x84, 1, 2, 3, 0]), [0x90, 0xe9, 1, 2, 3, 0]);
        assert_eq!(rewritten(&[0x75, 0x10]), [0x66, 0x90]);
        assert_eq!(rewritten(&[0x0f, 0x85, 1, 2, 3, 0]), [0x66, 0x0f, 0x1f, 0x44, 0, 0]);
        let other = [0x7f, 0x10];
        assert!(as_if_equal(&decoded(&other), &other).is_err());
    }

    #[test]
    fn an_addition_becomes_a_load_of_the_same_operands() {
        let bytes = [0x49, 0x03, 0x50, 0x10];
        assert_eq!(new(load_for_add(&decoded(&bytes), &bytes)), [0x49, 0x8b, 0x50, 0x10]);
        let other = [0x48, 0x83, 0xc0, 0x01];
        assert!(load_for_add(&decoded(&other), &other).is_err());
    }

    #[test]
    fn a_call_becomes_a_zero() {
        let bytes = [0xe8, 1, 2, 3, 0];
        assert_eq!(new(returns_zero(&decoded(&bytes), &bytes)), [0x31, 0xc0, 0x0f, 0x1f, 0x00]);
    }

    #[test]
    fn a_stored_register_becomes_a_zero_only_where_there_is_room() {
        let bytes = [0x48, 0x89, 0x85, 0xc0, 0xb8, 0xff, 0xff];
        let expected = [0x48, 0x83, 0x22, 0x00, 0x0f, 0x1f, 0x00];
        assert_eq!(new(store_zero(&decoded(&bytes), &bytes, Register::RDX)), expected);
        assert!(store_zero(&decoded(&bytes), &bytes, Register::R12).is_err());
        let short = [0x48, 0x89, 0x00];
        assert!(store_zero(&decoded(&short), &short, Register::RDX).is_err());
    }

    #[test]
    fn a_call_is_redirected_only_with_a_register_that_it_keeps() {
        let bytes = [0xe8, 0x0b, 0, 0, 0];
        let redirected = |entry| with_first_of(&decoded(&bytes), &bytes, (entry, 0x2028, 0x18), 0x2000);
        let [call, stub] = redirected(Register::R15).unwrap();
        assert_eq!(call.new, [0xe8, 0xfb, 0x0f, 0, 0]);
        let expected = [
            0x49, 0x8b, 0xb7, 0x28, 0x20, 0, 0, 0x48, 0x8b, 0x76, 0x18, 0x48, 0x8b, 0x36, 0xe9, 0xfd, 0xef, 0xff, 0xff,
        ];
        assert_eq!((stub.address, stub.new.as_slice(), stub.old.len()), (0x2000, &expected[..], expected.len()));
        assert!(redirected(Register::RBX).is_ok() && redirected(Register::R12).is_ok());
        assert!(redirected(Register::RAX).is_err());
    }

    #[test]
    fn a_function_returns_one_unless_it_loops_to_its_beginning() {
        let function =
            |bytes: &[u8]| -> Vec<_> { Decoder::with_ip(64, bytes, 0x1000, DecoderOptions::NONE).iter().collect() };
        let bytes = [0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0x48, 0x89, 0xe5, 0x5d, 0xc3, 0x90];
        let edit = returns_one(&function(&bytes), &bytes).unwrap();
        assert_eq!((edit.address, edit.old), (0x1004, vec![0x55, 0x48, 0x89, 0xe5, 0x5d, 0xc3]));
        let bytes = [0x55, 0x90, 0x90, 0x90, 0x90, 0x90, 0xeb, 0xf9];
        assert!(returns_one(&function(&bytes), &bytes).is_err());
        assert!(returns_one(&function(&[0xc3]), &[0xc3]).is_err());
    }
}
