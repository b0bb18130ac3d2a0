//! Explains why a sample is wrong, from the history of the run and the provenance of its frames.

use std::fmt;

use framewalk::frame::Frame;

use super::cast::{Lifecycle, ProfilerId};
use super::event::{Access, AccessedValue, ChainFrame, StepEvent, ThreadWord};
use super::{AccessKind, Point};
use crate::invariants::existence::SampleFault;

/// The cause of a stack that the target did not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailureCause {
    /// The walker read a frame, the target moved on, and then the walker wrote the anchor for that frame. The stored
    /// entry therefore assigns its callers to whatever frame is at that address now.
    LateAnchor {
        /// The point at which the current frame was read.
        read: Point,
        /// The point at which the anchor was written.
        write: Point,
        /// The frame that was read; `None` if it is not a Python frame.
        walked: Option<Frame>,
        /// The frame at its address when the anchor was written; `None` if there was no Python frame.
        there: Option<Frame>,
        /// Whether there was no frame at all at that address.
        gone: bool,
    },
    /// The anchor was right when it was written. Later its frame left the stack, or got other callers, and the
    /// interpreter did not move the anchor.
    AnchorKept {
        /// The point at which the anchor was written.
        write: Point,
        /// The frame at the anchor, where it is known.
        walked: Option<Frame>,
    },
    /// The anchor was written by another actor. It equals the address of a frame in the sampler's entry, but that frame
    /// has left the stack without being counted: no anchor was on it, or the sequence had increased before the entry
    /// was made.
    AnothersAnchor {
        /// The point at which the anchor was written.
        write: Point,
        /// The actor that wrote it.
        by: ProfilerId,
        /// The actor whose sample is wrong.
        sampler: ProfilerId,
        /// The number of the sampler's previous sample. Its entry is from that sample or an earlier one.
        entry: u32,
        /// The actor that made an unwinder in between, and so set the anchor to NULL.
        cleared: Option<ProfilerId>,
    },
    /// The accesses of one sample read different moments.
    TornWalk {
        /// The point of the sample's first access, which usually reads the thread state.
        read: Point,
        /// The point of the first access after the target had moved.
        stale: Point,
        /// The kind of that access.
        kind: AccessKind,
    },
    /// The target did not move at a point that matters. The walker itself combined frames that were never on the stack
    /// together.
    WalkersOwn,
}

/// The first access that relied on something that was no longer true. If the target had not moved before it, the stack
/// would be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    /// Where the access comes in the schedule.
    pub at: Point,
    /// The kind of the access.
    pub kind: AccessKind,
    /// The earlier access, which read what was no longer true.
    pub since: Point,
}

/// Why a sample is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CauseExplanation {
    /// Why the stack is wrong.
    pub cause: FailureCause,
    /// The access at fault; `None` if the target did not move.
    pub stale: Option<Stale>,
}

/// Explains why the sample with this number, which has `fault`, is wrong. Returns `None` if `events` has no result
/// of the sample. Without numbered accesses, the only possible explanation is [`FailureCause::WalkersOwn`].
#[must_use]
pub fn explain(events: &[StepEvent], sample: u32, fault: SampleFault) -> Option<CauseExplanation> {
    let run = Run::of(events);
    let result = events.iter().find_map(|event| match event {
        StepEvent::Result(number, result) if *number == sample => Some(result),
        _ => None,
    })?;
    let own = run.torn(sample);
    let cached = || run.anchored(sample).filter(|_| result.provenance.from_cache > 0);
    let torn_first = fault == SampleFault::Torn || result.provenance.from_cache == 0;
    let explained = if torn_first { own.or_else(cached) } else { cached().or(own) };
    Some(explained.unwrap_or(CauseExplanation { cause: FailureCause::WalkersOwn, stale: None }))
}

/// A run, seen from its accesses.
struct Run<'a> {
    /// The chains of the target, one after each change.
    chains: Vec<&'a [ChainFrame]>,
    accesses: Vec<NumberedAccess<'a>>,
    /// The sample numbers with their actors, if recorded.
    turns: Vec<(u32, ProfilerId)>,
    /// The actors that made an unwinder, each with the number of the sample after it.
    made: Vec<(u32, ProfilerId)>,
}

/// A numbered access, with the index of the target's chain at that time.
#[derive(Clone, Copy)]
struct NumberedAccess<'a> {
    at: Point,
    access: &'a Access,
    chain: usize,
}

