//! The changes that can make a schedule smaller.

use super::Attempt;
use crate::schedule::{Move, Point, Schedule};

/// The size of an attempt. Every accepted candidate is smaller than the one before, so shrinking ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Size {
    samples: u32,
    moves: usize,
    inside_reads: usize,
    inside_samples: usize,
    steps: u64,
    at: Vec<Point>,
}

impl Size {
    pub(super) fn of(attempt: &Attempt) -> Self {
        let moves = &attempt.schedule.moves;
        let count = |which: fn(&Move) -> bool| moves.iter().filter(|one| which(one)).count();
        Self {
            samples: attempt.samples,
            moves: moves.len(),
            inside_reads: count(|one| one.at.word > 0),
            inside_samples: count(|one| !one.at.is_between_samples()),
            steps: attempt.schedule.total_steps(),
            at: moves.iter().map(|one| one.at).collect(),
        }
    }
}

/// Attempts that may be smaller, large changes first.
pub(super) fn candidates(attempt: &Attempt) -> impl Iterator<Item = Attempt> + '_ {
    let moves = &attempt.schedule.moves;
    let with = |moves: Vec<Move>| Attempt { samples: attempt.samples, schedule: Schedule::new(moves) };
    let samples = fewer_samples(attempt);
    let dropped = spans(moves.len()).map(move |(from, to)| with([&moves[..from], &moves[to..]].concat()));
    let replaced = move |index: usize, one: Move| with([&moves[..index], &[one], &moves[index + 1..]].concat());
    // Other points than these two are tried as well: without the earlier move, later accesses get other numbers.
    let merged = (1..moves.len()).flat_map(move |index| {
        let (one, next) = (moves[index - 1], moves[index]);
        let steps = one.steps.saturating_add(next.steps);
        [one.at, next.at]
            .into_iter()
            .chain(places(next.at, attempt.samples))
            .map(move |at| with([&moves[..index - 1], &[Move { at, steps }], &moves[index + 1..]].concat()))
    });
    let moved = (0..moves.len()).flat_map(move |index| {
        let one = moves[index];
        places(one.at, attempt.samples).map(move |at| replaced(index, Move { at, ..one }))
    });
    let slower = (0..moves.len()).flat_map(move |index| {
        let one = moves[index];
        fewer_steps(one.steps).map(move |steps| replaced(index, Move { steps, ..one }))
    });
    samples.chain(dropped).chain(merged).chain(slower).chain(moved)
}

/// Attempts without the last samples, or without a single sample.
fn fewer_samples(attempt: &Attempt) -> impl Iterator<Item = Attempt> + '_ {
    let moves = &attempt.schedule.moves;
    let last = attempt.samples.saturating_sub(1);
    // Try to cut at once to one sample, to the sample of the last move, or to the sample after it.
    let needed = moves.last().map_or(1, |one| one.at.sample.saturating_add(1));
    let cut = [1, needed, needed.saturating_add(1)].into_iter().filter(move |&samples| samples < last);
    let cut = cut.map(|samples| Attempt {
        samples,
        schedule: Schedule::new(moves.iter().copied().filter(|one| one.at.sample < samples).collect()),
    });
    // Only this many of the first samples are tried one by one. A failing case has a handful.
    const SINGLE: u32 = 64;
    let single = (0..attempt.samples.min(SINGLE)).rev().flat_map(move |sample| {
        let later = |one: &Move| Move {
            at: Point { sample: one.at.sample - u32::from(one.at.sample > sample), ..one.at },
            ..*one
        };
        let without = moves.iter().filter(|one| one.at.sample != sample).map(later).collect();
        // Or without the sample, but with its moves, which then take place between the neighbouring samples.
        let kept = moves.iter().map(|one| match one.at.sample {
            here if here == sample => Move { at: Point { sample, access: 0, word: 0 }, ..*one },
            _ => later(one),
        });
        let kept = kept.filter(|one| one.at.sample < last).collect();
        [without, kept].map(|moves| Attempt { samples: last, schedule: Schedule::new(moves) })
    });
    cut.chain(single).filter(|candidate| candidate.samples > 0)
}

/// Spans of the whole, of halves, quarters and so on, down to single items.
fn spans(count: usize) -> impl Iterator<Item = (usize, usize)> {
    let lengths = std::iter::successors(Some(count.max(1)), |&length| (length > 1).then(|| length.div_ceil(2)));
    lengths.flat_map(move |length| (0..count).step_by(length).map(move |from| (from, count.min(from + length))))
}

