//! The cost of a sample: the system calls, ranges and bytes with which it accesses the target's memory. These numbers
//! are exact. They do not depend on the speed or load of the machine.
//!
//! [`faults`] compares them with the answer of the sample (clause 9 of [`crate::invariants`]). The lower bound follows
//! from the frames on the stack. The upper bound is twice what released builds asked for on the same program.

use std::collections::BTreeMap;
use std::fmt;

use framewalk::memory::Address;
use serde::{Deserialize, Serialize};

use super::AccessKind;
use super::event::ChainFrame;
use super::fingerprint::CacheAnswer;

/// A sample may ask for at most this many times what released builds ask for. Their run modes and flavours differ by
/// less.
const TOO_MUCH: u64 = 2;
/// This many additional reads are allowed for decoding frames, because their number depends on the heap's layout.
const MORE_DECODING: u64 = 8;

/// The accesses of one sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Numbered system calls, by purpose.
    calls: BTreeMap<AccessKind, u64>,
    /// System calls for code objects, names and location tables. These are not numbered.
    decoding: u64,
    /// The ranges read by numbered calls: first address and length.
    read: Vec<(Address, usize)>,
    /// The addresses of frames that were read individually, outside chunk copies.
    frames: Vec<Address>,
    /// How often the anchor was written with the value it already had.
    rewritten: u64,
}

impl Cost {
    /// Adds a read of these ranges in one call. `kind` is `None` if the call is not numbered.
    pub fn reads(&mut self, kind: Option<AccessKind>, ranges: &[(Address, usize)]) {
        let Some(kind) = kind else {
            self.decoding += 1;
            return;
        };
        *self.calls.entry(kind).or_default() += 1;
        self.read.extend_from_slice(ranges);
        if kind == AccessKind::ReadFrame {
            self.frames.extend(ranges.iter().map(|(address, _)| *address));
        }
    }

    /// Adds a write of the anchor. `again` says whether the anchor already had that value.
    pub fn writes_anchor(&mut self, again: bool) {
        *self.calls.entry(AccessKind::WriteAnchor).or_default() += 1;
        self.rewritten += u64::from(again);
    }

    fn calls(&self, kind: AccessKind) -> u64 {
        self.calls.get(&kind).copied().unwrap_or(0)
    }

    /// The count of `what`.
    #[must_use]
    pub fn of(&self, what: Counted) -> u64 {
        match what {
            Counted::ThreadStateReads => self.calls(AccessKind::ReadThreadState),
            Counted::ChunkReads => self.calls(AccessKind::ReadChunk),
            Counted::FrameReads => self.calls(AccessKind::ReadFrame),
            Counted::AnchorReads => self.calls(AccessKind::ReadAnchor),
            Counted::AnchorWrites => self.calls(AccessKind::WriteAnchor),
            Counted::OtherReads => self.calls(AccessKind::ReadOther),
            Counted::Decoding => self.decoding,
            Counted::Ranges => self.read.len() as u64,
            Counted::Bytes => self.read.iter().fold(0, |sum, (_, length)| sum.saturating_add(*length as u64)),
        }
    }

    fn has_read(&self, frame: Address) -> bool {
        self.read.iter().any(|&(start, length)| frame >= start && frame - start < length as u64)
    }
}

/// What is counted for a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Counted {
    /// Reads of the thread state.
    ThreadStateReads,
    /// Copies of data-stack chunks.
    ChunkReads,
    /// Reads of single frames.
    FrameReads,
    /// Reads of anchor and sequence alone.
    AnchorReads,
    /// Writes of the anchor.
    AnchorWrites,
    /// Other reads of data that changes: chunk headers, the list of threads.
    OtherReads,
    /// Reads of code objects, names and location tables.
    Decoding,
    /// The ranges read by all of these except `Decoding`.
    Ranges,
    /// The bytes in these ranges.
    Bytes,
}

impl Counted {
    /// All counted quantities, in the order of reports.
    pub const ALL: [Self; 9] = [
        Self::ThreadStateReads,
        Self::ChunkReads,
        Self::FrameReads,
        Self::AnchorReads,
        Self::AnchorWrites,
        Self::OtherReads,
        Self::Decoding,
        Self::Ranges,
        Self::Bytes,
    ];

