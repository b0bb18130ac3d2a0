//! Random programs that the real and the simulated interpreter execute alike. Calls go from earlier functions to later
//! ones, nothing branches, and every instruction is valid when it is reached.

use std::collections::BTreeSet;
use std::ops::Range;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sim::map::SLOT_COUNT;
use sim::program::{SimFunction, SimFunctionId, SimInstruction, SimProgram, Thread, Variable};

use crate::conform::family::{ConformOperation, MAIN, MODULE, ProgramFamily, ROUND_LINE};
use crate::conform::legal::{Illegal, check};

/// How many candidates are tried for one program. Most of those that cannot be repaired fail at once.
const CANDIDATES: usize = 400;
/// The most operations that one function draws. Each takes a line of its own.
const MOST_OPERATIONS: usize = 7;
/// The fewest operations that make a program worth starting a process.
const FEWEST: usize = 8;
/// Frames per chunk in programs that need more than one chunk.
const FEW_SLOTS: u8 = 4;
/// The functions that share addresses, in the family `code-reuse`.
const TURNS: Range<SimFunctionId> = MAIN + 1..MAIN + 5;

/// Generates the program of a family and a seed.
///
/// It is the same on every machine. Each operation follows an [`SimInstruction::Line`] of its own. `main` begins with an
/// extra line, for the gate of the round, and ends with a jump back to it. All other functions end with a line for the
/// return.
#[must_use]
pub fn draw(family: ProgramFamily, seed: u64) -> SimProgram {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for _ in 0..CANDIDATES {
        let mut program = candidate(family, &mut random);
        if repair(&mut program) && is_worth_it(family, &program) {
            return program;
        }
    }
    // Never needed in practice: see the test.
    let mut program = Draft::new(family, MAIN + 1, 0).program;
    let round = [SimInstruction::Line(ROUND_LINE), SimInstruction::Call(MAIN + 1), SimInstruction::Jump(0)];
    program
        .functions
        .extend([SimFunction::new("main", &round), SimFunction::new("f2", &[SimInstruction::Line(ROUND_LINE)])]);
    program
}

/// The operations that a generated program performs in a round.
#[must_use]
pub fn operations(program: &SimProgram) -> BTreeSet<ConformOperation> {
    check(program).unwrap_or_default()
}

struct Draft {
    family: ProgramFamily,
    program: SimProgram,
    /// The last function that is not a generator. Generator functions follow it.
    plain: SimFunctionId,
    generators: Variable,
    /// These functions share addresses in pairs: the second one uses the address of the first.
    turns: Range<SimFunctionId>,
}

impl Draft {
    /// A program that has only the module.
    fn new(family: ProgramFamily, plain: SimFunctionId, generators: Variable) -> Self {
        let slots_per_chunk = if family == ProgramFamily::Chunks { FEW_SLOTS } else { SLOT_COUNT };
        let module = SimFunction::new("<module>", &[SimInstruction::Line(ROUND_LINE), SimInstruction::Call(MAIN)]);
        Self {
            family,
            program: SimProgram {
                functions: vec![module],
                threads: vec![Thread::new(0, 7, true)],
                slots_per_chunk,
                frees: None,
            },
            plain,
            generators,
            turns: if family == ProgramFamily::CodeReuse { TURNS } else { 0..0 },
        }
    }

    /// Picks a function that `caller` may call.
    fn callee(&self, caller: SimFunctionId, random: &mut ChaCha8Rng) -> Option<SimFunctionId> {
        let generator = caller > self.plain;
        // Generators call functions of the later half, because most callers of generators are in the earlier half.
        let first = if generator { self.plain / 2 + 1 } else { caller + 1 };
        // Prefer the next functions: a chain of calls is worth more than a jump to its end.
        let last = if random.random_bool(0.6) { self.plain.min(first + 1) } else { self.plain };
        (first <= self.plain).then(|| random.random_range(first..=last))
    }

