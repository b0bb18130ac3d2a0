//! Checks that every instruction of a program is valid whenever it is reached, and that a round ends in the state in
//! which it began.
//!
//! The simulated interpreter skips an invalid instruction; Python raises. To keep the two alike, random programs have
//! no such instruction. This check applies Python's rules only: it knows nothing of frames and stores.

use std::collections::{BTreeMap, BTreeSet};

use sim::program::{SimFunctionId, SimInstruction, SimProgram, VARIABLES, Variable};

use crate::conform::family::{ConformOperation, MAIN};

/// The most instructions in one round. More would make schedules long.
const LONGEST: usize = 160;
/// The most frames on a stack: fewer than the simulated interpreter has slots and shim frames for.
const DEEPEST: usize = 24;
/// The most entries from C on a stack, not counting the first.
const MOST_ENTRIES: usize = 4;

/// Why a program is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Illegal {
    /// This instruction, of this function, is invalid when it is reached, and must be removed.
    Instruction(SimFunctionId, usize),
    /// The program as a whole is unusable.
    Program,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Absent,
    Running,
    Suspended,
}

#[derive(Clone, Copy)]
struct Generator {
    status: Status,
    function: SimFunctionId,
    next: usize,
    /// Whether it has yielded.
    begun: bool,
    /// Whether it yielded because the generator that it delegates to yielded.
    delegating: bool,
}

impl Generator {
    /// The instruction at which it is suspended.
    fn suspended_at(&self) -> usize {
        if self.delegating { self.next } else { self.next.saturating_sub(1) }
    }
}

enum End {
    Returned,
    Raised,
    /// The index at which it continues, and whether the yield came from a generator that it delegates to.
    Yielded(usize, bool),
}

struct Run<'a> {
    program: &'a SimProgram,
    generators: [Generator; VARIABLES],
    /// For each shared code address, the function whose code object is there.
    codes: BTreeMap<SimFunctionId, SimFunctionId>,
    /// The functions whose frames are on the stack.
    running: Vec<SimFunctionId>,
    left: usize,
    entries: usize,
    done: BTreeSet<ConformOperation>,
}

/// Runs one round. Returns the operations that it performed.
pub(super) fn check(program: &SimProgram) -> Result<BTreeSet<ConformOperation>, Illegal> {
    let absent = Generator { status: Status::Absent, function: 0, next: 0, begun: false, delegating: false };
    let mut first = BTreeMap::new();
    for (id, function) in (0..).zip(&program.functions) {
        if let Some(place) = function.place {
            first.entry(place).or_insert(id);
        }
    }
    let mut run = Run {
        program,
        generators: [absent; VARIABLES],
        codes: first.clone(),
        running: Vec::new(),
        left: LONGEST,
        entries: 0,
        done: BTreeSet::new(),
    };
    let end = run.function(MAIN, 0, None, None)?;
    let as_begun = run.codes == first && run.generators.iter().all(|generator| generator.status == Status::Absent);
    match end {
        End::Returned if as_begun => Ok(run.done),
        _ => Err(Illegal::Program),
    }
}

