//! What a right stack is.
//!
//! Let `F(t)` be the chain of frames of a thread at time `t`: `f_0` is the thread state's current frame, `f_{i+1}` is
//! the `previous` of `f_i`, and `f_n` is its base frame. The *stack at `t`*, `S(t)`, is that chain without base frame
//! and shim frames, each frame decoded to (function, file, location); only the leaf's location may differ between two
//! equal chains. A sample takes place in an interval `[t0, t1]` and returns a stack `R` or a rejection. Then:
//!
//! 1. **existence**: there is a `t` in `[t0, t1]` with `R = S(t)`;
//! 2. **legality**: every `S(t)` is in the workload's grammar, hence so is `R`: no two branches in one stack;
//! 3. **base**: `R` comes from a chain that ended at the base frame; a chain that did not is rejected;
//! 4. **agreement**: if the target does not move in `[t0, t1]`, all walkers return the same `R` for the same threads in the same
//!    order, each in its interpreter and with its status, and none may reject, but for a thread in a state that the walker is
//!    documented not to walk, with the error that belongs to that state;
//! 5. **account**: at a gate, `R` is what the target itself says its stack is;
//! 6. **protocol**: the sequence never decreases; with the target stopped, the anchor is NULL, a frame of `F(t)`,
//!    or the frame that is just returning to `f_0`; if it was `f_i`, and is now its `n`th caller `f_{i+n}`, the sequence
//!    has grown by `n`;
//!    while the anchor is NULL neither field is written by the interpreter; after an attach and after a detach the anchor is NULL
//!    in every thread state;
//! 7. **use**: if a cached walker returned `S(t)`, and the target did not move, the anchor is left at `f_0`; if the anchor was
//!    moved since to `f_n` by the interpreter alone, and all `f_i` up to it run Python code, the walker's next sample takes
//!    the callers of `f_n` from its cache (where its limits allow, and without the reference walker, which may refuse); what an
//!    unwinder counts of its cache is what its protocol makes of the state; a sample without a stack writes no anchor;
//! 8. **life**: an unwinder never kills its own process, neither in a walk nor by what it returns, and always answers,
//!    whatever the target's memory holds: a sample is a stack or a rejection. (Not broken where the target has ended, or where
//!    somebody else ended the unwinder's process.)
//!
//! 9. **cost**: with the target at rest, a sample reads each frame that it does not take from its cache, and no frame by itself that it
//!    takes from there; a full hit writes nothing, any other sample the anchor at most once; a miss or a partial hit has walked; nobody writes the anchor where it
//!    stands, nor for a sample without a stack; and no sample asks for more than twice of what the released builds ask for in
//!    a sample with that answer on the same program (`corpus/schedules.json`).
//!
//! In the stepped lane every `S(t)` of the sample is known, so existence is checked in full. With the target stopped, it is checked in
//! full by agreement with an uncached walk of the same state. With
//! the target running, legality is the observable part of existence.

use std::fmt;

use framewalk::miss::MissReason;
use framewalk::rejection::Rejection;
use framewalk::sample::{Counters, WalkerKind};
use serde::{Deserialize, Serialize};

use crate::schedule::cost::CostFault;
use crate::schedule::fingerprint::{Answer, SteppedFingerprint};
use crate::workload::grammar::Illegal;

/// Where two stacks differ first, counted from the leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difference {
    /// One stack is longer; the common part is equal.
    Length,
    /// Another function.
    Function {
        /// Frame index.
        index: usize,
    },
    /// The same function on another line.
    Line {
        /// Frame index.
        index: usize,
    },
    /// The same function and line at other columns (or end line).
    Column {
        /// Frame index.
        index: usize,
    },
}

impl Difference {
    /// The name used in fingerprints.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Function { .. } => "function",
            Self::Line { .. } => "line",
            Self::Column { .. } => "column",
        }
    }
}

/// What an unwinder tells besides the frames of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Field {
    /// Which threads there are, and in which order.
    Threads,
    /// The id of a thread's interpreter.
    Interpreter,
    /// The status of a thread.
    Status,
    /// The opcode of a frame.
    Opcode,
}

impl Field {
    /// The name used in fingerprints.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Threads => "threads",
            Self::Interpreter => "interpreter",
            Self::Status => "status",
            Self::Opcode => "opcode",
        }
    }
}

