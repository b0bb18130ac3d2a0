//! The decoded functions of a module.

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

/// Larger functions, in bytes, are not decoded.
const FUNCTION_LIMIT: u64 = 1 << 20;

/// A function, or a part of one that the compiler placed elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Function {
    /// Its name in the symbol table, with the compiler's suffixes.
    pub(super) name: String,
    pub(super) start: u64,
    /// Its instructions in address order.
    pub(super) instructions: Vec<Instruction>,
    bytes: Vec<u8>,
}

impl Function {
    pub(super) fn new(name: &str, start: u64, bytes: &[u8]) -> Self {
        let mut decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
        let instructions = decoder.iter().collect();
        Self { name: name.to_owned(), start, instructions, bytes: bytes.to_vec() }
    }

    /// The name in the source, without suffixes such as `.lto_priv.0` and `.cold`.
    pub(super) fn source_name(&self) -> &str {
        self.name.split('.').next().unwrap_or_default()
    }

    /// The instruction at `index`.
    pub(super) fn at(&self, index: usize) -> Option<&Instruction> {
        self.instructions.get(index)
    }

    /// The bytes of an instruction of this function.
    pub(super) fn bytes_of(&self, instruction: &Instruction) -> &[u8] {
        let from = usize::try_from(instruction.ip().wrapping_sub(self.start)).unwrap_or(usize::MAX);
        from.checked_add(instruction.len()).and_then(|to| self.bytes.get(from..to)).unwrap_or_default()
    }

    /// The index of the instruction at an address.
    pub(super) fn index_of(&self, address: u64) -> Option<usize> {
        self.instructions.binary_search_by_key(&address, Instruction::ip).ok()
    }

    /// The indices of the instructions around `index`, including itself.
    pub(super) fn around(&self, index: usize, distance: usize) -> std::ops::Range<usize> {
        index.saturating_sub(distance)..(index + distance + 1).min(self.instructions.len())
    }

    /// The equality jump (`je`, `jne`) that depends on the comparison at `index`: nothing in between changes the flags.
    pub(super) fn decided(&self, index: usize) -> Option<usize> {
        (index + 1..self.instructions.len())
            .take_while(|&next| {
                let before = self.at(next - 1);
                next == index + 1 || before.is_some_and(|before| before.rflags_modified() == 0 && !leaves(before))
            })
            .take(4)
            .find(|&next| self.at(next).is_some_and(is_equality_jump))
    }
}

/// All code of a module that has a symbol.
#[derive(Clone, Debug)]
pub(super) struct Code {
    pub(super) functions: Vec<Function>,
}

impl Code {
    /// Decodes every function of `file`.
    pub(super) fn of(file: &object::File<'_>) -> object::Result<Self> {
        let mut functions = Vec::new();
        for symbol in file.symbols() {
            let (start, size) = (symbol.address(), symbol.size());
            if symbol.kind() != SymbolKind::Text || size == 0 || size > FUNCTION_LIMIT {
                continue;
            }
            let Some(index) = symbol.section_index() else { continue };
            let section = file.section_by_index(index)?;
            let (Ok(name), Some(bytes)) = (symbol.name(), section.data_range(start, size)?) else { continue };
            functions.push(Function::new(name, start, bytes));
        }
        functions.sort_by_key(|function| function.start);
        functions.dedup_by_key(|function| function.start);
        Ok(Self { functions })
    }

    /// The functions named `name` in the source, without parts that the compiler split off.
    pub(super) fn named(&self, name: &str) -> Vec<&Function> {
        let whole = |function: &&Function| !function.name.contains(".cold") && !function.name.contains(".part");
        self.functions.iter().filter(|function| function.source_name() == name).filter(whole).collect()
    }

    /// All places that satisfy `wanted`.
    pub(super) fn places<'a>(&'a self, wanted: impl Fn(&'a Function, usize) -> bool) -> Vec<(&'a Function, usize)> {
        let places = self
            .functions
            .iter()
            .flat_map(|function| (0..function.instructions.len()).map(move |index| (function, index)));
        places.filter(|&(function, index)| wanted(function, index)).collect()
    }
}

/// Whether execution may continue elsewhere.
fn leaves(instruction: &Instruction) -> bool {
    instruction.flow_control() != iced_x86::FlowControl::Next
}

/// `je` or `jne`.
pub(super) fn is_equality_jump(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Je | Mnemonic::Jne)
}

/// The base register of a memory operand that is this register plus `offset`, if the register can point to a structure.
pub(super) fn pointer_at(instruction: &Instruction, offset: u64) -> Option<Register> {
    let has_memory = (0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == OpKind::Memory);
    let base = instruction.memory_base();
    let plain = instruction.memory_index() == Register::None
        && instruction.segment_prefix() == Register::None
        && instruction.memory_displacement64() == offset
        && !matches!(base, Register::None | Register::RIP | Register::RSP | Register::RBP);
    (has_memory && plain).then_some(base)
}

/// Whether an operand of the instruction is exactly this register.
pub(super) fn has_register(instruction: &Instruction, register: Register) -> bool {
    (0..instruction.op_count())
        .any(|operand| instruction.op_kind(operand) == OpKind::Register && instruction.op_register(operand) == register)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_uses_the_last_comparison_before_it() {
        // cmp [rax+0x10],rcx; mov rdx,rax; jne +0; cmp rax,rcx; add rax,1; jne +0
        let bytes = [
            0x48, 0x39, 0x48, 0x10, 0x48, 0x89, 0xc2, 0x75, 0x00, 0x48, 0x39, 0xc8, 0x48, 0x83, 0xc0, 0x01, 0x75, 0x00,
        ];
        let function = Function::new("f.lto_priv.0", 0x1000, &bytes);
        assert_eq!(function.source_name(), "f");
        assert_eq!(function.decided(0), Some(2));
        assert_eq!(function.decided(3), None);
        assert_eq!(function.at(0).and_then(|compare| pointer_at(compare, 0x10)), Some(Register::RAX));
        assert_eq!(function.at(0).and_then(|compare| pointer_at(compare, 0x18)), None);
    }
}
