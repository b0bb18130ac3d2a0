//! Describes violations for CPython engineers. The texts use the field names of the thread state, without addresses or
//! numbers.

use crate::invariants::{Difference, Field, Violation};
use crate::run::finding::Finding;
use crate::workload::grammar::Illegal;

/// The symptom that a violation is. Probable causes are derived from it, so every new kind of violation needs one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    /// Anchor or sequence changed in a forbidden way between two reads of a stopped target. Only the interpreter ran in
    /// between.
    Miscounted,
    /// The anchor points at no frame of the thread.
    OffChain,
    /// A walker returned a wrong stack, or no stack although there was one.
    WrongStack,
    /// The unwinder crashed or did not answer.
    Died,
    /// A cache was not used although it could have been.
    HitMissed,
    /// The profiler did not write the anchor as it must.
    NotWritten,
    /// The profiler read or wrote more than its result needs, or less.
    Cost,
    /// The anchor is left in a wrong place, but this misleads nobody. Every 3.15 does this.
    LeftBehind,
}

impl Sign {
    /// The symptom that `violation` is.
    #[must_use]
    pub fn of(violation: &Violation) -> Self {
        match violation {
            Violation::SequenceDecreased { .. }
            | Violation::AnchorMiscounted { .. }
            | Violation::WrittenWhileNull { .. } => Self::Miscounted,
            Violation::AnchorOffChain { .. } => Self::OffChain,
            Violation::Existence { .. }
            | Violation::Legality { .. }
            | Violation::Agreement { .. }
            | Violation::Account { .. }
            | Violation::RejectedWhileStopped { .. }
            | Violation::Told { .. }
            | Violation::CacheWorse { .. }
            | Violation::MoreThanReleased { .. } => Self::WrongStack,
            Violation::UnwinderDied { .. } | Violation::UnwinderHung => Self::Died,
            Violation::HitMissed { .. } | Violation::Counters { .. } | Violation::LessThanReleased { .. } => {
                Self::HitMissed
            }
            Violation::AnchorNotCleared { .. }
            | Violation::AnchorNotWritten { .. }
            | Violation::AnchorWrittenInVain { .. } => Self::NotWritten,
            Violation::Cost { .. } => Self::Cost,
            Violation::AnchorOnDeadShim { .. }
            | Violation::AnchorOnSuspendedGenerator { .. }
            | Violation::AnchorLeft { .. } => Self::LeftBehind,
        }
    }
}

/// What broke, as a clause of a sentence.
#[must_use]
pub fn broke(finding: &Finding) -> String {
    let walker = finding.walker;
    match &finding.violation {
        Violation::Existence { fingerprint, kept, .. } => {
            let released = if *kept { ", on a schedule that released builds pass" } else { "" };
            format!("{walker} {} ({}){released}", fingerprint.fault.deed(), fingerprint.answer.name())
        }
        Violation::UnwinderDied { .. } => format!("{walker} ends its own process"),
        Violation::UnwinderHung => format!("{walker} does not answer any more"),
        Violation::AnchorMiscounted { counted, left: Some(left), .. } if *counted < *left as u64 => {
            "a frame left the stack and last_profiled_frame_seq did not count it".to_owned()
        }
        Violation::AnchorMiscounted { left: Some(_), .. } => {
            "last_profiled_frame_seq counted more frames than left the stack".to_owned()
        }
        Violation::AnchorMiscounted { left: None, .. } => {
            "last_profiled_frame went to something else than a caller of its frame".to_owned()
        }
        Violation::SequenceDecreased { .. } => "last_profiled_frame_seq went down".to_owned(),
        Violation::WrittenWhileNull { .. } => {
            "the interpreter wrote last_profiled_frame or its sequence while no profiler was there".to_owned()
        }
        Violation::AnchorOffChain { .. } => "last_profiled_frame stays on a frame that has left the stack".to_owned(),
        Violation::AnchorOnDeadShim { .. } => {
            "last_profiled_frame stays on a shim frame that has left the stack".to_owned()
        }
        Violation::AnchorOnSuspendedGenerator { .. } => {
            "last_profiled_frame stays on the frame of a suspended generator".to_owned()
        }
        Violation::AnchorLeft { .. } => format!("{walker} leaves last_profiled_frame set when it goes away"),
        Violation::AnchorNotCleared { .. } => {
            format!("{walker} begins with the last_profiled_frame that another profiler left")
        }
        Violation::AnchorNotWritten { .. } => {
            format!("{walker} does not set last_profiled_frame to the frame that it has just sampled")
        }
        Violation::HitMissed { .. } => {
            format!("{walker} takes nothing from its cache although last_profiled_frame is in it")
        }
        Violation::Counters { .. } => {
            format!("{walker} counts other hits and misses than the protocol makes of the same state")
        }
        Violation::AnchorWrittenInVain { .. } => {
            format!("{walker} sets last_profiled_frame though its sample gave no stack")
        }
        Violation::Told { field: Field::LaterInterpreters, .. } => {
            format!("{walker} does not list threads of interpreters that are newer than itself")
        }
        Violation::Told { field: Field::EndedInterpreter, .. } => {
            format!("{walker} begins its list of threads at an interpreter that has ended")
        }
        Violation::Told { field, .. } => format!("{walker} reports a wrong {} of a stopped target", field.name()),
        Violation::Cost { answer, fault } => format!("{walker} {} ({})", fault.broke(), answer.name()),
        Violation::CacheWorse { cause, .. } => {
            format!("{walker} returns impossible stacks, and more of them than without a cache ({cause})")
        }
        Violation::MoreThanReleased { what, .. } => {
            format!("{walker} goes wrong more often than that of the released builds ({what})")
        }
        Violation::LessThanReleased { what, .. } => {
            format!("{walker} has fewer {what} than that of the released builds")
        }
        Violation::Legality { illegal: Illegal::MixedBranches { .. } } => {
            format!("{walker} returns stacks that mix two branches of the program")
        }
        Violation::Legality { illegal: Illegal::CutShort } => format!("{walker} returns stacks whose root is missing"),
        Violation::Legality { .. } => format!("{walker} returns stacks that the program cannot have"),
        Violation::Agreement { difference: Difference::OtherInterpretersCode { .. }, .. } => {
            format!("{walker} names frames after code that another interpreter had at the same address")
        }
        Violation::Agreement { other, difference } => {
            format!("{walker} returns another {} than {other}, of the same frozen target", difference.name())
        }
        Violation::Account { difference } => {
            format!("{walker} returns another {} than the target itself tells", difference.name())
        }
        Violation::RejectedWhileStopped { rejection } => {
            format!("{walker} returns no stack of a stopped target ({})", rejection.name())
        }
    }
}

