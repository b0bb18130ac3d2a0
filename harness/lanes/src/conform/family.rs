//! What random programs of the simulated interpreter are made of.

use std::fmt;
use std::str::FromStr;

use sim::program::Instruction;

/// A kind of program: which operations it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProgramFamily {
    /// Calls and returns.
    Calls,
    /// Exceptions through one and more frames.
    Exceptions,
    /// Generators, resumed by Python code.
    Generators,
    /// Generators that delegate to others.
    Delegation,
    /// Generators resumed by C code, some of which delegate: what an event loop does to coroutines.
    ResumedFromC,
    /// Exceptions thrown into generators, some of which delegate.
    Throw,
    /// Functions called by C code.
    Entry,
    /// Calls whose arguments do not fit.
    FailedBind,
    /// Returns that run a finalizer.
    Finalizers,
    /// Calls across the ends of data-stack chunks, with frames of two sizes.
    Chunks,
    /// Functions whose code objects are freed and made anew.
    CodeReuse,
    /// All of them but the last.
    Mixed,
}

/// An operation without its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Nothing but another line.
    Line,
    /// See [`Instruction`], here and below.
    Call,
    /// C calls a function.
    CallFromC,
    /// A call whose arguments do not fit.
    FailedCall,
    /// A return before the end.
    Return,
    /// A return that runs a finalizer.
    ReturnRunning,
    /// An exception.
    Raise,
    /// A generator is made.
    Create,
    /// It is resumed by Python code.
    Resume,
    /// It is resumed by C code.
    ResumeFromC,
    /// It yields.
    Yield,
    /// `yield from`.
    Delegate,
    /// An exception is thrown into it.
    Throw,
    /// It is dropped.
    Drop,
    /// A code object is freed, and another one made.
    Compile,
}

impl Operation {
    /// The operation of an instruction; none for those that random programs do not have.
    #[must_use]
    pub fn of(instruction: Instruction) -> Option<Self> {
        Some(match instruction {
            Instruction::Line(_) => Self::Line,
            Instruction::Call(_) => Self::Call,
            Instruction::CallFromC(_) => Self::CallFromC,
            Instruction::FailedCall(_) => Self::FailedCall,
            Instruction::Return => Self::Return,
            Instruction::ReturnRunning(_) => Self::ReturnRunning,
            Instruction::Raise => Self::Raise,
            Instruction::Create(..) => Self::Create,
            Instruction::Resume(_) => Self::Resume,
            Instruction::ResumeFromC(_) => Self::ResumeFromC,
            Instruction::Yield => Self::Yield,
            Instruction::Delegate(_) => Self::Delegate,
            Instruction::Throw(_) => Self::Throw,
            Instruction::Drop(_) => Self::Drop,
            Instruction::Compile(_) => Self::Compile,
            Instruction::Jump(_)
            | Instruction::Branch(_)
            | Instruction::StartThread(_)
            | Instruction::EndThread
            | Instruction::Free(_) => return None,
        })
    }
}

impl ProgramFamily {
    /// All of them.
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

    /// What functions do besides calling and moving on by a line, the likelier the more often it is listed.
    #[must_use]
    pub fn operations(self) -> &'static [Operation] {
        use Operation::{
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

    /// What every program does.
    #[must_use]
    pub fn essential(self) -> Operation {
        match self {
            Self::Calls | Self::Chunks | Self::Mixed => Operation::Call,
            Self::Exceptions => Operation::Raise,
            Self::Generators => Operation::Resume,
            Self::Delegation => Operation::Delegate,
            Self::ResumedFromC => Operation::ResumeFromC,
            Self::Throw => Operation::Throw,
            Self::Entry => Operation::CallFromC,
            Self::FailedBind => Operation::FailedCall,
            Self::Finalizers => Operation::ReturnRunning,
            Self::CodeReuse => Operation::Compile,
        }
    }

    /// Whether programs make generators.
    #[must_use]
    pub fn has_generators(self) -> bool {
        self.operations().iter().any(|operation| matches!(operation, Operation::Resume | Operation::ResumeFromC))
    }

    /// Whether functions may have handlers.
    #[must_use]
    pub fn has_handlers(self) -> bool {
        self.operations().iter().any(|operation| matches!(operation, Operation::Raise | Operation::Throw))
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
            format!("no family of random programs is called `{name}`; there are: {}", names.join(", "))
        })
    }
}