/// How the process of an unwinder ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Death {
    /// By a signal, by its name: "SIGABRT".
    Signal(String),
    /// With this exit status.
    Status(i32),
}

impl Death {
    /// The name used in fingerprints.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Signal(name) => name.to_ascii_lowercase(),
            Self::Status(_) => "exit".to_owned(),
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(name) => write!(f, "was killed by {name}"),
            Self::Status(status) => write!(f, "exited with status {status}"),
        }
    }
}

/// One broken clause, with its evidence; the stacks themselves travel beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "clause")]
pub enum Violation {
    /// Clause 1: the stack is none of those that the target had during the sample.
    NotThere {
        /// In which way it is wrong, what the cache had answered, and where the target moved.
        fingerprint: SteppedFingerprint,
        /// The case, on a line: what runs it again.
        case: String,
        /// Index of the frame at which it and the nearest stack that was there part.
        index: Option<usize>,
        /// Whether the schedule is one that no released build fails.
        kept: bool,
        /// Whether released builds were seen to fail so, in this shape, within the bounds that schedules are drawn from.
        seen: bool,
    },
    /// Clause 2: the stack is not in the grammar.
    Legality {
        /// The rule it breaks.
        illegal: Illegal,
    },
    /// Clause 4: another walker saw something else in the same state.
    Agreement {
        /// The other walker.
        other: WalkerKind,
        /// Where they part.
        difference: Difference,
    },
    /// Clause 4: a walker rejected a state that does not move.
    RejectedWhileStopped {
        /// Why.
        rejection: Rejection,
    },
    /// Clause 5: the target's own account is another.
    Account {
        /// Where they part.
        difference: Difference,
    },
    /// Clause 6: the sequence went backwards.
    SequenceDecreased {
        /// Earlier value.
        before: u64,
        /// Later value.
        after: u64,
    },
    /// Clause 6: the anchor points at no frame of the stopped thread's chain.
    AnchorOffChain {
        /// The anchor.
        anchor: u64,
    },
    /// Clause 6: the anchor and the sequence do not agree on how many frames left the stack while they were the anchor.
    AnchorMiscounted {
        /// The anchor as it was left.
        before: u64,
        /// The anchor found.
        anchor: u64,
        /// By how much the sequence grew.
        counted: u64,
        /// How many callers down the anchor moved, if it is one of the callers.
        left: Option<usize>,
    },
    /// Clause 6, and known of every 3.15: the anchor stays on a shim frame that has left the stack, since leaving one
    /// moves no anchor. A single profiler is slowed down (a miss), not misled.
    AnchorOnDeadShim {
        /// The anchor.
        anchor: u64,
    },
    /// Clause 6, and known of every 3.15: the anchor stays on a generator that is suspended. A yield looks at the anchor
    /// before it moves the current frame; a profiler that writes the generator's frame in between is not noticed.
    AnchorOnSuspendedGenerator {
        /// The anchor.
        anchor: u64,
    },
    /// Clause 6: the interpreter wrote although the anchor was NULL.
    WrittenWhileNull {
        /// Anchor found.
        anchor: u64,
        /// Sequence before.
        before: u64,
        /// Sequence after.
        after: u64,
    },
    /// Clause 6: a detached profiler left its anchor behind.
    AnchorLeft {
        /// The anchor.
        anchor: u64,
    },
    /// Clause 6: a walker with a cache began, and what an earlier one had left in an anchor is still there.
    AnchorNotCleared {
        /// The anchor.
        anchor: u64,
    },
    /// Clause 7: the anchor is not where a sample that gave a stack promises it.
    AnchorNotWritten {
        /// The frame that the thread stood in.
        current_frame: u64,
        /// The anchor after the sample.
        anchor: u64,
    },
    /// Clause 7: the anchor's frame stood in the stack that the walker stored last and has not left since, and the walker did
    /// not find it in its cache.
    HitMissed {
        /// The anchor.
        anchor: u64,
        /// How many frames of the stored stack left.
        left: usize,
        /// By how much the sequence grew since.
        counted: u64,
        /// What the walker says.
        reason: MissReason,
    },
    /// Clause 7: what the unwinder counted of its cache is not what the protocol makes of this state.
    Counters {
        /// What it counted.
        told: Counters,
        /// What this project's own walker, in its seat, makes of the same state.
        owed: Counters,
    },
    /// Clause 7: a sample that was rejected wrote an anchor.
    AnchorWrittenInVain {
        /// The anchor before.
        before: u64,
        /// The anchor after.
        anchor: u64,
    },
    /// Clause 4: something else than the frames is told wrongly of a thread, or of the list of threads.
    Told {
        /// What.
        field: Field,
        /// What was told.
        seen: String,
        /// What is so.
        possible: String,
    },
    /// Clause 8: the unwinder killed the process that it runs in.
    UnwinderDied {
        /// How the process ended.
        end: Death,
        /// The function whose assertion failed, or that found a fatal error, if the process said so.
        failed_in: Option<String>,
        /// Its last words, cut to what a message holds.
        words: String,
    },
    /// Clause 8: the unwinder did not answer before a deadline that only a hang can reach.
    UnwinderHung,
    /// Clause 9: what the sample asked of the target's memory does not fit to its answer.
    Cost {
        /// What the cache had answered; unknown for a sample without a stack.
        answer: Answer,
        /// In which way.
        fault: CostFault,
    },
    /// Live lane: impossible stacks are more frequent with the cache than without it.
    CacheWorse {
        /// The cause that the excess is attributed to.
        cause: String,
        /// Lower confidence bound of the cached rate.
        cached_at_least: f64,
        /// Upper confidence bound of the uncached rate.
        uncached_at_most: f64,
    },
    /// Live lane: something goes wrong more often than the released builds were seen to get it wrong.
    MoreThanReleased {
        /// The cause of impossible stacks, or the reason of rejections.
        what: String,
        /// Lower confidence bound of its share.
        at_least: f64,
        /// The largest share that is allowed.
        most: f64,
    },
    /// Live lane: the cache answers less often than that of the released builds was seen to.
    LessThanReleased {
        /// The kind of answer.
        what: String,
        /// Upper confidence bound of its share.
        at_most: f64,
        /// The smallest share that is owed.
        least: f64,
    },
}