/// What a violation means for somebody who profiles a program, and how the protocol should have prevented it.
#[must_use]
pub fn meaning(violation: &Violation) -> &'static str {
    match violation {
        Violation::AnchorMiscounted { .. } | Violation::SequenceDecreased { .. } => {
            "A profiler takes callers from its cache only if last_profiled_frame_seq says how many frames have left the \
             stack since. Whenever a frame that is the anchor leaves, the interpreter must move last_profiled_frame to \
             its caller and add 1 to the sequence. If it does not, the profiler either loses its cache or takes a new \
             frame at an old address for the one it knew, and puts the callers of one branch under the leaf of another."
        }
        Violation::WrittenWhileNull { .. } => {
            "While last_profiled_frame is NULL, no profiler uses the cache, and the interpreter must write neither field."
        }
        Violation::AnchorOffChain { .. } => {
            "last_profiled_frame must always be a frame of the thread. Once its frame has left, the memory can be \
             another frame, which a profiler then takes for the one it knew."
        }
        Violation::AnchorOnDeadShim { .. } | Violation::AnchorOnSuspendedGenerator { .. } => {
            "last_profiled_frame must be a frame that is on the stack. This one has left or is suspended, so that \
             nothing moves it on; a profiler finds it again only by chance."
        }
        Violation::AnchorLeft { .. } | Violation::AnchorNotCleared { .. } => {
            "An anchor that a profiler leaves behind, or takes over from another one, is counted for somebody else: a \
             later profiler can find it and trust callers that are not its own."
        }
        Violation::AnchorNotWritten { .. } | Violation::AnchorWrittenInVain { .. } => {
            "After a sample with a stack, a profiler must set last_profiled_frame to the leaf it returned; after one \
             without, it must leave it alone. Otherwise its entry and the anchor are about different frames."
        }
        Violation::Existence { .. }
        | Violation::Legality { .. }
        | Violation::Agreement { .. }
        | Violation::Account { .. }
        | Violation::Told { .. } => {
            "A profile made with this walker shows calls that did not happen. What the target was doing during the \
             sample is known, from its own account or because it did not move."
        }
        Violation::CacheWorse { .. } | Violation::MoreThanReleased { .. } => {
            "A profile made with this walker shows calls that did not happen, and more of them than without a cache or \
             with a released build: the cache adds them."
        }
        Violation::RejectedWhileStopped { .. } => {
            "The target did not move, so there was a stack to return. A profile loses these samples, always at the same \
             places of the program."
        }
        Violation::UnwinderDied { .. } | Violation::UnwinderHung => {
            "A profiler that samples such a target ends without a profile."
        }
        Violation::HitMissed { .. } | Violation::Counters { .. } | Violation::LessThanReleased { .. } => {
            "The stacks are right, but the cache did not answer although the anchor allowed it: every such sample costs a \
             whole walk, and the profiler's own statistics are wrong or poor."
        }
        Violation::Cost { .. } => {
            "The stacks are right, but the profiler reads or writes what its answer does not need, or trusts what it did \
             not read."
        }
    }
}
