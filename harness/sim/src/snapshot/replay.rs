//! Sending every walker over the images of a snapshot and holding what it gives against the truth.
//!
//! A cached walker goes from image to image as it went from stop to stop. The next image has the anchors that the
//! interpreter left after the profiler's, so it is a sequel only of a walker that left the same ones; one that left others
//! (it rejected a leaf that the profiler took) starts anew on the next image, with NULL anchors.

use std::fmt;

use framewalk::cached::CachedWalker;
use framewalk::frame::Frame;
use framewalk::layout::{Layout, LayoutError};
use framewalk::memory::RemoteMemory;
use framewalk::memory::image::Image;
use framewalk::reference::ReferenceWalker;
use framewalk::rejection::Rejection;
use framewalk::sample::{Lookup, Sample, ThreadSample, WalkerKind};
use framewalk::uncached::UncachedWalker;
use framewalk::walker::{Site, Unsupported, Walker};
use model::invariants::Difference;
use model::oracle::differential::{difference, difference_from_account};
use model::oracle::rejections::may_reject;
use model::workload::grammar::is_trampoline;

use super::{Answer, Profiled, Snapshot, Stop, ThreadTruth};

/// Why the walkers cannot be made for a snapshot.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ReplayError {
    /// The table of offsets is not in the first image, or is none.
    #[error("the snapshot has no usable table of offsets: {0}")]
    Layout(#[from] LayoutError),
    /// It is of a build that walkers do not read.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
}

/// What one walker made of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// The image's number.
    pub stop: usize,
    /// The walker.
    pub walker: WalkerKind,
    /// Whether it started anew, on NULL anchors.
    pub anew: bool,
    /// What it gave, or why it found no threads.
    pub sample: Result<Sample, Rejection>,
    /// What is wrong with that.
    pub broken: Vec<Broken>,
}

/// One thing that a walker got wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Broken {
    /// The thread; absent if it concerns all.
    pub native_thread_id: Option<u64>,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with what a walker gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// It lists other threads than there were.
    Threads,
    /// Another stack than the own uncached walker saw on the process.
    Stack(Difference),
    /// Another stack than the target itself told at its gate.
    Account(Difference),
    /// It rejects what was a stack, or all.
    Rejected(Rejection),
    /// It gives a stack where there was none.
    NotRejected {
        /// The name of the rejection.
        recorded: String,
    },
    /// Its cache answers otherwise than it did on the process.
    Answer {
        /// Then.
        recorded: (Answer, usize),
        /// Now.
        now: (Answer, usize),
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answer = |(answer, frames): (Answer, usize)| format!("{} ({frames} frames)", answer.name());
        match self {
            Self::Threads => f.write_str("other threads than were recorded"),
            Self::Stack(difference) => write!(f, "the recorded stack has another {}", difference.name()),
            Self::Account(difference) => write!(f, "the target's own account has another {}", difference.name()),
            Self::Rejected(rejection) => write!(f, "rejected: {rejection}"),
            Self::NotRejected { recorded } => write!(f, "a stack where the walk was rejected ({recorded})"),
            Self::Answer { recorded, now } => {
                write!(f, "its cache answered {}, recorded is {}", answer(*now), answer(*recorded))
            }
        }
    }
}

impl Snapshot {
    /// Layout and runtime address, from the first image.
    ///
    /// # Errors
    /// The layout is none that walkers can read.
    pub fn site(&self) -> Result<Site, ReplayError> {
        let mut none = Image::default();
        let mut first = self.stops.first().map(|stop| stop.image.clone());
        let layout = Layout::read(first.as_mut().unwrap_or(&mut none), self.meta.runtime)?;
        layout.walkable()?;
        Ok(Site { layout, runtime: self.meta.runtime })
    }

    /// Sends every walker of the build over the images in their order.
    ///
    /// # Errors
    /// No walker can be made for it.
    pub fn replay(&self) -> Result<Vec<Look>, ReplayError> {
        let site = self.site()?;
        let mut kinds = vec![WalkerKind::OwnUncached];
        if site.cache().is_ok() {
            kinds.extend([WalkerKind::OwnCached, WalkerKind::OwnReference]);
        }
        let mut looks = Vec::new();
        for kind in kinds {
            let mut tour = Tour::new(kind, site)?;
            for (index, stop) in self.stops.iter().enumerate() {
                looks.push(tour.look(index, stop)?);
            }
        }
        looks.sort_by_key(|look| look.stop);
        Ok(looks)
    }
}

/// A new own walker of a kind.
///
/// # Errors
/// There is none for the build.
pub fn walker(kind: WalkerKind, site: Site) -> Result<Box<dyn Walker>, Unsupported> {
    Ok(match kind {
        WalkerKind::OwnCached => Box::new(CachedWalker::new(site, [].into())?),
        WalkerKind::OwnReference => Box::new(ReferenceWalker::new(site)?),
        WalkerKind::OwnUncached | WalkerKind::CpythonUncached | WalkerKind::CpythonCached => {
            Box::new(UncachedWalker::new(site)?)
        }
    })
}