impl<'a> Run<'a> {
    fn of(events: &'a [StepEvent]) -> Self {
        let mut run = Self { chains: Vec::new(), accesses: Vec::new(), turns: Vec::new(), made: Vec::new() };
        let (mut next, mut made) = (None, Vec::new());
        for event in events {
            match event {
                StepEvent::Happened(Lifecycle::Make(actor), _) => made.push(*actor),
                StepEvent::NextIs(actor) => next = Some(*actor),
                StepEvent::Sample(number) => {
                    run.turns.extend(next.take().map(|actor| (*number, actor)));
                    run.made.extend(made.drain(..).map(|actor| (*number, actor)));
                }
                StepEvent::Truth(chain) if run.chains.last().is_none_or(|last| !same_chain(last, chain)) => {
                    run.chains.push(chain);
                }
                StepEvent::Access(access) => {
                    let chain = run.chains.len().saturating_sub(1);
                    run.accesses.extend(access.at.map(|at| NumberedAccess { at, access, chain }));
                }
                _ => {}
            }
        }
        run
    }

    fn frame(&self, chain: usize, address: u64) -> Option<&'a ChainFrame> {
        self.chains.get(chain)?.iter().find(|standing| standing.address == address)
    }

    /// The first access of the same sample that came after the target had moved since an earlier access.
    fn stale(&self, since: NumberedAccess<'a>) -> Option<NumberedAccess<'a>> {
        let later = |met: &&NumberedAccess<'a>| {
            met.at.sample == since.at.sample && met.at > since.at && met.chain != since.chain
        };
        self.accesses.iter().find(later).copied()
    }

    /// The explanation that the sample's own accesses read different moments.
    fn torn(&self, sample: u32) -> Option<CauseExplanation> {
        let read = *self.accesses.iter().find(|met| met.at.sample == sample)?;
        let stale = self.stale(read)?;
        let cause = FailureCause::TornWalk { read: read.at, stale: stale.at, kind: stale.access.kind };
        Some(CauseExplanation { cause, stale: Some(Stale { at: stale.at, kind: stale.access.kind, since: read.at }) })
    }

    /// The explanation that the last anchor written before the sample is wrong.
    fn anchored(&self, sample: u32) -> Option<CauseExplanation> {
        let (write, anchor) = self.accesses.iter().rev().find_map(|met| {
            let before = met.at.sample < sample && met.access.kind == AccessKind::WriteAnchor;
            shown(met.access, ThreadWord::Anchor).filter(|&anchor| before && anchor != 0).map(|anchor| (*met, anchor))
        })?;
        let read = self.accesses.iter().rev().find(|met| {
            let same_sample = met.at.sample == write.at.sample && met.at < write.at;
            same_sample && shown(met.access, ThreadWord::CurrentFrame) == Some(anchor)
        });
        let walked = |chain| self.frame(chain, anchor).and_then(|standing| standing.frame.clone());
        if let Some(&read) = read
            && (read.chain..=write.chain).any(|chain| !self.same_callers(read.chain, chain, anchor))
        {
            let there = self.frame(write.chain, anchor);
            let cause = FailureCause::LateAnchor {
                read: read.at,
                write: write.at,
                walked: walked(read.chain),
                there: there.and_then(|standing| standing.frame.clone()),
                gone: there.is_none(),
            };
            let stale = self.stale(read);
            let stale = stale.map(|met| Stale { at: met.at, kind: met.access.kind, since: read.at });
            return Some(CauseExplanation { cause, stale });
        }
        if let Some(cause) = self.anothers(sample, write.at) {
            return Some(CauseExplanation { cause, stale: None });
        }
        let used = self.accesses.iter().rev().find(|met| met.at.sample == sample)?;
        let kept = (write.chain..=used.chain).any(|chain| !self.same_callers(write.chain, chain, anchor));
        let cause = FailureCause::AnchorKept { write: write.at, walked: walked(write.chain) };
        kept.then_some(CauseExplanation { cause, stale: None })
    }

    /// The explanation that another actor than the sampler wrote the anchor at `write`.
    fn anothers(&self, sample: u32, write: Point) -> Option<FailureCause> {
        let by = |sample: u32| self.turns.iter().find(|(number, _)| *number == sample).map(|(_, actor)| *actor);
        let (sampler, writer) = (by(sample)?, by(write.sample)?);
        let own = |(number, actor): &&(u32, ProfilerId)| *number < sample && *actor == sampler;
        let &(entry, _) = self.turns.iter().rev().find(own).filter(|_| writer != sampler)?;
        let meanwhile = |(before, _): &&(u32, ProfilerId)| entry < *before && *before <= sample;
        let cleared = self.made.iter().find(meanwhile).map(|(_, actor)| *actor);
        Some(FailureCause::AnothersAnchor { write, by: writer, sampler, entry, cleared })
    }

    /// Whether two chains are the same from the frame at `address` on.
    fn same_callers(&self, one: usize, other: usize, address: u64) -> bool {
        let from = |chain: usize| {
            let chain = self.chains.get(chain).copied().unwrap_or_default();
            chain.iter().position(|standing| standing.address == address).map(|start| &chain[start..])
        };
        match (from(one), from(other)) {
            (Some(one), Some(other)) => same_chain(one, other),
            (None, None) => true,
            _ => false,
        }
    }
}

