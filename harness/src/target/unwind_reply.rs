//! What the unwinder's driver answers, turned into samples.

use std::time::Duration;

use serde::Deserialize;
use smallvec::smallvec;

use super::unwinder::{CountedSample, Counters, UnwinderError};
use crate::frame::{Frame, Location};
use crate::sample::{Lookup, Provenance, Sample, ThreadSample, WalkerKind};
use crate::stack::Stack;
use crate::text::excerpt;
use crate::walk::miss::MissReason;
use crate::walk::rejection::Rejection;

/// The driver's first line.
#[derive(Debug, Deserialize)]
pub(super) struct Hello {
    pub(super) version: String,
    pub(super) unwinder: bool,
    pub(super) cache: bool,
}

/// Function, file, line, end line, column, end column.
type ToldFrame = (String, String, Option<i64>, Option<i64>, Option<i64>, Option<i64>);

/// Line, end line, column, end column.
pub(super) type ToldPosition = (Option<i64>, Option<i64>, Option<i64>, Option<i64>);

/// Any later line.
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

/// The frames and stacks that the driver has told of so far.
#[derive(Debug, Default)]
pub(super) struct Interned {
    frames: Vec<Frame>,
    stacks: Vec<Stack>,
}

impl Interned {
    /// The samples of a batch of an unwinder of `kind`, opened on `pid`.
    pub(super) fn samples(
        &mut self,
        reply: Reply,
        kind: WalkerKind,
        pid: i32,
    ) -> Result<Vec<CountedSample>, UnwinderError> {
        if reply.reset {
            *self = Self::default();
        }
        self.frames.extend(reply.frames.into_iter().map(|(function, file, line, end_line, column, end_column)| {
            Frame {
                function: function.into(),
                file: file.into(),
                location: location((line, end_line, column, end_column)),
            }
        }));
        for numbers in reply.stacks {
            let frames: Option<Vec<Frame>> = numbers.iter().map(|&number| self.frames.get(number).cloned()).collect();
            self.stacks.push(frames.ok_or_else(|| malformed("a frame number that was never told"))?.into());
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
                outcome: Err(rejection.ok_or_else(|| malformed("an error number that was never told"))?),
                provenance: Provenance { lookup, from_cache: 0 },
            };
            return Ok(CountedSample { sample: Sample { walker: kind, threads: smallvec![thread] }, counters: None });
        }
        let (grown, threads) = sample.split_at_checked(5).ok_or_else(|| malformed("a sample without counters"))?;
        let counters = match *grown {
            [Some(full_hits), Some(partial_hits), Some(misses), Some(frames_from_cache), Some(frames_from_memory)] => {
                Some(Counters { full_hits, partial_hits, misses, frames_from_cache, frames_from_memory })
            }
            _ => None,
        };
        let (threads, []) = threads.as_chunks::<2>() else {
            return Err(malformed("a thread without a stack"));
        };
        let count = threads.len();
        let threads = threads
            .iter()
            .map(|&[id, number]| {
                let stack = at(number).and_then(|number| self.stacks.get(number));
                let stack = stack.ok_or_else(|| malformed("a stack number that was never told"))?;
                Ok(ThreadSample {
                    native_thread_id: id.ok_or_else(|| malformed("a thread without an id"))?,
                    outcome: if stack.is_empty() { Err(Rejection::Empty) } else { Ok(stack.clone()) },
                    provenance: provenance(kind, counters, count, stack.len()),
                })
            })
            .collect::<Result<_, UnwinderError>>()?;
        Ok(CountedSample { sample: Sample { walker: kind, threads }, counters })
    }
}

/// What the growth of the counters says about each thread's lookup. Several threads share the counters: they say
/// something about each only if all fared alike.
fn provenance(kind: WalkerKind, counters: Option<Counters>, threads: usize, depth: usize) -> Provenance {
    let none = |lookup| Provenance { lookup, from_cache: 0 };
    if !kind.is_cached() {
        return none(Lookup::Uncached);
    }
    let Some(counters) = counters else { return none(Lookup::Unknown) };
    let all = u64::try_from(threads).unwrap_or(u64::MAX);
    let from_cache = usize::try_from(counters.frames_from_cache).unwrap_or(usize::MAX);
    match (counters.full_hits, counters.partial_hits, counters.misses) {
        // A sample that could not be finished may be counted as nothing at all.
        (0, 0, _) => none(Lookup::Miss(MissReason::Unspecified)),
        (1, 0, 0) if threads == 1 => Provenance { lookup: Lookup::FullHit, from_cache },
        (0, 1, 0) if threads == 1 => Provenance { lookup: Lookup::PartialHit, from_cache },
        // On a full hit everything but the leaf comes from the cache.
        (full, 0, 0) if full == all => Provenance { lookup: Lookup::FullHit, from_cache: depth.saturating_sub(1) },
        _ => none(Lookup::Unknown),
    }
}

