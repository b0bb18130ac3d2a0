//! The names of a build's opcodes.

use std::collections::BTreeMap;

use process::build::{Build, ask};

use crate::mutants::coverage::Operation;

/// Prints the opcodes by name. The numbers are those of the interpreter that runs it.
const SCRIPT: &str = "\
import json, _opcode_metadata as m
print(json.dumps({name: number for table in (m.opmap, m._specialized_opmap) for name, number in table.items()}))";

/// Instructions that look at the anchor when they are already done.
const DONE: [&str; 3] = ["RETURN_GENERATOR", "YIELD_VALUE", "INSTRUMENTED_YIELD_VALUE"];

/// Opcode names by number.
#[derive(Clone, Debug, Default)]
pub struct Opcodes(BTreeMap<u8, String>);

impl Opcodes {
    /// Asks `build`. If it does not answer, operations show numbers only.
    #[must_use]
    pub fn of(build: &Build) -> Self {
        let answer = ask(&build.python, &["-I", "-S", "-c", SCRIPT]).ok();
        let answer: Option<BTreeMap<String, u16>> = answer.and_then(|answer| serde_json::from_slice(&answer).ok());
        let named = answer.unwrap_or_default().into_iter();
        // Larger numbers are not opcodes of bytecode.
        Self(named.filter_map(|(name, number)| Some((u8::try_from(number).ok()?, name))).collect())
    }

    /// The operation by the names of its opcodes in this version.
    #[must_use]
    pub fn name(&self, operation: Operation) -> String {
        let name = |opcode: u8| self.0.get(&opcode).cloned().unwrap_or_else(|| format!("opcode {opcode}"));
        match operation {
            Operation::At(opcode, before) => match name(before) {
                done if DONE.contains(&done.as_str()) => done,
                _ => name(opcode),
            },
            Operation::NotBegun(opcode) => format!("not begun, {}", name(opcode)),
            Operation::Unknown => "unknown".into(),
        }
    }
}
