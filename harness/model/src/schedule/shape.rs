//! The shape of a schedule: where in the walker's protocol the target moves, without numbers.
//!
//! A shape has one part for each move. The parts are joined by `+`:
//! - `between-samples`: before the first access of a sample. It is left out for the first sample, where it only
//!   determines where the target starts.
//! - `read-thread-state..write-anchor`: between two consecutive accesses, given by their kinds.
//! - `inside-read-chunk`: inside a torn read.
//! - `next`: the following parts are in a later sample.
//!
//! Equal consecutive parts are merged. A shape contains no numbers, addresses or names. Two schedules of the same shape
//! show the same fault in longer or shorter walks.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AccessKind, Point, Schedule};

/// The shape of a schedule. Shrink the schedule first: the shape contains every move, whether it matters or not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shape(String);

/// The shape of a schedule that never moves the target after the first sample has begun.
const STILL: &str = "still";
const BETWEEN: &str = "between-samples";
const NEXT: &str = "next";

impl Shape {
    /// The shape of `schedule`, whose run had these points. Moves at points that did not occur are left out.
    #[must_use]
    pub fn of(schedule: &Schedule, points: &[(Point, AccessKind)]) -> Self {
        let mut parts: Vec<String> = Vec::new();
        let mut sample = None;
        for one in &schedule.moves {
            let at = one.at;
            if at.is_between_samples() {
                if at.sample > 0 && parts.last().is_none_or(|part| part != BETWEEN) {
                    parts.push(BETWEEN.to_owned());
                }
                sample = Some(at.sample);
                continue;
            }
            let Some(part) = part(at, points) else { continue };
            let later = sample.is_some_and(|sample| sample < at.sample);
            if parts.last() != Some(&part) {
                if later && !parts.is_empty() {
                    parts.push(NEXT.to_owned());
                }
                parts.push(part);
            }
            sample = Some(at.sample);
        }
        Self(if parts.is_empty() { STILL.to_owned() } else { parts.join("+") })
    }

    /// Whether the target moves while it is sampled.
    #[must_use]
    pub fn is_inside_samples(&self) -> bool {
        self.0.split('+').any(|part| part.contains("..") || part.starts_with("inside-"))
    }

    /// The text of the shape.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The part for a move inside a sample.
fn part(at: Point, points: &[(Point, AccessKind)]) -> Option<String> {
    let index = points.binary_search_by_key(&at, |&(point, _)| point).ok()?;
    let (_, kind) = points[index];
    if at.word > 0 {
        return Some(format!("inside-{kind}"));
    }
    let before = points[..index].iter().rev().find(|(point, _)| point.access < at.access && point.sample == at.sample);
    before.map(|(_, before)| format!("{before}..{kind}"))
}

/// A text that is no shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no shape: a shape looks like read-thread-state..write-anchor+between-samples, or is still")]
pub struct BadShape(String);

impl TryFrom<String> for Shape {
    type Error = BadShape;

    fn try_from(text: String) -> Result<Self, BadShape> {
        let kind = |name: &str| name.parse::<AccessKind>().is_ok();
        let part = |part: &str| match part.split_once("..") {
            Some((before, after)) => kind(before) && kind(after),
            None => part == BETWEEN || part == NEXT || part.strip_prefix("inside-").is_some_and(kind),
        };
        if text == STILL || text.split('+').all(part) {
            Ok(Self(text))
        } else {
            Err(BadShape(text.chars().take(60).collect()))
        }
    }
}

impl From<Shape> for String {
    fn from(shape: Shape) -> Self {
        shape.0
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::replay::ScheduleReplay;
    use super::super::toy::Toy;
    use super::*;

    fn shape(schedule: &str) -> String {
        let schedule: Schedule = schedule.parse().unwrap();
        let mut replay = ScheduleReplay::new(schedule.clone(), 1);
        let ran = Toy { words: 4, ..Toy::new(4) }.run_all(&mut replay).remove(0);
        replay.fit().unwrap();
        let shape = Shape::of(&schedule, &ran.points);
        assert_eq!(Shape::try_from(shape.to_string()), Ok(shape.clone()));
        shape.to_string()
    }

    #[test]
    fn a_shape_says_where_the_target_moves_but_not_how_often_or_how_far() {
        for (schedule, expected) in [
            ("-", "still"),
            ("0.0:3", "still"),
            ("0.2:6", "read-chunk..write-anchor"),
            ("0.2:12", "read-chunk..write-anchor"),
            ("0.1:2,0.2:2,1.0:4", "read-thread-state..read-chunk+read-chunk..write-anchor+between-samples"),
            ("1.0:2,2.0:1", "between-samples"),
            ("0.1/1:2,0.1/3:2", "inside-read-chunk"),
            ("0.2:6,1.1:2", "read-chunk..write-anchor+next+read-thread-state..read-anchor"),
            ("0.1:6,2.0:2,2.1:2", "read-thread-state..read-chunk+between-samples+read-thread-state..read-chunk"),
        ] {
            assert_eq!(shape(schedule), expected, "{schedule}");
            let moves_inside = schedule.parse::<Schedule>().unwrap().moves_inside_samples();
            assert_eq!(Shape::try_from(expected.to_owned()).unwrap().is_inside_samples(), moves_inside, "{schedule}");
        }
    }

    #[test]
    fn the_same_moves_in_the_next_sample_have_the_same_shape() {
        let kinds = [AccessKind::ReadThreadState, AccessKind::ReadFrame, AccessKind::WriteAnchor];
        let points: Vec<_> = (0..3)
            .flat_map(|sample| (0..).zip(kinds).map(move |(access, kind)| (Point { sample, access, word: 0 }, kind)))
            .collect();
        let of = |schedule: &str| Shape::of(&schedule.parse().unwrap(), &points).to_string();
        assert_eq!(of("0.2:1,1.2:1,2.2:1"), "read-frame..write-anchor");
        assert_eq!(of("0.2:1,1.7:1"), "read-frame..write-anchor", "a point that did not come");
    }

    #[test]
    fn invalid_shapes_are_refused() {
        for text in ["", "still+next", "read-chunk", "read-chunk..", "read-chunk..write", "inside-", "Between-samples"]
        {
            let error = Shape::try_from(text.to_owned()).unwrap_err().to_string();
            assert!(error.contains("is no shape"), "{error}");
        }
    }
}
