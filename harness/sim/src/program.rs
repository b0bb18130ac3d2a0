//! Programs for the simulated interpreter: functions that call, return, raise and yield, and nothing else.

use arbitrary::Arbitrary;
use serde::{Deserialize, Serialize};

/// An index into [`SimProgram::functions`].
pub type SimFunctionId = u8;
/// The index of a variable that holds a generator or coroutine.
pub type Variable = u8;

/// Number of variables that hold generators.
pub const VARIABLES: usize = 3;
/// Number of lines of a function. Each line is one code unit.
pub const LINES: u8 = 16;

/// A program. An instruction that cannot be executed, such as resuming a running generator or calling beyond the
/// deepest frame, does nothing. So every program is valid.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SimProgram {
    /// The functions that can be called.
    pub functions: Vec<SimFunction>,
    /// The threads. The first one runs from the start, the others once they are started.
    pub threads: Vec<Thread>,
    /// Number of one-slot frames that fit in a data-stack chunk.
    pub slots_per_chunk: u8,
    /// Most code objects that each interpreter frees. Without a limit, a program can have infinitely many states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frees: Option<u8>,
}

/// A function of a simulated program.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SimFunction {
    /// The name that walkers report: `co_qualname`.
    pub name: String,
    /// Number of slots that its frame takes. The locals of a larger frame overwrite what smaller frames left there.
    pub slots: u8,
    /// Its instructions. After the last one it returns; an entry function starts again.
    pub body: Vec<SimInstruction>,
    /// Index of the instruction at which it continues if an exception reaches it. Without a handler, the exception
    /// propagates.
    pub handler: Option<u8>,
    /// The number of its code object's address, if it differs from the function's own number. In programs that free
    /// code objects, functions with the same address take turns there: see [`SimInstruction::Compile`]. The first of them
    /// starts there and belongs to the first interpreter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<u8>,
}

/// An OS thread with its Python thread state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Thread {
    /// The function it runs, over and over.
    pub entry: SimFunctionId,
    /// Thread id of the kernel. Two thread states can have the same one, one after the other.
    pub native_thread_id: u64,
    /// Whether the thread runs from the start.
    pub started: bool,
    /// The interpreter that the thread belongs to.
    #[serde(default, skip_serializing_if = "is_main")]
    pub interpreter: u8,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_main(interpreter: &u8) -> bool {
    *interpreter == 0
}

impl Thread {
    /// A thread of the main interpreter.
    #[must_use]
    pub const fn new(entry: SimFunctionId, native_thread_id: u64, started: bool) -> Self {
        Self { entry, native_thread_id, started, interpreter: 0 }
    }
}

/// An instruction of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Arbitrary, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SimInstruction {
    /// Continues at another line.
    Line(u8),
    /// Calls a function from Python.
    Call(SimFunctionId),
    /// Calls a function from C, with a shim frame in between.
    CallFromC(SimFunctionId),
    /// Calls a function with arguments that do not match its signature.
    FailedCall(SimFunctionId),
    /// Returns to the caller.
    Return,
    /// Returns. Clearing the locals runs a function.
    ReturnRunning(SimFunctionId),
    /// Raises an exception in this function.
    Raise,
    /// Calls a generator function. The variable then holds the new generator.
    Create(Variable, SimFunctionId),
    /// Resumes a generator from Python.
    Resume(Variable),
    /// Resumes a generator from C, with a shim frame in between.
    ResumeFromC(Variable),
    /// Suspends the generator and returns to its caller.
    Yield,
    /// `yield from` or `await`: resumes a generator and yields whenever it does, until it is exhausted.
    Delegate(Variable),
    /// Throws into a suspended generator.
    Throw(Variable),
    /// Drops a generator. A suspended one is cleared.
    Drop(Variable),
    /// Continues at the instruction with that index.
    Jump(u8),
    /// Continues at that instruction or at the next one. Both are possible.
    Branch(u8),
    /// Starts the thread with this index.
    StartThread(u8),
    /// Ends the thread: its frames leave the stack and its thread state is freed.
    EndThread,
    /// Creates the code object of a function that shares its address with others. A different object at that address is
    /// freed first, provided that it belongs to this interpreter and no frame and no generator runs it.
    Compile(SimFunctionId),
    /// Frees the code object of a function that shares its address with others, under the same conditions. The function
    /// cannot be called until it is compiled again.
    Free(SimFunctionId),
}

