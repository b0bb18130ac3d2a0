//! What the simulated interpreter runs: functions that call, return, raise and yield, and nothing else.

use arbitrary::Arbitrary;
use serde::{Deserialize, Serialize};

/// An index into [`Program::functions`].
pub type FunctionId = u8;
/// An index of a variable that holds a generator (or coroutine).
pub type Variable = u8;

/// Variables that hold generators.
pub const VARIABLES: usize = 3;
/// Lines of a function; each is one code unit.
pub const LINES: u8 = 16;

/// A program. Whatever an instruction cannot do (resume a generator that is running, call beyond the deepest frame) it
/// leaves undone, so that every program is a valid one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Program {
    /// What can be called.
    pub functions: Vec<Function>,
    /// The threads; the first one runs from the start, the others when they are started.
    pub threads: Vec<Thread>,
    /// Frames of one slot that a data-stack chunk holds.
    pub slots_per_chunk: u8,
    /// Code objects that each interpreter frees at most: a program without this limit can have no end of states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frees: Option<u8>,
}

/// A function.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Function {
    /// `co_qualname`.
    pub name: String,
    /// How many slots its frame takes: a larger one covers with its locals what smaller ones left there.
    pub slots: u8,
    /// What it does; after the last instruction it returns (an entry function starts again).
    pub body: Vec<Instruction>,
    /// Where it goes on if an exception reaches it; else the exception leaves it.
    pub handler: Option<u8>,
    /// The number of the address at which its code object is, if that is not its own. Functions of the same address take
    /// turns there, in programs that free code objects: see [`Instruction::Compile`]. The first of them begins, and
    /// belongs to the first interpreter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<u8>,
}

/// One OS thread's Python thread state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Thread {
    /// The function it runs, over and over.
    pub entry: FunctionId,
    /// The kernel's thread id. Two thread states can have the same, one after the other.
    pub native_thread_id: u64,
    /// Whether it is there from the start.
    pub started: bool,
    /// The interpreter that it belongs to.
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
    pub const fn new(entry: FunctionId, native_thread_id: u64, started: bool) -> Self {
        Self { entry, native_thread_id, started, interpreter: 0 }
    }
}

/// What a function does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Arbitrary, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Instruction {
    /// Goes on at another line.
    Line(u8),
    /// Calls a function from Python.
    Call(FunctionId),
    /// Calls a function from C: behind a shim frame.
    CallFromC(FunctionId),
    /// Calls a function with arguments that do not fit.
    FailedCall(FunctionId),
    /// Returns.
    Return,
    /// Returns; clearing the locals runs a function.
    ReturnRunning(FunctionId),
    /// Raises.
    Raise,
    /// Calls a generator function: the variable holds the new generator.
    Create(Variable, FunctionId),
    /// Resumes a generator from Python.
    Resume(Variable),
    /// Resumes a generator from C: behind a shim frame.
    ResumeFromC(Variable),
    /// Yields.
    Yield,
    /// `yield from`, `await`: resumes a generator, and yields whenever it does, until it is over.
    Delegate(Variable),
    /// Throws into a suspended generator.
    Throw(Variable),
    /// Drops a generator; a suspended one is cleared.
    Drop(Variable),
    /// Goes on at the instruction of that index.
    Jump(u8),
    /// Goes on at that instruction or at the next one: both are possible.
    Branch(u8),
    /// Starts a thread.
    StartThread(u8),
    /// Ends the thread: its frames leave, its thread state is freed.
    EndThread,
    /// Makes the code object of a function that shares its address with others. The object that is there is freed before,
    /// if it is another one, belongs to this interpreter, and no frame and no generator runs it.
    Compile(FunctionId),
    /// Frees the code object of a function that shares its address with others, under the same conditions. Until it is
    /// compiled again, the function cannot be called.
    Free(FunctionId),
}

impl Program {
    /// Whether code objects are freed, and their addresses used again.
    #[must_use]
    pub fn frees_code(&self) -> bool {
        self.functions
            .iter()
            .flat_map(|function| &function.body)
            .any(|instruction| matches!(instruction, Instruction::Compile(_) | Instruction::Free(_)))
    }

    /// Whether a function is called to make generators. It then never runs as a plain function.
    #[must_use]
    pub fn is_generator(&self, function: FunctionId) -> bool {
        self.functions
            .iter()
            .flat_map(|function| &function.body)
            .any(|instruction| matches!(instruction, Instruction::Create(_, made) if *made == function))
    }
}

impl Program {
    /// Whether `callee` can stand right above `caller` on a stack.
    #[must_use]
    pub fn may_call(&self, caller: FunctionId, callee: FunctionId) -> bool {
        let body = |function: FunctionId| self.functions.get(usize::from(function)).map_or(&[][..], |f| &f.body);
        let makes = |variable: Variable| {
            let mut all = self.functions.iter().flat_map(|function| &function.body);
            all.any(|instruction| *instruction == Instruction::Create(variable, callee))
        };
        body(caller).iter().any(|instruction| match *instruction {
            Instruction::Call(called) | Instruction::CallFromC(called) => {
                // A finalizer runs on the stack of the caller of the function that dies.
                called == callee || body(called).contains(&Instruction::ReturnRunning(callee))
            }
            Instruction::Create(_, made) => made == callee,
            Instruction::Resume(variable)
            | Instruction::ResumeFromC(variable)
            | Instruction::Delegate(variable)
            | Instruction::Throw(variable) => makes(variable) || self.delegates_to(variable, callee),
            _ => false,
        })
    }

    /// Whether all frames on the data stack are those of functions called from Python, and run.
    #[must_use]
    pub fn only_calls(&self) -> bool {
        self.functions.iter().flat_map(|function| &function.body).all(|instruction| {
            !matches!(
                instruction,
                Instruction::CallFromC(_)
                    | Instruction::FailedCall(_)
                    | Instruction::ReturnRunning(_)
                    | Instruction::Create(..)
            )
        })
    }

    /// Whether no shim frame ever leaves the stack but under a thread's first frame: shim frames do not move the anchor.
    #[must_use]
    pub fn moves_anchor_with_every_frame(&self) -> bool {
        self.functions.iter().flat_map(|function| &function.body).all(|instruction| {
            !matches!(
                instruction,
                Instruction::CallFromC(_) | Instruction::ResumeFromC(_) | Instruction::ReturnRunning(_)
            )
        })
    }

    /// A finalizer of a generator's body runs on the stack of whoever resumes it.
    fn delegates_to(&self, variable: Variable, finalizer: FunctionId) -> bool {
        (0..).zip(&self.functions).any(|(id, function)| {
            function.body.contains(&Instruction::ReturnRunning(finalizer))
                && self.functions.iter().any(|maker| maker.body.contains(&Instruction::Create(variable, id)))
        })
    }
}

impl Function {
    /// A function whose frame takes one slot.
    #[must_use]
    pub fn new(name: &str, body: &[Instruction]) -> Self {
        Self { name: name.to_owned(), slots: 1, body: body.to_vec(), handler: None, place: None }
    }

    /// The same with a handler.
    #[must_use]
    pub fn handling(self, handler: u8) -> Self {
        Self { handler: Some(handler), ..self }
    }

    /// The same with its code object at the address of that number.
    #[must_use]
    pub fn at(self, place: u8) -> Self {
        Self { place: Some(place), ..self }
    }
}
