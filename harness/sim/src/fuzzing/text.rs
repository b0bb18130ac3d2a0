//! Text of each width, compared with its code points.

use arbitrary::Arbitrary;
use framewalk::python_text::decode;
use serde::{Deserialize, Serialize};

use super::CheckOutcome;
use super::target::FuzzTarget;

/// The fuzz target over text objects in memory.
pub static TARGET: FuzzTarget<TestCase> = FuzzTarget { name: "text", check, least_accepted: 10, judges_refusals: true };

/// The characters of a text object, as code points in memory.
#[derive(Clone, Debug, Arbitrary, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestCase {
    /// The code points, by the width of their storage.
    pub units: Units,
    /// Trailing bytes. Those that are too few for another character must be ignored.
    pub rest: [u8; 3],
}

/// Code points by the width in which they are stored.
#[derive(Clone, Debug, Arbitrary, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Units {
    /// One byte each: Latin-1.
    One(Vec<u8>),
    /// Two bytes each, including lone surrogates.
    Two(Vec<u16>),
    /// Four bytes each, all of them characters.
    Four(Vec<char>),
    /// Four bytes each, not all of them characters.
    Mixed(Vec<CodePoint>),
    /// A width that no text has.
    NoText {
        /// The width in bytes.
        width: u8,
        /// The bytes after the header.
        bytes: Vec<u8>,
    },
}

/// Four bytes of a text object or of garbage.
#[derive(Clone, Copy, Debug, Arbitrary, Serialize, Deserialize)]
pub enum CodePoint {
    /// The last code point before a boundary.
    Before(Border),
    /// The first code point after a boundary.
    Behind(Border),
    /// Any value of 32 bits, most of which are no code points.
    Any(u32),
}

/// Boundaries at which the meaning of code points changes.
#[derive(Clone, Copy, Debug, Arbitrary, Serialize, Deserialize)]
pub enum Border {
    /// First code point beyond Latin-1.
    Latin1 = 0x100,
    /// The first surrogate, U+D800.
    Surrogates = 0xd800,
    /// First code point after the surrogates.
    AfterSurrogates = 0xe000,
    /// First code point that needs four bytes.
    TwoBytes = 0x1_0000,
    /// First value that is not a code point.
    Last = 0x11_0000,
}

impl CodePoint {
    fn value(self) -> u32 {
        match self {
            Self::Before(border) => border as u32 - 1,
            Self::Behind(border) => border as u32,
            Self::Any(value) => value,
        }
    }
}

/// Checks [`decode`]: it returns nothing if a code point is beyond the last one. Otherwise each code point becomes the
/// character with that number, and a surrogate becomes U+FFFD.
///
/// # Panics
/// One of these assertions fails.
pub fn check(case: &TestCase) -> CheckOutcome {
    let (width, points, mut bytes): (usize, Vec<u32>, Vec<u8>) = match &case.units {
        Units::One(units) => (1, units.iter().map(|&unit| u32::from(unit)).collect(), units.clone()),
        Units::Two(units) => (
            2,
            units.iter().map(|&unit| u32::from(unit)).collect(),
            units.iter().flat_map(|unit| unit.to_le_bytes()).collect(),
        ),
        Units::Four(units) => (
            4,
            units.iter().map(|&unit| u32::from(unit)).collect(),
            units.iter().flat_map(|&unit| u32::from(unit).to_le_bytes()).collect(),
        ),
        Units::Mixed(units) => (
            4,
            units.iter().map(|unit| unit.value()).collect(),
            units.iter().flat_map(|unit| unit.value().to_le_bytes()).collect(),
        ),
        Units::NoText { width, bytes } => {
            let width = usize::from(*width);
            if !matches!(width, 1 | 2 | 4) {
                assert_eq!(decode(bytes, width), None, "width {width}");
            }
            return CheckOutcome::Rejected;
        }
    };
    bytes.extend(case.rest.iter().take(width - 1));
    let Some(text) = decode(&bytes, width) else {
        assert!(points.iter().any(|&point| point > u32::from(char::MAX)), "text was rejected: {points:x?}");
        return CheckOutcome::Rejected;
    };
    assert_eq!(text.chars().count(), points.len(), "{text:?} for {points:x?}");
    for (character, &point) in text.chars().zip(&points) {
        let surrogate = (0xd800..0xe000).contains(&point);
        let expected = if surrogate { 0xfffd } else { point };
        assert_eq!(u32::from(character), expected, "{text:?} for {points:x?}");
    }
    CheckOutcome::Accepted
}

#[cfg(test)]
#[test]
fn smoke() {
    super::smoke::both_outcomes(check);
}