impl SimProgram {
    /// Whether the program frees code objects and reuses their addresses.
    #[must_use]
    pub fn frees_code(&self) -> bool {
        self.functions
            .iter()
            .flat_map(|function| &function.body)
            .any(|instruction| matches!(instruction, SimInstruction::Compile(_) | SimInstruction::Free(_)))
    }

    /// Whether the function is called to create generators. It then never runs as a plain function.
    #[must_use]
    pub fn is_generator(&self, function: SimFunctionId) -> bool {
        self.functions
            .iter()
            .flat_map(|function| &function.body)
            .any(|instruction| matches!(instruction, SimInstruction::Create(_, made) if *made == function))
    }
}

impl SimProgram {
    /// Whether `callee` can be directly above `caller` on a stack.
    #[must_use]
    pub fn may_call(&self, caller: SimFunctionId, callee: SimFunctionId) -> bool {
        let body = |function: SimFunctionId| self.functions.get(usize::from(function)).map_or(&[][..], |f| &f.body);
        let makes = |variable: Variable| {
            let mut all = self.functions.iter().flat_map(|function| &function.body);
            all.any(|instruction| *instruction == SimInstruction::Create(variable, callee))
        };
        body(caller).iter().any(|instruction| match *instruction {
            SimInstruction::Call(called) | SimInstruction::CallFromC(called) => {
                // A finalizer runs on the stack of the caller of the function that is being cleared.
                called == callee || body(called).contains(&SimInstruction::ReturnRunning(callee))
            }
            SimInstruction::Create(_, made) => made == callee,
            SimInstruction::Resume(variable)
            | SimInstruction::ResumeFromC(variable)
            | SimInstruction::Delegate(variable)
            | SimInstruction::Throw(variable) => makes(variable) || self.delegates_to(variable, callee),
            _ => false,
        })
    }

    /// Whether all frames on the data stack belong to functions that were called from Python and run.
    #[must_use]
    pub fn only_calls(&self) -> bool {
        self.functions.iter().flat_map(|function| &function.body).all(|instruction| {
            !matches!(
                instruction,
                SimInstruction::CallFromC(_)
                    | SimInstruction::FailedCall(_)
                    | SimInstruction::ReturnRunning(_)
                    | SimInstruction::Create(..)
            )
        })
    }

    /// Whether the only shim frames that leave the stack are those under a thread's first frame. Shim frames do not
    /// move the anchor.
    #[must_use]
    pub fn moves_anchor_with_every_frame(&self) -> bool {
        self.functions.iter().flat_map(|function| &function.body).all(|instruction| {
            !matches!(
                instruction,
                SimInstruction::CallFromC(_) | SimInstruction::ResumeFromC(_) | SimInstruction::ReturnRunning(_)
            )
        })
    }

    /// A finalizer of a generator's body runs on the stack of the function that resumes the generator.
    fn delegates_to(&self, variable: Variable, finalizer: SimFunctionId) -> bool {
        (0..).zip(&self.functions).any(|(id, function)| {
            function.body.contains(&SimInstruction::ReturnRunning(finalizer))
                && self.functions.iter().any(|maker| maker.body.contains(&SimInstruction::Create(variable, id)))
        })
    }
}

impl SimFunction {
    /// A function whose frame takes one slot.
    #[must_use]
    pub fn new(name: &str, body: &[SimInstruction]) -> Self {
        Self { name: name.to_owned(), slots: 1, body: body.to_vec(), handler: None, place: None }
    }

    /// The same function with an exception handler.
    #[must_use]
    pub fn handling(self, handler: u8) -> Self {
        Self { handler: Some(handler), ..self }
    }

    /// The same function with its code object at the address with that number.
    #[must_use]
    pub fn at(self, place: u8) -> Self {
        Self { place: Some(place), ..self }
    }
}
