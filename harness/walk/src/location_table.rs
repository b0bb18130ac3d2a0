//! `co_linetable`: maps instructions to source positions.
//!
//! CPython's `InternalDocs/code_objects.md` describes the format. An entry has one leading byte (bit 7 set, a code in
//! bits 3 to 6, the number of code units minus one in bits 0 to 2), followed by operands, most of them 6-bit
//! variable-length integers.

use crate::frame::Location;

/// A decoded location table. Entries are in ascending order of their first code unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocationTable {
    entries: Vec<(u32, Location)>,
    units: u32,
}

struct Reader<'a> {
    bytes: std::slice::Iter<'a, u8>,
}

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        self.bytes.next().copied()
    }

    fn unsigned(&mut self) -> Option<u32> {
        let mut value = 0_u32;
        for shift in (0..u32::BITS).step_by(6) {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x3f).checked_shl(shift)?;
            if byte & 0x40 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i32> {
        let value = self.unsigned()?;
        let magnitude = (value >> 1).cast_signed();
        Some(if value & 1 == 1 { -magnitude } else { magnitude })
    }

    /// Reads the operands of an entry of this kind. Its line delta is relative to `line`. Returns `None` if the entry
    /// is truncated.
    fn location(&mut self, kind: u8, line: &mut i32) -> Option<Location> {
        Some(match kind {
            0..=9 => {
                let second = self.byte()?;
                let column = u32::from(kind) * 8 + u32::from((second >> 4) & 7);
                position(*line, *line, Some(column), Some(column + u32::from(second & 0xf)))
            }
            10..=12 => {
                *line = line.wrapping_add(i32::from(kind - 10));
                let column = u32::from(self.byte()?);
                let end_column = u32::from(self.byte()?);
                position(*line, *line, Some(column), Some(end_column))
            }
            13 => {
                *line = line.wrapping_add(self.signed()?);
                position(*line, *line, None, None)
            }
            14 => {
                *line = line.wrapping_add(self.signed()?);
                let end_line = line.wrapping_add(self.unsigned()?.cast_signed());
                // Columns are stored plus one. Zero means that there is no column.
                let column = self.unsigned()?.checked_sub(1);
                let end_column = self.unsigned()?.checked_sub(1);
                position(*line, end_line, column, end_column)
            }
            _ => Location::default(),
        })
    }
}

impl LocationTable {
    /// Decodes `bytes`. The first line delta is relative to `first_line`. A truncated entry ends the table. As in
    /// CPython, lines are C `int`s: they can be negative, and -1 means no line.
    ///
    /// Returns `None` if `bytes` is not a location table.
    #[must_use]
    pub fn decode(bytes: &[u8], first_line: i32) -> Option<Self> {
        let mut reader = Reader { bytes: bytes.iter() };
        let mut line = first_line;
        let mut table = Self::default();
        while let Some(first) = reader.byte() {
            if first & 0x80 == 0 {
                return None;
            }
            let Some(location) = reader.location((first >> 3) & 0xf, &mut line) else { break };
            table.entries.push((table.units, location));
            table.units = table.units.checked_add(u32::from(first & 7) + 1)?;
        }
        Some(table)
    }

    /// Number of code units that the table covers.
    #[must_use]
    pub fn units(&self) -> u32 {
        self.units
    }

    /// Number of entries in the table.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Source position of the instruction at code unit `unit`, or `None` if the table does not cover it.
    #[must_use]
    pub fn get(&self, unit: u32) -> Option<Location> {
        self.entry(unit).map(|(_, location)| location)
    }

    /// As [`LocationTable::get`], with the index of the entry. All instructions of an entry share its position.
    #[must_use]
    pub fn entry(&self, unit: u32) -> Option<(usize, Location)> {
        if unit >= self.units {
            return None;
        }
        let entry = self.entries.partition_point(|&(start, _)| start <= unit).checked_sub(1)?;
        self.entries.get(entry).map(|&(_, location)| (entry, location))
    }