/// Smaller numbers of steps. Small numbers are all tried, from one upwards: what the target does repeats itself, so a
/// smaller number can have the same effect although one in between does not. Of large numbers, only halves and the
/// number before are tried.
fn fewer_steps(steps: u32) -> impl Iterator<Item = u32> {
    const EACH: u32 = 48;
    let low = 1..steps.min(EACH);
    let halves = std::iter::successors(Some(steps / 2), |steps| Some(steps / 2)).take_while(|&steps| steps >= EACH);
    let before = (steps > EACH).then(|| steps - 1);
    low.chain(halves).chain(before)
}

/// Other points for a move: between samples, outside a read, earlier; and the start of the next sample.
fn places(at: Point, samples: u32) -> impl Iterator<Item = Point> {
    let Point { sample, access, word } = at;
    let here = move |access, word| Point { sample, access, word };
    let start_of_next = Point { sample: sample.saturating_add(1), access: 0, word: 0 };
    let mut places = vec![here(0, 0)];
    places.extend((start_of_next.sample < samples).then_some(start_of_next));
    if word > 0 {
        places.extend([here(access, 0), here(access.saturating_add(1), 0), here(access, word / 2)]);
        places.push(here(access, word - 1));
    }
    // Up to this many earlier accesses are tried one by one.
    const EACH: u32 = 32;
    places.extend((access.saturating_sub(EACH)..access).map(|access| here(access, 0)));
    if let Some(before) = sample.checked_sub(1) {
        places.push(Point { sample: before, access, word });
        places.push(Point { sample: before, access: 0, word: 0 });
    }
    places.retain(|&place| place != at);
    places.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(samples: u32, schedule: &str) -> Attempt {
        Attempt { samples, schedule: schedule.parse().unwrap() }
    }

    #[test]
    fn simpler_schedules_are_smaller() {
        let ordered = [
            attempt(1, "0.0:9,0.3/1:9"),
            attempt(2, "-"),
            attempt(2, "1.0:9"),
            attempt(2, "0.3:1"),
            attempt(2, "0.3:2"),
            attempt(2, "0.4:2"),
            attempt(2, "0.3/1:1"),
            attempt(2, "0.0:1,1.0:1"),
        ];
        let sizes: Vec<Size> = ordered.iter().map(Size::of).collect();
        assert!(sizes.is_sorted_by(|one, next| one < next), "{sizes:#?}");
    }

    #[test]
    fn every_single_change_is_tried() {
        let start = attempt(3, "0.1:2,1.2/4:3,2.0:50");
        let found: Vec<Attempt> = candidates(&start).collect();
        for wanted in [
            attempt(2, "0.1:2,1.2/4:3"),
            attempt(2, "0.1:2,1.0:50"),
            attempt(2, "0.2/4:3,1.0:50"),
            attempt(2, "0.0:2,0.2/4:3,1.0:50"),
            attempt(3, "1.2/4:3,2.0:50"),
            attempt(3, "0.1:2,1.2/4:3"),
            attempt(3, "0.1:5,2.0:50"),
            attempt(3, "0.1:2,1.2/4:53"),
            attempt(3, "0.1:1,1.2/4:3,2.0:50"),
            attempt(3, "0.1:2,1.2/4:3,2.0:49"),
            attempt(3, "0.1:2,1.2/4:3,2.0:25"),
            attempt(3, "0.0:2,1.2/4:3,2.0:50"),
            attempt(3, "0.1:2,1.2:3,2.0:50"),
            attempt(3, "0.1:2,1.3:3,2.0:50"),
            attempt(3, "0.1:2,1.2/3:3,2.0:50"),
            attempt(3, "0.1:2,1.0:3,2.0:50"),
            attempt(3, "0.1:2,2.0:53"),
        ] {
            assert!(found.contains(&wanted), "{wanted:?}");
        }
        assert!(found.iter().all(|candidate| candidate.samples > 0));
        assert_eq!(candidates(&attempt(1, "-")).count(), 0, "nothing is smaller than one sample without moves");
    }

    #[test]
    fn extreme_numbers_cause_no_overflow() {
        let start = attempt(u32::MAX, "0.4294967295:4294967295,4294967295.4294967295/4294967295:4294967295");
        assert!(candidates(&start).count() < 2000);
    }
}
