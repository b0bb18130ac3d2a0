//! Turns the replies of the unwinder's driver into samples.

use std::sync::Arc;
use std::time::Duration;

use framewalk::frame::{Frame, Location};
use framewalk::miss::MissReason;
use framewalk::printable::excerpt;
use framewalk::rejection::Rejection;
use framewalk::sample::{Counters, Lookup, Provenance, Sample, ThreadSample, WalkerKind};
use framewalk::stack::Stack;
use model::oracle::markers::{Marker, PlacedMarker};
use serde::Deserialize;
use smallvec::{SmallVec, smallvec};

use super::unwinder_error::UnwinderError;

/// A sample and the increase of the unwinder's counters during it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedSample {
    /// The sample. An exception invalidates the whole walk and is recorded as the outcome of the main thread only.
    pub sample: Sample,
    /// `None` if the walk raised, or if the build's unwinder has no counters.
    pub counters: Option<Counters>,
    /// What else the unwinder reports about each thread of the sample, in the same order. Empty if the walk raised.
    pub told: SmallVec<[ToldThread; 1]>,
}

/// What an unwinder reports about a thread besides its frames. A field is `None` if the version does not report it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldThread {
    /// The id of the thread's interpreter.
    pub interpreter: Option<u64>,
    /// The thread's status: the bits that `_remote_debugging` calls `THREAD_STATUS_...`.
    pub status: Option<u64>,
    /// What it reports about the thread's stack.
    pub details: Arc<StackDetails>,
}

/// What an unwinder reports about a stack besides frames with names and locations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackDetails {
    /// The markers, from the leaf down. The stack of the sample is without them.
    pub markers: Vec<PlacedMarker>,
    /// The opcode of each frame, leaf first, where it reports one.
    pub opcodes: Vec<Option<u64>>,
}

impl StackDetails {
    /// Whether a frame has an opcode.
    #[must_use]
    pub fn has_opcodes(&self) -> bool {
        self.opcodes.iter().any(Option::is_some)
    }

    /// How many markers are among the last `count` frames, markers counted.
    fn markers_in_last(&self, count: usize) -> usize {
        let first = (self.opcodes.len() + self.markers.len()).saturating_sub(count);
        self.markers.iter().enumerate().filter(|(before, placed)| placed.above + before >= first).count()
    }
}

/// The driver's first line.
#[derive(Debug, Deserialize)]
pub(super) struct Hello {
    pub(super) version: String,
    pub(super) unwinder: bool,
    pub(super) cache: bool,
}

/// Function, file, line, end line, column, end column, opcode.
type ToldFrame = (String, String, Option<i64>, Option<i64>, Option<i64>, Option<i64>, Option<u64>);

/// Line, end line, column, end column.
pub(super) type ToldPosition = (Option<i64>, Option<i64>, Option<i64>, Option<i64>);

/// Every line after the first.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Reply {
    pub(super) ok: bool,
    pub(super) error: Option<(String, String)>,
    pub(super) positions: Vec<(String, Vec<ToldPosition>)>,
    pub(super) samples: Option<Vec<Vec<Option<u64>>>>,
    errors: Vec<(String, String)>,
    frames: Vec<ToldFrame>,
    stacks: Vec<Vec<usize>>,
    reset: bool,
    pub(super) nanoseconds: u64,
    pub(super) times: Vec<u64>,
    pub(super) last: bool,
}

impl Reply {
    pub(super) fn walk_time(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds)
    }
}

/// The frames and stacks that the driver has sent so far. It refers to them by number.
#[derive(Debug, Default)]
pub(super) struct Interned {
    frames: Vec<(Frame, Option<u64>)>,
    stacks: Vec<(Stack, Arc<StackDetails>)>,
}

