//! Compares the decoders of positions and names with what CPython itself reports for its code objects.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use framewalk::frame::Location;
use framewalk::location_table::LocationTable;
use framewalk::python_text;
use process::build::Build;

use crate::common;

/// Stands for `None` among the positions.
const NOTHING: i32 = i32::MIN;

/// The properties of the code objects seen, so that a test that saw nothing of interest fails.
#[derive(Debug, Default)]
struct Seen {
    code_objects: usize,
    /// Number of distinct location tables.
    tables: usize,
    /// Code objects by the width of their names; ASCII counts as width 0.
    widths: BTreeMap<usize, usize>,
    /// The entry codes in the tables.
    codes: BTreeSet<u8>,
    /// Number of neighbouring code units where the line decreases.
    lines_back: usize,
    nowhere: usize,
    without_columns: usize,
    /// The longest table, in code units.
    units: u32,
    line: i32,
    column: u32,
    surrogates: usize,
}

impl Seen {
    fn note(&mut self, table: &[u8], positions: &[Location], width: usize, name: &[u32]) {
        self.code_objects += 1;
        *self.widths.entry(if name.iter().all(|&point| point < 128) { 0 } else { width }).or_default() += 1;
        // CPython sets bit 7 only in the first byte of an entry.
        self.codes.extend(table.iter().filter(|&&byte| byte & 0x80 != 0).map(|byte| (byte >> 3) & 0xf));
        self.lines_back +=
            positions.windows(2).filter(|pair| pair[1].line.is_some() && pair[1].line < pair[0].line).count();
        self.nowhere += positions.iter().filter(|position| position.line.is_none()).count();
        let columnless = |position: &&Location| position.line.is_some() && position.column.is_none();
        self.without_columns += positions.iter().filter(columnless).count();
        self.units = self.units.max(u32::try_from(positions.len()).unwrap());
        self.line = self.line.max(positions.iter().filter_map(|position| position.end_line).max().unwrap_or(0));
        self.column = self.column.max(positions.iter().filter_map(|position| position.end_column).max().unwrap_or(0));
        self.surrogates += name.iter().filter(|&&point| char::from_u32(point).is_none()).count();
    }
}

/// Compares the generated code objects and `wanted` code objects of the standard library.
fn compare(build: &Build, options: &[&str], wanted: usize) -> Seen {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pyscripts/code_objects.py");
    let mut command = Command::new(&build.python);
    command.args(["-I", "-B", "-W", "ignore"]).args(options).arg(script).arg(wanted.to_string());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::with_capacity(1 << 16, child.stdout.take().unwrap());
    let (mut seen, mut tables) = (Seen::default(), HashSet::new());
    let mut header = [0; 21];
    while output.read(&mut header[..1]).unwrap() == 1 {
        output.read_exact(&mut header[1..]).unwrap();
        let word = |at: usize| u32::from_le_bytes(*header[at..].first_chunk().unwrap());
        let length = |at: usize| usize::try_from(word(at)).unwrap();
        let first_line = word(0).cast_signed();
        let table = bytes(&mut output, length(4));
        let positions: Vec<Location> = words(&mut output, 4 * length(8)).as_chunks().0.iter().map(location).collect();
        let width = usize::from(header[12]);
        let stored = bytes(&mut output, length(13));
        let name = words(&mut output, length(17));

        let expected: String =
            name.iter().map(|&point| char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
        assert_eq!(python_text::decode(&stored, width), Some(expected.clone()), "width {width}, {stored:x?}");
        // The largest tables have hundreds of thousands of bytes, so only the start is printed.
        let start = &table[..table.len().min(200)];
        let decoded = LocationTable::decode(&table, first_line)
            .unwrap_or_else(|| panic!("the table of {expected} was refused: {first_line}, {start:x?}"));
        assert_eq!(decoded.units() as usize, positions.len(), "code units of {expected}: {start:x?}");
        for (unit, position) in (0..).zip(&positions) {
            assert_eq!(decoded.get(unit), Some(*position), "unit {unit} of {expected}, from {first_line}: {start:x?}");
        }
        assert_eq!(decoded.get(decoded.units()), None, "{expected}");
        seen.note(&table, &positions, width, &name);
        tables.insert(table);
    }
    seen.tables = tables.len();
    assert!(child.wait().unwrap().success(), "{command:?}");
    seen
}

fn bytes(output: &mut impl Read, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    output.read_exact(&mut bytes).unwrap();
    bytes
}

fn words(output: &mut impl Read, length: usize) -> Vec<u32> {
    bytes(output, 4 * length).as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

/// Line, last line, first column and the column after the last. Fails on a negative column.
fn location(position: &[u32; 4]) -> Location {
    let [line, end_line, column, end_column] =
        position.map(|part| Some(part.cast_signed()).filter(|&part| part != NOTHING));
    let [column, end_column] = [column, end_column].map(|part| part.map(|part| u32::try_from(part).unwrap()));
    Location { line, end_line, column, end_column }
}

/// Asserts that the code objects exercised every feature of the formats. `others` are the entry codes that occur only
/// with columns, or only without.
#[track_caller]
fn assert_rich(seen: &Seen, others: impl IntoIterator<Item = u8>) {
    assert!([0, 1, 2, 4].iter().all(|width| seen.widths.get(width).is_some_and(|&count| count > 1)), "{seen:?}");
    let codes: BTreeSet<u8> = others.into_iter().chain([13, 15]).collect();
    assert_eq!(seen.codes, codes, "{seen:?}");
    assert!(seen.lines_back > 10 && seen.nowhere > 10 && seen.surrogates > 0, "{seen:?}");
    assert!(seen.units > 1 << 16 && seen.line > 1 << 30, "{seen:?}");
}

/// Compares with columns and, on fewer code objects, without.
fn compare_both(build: &Build, wanted: usize) {
    let seen = compare(build, &[], wanted);
    assert_rich(&seen, 0..=14);
    assert!(seen.code_objects > wanted && seen.tables > wanted / 2 && seen.column > 1 << 16, "{seen:?}");

    let seen = compare(build, &["-X", "no_debug_ranges"], wanted / 10);
    assert_rich(&seen, []);
    assert!(seen.code_objects > wanted / 10 && seen.column == 0 && seen.without_columns > 1 << 16, "{seen:?}");
}

#[test]
fn positions_and_names_match_a_release_build() {
    compare_both(&common::release(), 4000);
}

#[test]
fn positions_and_names_match_a_debug_build() {
    compare_both(&common::debug(), 2000);
}