    /// The line of each entry, in table order. Lines can repeat; an artificial instruction has `None`.
    pub fn lines(&self) -> impl Iterator<Item = Option<i32>> + '_ {
        self.entries.iter().map(|(_, location)| location.line)
    }
}

fn position(line: i32, end_line: i32, column: Option<u32>, end_column: Option<u32>) -> Location {
    let some = |line: i32| (line != -1).then_some(line);
    Location { line: some(line), end_line: some(end_line), column, end_column }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: i32, end_line: i32, column: Option<u32>, end_column: Option<u32>) -> Option<Location> {
        Some(Location { line: Some(line), end_line: Some(end_line), column, end_column })
    }

    /// `co_linetable` and `co_positions()` from CPython 3.15.2, for a function with `return g(x,` on line 2 and `y)` on
    /// line 3.
    #[test]
    fn a_real_table_gives_the_real_positions() {
        let bytes = [
            0x81, 0x00, 0xdc, 0x0b, 0x0c, 0x88, 0x51, 0xd8, 0x0d, 0x0e, 0xf3, 0x03, 0x01, 0x0c, 0x10, 0xf0, 0x00, 0x01,
            0x05, 0x10,
        ];
        let table = LocationTable::decode(&bytes, 1).unwrap();
        let positions: Vec<_> = (0..table.units()).map(|unit| table.get(unit)).collect();
        let expected = [
            (2, at(1, 1, Some(0), Some(0))),
            (5, at(2, 2, Some(11), Some(12))),
            (1, at(2, 2, Some(13), Some(14))),
            (1, at(3, 3, Some(13), Some(14))),
            (4, at(2, 3, Some(11), Some(15))),
            (1, at(2, 3, Some(4), Some(15))),
        ];
        let expected: Vec<_> = expected.iter().flat_map(|&(count, location)| vec![location; count]).collect();
        assert_eq!(positions, expected);
    }

    #[test]
    fn long_and_columnless_and_lineless_entries() {
        let bytes = [
            0xf0, 0x06, 0x02, 0x05, 0x00, // long: line +3, two more lines, column 4, no end column
            0xe9, 0x03, // no columns: line -1, two units
            0xf8, // no location
        ];
        let table = LocationTable::decode(&bytes, 10).unwrap();
        assert_eq!(table.get(0), at(13, 15, Some(4), None));
        assert_eq!(table.get(2), at(12, 12, None, None));
        assert_eq!(table.get(3), Some(Location::default()));
        assert_eq!(table.units(), 4);
    }

    #[test]
    fn the_lines_match_the_entries() {
        let table = LocationTable::decode(&[0xe9, 0x04, 0xf8, 0xe8, 0x02], 10).unwrap();
        assert_eq!(table.lines().collect::<Vec<_>>(), [Some(12), None, Some(13)]);
    }

    #[test]
    fn garbage_is_refused() {
        for bytes in [&[0x00][..], &[0xf8, 0x12], &[0xe8, 0x02, 0x7f]] {
            assert_eq!(LocationTable::decode(bytes, 0), None, "{bytes:x?}");
        }
        assert_eq!(LocationTable::decode(&[], 7), Some(LocationTable::default()));
    }

    #[test]
    fn a_table_ends_before_a_truncated_entry() {
        for rest in [&[0x80][..], &[0xf0, 0x40], &[0xe8, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f]] {
            let table = LocationTable::decode(&[&[0xe9, 0x02], rest].concat(), 4).unwrap();
            assert_eq!((table.units(), table.get(1), table.get(2)), (2, at(5, 5, None, None), None), "{rest:x?}");
        }
    }

    #[test]
    fn lines_are_signed_and_minus_one_means_none() {
        let table = LocationTable::decode(&[0xe8, 0x03, 0xe8, 0x03, 0xe8, 0x02], 0).unwrap();
        assert_eq!(table.lines().collect::<Vec<_>>(), [None, Some(-2), None]);
        let table = LocationTable::decode(&[0xe8, 0x00], i32::MAX).unwrap();
        assert_eq!(table.get(0), at(i32::MAX, i32::MAX, None, None));
    }
}