impl Violation {
    /// The clause's short name, used in tables, fingerprints and JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotThere { fingerprint, .. } => fingerprint.clause.name(),
            Self::Legality { illegal } => illegal.name(),
            Self::Agreement { .. } => "disagreement",
            Self::RejectedWhileStopped { .. } => "rejected-while-stopped",
            Self::Account { .. } => "account",
            Self::SequenceDecreased { .. } => "sequence-decreased",
            Self::AnchorOffChain { .. } => "anchor-off-chain",
            Self::AnchorMiscounted { .. } => "anchor-miscounted",
            Self::AnchorOnDeadShim { .. } => "anchor-on-dead-shim",
            Self::AnchorOnSuspendedGenerator { .. } => "anchor-on-suspended-generator",
            Self::WrittenWhileNull { .. } => "written-while-null",
            Self::AnchorLeft { .. } => "anchor-left",
            Self::AnchorNotCleared { .. } => "anchor-not-cleared",
            Self::AnchorNotWritten { .. } => "anchor-not-written",
            Self::HitMissed { .. } => "hit-missed",
            Self::Counters { .. } => "counters",
            Self::AnchorWrittenInVain { .. } => "anchor-written-in-vain",
            Self::Told { .. } => "told",
            Self::UnwinderDied { .. } => "unwinder-died",
            Self::UnwinderHung => "unwinder-hung",
            Self::Cost { .. } => "cost",
            Self::CacheWorse { .. } => "cache-worse",
            Self::MoreThanReleased { .. } => "more-than-released",
            Self::LessThanReleased { .. } => "less-than-released",
        }
    }
}

