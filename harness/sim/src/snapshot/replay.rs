//! Runs every walker on the images of a snapshot and compares its results with the truth.
//!
//! A cached walker goes from image to image as the profiler went from stop to stop. The next image has the anchors that
//! the interpreter left after the profiler's. So it continues only for a walker that left the same ones. A walker that
//! left others, because it rejected a leaf that the profiler accepted, starts over on the next image with NULL anchors.

use std::fmt;

use framewalk::frame::Frame;
use framewalk::layout::{Layout, LayoutError};
use framewalk::memory::RemoteMemory;
use framewalk::memory::image::Image;
use framewalk::rejection::Rejection;
use framewalk::sample::{Lookup, Sample, ThreadSample, WalkerKind};
use framewalk::spec::WalkerSpec;
use framewalk::walker::{Site, Unsupported, Walker};
use model::invariants::{Difference, Field, Violation};
use model::oracle::differential::{difference, difference_from_account};
use model::oracle::rejections::may_reject;
use model::workload::grammar::is_trampoline;

use super::{Answer, Profiled, RecordedStop, Snapshot, ThreadTruth};

/// Why the walkers cannot be made for a snapshot.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ReplayError {
    /// The first image has no offset table, or an unusable one.
    #[error("the snapshot has no usable table of offsets: {0}")]
    Layout(#[from] LayoutError),
    /// The walkers do not support this build.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
}

/// The result of one walker on one image.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayedLook {
    /// Index of the stop.
    pub stop: usize,
    /// Kind of the walker.
    pub walker: WalkerKind,
    /// Whether it started over with NULL anchors.
    pub anew: bool,
    /// The sample, or why the threads could not be found.
    pub sample: Result<Sample, Rejection>,
    /// The differences from the truth.
    pub broken: Vec<ReplayDifference>,
}

/// One difference between a walker's result and the truth.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayDifference {
    /// Thread id; `None` if the difference concerns all threads.
    pub native_thread_id: Option<u64>,
    /// How the result differs from the truth.
    pub fault: ReplayFault,
}

/// The kind of a difference.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplayFault {
    /// The sample breaks a clause. Agreement is with this project's uncached walker, as it was recorded.
    Broken(Violation),
    /// The walker returned a stack where a rejection was recorded.
    NotRejected {
        /// The name of the rejection.
        recorded: String,
    },
    /// The cache lookup differs from the recorded one.
    Answer {
        /// Recorded result, and number of frames from the cache.
        recorded: (Answer, usize),
        /// Result in the replay, and number of frames from the cache.
        now: (Answer, usize),
    },
}

impl fmt::Display for ReplayFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answer = |(answer, frames): (Answer, usize)| format!("{} ({frames} frames)", answer.name());
        match self {
            Self::Broken(violation) => violation.fmt(f),
            Self::NotRejected { recorded } => write!(f, "a stack, but the recorded walk was rejected ({recorded})"),
            Self::Answer { recorded, now } => {
                write!(f, "the cache answered {}, but {} was recorded", answer(*now), answer(*recorded))
            }
        }
    }
}

impl Snapshot {
    /// Layout and runtime address, from the first image.
    ///
    /// # Errors
    /// The walkers cannot read the layout.
    pub fn site(&self) -> Result<Site, ReplayError> {
        let mut none = Image::default();
        let mut first = self.stops.first().map(|stop| stop.image.clone());
        let layout = Layout::read(first.as_mut().unwrap_or(&mut none), self.meta.runtime)?;
        layout.walkable()?;
        Ok(Site { layout, runtime: self.meta.runtime })
    }

    /// Runs every walker that the build supports on the images, in order.
    ///
    /// # Errors
    /// A walker cannot be made for the build.
    pub fn replay(&self) -> Result<Vec<ReplayedLook>, ReplayError> {
        let site = self.site()?;
        let mut looks = Vec::new();
        let can_run = |kind: &WalkerKind| !kind.is_cpythons() && (site.cache().is_ok() || !kind.is_cached());
        for kind in WalkerKind::ALL.into_iter().filter(can_run) {
            let mut tour = Tour::new(kind, site)?;
            for (index, stop) in self.stops.iter().enumerate() {
                looks.push(tour.look(index, stop)?);
            }
        }
        looks.sort_by_key(|look| look.stop);
        Ok(looks)
    }
}

/// One walker going through the images.
struct Tour {
    kind: WalkerKind,
    site: Site,
    /// `None` before the first image, and after the walker left other anchors than the next image continues from.
    walker: Option<Box<dyn Walker>>,
}

impl Tour {
    fn new(kind: WalkerKind, site: Site) -> Result<Self, ReplayError> {
        WalkerSpec::from(kind).build(site)?;
        Ok(Self { kind, site, walker: None })
    }

    fn look(&mut self, index: usize, stop: &RecordedStop) -> Result<ReplayedLook, ReplayError> {
        let mut image = stop.image.clone();
        let anew = self.walker.is_none();
        let mut walker = match self.walker.take() {
            Some(walker) => walker,
            None => WalkerSpec::from(self.kind).build(self.site)?,
        };
        let attached = if anew { walker.attach(&mut image) } else { Ok(()) };
        let sample = attached.and_then(|()| walker.sample(&mut image));
        let broken = match &sample {
            Ok(sample) => judge(stop, sample),
            Err(rejection) => {
                vec![ReplayDifference { native_thread_id: None, fault: rejected(rejection) }]
            }
        };
        self.walker = Some(walker).filter(|_| self.left_what_the_profiler_left(&mut image, stop));
        Ok(ReplayedLook { stop: index, walker: self.kind, anew, sample, broken })
    }

