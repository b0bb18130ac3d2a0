//! Decodes an x86-64 instruction and works out what it is about to load and store.

use framewalk::memory::Address;
use iced_x86::{Code, Decoder, DecoderOptions, InstructionInfoFactory, Mnemonic, OpAccess};
use lab::mutants::register::value;
use nix::libc::user_regs_struct;

/// Maximum length of an instruction in bytes.
pub(crate) const INSTRUCTION_LIMIT: usize = 15;
/// Maximum size in bytes of an access in one step: a vector register. `rep` instructions are stepped one iteration at a
/// time. Instructions that save the whole processor state store nothing of interest.
const ACCESS_LIMIT: usize = 64;

/// A memory range that an instruction accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InstructionAccess {
    /// Address of its first byte.
    pub(crate) address: Address,
    /// Length of the encoded instruction, in bytes.
    pub(crate) size: usize,
}

/// The next instruction of a stopped thread.
#[derive(Clone, Debug)]
pub(crate) struct Instruction {
    /// The ranges it loads.
    pub(crate) loads: Vec<InstructionAccess>,
    /// The ranges it stores to.
    pub(crate) stores: Vec<InstructionAccess>,
    /// Number and first argument, if the instruction is a system call.
    pub(crate) system_call: Option<(u64, u64)>,
}

/// Decodes the instruction at the start of `bytes`; its address is the instruction pointer in `registers`.
pub(crate) fn decode(factory: &mut InstructionInfoFactory, bytes: &[u8], registers: &user_regs_struct) -> Instruction {
    let decoded = Decoder::with_ip(64, bytes, registers.rip, DecoderOptions::NONE).decode();
    let system_call = (decoded.code() == Code::Syscall).then_some((registers.rax, registers.rdi));
    let mut instruction = Instruction { loads: vec![], stores: vec![], system_call };
    // The memory operand of these instructions is not accessed.
    if matches!(decoded.mnemonic(), Mnemonic::Nop | Mnemonic::Endbr64) {
        return instruction;
    }
    for memory in factory.info(&decoded).used_memory() {
        let Some(address) = memory.virtual_address(0, |register, _, _| value(register, registers)) else { continue };
        let access = InstructionAccess { address, size: memory.memory_size().size().min(ACCESS_LIMIT) };
        let (loads, stores) = match memory.access() {
            OpAccess::Read | OpAccess::CondRead => (true, false),
            OpAccess::Write | OpAccess::CondWrite => (false, true),
            OpAccess::ReadWrite | OpAccess::ReadCondWrite => (true, true),
            OpAccess::None | OpAccess::NoMemAccess => (false, false),
        };
        if loads {
            instruction.loads.push(access);
        }
        if stores {
            instruction.stores.push(access);
        }
    }
    instruction
}

mod tests {
    use super::*;

    fn decoded(bytes: &[u8], registers: &user_regs_struct) -> Instruction {
        decode(&mut InstructionInfoFactory::new(), bytes, registers)
    }

    fn registers() -> user_regs_struct {
        // SAFETY: the structure contains only integers, for which zero is valid.
        let mut registers: user_regs_struct = unsafe { std::mem::zeroed() };
        registers.rdi = 0x1000;
        registers.rsp = 0x2000;
        registers.r12 = 0x3000;
        registers.rip = 0x4000;
        registers
    }

    #[test]
    fn the_two_instructions_of_an_update_are_decoded() {
        // add qword [rdi+0x60], 1; mov [rdi+0x58], rax; cmp [rdi+0x58], rsi
        let word = |address| vec![InstructionAccess { address, size: 8 }];
        let add = decoded(&[0x48, 0x83, 0x47, 0x60, 0x01], &registers());
        assert_eq!((add.loads, add.stores), (word(0x1060), word(0x1060)));
        let mov = decoded(&[0x48, 0x89, 0x47, 0x58], &registers());
        assert_eq!((mov.loads, mov.stores), (vec![], word(0x1058)));
        let cmp = decoded(&[0x48, 0x39, 0x77, 0x58], &registers());
        assert_eq!((cmp.loads, cmp.stores), (word(0x1058), vec![]));
    }

    #[test]
    fn pushes_byte_accesses_and_relative_addresses_are_decoded() {
        // call +0; movb $5,-5(%r12); mov %rax,0x10(%rip)
        let call = decoded(&[0xe8, 0, 0, 0, 0], &registers());
        assert_eq!(call.stores, [InstructionAccess { address: 0x1ff8, size: 8 }]);
        let byte = decoded(&[0x41, 0xc6, 0x44, 0x24, 0xfb, 0x05], &registers());
        assert_eq!(byte.stores, [InstructionAccess { address: 0x2ffb, size: 1 }]);
        let relative = decoded(&[0x48, 0x89, 0x05, 0x10, 0, 0, 0], &registers());
        assert_eq!(relative.stores, [InstructionAccess { address: 0x4017, size: 8 }]);
    }

    #[test]
    fn only_system_calls_are_system_calls() {
        let mut at = registers();
        at.rax = 1;
        assert_eq!(decoded(&[0x0f, 0x05], &at).system_call, Some((1, 0x1000)));
        assert_eq!(decoded(&[0x0f, 0x1f, 0x00], &at).system_call, None);
        assert!(decoded(&[0x0f, 0x1f, 0x00], &at).loads.is_empty(), "a nop has an operand that it does not use");
    }
}