/// The value of a thread-state field, if the access read or wrote it.
fn shown(access: &Access, word: ThreadWord) -> Option<u64> {
    access.shown.iter().find_map(|shown| match shown {
        AccessedValue::Thread(one, value) if *one == word => Some(*value),
        _ => None,
    })
}

/// Whether two chains have the same frames. Lines are not compared, because they change without a store.
fn same_chain(one: &[ChainFrame], other: &[ChainFrame]) -> bool {
    let function =
        |standing: &ChainFrame| standing.frame.as_ref().map(|frame| (frame.function.clone(), frame.file.clone()));
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| one.address == other.address && function(one) == function(other))
}

impl fmt::Display for FailureCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name =
            |frame: &Option<Frame>| frame.as_ref().map_or("a shim frame".to_owned(), |one| one.function.to_string());
        match self {
            Self::LateAnchor { read, write, walked, there, gone } => {
                let walked_name = name(walked);
                write!(f, "the anchor was written at {write} for {walked_name}, which had been read at {read}; ")?;
                let function = |frame: &Option<Frame>| frame.as_ref().map(|frame| frame.function.clone());
                if *gone {
                    write!(f, "by then it had left the stack; whatever stands at its address next ")?;
                } else if function(walked) == function(there) {
                    write!(f, "by then it had left the stack, and another call of it stood at its address, which ")?;
                } else {
                    write!(f, "by then it had left the stack, and {} stood at its address, which ", name(there))?;
                }
                write!(f, "from then on is given the callers of the {walked_name} that was read")
            }
            Self::AnchorKept { write, walked } => write!(
                f,
                "the anchor was written at {write} for {}, while it stood there; when that frame left the stack, the \
                 interpreter did not move the anchor, so that another frame at its address is taken for it",
                name(walked)
            ),
            Self::AnothersAnchor { write, by, sampler, entry, cleared } => {
                write!(
                    f,
                    "the anchor was written at {write} by {by}, but {sampler} takes it for its own of sample {entry}"
                )?;
                if let Some(cleared) = cleared {
                    write!(f, "; the unwinder of {cleared}, when it was made, had set that to NULL")?;
                }
                f.write_str(
                    "; the frames of that entry left the stack and were not counted (no anchor was on them, or the sequence \
                     had gone up before they went): address and sequence both fit, and the callers are those of frames that \
                     are gone",
                )
            }
            Self::TornWalk { read, stale, kind } => write!(
                f,
                "one sample read different moments: {read} saw the thread, then the target moved, and {kind} at {stale} \
                 saw what came after"
            ),
            Self::WalkersOwn => f.write_str(
                "the target did not move where it matters: the walker put together by itself what never stood together",
            ),
        }
    }
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, kind, since } = self;
        write!(
            f,
            "{at} ({kind}): what {since} had seen no longer held; had the target stood still between them, this "
        )?;
        f.write_str("sample would have been that of one moment")
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::{B_UNDER_A, Story, names};
    use super::*;

    #[test]
    fn an_anchor_that_is_written_late_is_told_with_both_frames() {
        let events = Story::late_anchor();
        let explained = explain(&events, 1, SampleFault::Spliced).unwrap();
        let FailureCause::LateAnchor { read, write, walked, there, gone } = &explained.cause else {
            panic!("{explained:?}")
        };
        assert_eq!((read.to_string(), write.to_string(), gone), ("0.0".into(), "0.2".into(), &false));
        assert_eq!((names(walked.as_slice()), names(there.as_slice())), ("a_leaf".into(), "b_leaf".into()));
        let stale = explained.stale.unwrap();
        assert_eq!((stale.at, stale.kind, stale.since), (*write, AccessKind::WriteAnchor, *read));
        assert_eq!(
            explained.cause.to_string(),
            "the anchor was written at 0.2 for a_leaf, which had been read at 0.0; by then it had left the stack, and \
             b_leaf stood at its address, which from then on is given the callers of the a_leaf that was read"
        );
    }

    #[test]
    fn the_same_function_again_and_nothing_at_all_are_told_apart() {
        let again = Story::new().sample(&[0], "a_leaf a main").go("a main").go("a_leaf a main").write().end(&[], 0);
        let again = again.go("b main").sample(&[0], "b main").end(B_UNDER_A, 2).events();
        let told = explain(&again, 1, SampleFault::Spliced).unwrap().cause.to_string();
        assert!(told.contains("another call of it stood at its address"), "{told}");
        let gone = Story::new().sample(&[0], "a_leaf a main").go("a main").write().end(&[], 0);
        let gone = gone.go("b main").go("b_leaf b main").sample(&[0], "b_leaf b main").end(B_UNDER_A, 2).events();
        let told = explain(&gone, 1, SampleFault::Spliced).unwrap().cause.to_string();
        assert!(told.contains("whatever stands at its address next"), "{told}");
    }

    #[test]
    fn an_anchor_that_the_interpreter_left_behind_is_its_fault() {
        let events = Story::new().sample(&[0], "a_leaf a main").write().end(&[], 0);
        let events = events.go("main").go("b_leaf b main").sample(&[0], "b_leaf b main").end(B_UNDER_A, 2).events();
        let explained = explain(&events, 1, SampleFault::Spliced).unwrap();
        assert!(matches!(explained.cause, FailureCause::AnchorKept { .. }), "{explained:?}");
        assert_eq!(explained.stale, None, "no access was too late");
        assert!(explained.cause.to_string().contains("the interpreter did not move the anchor"));
    }

    #[test]
    fn an_anchor_of_another_actor_is_told_with_whoever_cleared_the_own_one() {
        let cast = |text: &str| text.parse::<super::super::cast::ProfilerScript>().unwrap();
        for (script, cleared) in [("a+make-b.b+a", true), ("a+b", false)] {
            let story = Story::new().turn(&cast(script)).sample(&[0], "a_leaf a main").write().end(&[], 0);
            let story = story.turn(&cast(script)).go("main").go("b_leaf b main").sample(&[0], "b_leaf b main").write();
            let story = story.end(&[], 0).turn(&cast(script)).sample(&[0], "b_leaf b main").end(B_UNDER_A, 2);
            let explained = explain(&story.events(), 2, SampleFault::Spliced).unwrap();
            let text = explained.cause.to_string();
            assert!(
                text.starts_with("the anchor was written at 1.1 by b, but a takes it for its own of sample 0"),
                "{text}"
            );
            assert_eq!(text.contains("the unwinder of b, when it was made, had set that to NULL"), cleared, "{text}");
        }
    }

    #[test]
    fn reads_of_different_moments_are_a_torn_walk() {
        let events = Story::new().sample(&[0, 1], "a_leaf a main").go("b_leaf b main").read_frame(2).end(B_UNDER_A, 0);
        let explained = explain(&events.events(), 0, SampleFault::Torn).unwrap();
        let expected = FailureCause::TornWalk {
            read: "0.0:1".parse::<super::super::Move>().unwrap().at,
            stale: "0.2:1".parse::<super::super::Move>().unwrap().at,
            kind: AccessKind::ReadFrame,
        };
        assert_eq!(explained.cause, expected);
        assert_eq!(explained.stale.map(|stale| stale.at.access), Some(2));
    }

    #[test]
    fn without_a_move_it_is_the_walkers_own() {
        let events = Story::new().sample(&[0, 1, 2], "b_leaf b main").end(B_UNDER_A, 0).events();
        assert_eq!(explain(&events, 0, SampleFault::Torn).unwrap().cause, FailureCause::WalkersOwn);
        assert_eq!(explain(&events, 3, SampleFault::Torn), None, "there is no such sample");
        assert_eq!(explain(&[], 0, SampleFault::Torn), None);
    }
}