    fn left_what_the_profiler_left(&self, image: &mut Image, stop: &RecordedStop) -> bool {
        let Some(cache) = self.site.layout.thread.cache.filter(|_| self.kind.is_cached()) else { return true };
        let left = |thread: &ThreadTruth| image.read_u64(thread.state.wrapping_add(cache.anchor)).ok();
        stop.threads.iter().map(left).eq(stop.threads.iter().map(|thread| thread.profiler.map(|it| it.anchor)))
    }
}

fn rejected(rejection: &Rejection) -> ReplayFault {
    ReplayFault::Broken(Violation::RejectedWhileStopped { rejection: rejection.clone() })
}

fn disagreement(difference: Difference) -> ReplayFault {
    ReplayFault::Broken(Violation::Agreement { other: WalkerKind::OwnUncached, difference })
}

fn account(difference: Difference) -> ReplayFault {
    ReplayFault::Broken(Violation::Account { difference })
}

/// Compares a sample with the truth at a stop.
fn judge(stop: &RecordedStop, sample: &Sample) -> Vec<ReplayDifference> {
    let (given, recorded) = (sample.threads.iter(), stop.threads.iter());
    let seen: Vec<u64> = given.clone().map(|thread| thread.native_thread_id).collect();
    let possible: Vec<u64> = recorded.clone().map(|thread| thread.native_thread_id).collect();
    if seen != possible {
        let [seen, possible] = [seen, possible].map(|ids| format!("{ids:?}"));
        let fault = ReplayFault::Broken(Violation::Told { field: Field::Threads, seen, possible });
        return vec![ReplayDifference { native_thread_id: None, fault }];
    }
    let at_gate = at_gate(stop);
    let faults = given.zip(recorded).enumerate().flat_map(|(index, (given, recorded))| {
        let faults = judge_thread(stop, sample.walker, given, recorded, at_gate == Some(index));
        faults.into_iter().map(|fault| ReplayDifference { native_thread_id: Some(given.native_thread_id), fault })
    });
    faults.collect()
}

/// Index of the thread at the gate. Thread states of two interpreters can have the same id; then it is the one whose
/// stack matches the account.
fn at_gate(stop: &RecordedStop) -> Option<usize> {
    let id = stop.gate.native_thread_id;
    let tells = |thread: &ThreadTruth| thread.stack.as_ref().is_ok_and(|stack| from_account(stop, stack).is_none());
    let of_id = |thread: &ThreadTruth| thread.native_thread_id == id;
    let told = stop.threads.iter().position(|thread| of_id(thread) && tells(thread));
    told.or_else(|| stop.threads.iter().position(of_id))
}

fn judge_thread(
    stop: &RecordedStop,
    walker: WalkerKind,
    given: &ThreadSample,
    recorded: &ThreadTruth,
    at_gate: bool,
) -> Vec<ReplayFault> {
    let mut faults = Vec::new();
    match (&given.outcome, &recorded.stack) {
        (Ok(stack), Ok(truth)) => {
            faults.extend(difference(stack, truth).map(disagreement));
            if at_gate {
                faults.extend(from_account(stop, stack).map(account));
            }
        }
        (Ok(_), Err(recorded)) => faults.push(ReplayFault::NotRejected { recorded: recorded.clone() }),
        (Err(rejection), Ok(_)) if !may_reject(walker, rejection) => {
            faults.push(rejected(rejection));
        }
        (Err(_), _) => {}
    }
    // The profiler was a walker of this kind.
    if let (WalkerKind::OwnCached, Some(profiled)) = (walker, recorded.profiler) {
        let (recorded, now) = ((profiled.answer, profiled.from_cache), answer(given));
        if recorded != now {
            faults.push(ReplayFault::Answer { recorded, now });
        }
    }
    faults
}

/// The first difference between the stack of the thread at the gate and the target's own account.
#[must_use]
pub fn from_account(stop: &RecordedStop, stack: &[Frame]) -> Option<Difference> {
    let stack: Vec<Frame> = stack.iter().filter(|frame| !is_trampoline(frame)).cloned().collect();
    difference_from_account(&stack, &stop.gate.account)
}

/// The result of a thread's cache lookup, and the number of frames from the cache.
#[must_use]
pub fn answer(thread: &ThreadSample) -> (Answer, usize) {
    let answer = match (&thread.outcome, thread.provenance.lookup) {
        (Err(_), _) => Answer::Rejected,
        (Ok(_), Lookup::FullHit) => Answer::FullHit,
        (Ok(_), Lookup::PartialHit) => Answer::PartialHit,
        (Ok(_), Lookup::Miss(_) | Lookup::Uncached | Lookup::Unknown) => Answer::Miss,
    };
    (answer, thread.provenance.from_cache)
}

impl Profiled {
    /// The result of a profiler for one thread, with the anchor that it left.
    #[must_use]
    pub fn new(thread: &ThreadSample, anchor: u64) -> Self {
        let (answer, from_cache) = answer(thread);
        Self { answer, from_cache, anchor }
    }
}