impl Interned {
    /// The samples in `reply`, taken by an unwinder of `kind` that is open on process `pid`.
    pub(super) fn samples(
        &mut self,
        reply: Reply,
        kind: WalkerKind,
        pid: i32,
    ) -> Result<Vec<CountedSample>, UnwinderError> {
        if reply.reset {
            *self = Self::default();
        }
        for (function, file, line, end_line, column, end_column, opcode) in reply.frames {
            let location = location((line, end_line, column, end_column));
            self.frames.push((Frame { function: function.into(), file: file.into(), location }, opcode));
        }
        for numbers in reply.stacks {
            let mut frames = Vec::with_capacity(numbers.len());
            let mut details = StackDetails::default();
            for number in numbers {
                let told = self.frames.get(number);
                let (frame, opcode) = told.ok_or_else(|| malformed("a frame number that was never announced"))?;
                match Marker::of(frame).filter(|_| opcode.is_none()) {
                    Some(marker) => details.markers.push(PlacedMarker { marker, above: frames.len() }),
                    None => {
                        frames.push(frame.clone());
                        details.opcodes.push(*opcode);
                    }
                }
            }
            self.stacks.push((frames.into(), Arc::new(details)));
        }
        let raised: Vec<Rejection> =
            reply.errors.iter().map(|(kind, text)| Rejection::Raised(excerpt(&format!("{kind}: {text}")))).collect();
        let samples = reply.samples.unwrap_or_default();
        samples.iter().map(|sample| self.sample(sample, &raised, kind, pid)).collect()
    }

    fn sample(
        &self,
        sample: &[Option<u64>],
        raised: &[Rejection],
        kind: WalkerKind,
        pid: i32,
    ) -> Result<CountedSample, UnwinderError> {
        let at = |index: Option<u64>| index.and_then(|index| usize::try_from(index).ok());
        if let [number] = *sample {
            let rejection = at(number).and_then(|number| raised.get(number)).cloned();
            let lookup = if kind.is_cached() { Lookup::Unknown } else { Lookup::Uncached };
            let thread = ThreadSample {
                native_thread_id: u64::try_from(pid).unwrap_or_default(),
                outcome: Err(rejection.ok_or_else(|| malformed("an error number that was never announced"))?),
                provenance: Provenance { lookup, from_cache: 0 },
            };
            let sample = Sample { walker: kind, threads: smallvec![thread] };
            return Ok(CountedSample { sample, counters: None, told: SmallVec::new() });
        }
        let (grown, threads) = sample.split_at_checked(5).ok_or_else(|| malformed("a sample without counters"))?;
        let counters = match *grown {
            [Some(full_hits), Some(partial_hits), Some(misses), Some(frames_from_cache), Some(frames_from_memory)] => {
                Some(Counters { full_hits, partial_hits, misses, frames_from_cache, frames_from_memory })
            }
            _ => None,
        };
        let (threads, []) = threads.as_chunks::<4>() else {
            return Err(malformed("a thread without a stack"));
        };
        let count = threads.len();
        let mut told = SmallVec::new();
        let threads = threads
            .iter()
            .map(|&[interpreter, id, status, number]| {
                let number = at(number).ok_or_else(|| malformed("a thread without a stack number"))?;
                let stack = self.stacks.get(number);
                let (stack, details) = stack.ok_or_else(|| malformed("a stack number that was never announced"))?;
                told.push(ToldThread { interpreter, status, details: details.clone() });
                Ok(ThreadSample {
                    native_thread_id: id.ok_or_else(|| malformed("a thread without an id"))?,
                    outcome: if stack.is_empty() { Err(Rejection::Empty) } else { Ok(stack.clone()) },
                    provenance: provenance(kind, counters, count, details),
                })
            })
            .collect::<Result<_, UnwinderError>>()?;
        Ok(CountedSample { sample: Sample { walker: kind, threads }, counters, told })
    }
}