    /// Draws an instruction for `function`. `None` if the operation is not allowed there, even in code that never runs.
    fn instruction(
        &self,
        operation: ConformOperation,
        function: SimFunctionId,
        random: &mut ChaCha8Rng,
    ) -> Option<SimInstruction> {
        let is_generator = function > self.plain;
        let fits = match operation {
            ConformOperation::Yield | ConformOperation::Delegate => is_generator,
            ConformOperation::Return => function > MAIN,
            ConformOperation::ReturnRunning => function > MAIN && !is_generator,
            ConformOperation::Compile => !self.turns.is_empty(),
            _ => true,
        };
        if !fits {
            return None;
        }
        let variable = |random: &mut ChaCha8Rng| (self.generators > 0).then(|| random.random_range(0..self.generators));
        Some(match operation {
            ConformOperation::Line => SimInstruction::Line(0),
            ConformOperation::Call => SimInstruction::Call(self.callee(function, random)?),
            ConformOperation::CallFromC => SimInstruction::CallFromC(self.callee(function, random)?),
            ConformOperation::FailedCall => SimInstruction::FailedCall(self.callee(function, random)?),
            ConformOperation::Return => SimInstruction::Return,
            ConformOperation::ReturnRunning => SimInstruction::ReturnRunning(self.callee(function, random)?),
            ConformOperation::Raise => SimInstruction::Raise,
            ConformOperation::Create => {
                let variable = variable(random)?;
                SimInstruction::Create(variable, self.plain + 1 + variable)
            }
            ConformOperation::Resume => SimInstruction::Resume(variable(random)?),
            ConformOperation::ResumeFromC => SimInstruction::ResumeFromC(variable(random)?),
            ConformOperation::Yield => SimInstruction::Yield,
            ConformOperation::Delegate => SimInstruction::Delegate(variable(random)?),
            ConformOperation::Throw => SimInstruction::Throw(variable(random)?),
            ConformOperation::Drop => SimInstruction::Drop(variable(random)?),
            ConformOperation::Compile => SimInstruction::Compile(random.random_range(self.turns.clone())),
        })
    }

    fn body(&self, function: SimFunctionId, random: &mut ChaCha8Rng) -> Vec<SimInstruction> {
        let is_generator = function > self.plain;
        let operations = self.family.operations();
        let mut body = Vec::new();
        for _ in 0..random.random_range(1..=MOST_OPERATIONS) {
            let operation = match random.random_range(0..10) {
                0 => ConformOperation::Line,
                1..=3 => ConformOperation::Call,
                4..=6 if is_generator => ConformOperation::Yield,
                _ => operations[random.random_range(0..operations.len())],
            };
            let drawn = self.instruction(operation, function, random);
            body.extend(drawn);
            if let Some(SimInstruction::Compile(made)) = drawn {
                // A new code object matters only once it runs.
                body.push(SimInstruction::Call(made));
            }
        }
        body
    }

    fn function(&mut self, function: SimFunctionId, random: &mut ChaCha8Rng) {
        let body = self.body(function, random);
        self.add(&format!("f{function}"), body, random);
    }

    /// Adds a function, possibly with an exception handler.
    fn add(&mut self, name: &str, body: Vec<SimInstruction>, random: &mut ChaCha8Rng) {
        let mut made = SimFunction::new(name, &body);
        if self.family.has_handlers() && random.random_bool(0.5) && !made.body.is_empty() {
            made.handler = u8::try_from(random.random_range(1..=made.body.len())).ok();
        }
        if self.family == ProgramFamily::Chunks && random.random_bool(0.5) {
            made.slots = 2;
        }
        let id = SimFunctionId::try_from(self.program.functions.len()).unwrap_or(SimFunctionId::MAX);
        made.place = self.turns.contains(&id).then(|| place(id));
        self.program.functions.push(made);
    }
}

fn candidate(family: ProgramFamily, random: &mut ChaCha8Rng) -> SimProgram {
    let generators = if family.has_generators() { random.random_range(1..=3) } else { 0 };
    let plain = MAIN + random.random_range(if family == ProgramFamily::CodeReuse { 4..=8 } else { 3..=8 });
    let mut draft = Draft::new(family, plain, generators);
    let mut main: Vec<SimInstruction> = (0..generators)
        .filter(|_| random.random_bool(0.9))
        .map(|variable| SimInstruction::Create(variable, plain + 1 + variable))
        .collect();
    for _ in 0..random.random_range(2..=4) {
        let drawn = draft.body(MAIN, random);
        main.extend(drawn);
    }
    // The number of lines is limited.
    main.truncate(11);
    let end = main.len();
    main.extend((0..generators).map(SimInstruction::Drop));
    // A round ends in the state in which it began.
    main.extend(draft.turns.clone().filter(|&function| place(function) == function).map(SimInstruction::Compile));
    let mut main = SimFunction::new("main", &main);
    if family.has_handlers() {
        main.handler = u8::try_from(end).ok();
    }
    draft.program.functions.push(main);
    for function in MAIN + 1..=plain + generators {
        draft.function(function, random);
    }
    draft.program
}

