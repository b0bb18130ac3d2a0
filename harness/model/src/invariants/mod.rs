//! The specification of a correct sample.
//!
//! # Terms
//!
//! Let `F(t) = f_0, f_1, ..., f_n` be the frame chain of a thread at time `t`: `f_0` is the thread state's current
//! frame, `f_{i+1}` is the `previous` of `f_i`, and `f_n` is the base frame.
//!
//! The *stack at `t`*, `S(t)`, is this chain without the base frame and without shim frames, with each frame decoded to
//! (function, file, location). At two times with the same chain, only the location of the leaf can differ.
//!
//! A sample is taken in an interval `[t0, t1]`. Its result is a stack `R` or a rejection.
//!
//! # Clauses
//!
//! 1. **existence**: there is a `t` in `[t0, t1]` with `R = S(t)`.
//! 2. **legality**: `R` is in the workload's grammar. Every `S(t)` is, so a correct `R` must be. In particular,
//!    `R` does not mix two branches.
//! 3. **base**: `R` comes from a chain that ended at the base frame. A chain that did not end there is rejected.
//! 4. **agreement**: if the target does not move in `[t0, t1]`, all walkers return the same `R` for the same threads in
//!    the same order, and the right interpreter and status for each thread. The threads are those that the walker's
//!    configuration asks for. Where the configuration asks for markers or opcodes, they are those of `F(t)` and of the
//!    collection that runs at `t`, with and without the cache. No walker rejects a thread, except in a
//!    state that it is documented not to walk, and then with the error documented for that state.
//! 5. **account**: at a gate, `R` is the stack that the target itself reports.
//! 6. **protocol**:
//!    - The sequence never decreases.
//!    - While the target is stopped, the anchor is NULL, a frame of `F(t)`, or the frame that is just returning to
//!      `f_0`.
//!    - If the anchor was `f_i` and is now its `k`th caller `f_{i+k}`, the sequence has grown by `k`.
//!    - While the anchor is NULL, the interpreter writes neither field.
//!    - After an attach and after a detach, the anchor is NULL in every thread state.
//! 7. **use**:
//!    - If a cached walker returned `S(t)` and the target did not move, the anchor is at `f_0` afterwards.
//!    - If only the interpreter has moved the anchor since, to `f_k`, and `f_0` to `f_k` all run Python code, the
//!      walker's next sample takes the callers of `f_k` from its cache. This does not apply beyond the limits of the
//!      cache, nor to the reference walker, which may refuse.
//!    - The counters that an unwinder reports for its cache are those that its protocol yields for the state.
//!    - A sample without a stack does not write the anchor.
//! 8. **life**: an unwinder never kills its own process, neither by walking nor by what it returns, and it always
//!    answers. Whatever the target's memory contains, each sample is a stack or a rejection. The clause does not apply
//!    if the target has ended, or if something else ended the unwinder's process.
//! 9. **cost**: if the target does not move in `[t0, t1]`,
//!    - a sample reads every frame that does not come from its cache, and reads no cached frame individually;
//!    - a full hit writes nothing, and any other sample writes the anchor at most once;
//!    - a miss or a partial hit walks;
//!    - no sample writes the value that the anchor already has, and no sample without a stack writes the anchor;
//!    - no sample asks for more than twice what the released builds ask for in a sample with the same answer on the
//!      same program (`corpus/schedules.json`).
//!
//! # Checking existence
//!
//! In the stepped lane, every `S(t)` of a sample is known, so existence is checked in full. While the target is
//! stopped, agreement with an uncached walk of the same state checks it in full. While the target runs, legality is the
//! observable part of existence.

mod details;
pub(crate) mod existence;

use std::fmt;

use framewalk::miss::MissReason;
use framewalk::rejection::Rejection;
use framewalk::sample::{Counters, WalkerKind};
use serde::{Deserialize, Serialize};

pub use self::details::{Death, Difference, Field};
pub use self::existence::{FirstDifference, PossibleStacks, SampleFault, WrongStack, first_difference, judge};
use crate::schedule::cost::CostFault;
use crate::schedule::fingerprint::{CacheAnswer, SteppedFingerprint};
use crate::workload::grammar::Illegal;