/// Derives each thread's lookup from the increase of the counters. All threads of a sample share the counters, so with
/// several threads the result is known only if all lookups were of the same kind.
fn provenance(kind: WalkerKind, counters: Option<Counters>, threads: usize, details: &StackDetails) -> Provenance {
    let none = |lookup| Provenance { lookup, from_cache: 0 };
    if !kind.is_cached() {
        return none(Lookup::Uncached);
    }
    let Some(counters) = counters else { return none(Lookup::Unknown) };
    let all = u64::try_from(threads).unwrap_or(u64::MAX);
    // The counters include markers.
    let without_markers = |count: usize| count.saturating_sub(details.markers_in_last(count));
    let from_cache = without_markers(usize::try_from(counters.frames_from_cache).unwrap_or(usize::MAX));
    match (counters.full_hits, counters.partial_hits, counters.misses) {
        // An unfinished sample may not be counted at all.
        (0, 0, _) => none(Lookup::Miss(MissReason::Unspecified)),
        (1, 0, 0) if threads == 1 => Provenance { lookup: Lookup::FullHit, from_cache },
        (0, 1, 0) if threads == 1 => Provenance { lookup: Lookup::PartialHit, from_cache },
        // On a full hit, every frame except the leaf comes from the cache.
        (full, 0, 0) if full == all => {
            Provenance { lookup: Lookup::FullHit, from_cache: details.opcodes.len().saturating_sub(1) }
        }
        _ => none(Lookup::Unknown),
    }
}

/// Converts a position from the driver's form.
pub(super) fn location((line, end_line, column, end_column): ToldPosition) -> Location {
    let [line, end_line] = [line, end_line].map(|told| number(told, i32::MAX));
    let [column, end_column] = [column, end_column].map(|told| number(told, u32::MAX));
    Location { line, end_line, column, end_column }
}

/// Converts a line or a column. None and -1 mean absent. Line 0 is valid: evaluated code starts there. A number out of
/// range becomes `highest`, which equals no real position.
fn number<T: TryFrom<i64>>(told: Option<i64>, highest: T) -> Option<T> {
    told.filter(|&number| number != -1).map(|number| T::try_from(number).unwrap_or(highest))
}