    /// The name in fingerprints.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ThreadStateReads => "thread-state-reads",
            Self::ChunkReads => "chunk-reads",
            Self::FrameReads => "frame-reads",
            Self::AnchorReads => "anchor-reads",
            Self::AnchorWrites => "anchor-writes",
            Self::OtherReads => "other-reads",
            Self::Decoding => "decoding",
            Self::Ranges => "ranges",
            Self::Bytes => "bytes",
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Self::ThreadStateReads => "reads of the thread state",
            Self::ChunkReads => "copies of data-stack chunks",
            Self::FrameReads => "reads of individual frames",
            Self::AnchorReads => "reads of the anchor (last_profiled_frame)",
            Self::AnchorWrites => "writes of the anchor (last_profiled_frame)",
            Self::OtherReads => "reads of chunk headers and thread lists",
            Self::Decoding => "reads of code objects, names and location tables",
            Self::Ranges => "ranges of memory read",
            Self::Bytes => "bytes read",
        }
    }
}

/// The largest counts in samples of released builds on one program while the target did not move, by answer of the
/// cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Costs {
    /// For the first sample of an unwinder, which knows nothing yet.
    pub first: BTreeMap<CacheAnswer, BTreeMap<Counted, u64>>,
    /// For its later samples.
    pub later: BTreeMap<CacheAnswer, BTreeMap<Counted, u64>>,
}

impl Costs {
    /// Adds a sample of a released build.
    pub fn add(&mut self, answered: &Answered<'_>) {
        let of = if answered.is_first { &mut self.first } else { &mut self.later };
        let most = of.entry(answered.answer).or_default();
        for what in Counted::ALL {
            let most = most.entry(what).or_default();
            *most = answered.cost.of(what).max(*most);
        }
    }

    /// Adds the counts of other samples.
    pub fn merge(&mut self, other: &Self) {
        for (own, other) in [(&mut self.first, &other.first), (&mut self.later, &other.later)] {
            for (answer, counts) in other {
                let own = own.entry(*answer).or_default();
                for (what, most) in counts {
                    let own = own.entry(*what).or_default();
                    *own = (*most).max(*own);
                }
            }
        }
    }
}

/// A sample of CPython's cached unwinder, with everything needed to judge its cost.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// What the cache answered; unknown if there is no stack.
    pub answer: CacheAnswer,
    /// Whether the sample returned a stack.
    pub gave_a_stack: bool,
    /// How many frames, counted from the root, came from the cache.
    pub from_cache: usize,
    /// Whether it is the first sample of its unwinder.
    pub is_first: bool,
    /// Whether the target did not move from the first access to the last.
    pub at_rest: bool,
    /// The target's chain at that time, leaf first. Meaningless if the target moved.
    pub chain: &'a [ChainFrame],
    /// The accesses of the sample, by kind.
    pub cost: &'a Cost,
}

/// How the accesses of a sample do not fit its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CostFault {
    /// A count is more than twice that of released builds.
    Above {
        /// The quantity that was counted.
        what: Counted,
        /// The count in this sample.
        count: u64,
        /// The largest count in released builds.
        most: u64,
    },
    /// The anchor was written with the value it already had.
    WrittenAgain,
    /// The anchor was written although there is no stack.
    WrittenWithoutStack,
    /// A full hit wrote the anchor, or another sample wrote it more than once.
    Writes {
        /// How often it was written.
        count: u64,
    },
    /// A miss or a partial hit copied no chunk and read no frame individually, so it did not walk.
    NoWalk,
    /// A frame that is reported to come from the cache was read individually.
    CachedFrameRead {
        /// The address of the frame.
        frame: Address,
    },
    /// A frame that is not reported to come from the cache was not read.
    FrameNotRead {
        /// The address of the frame.
        frame: Address,
    },
}

impl CostFault {
    /// The name in fingerprints.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Above { what, .. } => format!("above-{}", what.name()),
            Self::WrittenAgain => "written-again".to_owned(),
            Self::WrittenWithoutStack => "written-without-stack".to_owned(),
            Self::Writes { .. } => "writes".to_owned(),
            Self::NoWalk => "no-walk".to_owned(),
            Self::CachedFrameRead { .. } => "cached-frame-read".to_owned(),
            Self::FrameNotRead { .. } => "frame-not-read".to_owned(),
        }
    }

    /// What the walker does wrong, without numbers.
    #[must_use]
    pub fn broke(self) -> &'static str {
        match self {
            Self::Above { .. } => "reads more of the target's memory than released builds do for the same answer",
            Self::WrittenAgain => "writes last_profiled_frame although it already has that value",
            Self::WrittenWithoutStack => "writes last_profiled_frame although it returns no stack",
            Self::Writes { .. } => "writes last_profiled_frame although its answer excludes that",
            Self::NoWalk => "reads no frame, although its answer says that it walked",
            Self::CachedFrameRead { .. } => "reads frames that it says it took from its cache",
            Self::FrameNotRead { .. } => "returns frames that it neither read nor says it took from its cache",
        }
    }
}