/// One broken clause with its evidence. The stacks are kept beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "clause")]
pub enum Violation {
    /// Clauses 1 and 3, where every stack of the sample is known: the target had no such stack. Clause 4, if the
    /// fingerprint's fault is [`SampleFault::Rejected`].
    #[serde(rename = "not-there")]
    Existence {
        /// How the stack is wrong, what the cache answered, and where the target moved.
        fingerprint: SteppedFingerprint,
        /// The case that reproduces it, on one line.
        case: String,
        /// Index of the first frame that differs from the nearest stack that the target had.
        index: Option<usize>,
        /// Whether no released build fails this schedule.
        kept: bool,
        /// Whether released builds were seen to fail like this, in this shape, within the bounds of generated
        /// schedules.
        seen: bool,
    },
    /// Clause 2: the stack is not in the grammar.
    Legality {
        /// The rule it breaks.
        illegal: Illegal,
    },
    /// Clause 4: another walker returned a different result for the same state.
    Agreement {
        /// The walker that is right.
        other: WalkerKind,
        /// The most significant difference.
        difference: Difference,
    },
    /// Clause 4: a walker rejected a state that did not move.
    RejectedWhileStopped {
        /// The reason for the rejection.
        rejection: Rejection,
    },
    /// Clause 5: the target's own account differs.
    Account {
        /// The most significant difference.
        difference: Difference,
    },
    /// Clause 6: the sequence decreased.
    SequenceDecreased {
        /// The sequence at the stop before.
        before: u64,
        /// The sequence at this stop.
        after: u64,
    },
    /// Clause 6: the anchor is not a frame of the stopped thread's chain.
    AnchorOffChain {
        /// The value of the anchor.
        anchor: u64,
    },
    /// Clause 6: anchor and sequence disagree about how many frames left the stack while they were the anchor.
    AnchorMiscounted {
        /// The anchor when the target was last stopped.
        before: u64,
        /// The anchor at this stop.
        anchor: u64,
        /// The increase of the sequence.
        counted: u64,
        /// By how many callers the anchor moved down; `None` if it is not a caller of the earlier anchor.
        left: Option<usize>,
    },
    /// Clause 6, in every 3.15: the anchor stays on a shim frame that has left the stack, because leaving a shim frame
    /// does not move the anchor. This slows a single profiler down (a miss), but does not mislead it.
    AnchorOnDeadShim {
        /// The value of the anchor.
        anchor: u64,
    },
    /// Clause 6, in every 3.15: the anchor stays on a suspended generator. A yield looks at the anchor before it moves
    /// the current frame. If a profiler writes the generator's frame to the anchor in between, the yield does not
    /// notice.
    AnchorOnSuspendedGenerator {
        /// The value of the anchor.
        anchor: u64,
    },
    /// Clause 6: the interpreter wrote anchor or sequence although the anchor was NULL.
    WrittenWhileNull {
        /// The anchor at this stop.
        anchor: u64,
        /// The sequence at the stop before.
        before: u64,
        /// The sequence at this stop.
        after: u64,
    },
    /// Clause 6: a profiler detached and did not clear its anchor.
    AnchorLeft {
        /// The value of the anchor.
        anchor: u64,
    },
    /// Clause 6: a cached walker attached and did not clear the anchor that an earlier profiler left.
    AnchorNotCleared {
        /// The value of the anchor.
        anchor: u64,
    },
    /// Clause 7: a sample returned a stack, but the anchor is not where that sample must leave it.
    AnchorNotWritten {
        /// The thread's current frame.
        current_frame: u64,
        /// The anchor after the sample.
        anchor: u64,
    },
    /// Clause 7: the anchor's frame is in the stack that the walker stored last and has been on the thread's stack ever
    /// since, but the walker did not find it in its cache.
    HitMissed {
        /// The value of the anchor before the sample.
        anchor: u64,
        /// How many frames of the stored stack have left.
        left: usize,
        /// The increase of the sequence since then.
        counted: u64,
        /// The reason that the walker gives.
        reason: MissReason,
    },
    /// Clause 7: the unwinder's cache counters are not those that the protocol yields for this state.
    Counters {
        /// The counters that the unwinder reports.
        told: Counters,
        /// The counters that framediff's own walker yields in its place for the same state.
        owed: Counters,
    },
    /// Clause 7: a rejected sample wrote an anchor.
    AnchorWrittenInVain {
        /// The anchor before the sample.
        before: u64,
        /// The anchor after the sample.
        anchor: u64,
    },
    /// Clause 4: the unwinder reports something wrong about a thread or the list of threads, other than frames.
    Told {
        /// The field that is wrong.
        field: Field,
        /// The value that the unwinder reports.
        seen: String,
        /// The value that it should have had.
        possible: String,
    },
    /// Clause 8: the unwinder killed the process it runs in.
    UnwinderDied {
        /// How the process ended.
        end: Death,
        /// The function whose assertion failed or that raised a fatal error, if the process printed it.
        failed_in: Option<String>,
        /// The end of its stderr, cut to the length of a message.
        words: String,
    },
    /// Clause 8: the unwinder did not answer before its deadline, which is so long that only a hang reaches it.
    UnwinderHung,
    /// Clause 9: the sample's accesses to the target's memory do not fit its answer.
    Cost {
        /// What the cache answered; unknown for a sample without a stack.
        answer: CacheAnswer,
        /// How the accesses do not fit.
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
    /// Live lane: something goes wrong more often than the released builds were seen to do.
    MoreThanReleased {
        /// The cause of the impossible stacks, or the reason for the rejections.
        what: String,
        /// Lower confidence bound of its share.
        at_least: f64,
        /// The largest share allowed.
        most: f64,
    },
    /// Live lane: the cache answers less often than that of the released builds.
    LessThanReleased {
        /// The kind of answer.
        what: String,
        /// Upper confidence bound of its share.
        at_most: f64,
        /// The smallest share required.
        least: f64,
    },
}

impl Violation {
    /// Whether it is about what a walker read or counted, which depends on its options. What it leaves in the target's
    /// anchors does not, and neither does how its process ends.
    #[must_use]
    pub fn is_about_content(&self) -> bool {
        match self {
            Self::Existence { .. }
            | Self::Legality { .. }
            | Self::Agreement { .. }
            | Self::RejectedWhileStopped { .. }
            | Self::Account { .. }
            | Self::HitMissed { .. }
            | Self::Counters { .. }
            | Self::Told { .. }
            | Self::Cost { .. }
            | Self::CacheWorse { .. }
            | Self::MoreThanReleased { .. }
            | Self::LessThanReleased { .. } => true,
            Self::SequenceDecreased { .. }
            | Self::AnchorOffChain { .. }
            | Self::AnchorMiscounted { .. }
            | Self::AnchorOnDeadShim { .. }
            | Self::AnchorOnSuspendedGenerator { .. }
            | Self::WrittenWhileNull { .. }
            | Self::AnchorLeft { .. }
            | Self::AnchorNotCleared { .. }
            | Self::AnchorNotWritten { .. }
            | Self::AnchorWrittenInVain { .. }
            | Self::UnwinderDied { .. }
            | Self::UnwinderHung => false,
        }
    }