/// One walker on its way through the images.
struct Tour {
    kind: WalkerKind,
    site: Site,
    /// Absent before the first image, and after it left other anchors than the next one follows on.
    walker: Option<Box<dyn Walker>>,
}

impl Tour {
    fn new(kind: WalkerKind, site: Site) -> Result<Self, ReplayError> {
        walker(kind, site)?;
        Ok(Self { kind, site, walker: None })
    }

    fn look(&mut self, index: usize, stop: &Stop) -> Result<Look, ReplayError> {
        let mut image = stop.image.clone();
        let anew = self.walker.is_none();
        let mut walker = match self.walker.take() {
            Some(walker) => walker,
            None => walker(self.kind, self.site)?,
        };
        let attached = if anew { walker.attach(&mut image) } else { Ok(()) };
        let sample = attached.and_then(|()| walker.sample(&mut image));
        let broken = match &sample {
            Ok(sample) => judge(stop, sample),
            Err(rejection) => vec![Broken { native_thread_id: None, fault: Fault::Rejected(rejection.clone()) }],
        };
        self.walker = Some(walker).filter(|_| self.left_what_the_profiler_left(&mut image, stop));
        Ok(Look { stop: index, walker: self.kind, anew, sample, broken })
    }

    fn left_what_the_profiler_left(&self, image: &mut Image, stop: &Stop) -> bool {
        let Some(cache) = self.site.layout.thread.cache.filter(|_| self.kind.is_cached()) else { return true };
        let left = |thread: &ThreadTruth| image.read_u64(thread.state.wrapping_add(cache.anchor)).ok();
        stop.threads.iter().map(left).eq(stop.threads.iter().map(|thread| thread.profiler.map(|it| it.anchor)))
    }
}

/// Holds a sample against what is true at a stop.
fn judge(stop: &Stop, sample: &Sample) -> Vec<Broken> {
    let (given, recorded) = (sample.threads.iter(), stop.threads.iter());
    if !given.clone().map(|thread| thread.native_thread_id).eq(recorded.clone().map(|thread| thread.native_thread_id)) {
        return vec![Broken { native_thread_id: None, fault: Fault::Threads }];
    }
    let at_gate = at_gate(stop);
    let faults = given.zip(recorded).enumerate().flat_map(|(index, (given, recorded))| {
        let faults = judge_thread(stop, sample.walker, given, recorded, at_gate == Some(index));
        faults.into_iter().map(|fault| Broken { native_thread_id: Some(given.native_thread_id), fault })
    });
    faults.collect()
}

/// Which of the threads is at the gate. Thread states of two interpreters can have one id: it is the one whose stack is told.
fn at_gate(stop: &Stop) -> Option<usize> {
    let id = stop.gate.native_thread_id;
    let tells = |thread: &ThreadTruth| thread.stack.as_ref().is_ok_and(|stack| from_account(stop, stack).is_none());
    let of_id = |thread: &ThreadTruth| thread.native_thread_id == id;
    let told = stop.threads.iter().position(|thread| of_id(thread) && tells(thread));
    told.or_else(|| stop.threads.iter().position(of_id))
}

fn judge_thread(
    stop: &Stop,
    walker: WalkerKind,
    given: &ThreadSample,
    recorded: &ThreadTruth,
    at_gate: bool,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    match (&given.outcome, &recorded.stack) {
        (Ok(stack), Ok(truth)) => {
            faults.extend(difference(stack, truth).map(Fault::Stack));
            if at_gate {
                faults.extend(from_account(stop, stack).map(Fault::Account));
            }
        }
        (Ok(_), Err(recorded)) => faults.push(Fault::NotRejected { recorded: recorded.clone() }),
        (Err(rejection), Ok(_)) if !may_reject(walker, rejection) => {
            faults.push(Fault::Rejected(rejection.clone()));
        }
        (Err(_), _) => {}
    }
    // The profiler was a walker of this kind.
    if let (WalkerKind::OwnCached, Some(profiled)) = (walker, recorded.profiler) {
        let (recorded, now) = ((profiled.answer, profiled.from_cache), answer(given));
        if recorded != now {
            faults.push(Fault::Answer { recorded, now });
        }
    }
    faults
}

/// Where a stack of the thread at the gate and the target's own account part.
#[must_use]
pub fn from_account(stop: &Stop, stack: &[Frame]) -> Option<Difference> {
    let stack: Vec<Frame> = stack.iter().filter(|frame| !is_trampoline(frame)).cloned().collect();
    difference_from_account(&stack, &stop.gate.account)
}

/// What a cache answered for a thread, and how many frames came from it.
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
    /// What a profiler got, and the anchor that it left.
    #[must_use]
    pub fn new(thread: &ThreadSample, anchor: u64) -> Self {
        let (answer, from_cache) = answer(thread);
        Self { answer, from_cache, anchor }
    }
}