/// A position as the driver tells it.
pub(super) fn location((line, end_line, column, end_column): ToldPosition) -> Location {
    Location {
        line: line_number(line),
        end_line: line_number(end_line),
        column: column_number(column),
        end_column: column_number(end_column),
    }
}

/// Line 0 is one: evaluated code starts there.
fn line_number(line: Option<i64>) -> Option<u32> {
    line.and_then(|line| u32::try_from(line).ok())
}

fn column_number(column: Option<i64>) -> Option<u32> {
    column.and_then(|column| u32::try_from(column).ok())
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
    fn stacks_are_told_once_and_numbered_on() {
        let mut interned = Interned::default();
        let told = r#"{"reset": true, "samples": [[0, 0, 1, 0, 2, 9, 0]], "stacks": [[0, 1]],
            "frames": [["leaf", "w.py", 3, 3, 0, 4], ["<module>", "w.py", null, -1, -1, null]]}"#;
        let first = samples(&mut interned, told).unwrap();
        let again = samples(&mut interned, r#"{"samples": [[1, 0, 0, 1, 1, 9, 0]]}"#).unwrap();
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
    fn a_walk_that_raised_is_a_rejection_and_an_empty_stack_too() {
        let mut interned = Interned::default();
        let found = samples(
            &mut interned,
            r#"{"samples": [[0], [0, 0, 0, 0, 0, 5, 0]], "errors": [["OSError", "gone"]], "stacks": [[]]}"#,
        )
        .unwrap();
        assert_eq!(found[0].sample.threads[0].outcome, Err(Rejection::Raised("OSError: gone".into())));
        assert_eq!(found[0].sample.threads[0].native_thread_id, 77);
        assert_eq!(found[1].sample.threads[0].outcome, Err(Rejection::Empty));
    }

    #[test]
    fn threads_that_fare_differently_are_unknown() {
        let counters = |full_hits, partial_hits, misses| {
            Some(Counters { full_hits, partial_hits, misses, frames_from_cache: 4, frames_from_memory: 2 })
        };
        let lookup = |counters, threads| {
            let found = provenance(WalkerKind::CpythonCached, counters, threads, 3);
            (found.lookup, found.from_cache)
        };
        assert_eq!(lookup(counters(2, 0, 0), 2), (Lookup::FullHit, 2));
        assert_eq!(lookup(counters(1, 0, 1), 2), (Lookup::Unknown, 0));
        assert_eq!(lookup(counters(0, 2, 0), 2), (Lookup::Unknown, 0));
        assert_eq!(lookup(counters(0, 1, 0), 1), (Lookup::PartialHit, 4));
        assert_eq!(lookup(counters(0, 0, 0), 1), (Lookup::Miss(MissReason::Unspecified), 0));
        let uncached = provenance(WalkerKind::CpythonUncached, counters(0, 0, 1), 1, 3);
        assert_eq!(uncached, Provenance { lookup: Lookup::Uncached, from_cache: 0 });
    }

    #[test]
    fn numbers_that_were_never_told_are_refused() {
        for bad in [
            r#"{"samples": [[0, 0, 0, 0, 0, 5, 3]]}"#,
            r#"{"samples": [[2]]}"#,
            r#"{"samples": [[]]}"#,
            r#"{"samples": [[0, 0, 0]]}"#,
            r#"{"samples": [[0, 0, 0, 0, 0, 5]]}"#,
            r#"{"samples": [[0, 0, 0, 0, 0, null, 0]], "stacks": [[]]}"#,
            r#"{"samples": [], "stacks": [[1]]}"#,
        ] {
            assert!(matches!(samples(&mut Interned::default(), bad), Err(UnwinderError::Malformed(_))), "{bad}");
        }
    }
}
