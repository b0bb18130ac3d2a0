//! The text form of a schedule.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::{Move, Point, Schedule};

/// The text of a schedule without moves.
const NO_MOVES: &str = "-";

/// Why a text is not a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadSchedule {
    /// A part is not a move.
    #[error(
        "{0:?} is not a move: a move is SAMPLE.ACCESS:STEPS or SAMPLE.ACCESS/WORD:STEPS, for example 0.3:12 or 1.5/2:1"
    )]
    NoMove(String),
    /// A move has no steps.
    #[error("the move at {0} has no steps: leave it out")]
    NoSteps(Point),
    /// The points do not increase.
    #[error(
        "the move at {later} is written after the one at {earlier}: moves must be in the order of their points, at \
         most one at each"
    )]
    OutOfOrder {
        /// The point that comes first in the text.
        earlier: Point,
        /// The point that follows it.
        later: Point,
    },
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.at, self.steps)
    }
}

impl FromStr for Move {
    type Err = BadSchedule;

    fn from_str(text: &str) -> Result<Self, BadSchedule> {
        let parsed = || {
            let (place, steps) = text.split_once(':')?;
            let (sample, access) = place.split_once('.')?;
            let (access, word) = match access.split_once('/') {
                // Word 0 is not written, so that each schedule has only one text.
                Some((access, word)) => (access, number(word).filter(|&word| word > 0)?),
                None => (access, 0),
            };
            let at = Point { sample: number(sample)?, access: number(access)?, word };
            Some(Self { at, steps: number(steps)? })
        };
        let one = parsed().ok_or_else(|| BadSchedule::NoMove(text.chars().take(60).collect()))?;
        if one.steps == 0 { Err(BadSchedule::NoSteps(one.at)) } else { Ok(one) }
    }
}

/// Parses digits only. `parse` alone would accept a sign.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.moves.is_empty() {
            return f.write_str(NO_MOVES);
        }
        for (index, one) in self.moves.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{one}")?;
        }
        Ok(())
    }
}

impl FromStr for Schedule {
    type Err = BadSchedule;

    fn from_str(text: &str) -> Result<Self, BadSchedule> {
        if text == NO_MOVES {
            return Ok(Self::default());
        }
        let moves = text.split(',').map(str::parse).collect::<Result<Vec<Move>, _>>()?;
        match moves.iter().zip(&moves[1..]).find(|(one, next)| one.at >= next.at) {
            Some((one, next)) => Err(BadSchedule::OutOfOrder { earlier: one.at, later: next.at }),
            None => Ok(Self { moves }),
        }
    }
}

impl TryFrom<String> for Schedule {
    type Error = BadSchedule;

    fn try_from(text: String) -> Result<Self, BadSchedule> {
        text.parse()
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> Self {
        schedule.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_round_trips_through_text() {
        for text in ["-", "0.0:1", "0.3:12,1.0:4,1.5/2:1", "0.3:1,0.3/1:1,4294967295.0:4294967295"] {
            let schedule: Schedule = text.parse().unwrap();
            assert_eq!(schedule.to_string(), text);
            let json = serde_json::to_string(&schedule).unwrap();
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule);
        }
        assert_eq!("1.5/2:7".parse::<Move>().unwrap().at, Point { sample: 1, access: 5, word: 2 });
    }

    #[test]
    fn invalid_schedules_are_refused_with_the_reason() {
        for (text, why) in [
            ("", "\"\" is not a move"),
            ("0.3", "\"0.3\" is not a move"),
            ("0.3:1,", "\"\" is not a move"),
            ("0.3/0:1", "\"0.3/0:1\" is not a move"),
            ("0.+3:1", "\"0.+3:1\" is not a move"),
            ("0.:1", "\"0.:1\" is not a move"),
            ("0.4294967296:1", "is not a move"),
            ("0.3:1, 0.4:1", "\" 0.4:1\" is not a move"),
            ("0.3:0", "the move at 0.3 has no steps"),
            ("0.3:1,0.3:2", "the move at 0.3 is written after the one at 0.3"),
            ("1.0:1,0.3/4:2", "the move at 0.3/4 is written after the one at 1.0"),
        ] {
            let error = text.parse::<Schedule>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
