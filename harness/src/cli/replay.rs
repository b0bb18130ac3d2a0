//! The one command that runs a cell again.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::cli::arguments::Check;
use crate::report::cell::{CellId, Row};
use crate::sample::WalkerKind;

/// The command that runs `cell` of `row` again as `check` ran it, for `walker` alone.
///
/// It holds everything that the outcome depends on: the seed of the cell, the run mode, weakenings, sizes.
#[must_use]
pub fn command(check: &Check, row: &Row, cell: &CellId, walker: WalkerKind) -> String {
    let mut words = vec!["framediff".to_owned(), "check".to_owned()];
    let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
    option("--python", quote_path(&row.python));
    option("--jit", if row.jit { "on" } else { "off" }.to_owned());
    option("--lane", cell.lane.name().to_owned());
    option("--family", quote(&cell.family));
    option("--walker", walker.name().to_owned());
    option("--seed", cell.seed.to_string());
    for weakening in &check.selection.weaken {
        option("--weaken", weakening.name().to_owned());
    }
    let size = check.size;
    for (name, value) in [
        ("--depth", size.depth.map(|depth| depth.to_string())),
        ("--width", size.width.map(|width| width.to_string())),
        ("--speed", size.speed.map(|speed| speed.to_string())),
        ("--frame-size", size.frame_size.map(|size| size.to_string())),
        ("--names", size.names.map(|names| names.name().to_owned())),
    ] {
        if let Some(value) = value {
            option(name, value);
        }
    }
    words.join(" ")
}

fn quote_path(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    match str::from_utf8(bytes) {
        Ok(text) => quote(text),
        // Shells take such a name in this form, and reports can show it.
        Err(_) => format!("$'{}'", bytes.escape_ascii()),
    }
}

/// `word` as a POSIX shell needs it.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::arguments::{Cli, Jit, Verb};
    use crate::report::cell::Lane;
    use crate::report::fixtures;
    use crate::workload::Family;
    use clap::Parser;

    fn check(line: &str) -> Check {
        match Cli::try_parse_from(line.split_whitespace()).unwrap().verb() {
            Verb::Check(check) => *check,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_selects_the_cell_again() {
        let original = check(
            "framediff --weaken chunks-not-copied --depth 5 --frame-size unequal:8 --names astral --seed 1 --budget 5m",
        );
        let cell = fixtures::cell(Lane::Live);
        let replayed = check(&command(&original, &fixtures::row(), &cell, WalkerKind::OwnCached));
        assert_eq!(replayed.source.python, [fixtures::row().python]);
        assert_eq!((replayed.jit, replayed.selection.seed), (Some(Jit::On), Some(cell.seed)));
        assert_eq!((replayed.selection.lane, replayed.selection.family), (vec![cell.lane], vec![Family::Alternating]));
        assert_eq!(replayed.selection.walker, [WalkerKind::OwnCached]);
        assert_eq!((replayed.selection.weaken, replayed.size), (original.selection.weaken, original.size));
    }

    #[test]
    fn words_survive_a_shell() {
        for (word, quoted) in [
            ("/opt/py-3.15/bin/python3.15", "/opt/py-3.15/bin/python3.15"),
            ("", "''"),
            ("/my builds/py", "'/my builds/py'"),
            ("$HOME", "'$HOME'"),
            ("it's", r"'it'\''s'"),
        ] {
            assert_eq!(quote(word), quoted);
        }
    }

    #[test]
    fn a_path_that_is_no_text_is_quoted_byte_by_byte() {
        let path = |bytes| Path::new(std::ffi::OsStr::from_bytes(bytes)).to_owned();
        assert_eq!(quote_path(&path(b"/opt/my python")), "'/opt/my python'");
        assert_eq!(quote_path(&path(b"/opt/x\xff'\n/python")), r"$'/opt/x\xff\'\n/python'");
    }
}