fn callers(count: usize) -> String {
    format!("{count} caller{}", if count == 1 { "" } else { "s" })
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotThere { fingerprint, kept: false, .. } => f.write_str(fingerprint.clause.describe()),
            Self::NotThere { fingerprint, kept: true, .. } => {
                write!(f, "{}; the released builds pass this schedule", fingerprint.clause.describe())
            }
            Self::Legality { illegal } => illegal.fmt(f),
            Self::Agreement { other, difference } => {
                write!(f, "{other} saw another {} in the same state", difference.name())
            }
            Self::RejectedWhileStopped { rejection } => {
                write!(f, "rejected although the target did not move: {rejection}")
            }
            Self::Account { difference } => {
                write!(f, "the target's own account has another {}", difference.name())
            }
            Self::SequenceDecreased { before, after } => {
                write!(f, "the sequence (last_profiled_frame_seq) went from {before} to {after}")
            }
            Self::AnchorOffChain { anchor } => {
                write!(f, "the anchor (last_profiled_frame) {anchor:#x} is no frame of the thread's chain")
            }
            Self::AnchorMiscounted { before, anchor, counted, left: Some(left) } => write!(
                f,
                "the anchor (last_profiled_frame) went from {before:#x} to {anchor:#x}, {} down, and the sequence \
                 (last_profiled_frame_seq) counted {counted}",
                callers(*left)
            ),
            Self::AnchorMiscounted { before, anchor, counted, left: None } => write!(
                f,
                "the anchor (last_profiled_frame) went from {before:#x} to {anchor:#x}, none of its callers, and the sequence \
                 (last_profiled_frame_seq) counted {counted}"
            ),
            Self::AnchorOnDeadShim { anchor } => {
                write!(f, "the anchor (last_profiled_frame) {anchor:#x} is a shim frame that has left the stack")
            }
            Self::AnchorOnSuspendedGenerator { anchor } => {
                write!(f, "the anchor (last_profiled_frame) {anchor:#x} is the frame of a suspended generator")
            }
            Self::WrittenWhileNull { anchor, before, after } => write!(
                f,
                "the interpreter wrote although the anchor (last_profiled_frame) was NULL: anchor {anchor:#x}, sequence \
                 (last_profiled_frame_seq) {before} to {after}"
            ),
            Self::AnchorLeft { anchor } => {
                write!(f, "the anchor (last_profiled_frame) is still {anchor:#x} after the detach")
            }
            Self::AnchorNotCleared { anchor } => {
                write!(f, "the anchor (last_profiled_frame) is still {anchor:#x} when the walker begins")
            }
            Self::AnchorNotWritten { current_frame, anchor } => write!(
                f,
                "the walker gave a stack and left the anchor (last_profiled_frame) at {anchor:#x}, while the current frame is {current_frame:#x}"
            ),
            Self::HitMissed { anchor, left, counted, reason } => write!(
                f,
                "the anchor (last_profiled_frame) {anchor:#x} is a frame of the stored stack, {} down, the sequence \
                 (last_profiled_frame_seq) counted {counted}, and the walker takes nothing from its cache: {reason}",
                callers(*left)
            ),
            Self::Counters { told, owed } => {
                write!(f, "the unwinder counted {told}; the protocol makes of this state {owed}")
            }
            Self::AnchorWrittenInVain { before, anchor } => write!(
                f,
                "a sample that gave no stack moved the anchor (last_profiled_frame) from {before:#x} to {anchor:#x}"
            ),
            Self::Told { field, seen, possible } => {
                write!(f, "the {} told: {seen}; the target, which does not move, has: {possible}", field.name())
            }
            Self::UnwinderDied { end, failed_in, words } => {
                write!(f, "the process that runs the unwinder {end}")?;
                if let Some(function) = failed_in {
                    write!(f, " in {function}")?;
                }
                if words.is_empty() { Ok(()) } else { write!(f, "; the end of its stderr: {words}") }
            }
            Self::UnwinderHung => write!(f, "the unwinder did not answer before the deadline, and was killed"),
            Self::Cost { answer, fault } => write!(f, "{}: {fault}", answer.name()),
            Self::CacheWorse { cause, cached_at_least, uncached_at_most } => write!(
                f,
                "{cause}: at least {:.4} % of cached samples are impossible, at most {:.4} % of uncached ones",
                cached_at_least * 100.0,
                uncached_at_most * 100.0
            ),
            Self::MoreThanReleased { what, at_least, most } => write!(
                f,
                "{what}: a share of at least {:.4} %; released builds were never seen above {:.4} %, margin included",
                at_least * 100.0,
                most * 100.0
            ),
            Self::LessThanReleased { what, at_most, least } => write!(
                f,
                "{what}: a share of at most {:.4} %; released builds were never seen below {:.4} %, margin included",
                at_most * 100.0,
                least * 100.0
            ),
        }
    }
}