fn malformed(what: &str) -> UnwinderError {
    UnwinderError::Malformed(what.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(interned: &mut Interned, json: &str) -> Result<Vec<CountedSample>, UnwinderError> {
        interned.samples(serde_json::from_str(json).unwrap(), WalkerKind::CpythonCached, 77)
    }

    #[test]
    fn stacks_are_sent_once_and_numbered_across_batches() {
        let mut interned = Interned::default();
        let told = r#"{"reset": true, "samples": [[0, 0, 1, 0, 2, 0, 9, 36, 0]], "stacks": [[0, 1]],
            "frames": [["leaf", "w.py", 3, 3, 0, 4, null], ["<module>", "w.py", null, -1, -1, null, null]]}"#;
        let first = samples(&mut interned, told).unwrap();
        let again = samples(&mut interned, r#"{"samples": [[1, 0, 0, 1, 1, 0, 9, 36, 0]]}"#).unwrap();
        let stack = |found: &[CountedSample]| found[0].sample.threads[0].outcome.clone().unwrap();
        assert_eq!(stack(&first), stack(&again));
        assert_eq!(
            stack(&first).iter().map(|frame| frame.location).collect::<Vec<_>>(),
            [Location { line: Some(3), end_line: Some(3), column: Some(0), end_column: Some(4) }, Location::default()]
        );
        let provenance = |found: &[CountedSample]| found[0].sample.threads[0].provenance;
        let miss = Lookup::Miss(MissReason::Unspecified);
        assert_eq!(provenance(&first), Provenance { lookup: miss, from_cache: 0 });
        assert_eq!(provenance(&again), Provenance { lookup: Lookup::FullHit, from_cache: 1 });
    }

    #[test]
    fn markers_are_no_frames_of_the_stack_and_come_from_no_cache() {
        let text = r#"{"samples": [[1, 0, 0, 3, 1, 0, 9, 36, 0]], "stacks": [[0, 1, 2, 3, 1]], "frames": [
            ["leaf", "w.py", 3, 3, 0, 4, 7], ["<native>", "~", null, null, null, null, null],
            ["f", "w.py", 3, 3, 0, 4, 8], ["<native>", "w.py", 3, 3, 0, 4, null]]}"#;
        let found = samples(&mut Interned::default(), text).unwrap();
        let thread = &found[0].sample.threads[0];
        let names: Vec<&str> = thread.outcome.as_ref().unwrap().iter().map(|frame| &*frame.function).collect();
        assert_eq!(names, ["leaf", "f", "<native>"]);
        let native = |above| PlacedMarker { marker: Marker::Native, above };
        let details = StackDetails { markers: vec![native(1), native(3)], opcodes: vec![Some(7), Some(8), None] };
        assert_eq!(*found[0].told[0].details, details);
        // The last three of five are f, <native> of w.py, and a marker.
        assert_eq!(thread.provenance, Provenance { lookup: Lookup::FullHit, from_cache: 2 });
        assert_eq!([0, 1, 3, 4, 99].map(|count| details.markers_in_last(count)), [0, 1, 1, 2, 2]);
    }

    #[test]
    fn exceptions_and_empty_stacks_are_rejections() {
        let mut interned = Interned::default();
        let found = samples(
            &mut interned,
            r#"{"samples": [[0], [0, 0, 0, 0, 0, 0, 5, 4, 0]], "errors": [["OSError", "gone"]], "stacks": [[]]}"#,
        )
        .unwrap();
        assert_eq!(found[0].sample.threads[0].outcome, Err(Rejection::Raised("OSError: gone".into())));
        assert_eq!(found[0].sample.threads[0].native_thread_id, 77);
        assert_eq!(found[1].sample.threads[0].outcome, Err(Rejection::Empty));
    }

    #[test]
    fn threads_with_different_lookups_are_unknown() {
        let counters = |full_hits, partial_hits, misses| {
            Some(Counters { full_hits, partial_hits, misses, frames_from_cache: 4, frames_from_memory: 2 })
        };
        let lookup = |counters, threads| {
            let details = StackDetails { opcodes: vec![None; 3], ..StackDetails::default() };
            let found = provenance(WalkerKind::CpythonCached, counters, threads, &details);
            (found.lookup, found.from_cache)
        };
        assert_eq!(lookup(counters(2, 0, 0), 2), (Lookup::FullHit, 2));
        assert_eq!(lookup(counters(1, 0, 1), 2), (Lookup::Unknown, 0));
        assert_eq!(lookup(counters(0, 2, 0), 2), (Lookup::Unknown, 0));
        assert_eq!(lookup(counters(0, 1, 0), 1), (Lookup::PartialHit, 4));
        assert_eq!(lookup(counters(0, 0, 0), 1), (Lookup::Miss(MissReason::Unspecified), 0));
        let uncached = provenance(WalkerKind::CpythonUncached, counters(0, 0, 1), 1, &StackDetails::default());
        assert_eq!(uncached, Provenance { lookup: Lookup::Uncached, from_cache: 0 });
    }

    #[test]
    fn unannounced_numbers_are_refused() {
        for bad in [
            r#"{"samples": [[0, 0, 0, 0, 0, 0, 5, 4, 3]]}"#,
            r#"{"samples": [[2]]}"#,
            r#"{"samples": [[]]}"#,
            r#"{"samples": [[0, 0, 0]]}"#,
            r#"{"samples": [[0, 0, 0, 0, 0, 5]]}"#,
            r#"{"samples": [[0, 0, 0, 0, 0, 0, null, 4, 0]], "stacks": [[]]}"#,
            r#"{"samples": [], "stacks": [[1]]}"#,
        ] {
            assert!(matches!(samples(&mut Interned::default(), bad), Err(UnwinderError::Malformed(_))), "{bad}");
        }
    }
}