    /// The clause's short name, used in tables, fingerprints and JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Existence { fingerprint, .. } => fingerprint.fault.name(),
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
            Self::Existence { fingerprint, kept: false, .. } => f.write_str(fingerprint.fault.describe()),
            Self::Existence { fingerprint, kept: true, .. } => {
                write!(f, "{}; the released builds pass this schedule", fingerprint.fault.describe())
            }
            Self::Legality { illegal } => illegal.fmt(f),
            Self::Agreement { other, difference: Difference::OtherInterpretersCode { .. } } => write!(
                f,
                "{other} saw another function in the same state; the one that is named here was that of code which \
                 another interpreter had at the same address"
            ),
            Self::Agreement { other, difference } => {
                write!(f, "{other} saw a different {} in the same state", difference.name())
            }
            Self::RejectedWhileStopped { rejection } => {
                write!(f, "rejected although the target did not move: {rejection}")
            }
            Self::Account { difference } => {
                write!(f, "the target's own account has a different {}", difference.name())
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
                "the walker returned a stack and left the anchor (last_profiled_frame) at {anchor:#x}, while the current frame is {current_frame:#x}"
            ),
            Self::HitMissed { anchor, left, counted, reason } => write!(
                f,
                "the anchor (last_profiled_frame) {anchor:#x} is a frame of the stored stack, {} down, the sequence \
                 (last_profiled_frame_seq) counted {counted}, and the walker takes nothing from its cache: {reason}",
                callers(*left)
            ),
            Self::Counters { told, owed } => {
                write!(f, "the unwinder counted {told}, but the protocol yields {owed} in this state")
            }
            Self::AnchorWrittenInVain { before, anchor } => write!(
                f,
                "a sample without a stack moved the anchor (last_profiled_frame) from {before:#x} to {anchor:#x}"
            ),
            Self::Told { field, seen, possible } => {
                write!(f, "reported {}: {seen}; the target, which does not move, has: {possible}", field.name())
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
