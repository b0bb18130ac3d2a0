//! The building blocks of random programs for the simulated interpreter.

use std::fmt;
use std::str::FromStr;

use sim::program::{SimFunctionId, SimInstruction};

/// The id of the module, which calls `main`.
pub(super) const MODULE: SimFunctionId = 0;
/// The id of `main`. One iteration of its loop is a round.
pub(super) const MAIN: SimFunctionId = 1;
/// The line on which a round of `main` begins, and also the line on which the module calls `main`.
pub(super) const ROUND_LINE: u8 = 2;

/// A kind of program, defined by the operations that it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProgramFamily {
    /// Calls and returns of Python functions.
    Calls,
    /// Exceptions that pass through one or more frames.
    Exceptions,
    /// Generators that Python code resumes.
    Generators,
    /// Generators that delegate to others.
    Delegation,
    /// Generators that C code resumes, as an event loop does with coroutines. Some delegate.
    ResumedFromC,
    /// Exceptions thrown into generators, some of which delegate.
    Throw,
    /// Functions that C code calls.
    Entry,
    /// Calls with wrong arguments.
    FailedBind,
    /// Returns that run a finalizer.
    Finalizers,
    /// Calls across the ends of data-stack chunks, with two frame sizes.
    Chunks,
    /// Functions whose code objects are freed and recreated.
    CodeReuse,
    /// The operations of all other families except `CodeReuse`.
    Mixed,
}

/// The kind of an instruction, without its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConformOperation {
    /// Execution moves to another line.
    Line,
    /// Python code calls a function. For details of this and the other operations, see [`SimInstruction`].
    Call,
    /// C code calls a function.
    CallFromC,
    /// A call whose arguments do not fit.
    FailedCall,
    /// A return before the end of the function.
    Return,
    /// A return that runs a finalizer.
    ReturnRunning,
    /// An exception is raised.
    Raise,
    /// A generator is created.
    Create,
    /// Python code resumes a generator.
    Resume,
    /// C code resumes a generator.
    ResumeFromC,
    /// A generator yields to its caller.
    Yield,
    /// A generator delegates with `yield from`.
    Delegate,
    /// An exception is thrown into a generator.
    Throw,
    /// A generator is dropped.
    Drop,
    /// A code object is freed, and another one is created.
    Compile,
}

impl ConformOperation {
    /// The operation of an instruction. `None` for instructions that random programs never contain.
    #[must_use]
    pub fn of(instruction: SimInstruction) -> Option<Self> {
        Some(match instruction {
            SimInstruction::Line(_) => Self::Line,
            SimInstruction::Call(_) => Self::Call,
            SimInstruction::CallFromC(_) => Self::CallFromC,
            SimInstruction::FailedCall(_) => Self::FailedCall,
            SimInstruction::Return => Self::Return,
            SimInstruction::ReturnRunning(_) => Self::ReturnRunning,
            SimInstruction::Raise => Self::Raise,
            SimInstruction::Create(..) => Self::Create,
            SimInstruction::Resume(_) => Self::Resume,
            SimInstruction::ResumeFromC(_) => Self::ResumeFromC,
            SimInstruction::Yield => Self::Yield,
            SimInstruction::Delegate(_) => Self::Delegate,
            SimInstruction::Throw(_) => Self::Throw,
            SimInstruction::Drop(_) => Self::Drop,
            SimInstruction::Compile(_) => Self::Compile,
            SimInstruction::Jump(_)
            | SimInstruction::Branch(_)
            | SimInstruction::StartThread(_)
            | SimInstruction::EndThread
            | SimInstruction::Free(_) => return None,
        })
    }
}

impl ProgramFamily {
    /// Every family, in the order in which they run.
    pub const ALL: [Self; 12] = [
        Self::Calls,
        Self::Exceptions,
        Self::Generators,
        Self::Delegation,
        Self::ResumedFromC,
        Self::Throw,
        Self::Entry,
        Self::FailedBind,
        Self::Finalizers,
        Self::Chunks,
        Self::CodeReuse,
        Self::Mixed,
    ];

    /// The name on command lines and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Exceptions => "exceptions",
            Self::Generators => "generators",
            Self::Delegation => "delegation",
            Self::ResumedFromC => "resumed-from-c",
            Self::Throw => "throw",
            Self::Entry => "entry",
            Self::FailedBind => "failed-bind",
            Self::Finalizers => "finalizers",
            Self::Chunks => "chunks",
            Self::CodeReuse => "code-reuse",
            Self::Mixed => "mixed",
        }
    }

    /// The operations that functions perform besides calls and line changes. The more often one is listed, the likelier
    /// it is.
    #[must_use]
    pub fn operations(self) -> &'static [ConformOperation] {
        use ConformOperation::{
            Call, CallFromC, Compile, Create, Delegate, Drop, FailedCall, Line, Raise, Resume, ResumeFromC, Return,
            ReturnRunning, Throw,
        };
        match self {
            Self::Calls => &[Return],
            Self::Exceptions => &[Raise, Raise, Raise],
            Self::Generators => &[Resume, Resume, Resume, Resume, Drop, Create],
            Self::Delegation => &[Resume, Resume, Resume, Resume, Delegate, Delegate],
            Self::ResumedFromC => &[ResumeFromC, ResumeFromC, ResumeFromC, ResumeFromC, Delegate],
            Self::Throw => {
                &[Resume, Resume, Resume, Throw, Throw, Throw, Throw, Delegate, Delegate, Delegate, Delegate, Raise]
            }
            Self::Entry => &[CallFromC, CallFromC, Return],
            Self::FailedBind => &[FailedCall, FailedCall],
            Self::Finalizers => &[ReturnRunning, ReturnRunning],
            Self::Chunks => &[Call, Call],
            Self::CodeReuse => &[Compile, Compile, Return],
            Self::Mixed => &[
                CallFromC,
                FailedCall,
                Return,
                ReturnRunning,
                Raise,
                Create,
                Resume,
                Resume,
                ResumeFromC,
                ResumeFromC,
                Delegate,
                Throw,
                Throw,
                Drop,
                Line,
            ],
        }
    }

    /// The operation that every program of the family performs.
    #[must_use]
    pub fn essential(self) -> ConformOperation {
        match self {
            Self::Calls | Self::Chunks | Self::Mixed => ConformOperation::Call,
            Self::Exceptions => ConformOperation::Raise,
            Self::Generators => ConformOperation::Resume,
            Self::Delegation => ConformOperation::Delegate,
            Self::ResumedFromC => ConformOperation::ResumeFromC,
            Self::Throw => ConformOperation::Throw,
            Self::Entry => ConformOperation::CallFromC,
            Self::FailedBind => ConformOperation::FailedCall,
            Self::Finalizers => ConformOperation::ReturnRunning,
            Self::CodeReuse => ConformOperation::Compile,
        }
    }

    /// Whether programs of this family create generators.
    #[must_use]
    pub fn has_generators(self) -> bool {
        self.operations()
            .iter()
            .any(|operation| matches!(operation, ConformOperation::Resume | ConformOperation::ResumeFromC))
    }

    /// Whether functions may have exception handlers.
    #[must_use]
    pub fn has_handlers(self) -> bool {
        self.operations().iter().any(|operation| matches!(operation, ConformOperation::Raise | ConformOperation::Throw))
    }
}

impl fmt::Display for ProgramFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ProgramFamily {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|family| family.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|family| family.name()).collect();
            format!("there is no family `{name}` of random programs; known are: {}", names.join(", "))
        })
    }
}