/// The number of the code address of a function in [`TURNS`].
fn place(function: SimFunctionId) -> SimFunctionId {
    function - (function - TURNS.start) % 2
}

/// Removes what cannot be executed, and puts every operation on a line of its own. Returns whether that succeeded.
fn repair(program: &mut SimProgram) -> bool {
    loop {
        match check(program) {
            Ok(_) => break,
            Err(Illegal::Program) => return false,
            Err(Illegal::Instruction(function, index)) => {
                let Some(code) = program.functions.get_mut(usize::from(function)) else { return false };
                if index >= code.body.len() {
                    return false;
                }
                code.body.remove(index);
                if let Some(handler) = &mut code.handler
                    && index < usize::from(*handler)
                {
                    *handler -= 1;
                }
                // A handler that protects nothing is dropped.
                code.handler = code.handler.filter(|&handler| handler > 0);
            }
        }
    }
    for (id, function) in (MODULE..).zip(&mut program.functions).skip(1) {
        number_lines(id, function);
    }
    true
}

/// Puts each operation on a line of its own and adds the end of the body: in `main` the jump of the round, elsewhere
/// the last line, for the return.
fn number_lines(id: SimFunctionId, function: &mut SimFunction) {
    let is_main = id == MAIN;
    let first = if is_main { ROUND_LINE + 1 } else { ROUND_LINE };
    let mut body = if is_main { vec![SimInstruction::Line(ROUND_LINE)] } else { Vec::new() };
    let mut handler = None;
    for (index, (line, &instruction)) in (first..).zip(&function.body).enumerate() {
        if function.handler.map(usize::from) == Some(index) {
            handler = u8::try_from(body.len()).ok();
        }
        body.push(SimInstruction::Line(line));
        if !matches!(instruction, SimInstruction::Line(_)) {
            body.push(instruction);
        }
    }
    if function.handler.is_some() && handler.is_none() {
        handler = u8::try_from(body.len()).ok();
    }
    body.push(if is_main {
        SimInstruction::Jump(0)
    } else {
        SimInstruction::Line(first + u8::try_from(function.body.len()).unwrap_or(0))
    });
    (function.body, function.handler) = (body, handler);
}

/// Whether the program performs its family's essential operation and a call, and has enough operations.
fn is_worth_it(family: ProgramFamily, program: &SimProgram) -> bool {
    let Ok(done) = check(program) else { return false };
    let operations: usize = program.functions.iter().skip(1).map(|function| function.body.len() / 2).sum();
    done.contains(&family.essential()) && operations >= FEWEST && done.contains(&ConformOperation::Call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_draws_all_its_operations_and_a_seed_gives_one_program() {
        for family in ProgramFamily::ALL {
            let mut seen = BTreeSet::new();
            for seed in 0..400 {
                let program = draw(family, seed);
                assert_eq!(program, draw(family, seed));
                let done = check(&program).unwrap_or_else(|illegal| panic!("{family} {seed}: {illegal:?}"));
                assert!(is_worth_it(family, &program), "{family} {seed}: {program:?}");
                seen.extend(done);
            }
            for operation in family.operations() {
                assert!(seen.contains(operation), "{family} never does {operation:?}");
            }
        }
    }

    #[test]
    fn every_operation_has_its_own_line() {
        for seed in 0..40 {
            for function in draw(ProgramFamily::Mixed, seed).functions {
                let lines: Vec<u8> = function
                    .body
                    .iter()
                    .filter_map(|instruction| match instruction {
                        SimInstruction::Line(line) => Some(*line),
                        _ => None,
                    })
                    .collect();
                assert!(lines.is_sorted_by(|one, next| one < next), "{lines:?}");
                assert!(lines.last().is_none_or(|line| *line <= sim::program::LINES), "{lines:?}");
            }
        }
    }
}
