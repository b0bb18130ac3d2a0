//! Location tables: encoded entries are decoded correctly, and damage is handled.

use arbitrary::Arbitrary;
use framewalk::frame::Location;
use framewalk::location_table::LocationTable;
use serde::{Deserialize, Serialize};

use super::CheckOutcome;
use super::target::FuzzTarget;

/// The fuzz target over encoded location tables.
pub static TARGET: FuzzTarget<TestCase> =
    FuzzTarget { name: "location_table", check, least_accepted: 10, judges_refusals: true };

/// A location table and its damage.
#[derive(Clone, Debug, Arbitrary, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestCase {
    /// The code object's `co_firstlineno`, which line deltas start from.
    pub first_line: i32,
    /// A byte that is overwritten after encoding.
    pub damage: Option<TableDamage>,
    /// The entries of the table.
    pub entries: Vec<TableEntry>,
}

/// A byte of the encoded table that is overwritten.
#[derive(Clone, Copy, Debug, Arbitrary, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableDamage {
    /// Index of the byte, modulo the length.
    pub index: u16,
    /// The value that replaces the byte.
    pub byte: u8,
}

/// A run of code units with the same position.
#[derive(Clone, Copy, Debug, Arbitrary, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableEntry {
    /// Number of code units minus one, modulo 8.
    pub more_units: u8,
    /// The position, in the form of its encoding.
    pub form: Form,
}

/// The forms of an entry. Operands are reduced to the range that the form can hold.
#[derive(Clone, Copy, Debug, Arbitrary, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Form {
    /// Line delta 0 and narrow columns.
    Short {
        /// Start column, below 80.
        column: u8,
        /// Number of columns, below 16.
        length: u8,
    },
    /// A line delta of at most 2 and one-byte columns.
    OneLine {
        /// Line delta, below 3.
        lines_on: u8,
        /// Start column, from 0.
        column: u8,
        /// End column, exclusive.
        end_column: u8,
    },
    /// A line without columns.
    NoColumns {
        /// Difference to the line of the previous entry.
        lines_on: i16,
    },
    /// All fields, each of any size.
    Long {
        /// Difference to the line of the previous entry.
        lines_on: i32,
        /// Difference from the first line to the last.
        more_lines: u32,
        /// Start column, from 0; `None` if it is unknown.
        column: Option<u32>,
        /// End column, exclusive; `None` if it is unknown.
        end_column: Option<u32>,
    },
    /// Code units without a position.
    Nowhere,
}

impl TableEntry {
    fn units(self) -> u8 {
        self.more_units % 8 + 1
    }

    /// Appends the entry to `bytes`, updates `line`, and returns the position.
    fn encode(self, bytes: &mut Vec<u8>, line: &mut i32) -> Location {
        let head = |code: u8| 0x80 | (code << 3) | (self.units() - 1);
        match self.form {
            Form::Short { column, length } => {
                let (column, length) = (column % 80, length % 16);
                bytes.extend([head(column / 8), (column % 8) << 4 | length]);
                position(*line, *line, Some(column.into()), Some((column + length).into()))
            }
            Form::OneLine { lines_on, column, end_column } => {
                *line = line.wrapping_add(i32::from(lines_on % 3));
                bytes.extend([head(10 + lines_on % 3), column, end_column]);
                position(*line, *line, Some(column.into()), Some(end_column.into()))
            }
            Form::NoColumns { lines_on } => {
                *line = line.wrapping_add(i32::from(lines_on));
                bytes.push(head(13));
                signed(bytes, lines_on.into());
                position(*line, *line, None, None)
            }
            Form::Long { lines_on, more_lines, column, end_column } => {
                // The sign takes one bit of 32.
                let lines_on = lines_on.max(-i32::MAX);
                *line = line.wrapping_add(lines_on);
                let (column, end_column) = (column.filter(|&it| it < u32::MAX), end_column.filter(|&it| it < u32::MAX));
                bytes.push(head(14));
                signed(bytes, lines_on);
                unsigned(bytes, more_lines);
                unsigned(bytes, column.map_or(0, |column| column + 1));
                unsigned(bytes, end_column.map_or(0, |column| column + 1));
                position(*line, line.wrapping_add(more_lines.cast_signed()), column, end_column)
            }
            Form::Nowhere => {
                bytes.push(head(15));
                Location::default()
            }
        }
    }
}

/// The position of an entry. Line -1 means no line.
fn position(line: i32, end_line: i32, column: Option<u32>, end_column: Option<u32>) -> Location {
    let [line, end_line] = [line, end_line].map(|line| Some(line).filter(|&line| line != -1));
    Location { line, end_line, column, end_column }
}

/// Encodes six bits per byte, lowest first. Bit 6 is set if more bytes follow.
fn unsigned(bytes: &mut Vec<u8>, mut value: u32) {
    while value >= 64 {
        bytes.push((value % 64) as u8 | 64);
        value /= 64;
    }
    bytes.push(value as u8);
}

/// Encodes the sign in the lowest bit.
fn signed(bytes: &mut Vec<u8>, value: i32) {
    unsigned(bytes, value.unsigned_abs() * 2 + u32::from(value < 0));
}

/// Checks [`LocationTable::decode`]: an undamaged table is decoded as it was encoded. A damaged one is rejected or
/// covers its code units without a gap.
///
/// # Panics
/// One of these assertions fails.
pub fn check(case: &TestCase) -> CheckOutcome {
    let mut bytes = Vec::new();
    let mut line = case.first_line;
    let written: Vec<(u8, Location)> =
        case.entries.iter().map(|entry| (entry.units(), entry.encode(&mut bytes, &mut line))).collect();
    let damage = case.damage.filter(|_| !bytes.is_empty());
    if let Some(damage) = damage {
        let index = usize::from(damage.index) % bytes.len();
        bytes[index] = damage.byte;
    }

    let table = LocationTable::decode(&bytes, case.first_line);
    assert!(table.is_some() || damage.is_some(), "{bytes:x?} from line {}", case.first_line);
    let Some(table) = table else { return CheckOutcome::Rejected };
    let read: Vec<Location> = (0..table.units())
        .map(|unit| table.get(unit).unwrap_or_else(|| panic!("no position for code unit {unit}: {bytes:x?}")))
        .collect();
    for beyond in [table.units(), table.units() + 1, u32::MAX] {
        assert_eq!(table.get(beyond), None, "{bytes:x?}");
    }
    if damage.is_none() {
        let written = written.iter().flat_map(|(units, position)| vec![*position; usize::from(*units)]);
        assert!(read.iter().copied().eq(written), "{read:?} from {bytes:x?}");
    }
    CheckOutcome::Accepted
}

#[cfg(test)]
#[test]
fn smoke() {
    super::smoke::both_outcomes(check);
}