impl Run<'_> {
    /// Runs a function from an instruction on. `own` is the variable of the generator, if the function is one. `thrown`
    /// is the instruction at which an exception is thrown into it.
    fn function(
        &mut self,
        function: SimFunctionId,
        from: usize,
        own: Option<Variable>,
        mut thrown: Option<usize>,
    ) -> Result<End, Illegal> {
        self.running.push(function);
        if self.running.len() > DEEPEST {
            return Err(Illegal::Program);
        }
        let code = self.program.functions.get(usize::from(function)).ok_or(Illegal::Program)?;
        let handler = code.handler.map(usize::from);
        let mut next = from;
        let end = loop {
            if let Some(at) = thrown.take() {
                match handler {
                    Some(handler) if at < handler => next = handler,
                    // Here the simulated interpreter would enter the handler again.
                    Some(_) => return Err(Illegal::Instruction(function, next)),
                    None => break End::Raised,
                }
            }
            let Some(&instruction) = code.body.get(next) else { break End::Returned };
            self.left = self.left.checked_sub(1).ok_or(Illegal::Program)?;
            let illegal = Illegal::Instruction(function, next);
            self.done.extend(ConformOperation::of(instruction));
            let mut raising = false;
            match instruction {
                SimInstruction::Line(_) => {}
                SimInstruction::Call(callee) => raising = self.call(callee, illegal)?,
                SimInstruction::CallFromC(callee) => raising = self.entering(|run| run.call(callee, illegal))?,
                SimInstruction::FailedCall(_) => {}
                SimInstruction::Return if function == MAIN => return Err(illegal),
                SimInstruction::Return => break End::Returned,
                SimInstruction::ReturnRunning(finalizer) => {
                    if function == MAIN || own.is_some() {
                        return Err(illegal);
                    }
                    // Python reports an exception in a finalizer and continues.
                    if self.entering(|run| run.call(finalizer, illegal))? {
                        return Err(illegal);
                    }
                    break End::Returned;
                }
                SimInstruction::Raise => raising = true,
                SimInstruction::Create(variable, function) => {
                    let generator = self.generator(variable)?;
                    if generator.status != Status::Absent {
                        return Err(illegal);
                    }
                    *generator =
                        Generator { status: Status::Suspended, function, next: 0, begun: false, delegating: false };
                }
                SimInstruction::Resume(variable) => {
                    raising = matches!(self.resume(variable, false, illegal)?, End::Raised);
                }
                SimInstruction::ResumeFromC(variable) => {
                    raising = self.entering(|run| Ok(matches!(run.resume(variable, false, illegal)?, End::Raised)))?;
                }
                SimInstruction::Yield if own.is_none() => return Err(illegal),
                SimInstruction::Yield => break End::Yielded(next + 1, false),
                SimInstruction::Delegate(_) if own.is_none() => return Err(illegal),
                SimInstruction::Delegate(variable) => match self.resume(variable, false, illegal)? {
                    End::Returned => {}
                    End::Raised => raising = true,
                    End::Yielded(..) => break End::Yielded(next, true),
                },
                SimInstruction::Throw(variable) => raising = self.entering(|run| run.throw(variable, illegal))?,
                SimInstruction::Drop(variable) => self.drop(variable, illegal)?,
                SimInstruction::Compile(function) => self.compile(function, illegal)?,
                // The end of a round.
                SimInstruction::Jump(0) if function == MAIN => break End::Returned,
                SimInstruction::Jump(_)
                | SimInstruction::Branch(_)
                | SimInstruction::StartThread(_)
                | SimInstruction::EndThread
                | SimInstruction::Free(_) => return Err(illegal),
            }
            if raising {
                thrown = Some(next);
            } else {
                next += 1;
            }
        };
        self.running.pop();
        Ok(end)
    }

    fn generator(&mut self, variable: Variable) -> Result<&mut Generator, Illegal> {
        self.generators.get_mut(usize::from(variable)).ok_or(Illegal::Program)
    }

    /// Returns whether an exception comes out of the call.
    fn call(&mut self, function: SimFunctionId, illegal: Illegal) -> Result<bool, Illegal> {
        if self.place(function).is_some_and(|place| self.codes.get(&place) != Some(&function)) {
            return Err(illegal);
        }
        Ok(matches!(self.function(function, 0, None, None)?, End::Raised))
    }

    fn place(&self, function: SimFunctionId) -> Option<SimFunctionId> {
        self.program.functions.get(usize::from(function))?.place
    }

    /// Creates a function's code object at the address of another one, which is freed and must not be running.
    fn compile(&mut self, function: SimFunctionId, illegal: Illegal) -> Result<(), Illegal> {
        let there = self.place(function).and_then(|place| self.codes.get_mut(&place)).ok_or(illegal)?;
        if *there == function || self.running.contains(there) {
            return Err(illegal);
        }
        *there = function;
        Ok(())
    }

    fn entering<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T, Illegal>) -> Result<T, Illegal> {
        self.entries += 1;
        if self.entries > MOST_ENTRIES {
            return Err(Illegal::Program);
        }
        let result = run(self)?;
        self.entries -= 1;
        Ok(result)
    }

    fn resume(&mut self, variable: Variable, raising: bool, illegal: Illegal) -> Result<End, Illegal> {
        let generator = self.generator(variable)?;
        if generator.status != Status::Suspended {
            return Err(illegal);
        }
        generator.status = Status::Running;
        let Generator { function, next, .. } = *generator;
        let thrown = raising.then_some(generator.suspended_at());
        let end = self.function(function, next, Some(variable), thrown)?;
        let generator = self.generator(variable)?;
        match end {
            End::Yielded(next, delegating) => {
                *generator = Generator { status: Status::Suspended, function, next, begun: true, delegating };
            }
            End::Returned | End::Raised => generator.status = Status::Absent,
        }
        Ok(end)
    }

    /// The generator to which a suspended one delegates.
    fn delegate(&self, generator: &Generator) -> Option<Variable> {
        let code = self.program.functions.get(usize::from(generator.function))?;
        match code.body.get(generator.next) {
            Some(&SimInstruction::Delegate(inner)) if generator.delegating => Some(inner),
            _ => None,
        }
    }

    /// Returns whether an exception comes out of the throw.
    fn throw(&mut self, variable: Variable, illegal: Illegal) -> Result<bool, Illegal> {
        let generator = *self.generator(variable)?;
        if generator.status != Status::Suspended || !generator.begun {
            return Err(illegal);
        }
        let raising = match self.delegate(&generator) {
            // If the inner generator has ended or is running, the throw goes to the generator itself.
            Some(inner) if self.generator(inner)?.status == Status::Suspended => {
                self.generator(variable)?.status = Status::Running;
                self.running.push(generator.function);
                let end = self.entering(|run| run.throw_into(inner, illegal))?;
                self.running.pop();
                self.generator(variable)?.status = Status::Suspended;
                match end {
                    End::Yielded(..) => return Ok(false),
                    End::Raised => true,
                    End::Returned => {
                        let generator = self.generator(variable)?;
                        (generator.next, generator.delegating) = (generator.next + 1, false);
                        false
                    }
                }
            }
            _ => true,
        };
        Ok(matches!(self.resume(variable, raising, illegal)?, End::Raised))
    }

    /// Throws into a generator that another one delegates to. Returns how it ends.
    fn throw_into(&mut self, variable: Variable, illegal: Illegal) -> Result<End, Illegal> {
        let generator = *self.generator(variable)?;
        // Throws through more than one delegation are excluded: the simulated interpreter does not have them.
        if self.delegate(&generator).is_some() || !generator.begun {
            return Err(illegal);
        }
        self.resume(variable, true, illegal)
    }

    /// Drops a suspended generator. In a `try`, or while it delegates, it would run once more, so those are invalid.
    fn drop(&mut self, variable: Variable, illegal: Illegal) -> Result<(), Illegal> {
        let generator = *self.generator(variable)?;
        let code = self.program.functions.get(usize::from(generator.function)).ok_or(Illegal::Program)?;
        let in_try =
            generator.begun && code.handler.is_some_and(|handler| generator.suspended_at() < usize::from(handler));
        if generator.status != Status::Suspended || self.delegate(&generator).is_some() || in_try {
            return Err(illegal);
        }
        self.generator(variable)?.status = Status::Absent;
        Ok(())
    }
}