impl fmt::Display for CostFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Above { what, count, most } => write!(
                f,
                "{count} {}; released builds have at most {most} in samples with this answer, on the same program with \
                 the target at rest",
                what.describe()
            ),
            Self::WrittenAgain => write!(f, "the anchor (last_profiled_frame) was written, but already had that value"),
            Self::WrittenWithoutStack => {
                write!(f, "the anchor (last_profiled_frame) was written, but there is no stack")
            }
            Self::Writes { count } => write!(
                f,
                "the anchor (last_profiled_frame) was written {count} times; a full hit never writes it, any other \
                 sample at most once"
            ),
            Self::NoWalk => write!(f, "no chunk was copied, and no frame was read individually"),
            Self::CachedFrameRead { frame } => {
                write!(f, "the frame at {frame:#x} was read individually, but is reported to come from the cache")
            }
            Self::FrameNotRead { frame } => {
                write!(f, "the frame at {frame:#x} was not read, but is not reported to come from the cache")
            }
        }
    }
}

/// All faults in the cost of a sample. `most` is what released builds ask for on the same program, if known.
#[must_use]
pub fn faults(sample: &Answered<'_>, most: Option<&Costs>) -> Vec<CostFault> {
    let Answered { answer, cost, .. } = *sample;
    let writes = cost.of(Counted::AnchorWrites);
    let mut faults = Vec::new();
    if !sample.gave_a_stack && writes > 0 {
        faults.push(CostFault::WrittenWithoutStack);
    }
    if !sample.at_rest {
        return faults;
    }
    if cost.rewritten > 0 {
        faults.push(CostFault::WrittenAgain);
    }
    if writes > u64::from(answer != CacheAnswer::FullHit) {
        faults.push(CostFault::Writes { count: writes });
    }
    let walked = cost.of(Counted::ChunkReads) + cost.of(Counted::FrameReads) > 0;
    if matches!(answer, CacheAnswer::PartialHit | CacheAnswer::Miss) && !walked {
        faults.push(CostFault::NoWalk);
    }
    if sample.gave_a_stack {
        let frames: Vec<Address> =
            sample.chain.iter().filter(|one| one.frame.is_some()).map(|one| one.address).collect();
        let (fresh, cached) = frames.split_at(frames.len().saturating_sub(sample.from_cache));
        let not_read = fresh.iter().find(|frame| !cost.has_read(**frame));
        faults.extend(not_read.map(|&frame| CostFault::FrameNotRead { frame }));
        let read = cached.iter().find(|frame| cost.frames.contains(frame));
        faults.extend(read.map(|&frame| CostFault::CachedFrameRead { frame }));
    }
    let most = most.and_then(|most| if sample.is_first { &most.first } else { &most.later }.get(&answer));
    for (&what, &most) in most.into_iter().flatten() {
        let count = cost.of(what);
        let more = if what == Counted::Decoding { MORE_DECODING } else { 0 };
        if count > most.saturating_mul(TOO_MUCH).saturating_add(more) {
            faults.push(CostFault::Above { what, count, most });
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use framewalk::frame::{Frame, Location};

    use super::*;

    /// Two Python frames, with a shim frame and the base frame below them.
    fn chain() -> Vec<ChainFrame> {
        let frame = || {
            let (function, file) = ("f".into(), "workload.py".into());
            Some(Frame { function, file, location: Location::default() })
        };
        [(100, frame()), (200, frame()), (900, None), (1000, None)]
            .map(|(address, frame)| ChainFrame { address, frame })
            .into()
    }

    fn cost(reads: &[(AccessKind, (Address, usize))], writes: &[bool]) -> Cost {
        let mut cost = Cost::default();
        for (kind, range) in reads {
            cost.reads(Some(*kind), &[*range]);
        }
        writes.iter().for_each(|again| cost.writes_anchor(*again));
        cost
    }

    const LEAF: (AccessKind, (Address, usize)) = (AccessKind::ReadThreadState, (100, 88));
    const CHUNK: (AccessKind, (Address, usize)) = (AccessKind::ReadChunk, (0, 500));
    const CALLER: (AccessKind, (Address, usize)) = (AccessKind::ReadFrame, (200, 88));

    fn names(answer: CacheAnswer, from_cache: usize, cost: &Cost, change: impl Fn(&mut Answered<'_>)) -> Vec<String> {
        let chain = chain();
        let mut sample = Answered {
            answer,
            gave_a_stack: answer != CacheAnswer::Unknown,
            from_cache,
            is_first: false,
            at_rest: true,
            chain: &chain,
            cost,
        };
        change(&mut sample);
        let mut most = Costs::default();
        most.add(&Answered { answer: CacheAnswer::FullHit, cost: &self::cost(&[LEAF], &[]), ..sample });
        most.add(&Answered { answer: CacheAnswer::Miss, cost: &self::cost(&[LEAF, CHUNK], &[false]), ..sample });
        faults(&sample, Some(&most)).into_iter().map(CostFault::name).collect()
    }

    #[test]
    fn usual_accesses_fit_every_answer() {
        let none = |_: &mut Answered<'_>| {};
        assert_eq!(names(CacheAnswer::FullHit, 1, &cost(&[LEAF], &[]), none), [""; 0]);
        assert_eq!(names(CacheAnswer::PartialHit, 1, &cost(&[LEAF, CHUNK], &[false]), none), [""; 0]);
        assert_eq!(names(CacheAnswer::PartialHit, 1, &cost(&[LEAF, CHUNK], &[]), none), [""; 0]);
        assert_eq!(names(CacheAnswer::Miss, 0, &cost(&[LEAF, CHUNK], &[false]), none), [""; 0]);
        assert_eq!(names(CacheAnswer::Unknown, 0, &cost(&[LEAF, CHUNK], &[]), none), [""; 0]);
    }

    #[test]
    fn every_misfit_is_reported() {
        let none = |_: &mut Answered<'_>| {};
        // A sample that walks like a miss but reports a hit.
        let walked = names(CacheAnswer::FullHit, 1, &cost(&[LEAF, CHUNK], &[false]), none);
        assert!(
            walked.contains(&"above-chunk-reads".to_owned()) && walked.contains(&"writes".to_owned()),
            "{walked:?}"
        );
        assert_eq!(names(CacheAnswer::PartialHit, 1, &cost(&[LEAF], &[]), none), ["no-walk"]);
        assert_eq!(names(CacheAnswer::Miss, 0, &cost(&[LEAF], &[false]), none), ["no-walk", "frame-not-read"]);
        assert_eq!(names(CacheAnswer::PartialHit, 1, &cost(&[LEAF, CALLER], &[false]), none), ["cached-frame-read"]);
        assert_eq!(names(CacheAnswer::Miss, 0, &cost(&[LEAF, CHUNK], &[true]), none), ["written-again"]);
        assert_eq!(names(CacheAnswer::Miss, 0, &cost(&[LEAF, CHUNK], &[false; 2]), none), ["writes"]);
        assert_eq!(names(CacheAnswer::Unknown, 0, &cost(&[LEAF], &[false]), none), ["written-without-stack"]);
        let often = [LEAF, CHUNK, CHUNK, CHUNK];
        assert_eq!(names(CacheAnswer::Miss, 0, &cost(&often, &[]), none), ["above-chunk-reads", "above-bytes"]);
    }

    #[test]
    fn a_moving_target_excuses_all_but_a_write_without_stack() {
        let moving = |sample: &mut Answered<'_>| sample.at_rest = false;
        assert_eq!(names(CacheAnswer::FullHit, 1, &cost(&[LEAF, CHUNK], &[true]), moving), [""; 0]);
        assert_eq!(names(CacheAnswer::Unknown, 0, &cost(&[LEAF], &[false]), moving), ["written-without-stack"]);
    }

    #[test]
    fn costs_are_maxima() {
        let chain = chain();
        let of = |cost: &Cost| {
            let mut costs = Costs::default();
            let answer = CacheAnswer::Miss;
            costs.add(&Answered {
                answer,
                gave_a_stack: true,
                from_cache: 0,
                is_first: true,
                at_rest: true,
                chain: &chain,
                cost,
            });
            costs
        };
        let mut costs = of(&cost(&[LEAF, LEAF], &[]));
        costs.merge(&of(&cost(&[CHUNK], &[])));
        let most = &costs.first[&CacheAnswer::Miss];
        assert_eq!((most[&Counted::ThreadStateReads], most[&Counted::ChunkReads], most[&Counted::Bytes]), (2, 1, 500));
        let text = serde_json::to_string(&costs).unwrap();
        assert_eq!(serde_json::from_str::<Costs>(&text).unwrap(), costs);
    }
}
