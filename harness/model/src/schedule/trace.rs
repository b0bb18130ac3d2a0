//! The accesses that led up to the last move of a schedule.
//!
//! A schedule counts accesses. It is the same schedule on two unwinders only if both did the same accesses up to its
//! last move. The accesses after that move are what the schedule tests, and they may differ.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AccessKind, Point, Schedule};

/// The kinds of the accesses up to the last move of a schedule, including the access that follows the move. Each access
/// is one letter, and a slash separates two samples. Points inside torn reads are left out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Trace(String);

impl Trace {
    /// The trace of a run of `schedule` with these points.
    #[must_use]
    pub fn of(schedule: &Schedule, points: &[(Point, AccessKind)]) -> Self {
        let mut text = String::new();
        let Some(last) = schedule.moves.last().map(|one| one.at) else { return Self(text) };
        let mut sample = 0;
        for &(at, kind) in points.iter().take_while(|(at, _)| *at <= last).filter(|(at, _)| at.word == 0) {
            while sample < at.sample {
                text.push('/');
                sample += 1;
            }
            text.push(letter(kind));
        }
        Self(text)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn letter(kind: AccessKind) -> char {
    match kind {
        AccessKind::ReadThreadState => 't',
        AccessKind::ReadFrame => 'f',
        AccessKind::ReadChunk => 'c',
        AccessKind::ReadAnchor => 'a',
        AccessKind::WriteAnchor => 'w',
        AccessKind::ReadOther => 'o',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_ends_with_the_access_after_the_last_move() {
        let kinds =
            [AccessKind::ReadThreadState, AccessKind::ReadChunk, AccessKind::ReadAnchor, AccessKind::WriteAnchor];
        let points: Vec<_> = (0..3)
            .flat_map(|sample| (0..).zip(kinds).map(move |(access, kind)| (Point { sample, access, word: 0 }, kind)))
            .collect();
        for (schedule, trace) in [("-", ""), ("0.0:1", "t"), ("0.0:1,1.2:3", "tcaw/tca"), ("2.0:1", "tcaw/tcaw/t")] {
            assert_eq!(Trace::of(&schedule.parse().unwrap(), &points).to_string(), trace, "{schedule}");
        }
        // A sample without a numbered access counts, too.
        let after: Vec<_> = points.into_iter().filter(|(at, _)| at.sample != 1).collect();
        assert_eq!(Trace::of(&"2.0:1".parse().unwrap(), &after).to_string(), "tcaw//t");
    }
}
