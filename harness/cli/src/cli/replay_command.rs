//! The command that replays a failure.

use std::path::{Path, PathBuf};
use std::time::Duration;

use model::invariants::Violation;
use model::run::bounds::is_of_row;
use model::run::cell::{CellId, Row};
use model::run::finding::Finding;

use crate::cli::check_arguments::Check;
use crate::cli::shared_arguments::{DEFAULT_CONFIDENCE, Judging, Size};
use crate::cli::values::Configurations;
use crate::report::shell::{quote, quote_path};

/// A single cell gets the whole budget of its run, which is more than it had within the run. Below this time the
/// default is enough; only a longer budget goes into the command.
const ENOUGH: Duration = Duration::from_secs(60);

/// The options that select the build of `row`.
fn build(check: &Check, row: &Row) -> Vec<String> {
    let header = check.source.layout_header.iter();
    let header = header.flat_map(|path| ["--layout-header".to_owned(), quote_path(&absolute(path))]);
    let arguments = row.arguments.iter().map(|argument| format!("--python-arg={}", quote(argument)));
    ["--python".to_owned(), quote_path(&row.python)].into_iter().chain(header).chain(arguments).collect()
}

/// The command that replays `failure`. If the failure has a case, the command replays it. Otherwise it runs the `cell`
/// of `row` as `check` did, for the failing walker alone, until the failure appears.
///
/// The command includes everything that affects the outcome: the seed of the cell, the run mode, weakenings, sizes,
/// the number of stops, and the rules of the verdict. It leaves out the other cells, the number of jobs and the
/// reports.
#[must_use]
pub fn command(check: &Check, row: &Row, cell: &CellId, failure: &Finding) -> String {
    if let Violation::Existence { case, .. } = &failure.violation {
        return format!("framediff replay {} {case}", build(check, row).join(" "));
    }
    let mut words = vec!["framediff".to_owned(), "check".to_owned()];
    words.extend(build(check, row));
    let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
    option("--jit", if row.jit { "on" } else { "off" }.to_owned());
    option("--lane", cell.lane.name().to_owned());
    // A failure of a row is about all families, and compares CPython's walkers with framediff's.
    let is_of_row = is_of_row(&failure.violation);
    match &check.program {
        Some(program) => option("--program", quote_path(&absolute(program))),
        None if is_of_row => {}
        None => option("--family", quote(&cell.family)),
    }
    if !is_of_row {
        option("--walker", failure.walker.name().to_owned());
    }
    option("--seed", cell.seed.to_string());
    let named = Configurations::named(&check.selection.configuration);
    let of_cell = failure.walker.is_cpythons().then_some(cell.configuration);
    let configurations = if is_of_row { named } else { of_cell.into_iter().collect() };
    for configuration in configurations {
        option("--configuration", configuration.to_string());
    }
    for weakening in &check.selection.weaken {
        option("--weaken", weakening.name().to_owned());
    }
    for (name, value) in sizes(check.size).into_iter().chain(bounds(check)).chain(judging(&check.judging)) {
        if let Some(value) = value {
            option(name, value);
        }
    }
    option("--until", quote(failure.fingerprint().as_str()));
    if check.judging.strict {
        words.push("--strict".to_owned());
    }
    if !check.arguments.is_empty() {
        words.push("--".to_owned());
        words.extend(check.arguments.iter().map(|argument| quote(argument)));
    }
    words.join(" ")
}

type Options<const N: usize> = [(&'static str, Option<String>); N];

fn sizes(size: Size) -> Options<5> {
    let number = |number: Option<u32>| number.map(|number| number.to_string());
    [
        ("--depth", number(size.depth)),
        ("--width", number(size.width)),
        ("--speed", number(size.speed)),
        ("--frame-size", size.frame_size.map(|size| size.to_string())),
        ("--names", size.names.map(|names| names.name().to_owned())),
    ]
}

/// The options that bound the run, where they differ from the defaults for a single cell.
fn bounds(check: &Check) -> Options<3> {
    let budget = Some(check.budget).filter(|&budget| budget > ENOUGH);
    [
        ("--stops", check.stops.map(|stops| stops.to_string())),
        ("--schedules", check.schedules.map(|schedules| schedules.to_string())),
        ("--budget", budget.map(|budget| quote(&humantime::format_duration(budget).to_string()))),
    ]
}

fn judging(judging: &Judging) -> Options<2> {
    let confidence = Some(judging.confidence).filter(|&confidence| confidence != DEFAULT_CONFIDENCE);
    let known = judging.known.as_deref().map(absolute);
    [
        ("--known", known.map(|path| quote_path(&path))),
        ("--confidence", confidence.map(|confidence| confidence.to_string())),
    ]
}

/// An absolute path, valid from any folder.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or(path.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use framewalk::sample::WalkerKind;
    use model::lane::Lane;
    use model::run::fixtures;
    use model::workload::Family;

    use super::*;
    use crate::cli::arguments::{Cli, Verb};
    use crate::cli::shared_arguments::Jit;

    fn check(line: &str) -> Check {
        match Cli::try_parse_from(line.split_whitespace()).unwrap().verb() {
            Verb::Check(check) => *check,
            other => panic!("{other:?}"),
        }
    }

    fn failure() -> Finding {
        Finding { walker: WalkerKind::OwnCached, ..fixtures::finding() }
    }

    /// The command for a failure of the own cached walker.
    fn replay(original: &Check, cell: &CellId) -> String {
        command(original, &fixtures::row(), cell, &failure())
    }

    #[test]
    fn the_command_selects_the_same_cell() {
        let original = check(
            "framediff --weaken chunks-not-copied --depth 5 --frame-size unequal:8 --names astral --seed 1 --budget 5m",
        );
        let cell = fixtures::cell(Lane::Live);
        let replayed = check(&replay(&original, &cell).replace("'5m'", "5m"));
        assert_eq!(replayed.source.python, [fixtures::row().python]);
        assert_eq!((replayed.jit, replayed.selection.seed), (Some(Jit::On), Some(cell.seed)));
        assert_eq!((replayed.selection.lane, replayed.selection.family), (vec![cell.lane], vec![Family::Alternating]));
        assert_eq!(replayed.selection.walker, [WalkerKind::OwnCached]);
        assert_eq!((replayed.selection.weaken, replayed.size), (original.selection.weaken, original.size));
        assert_eq!((replayed.budget, replayed.until), (original.budget, Some(failure().fingerprint())));
        assert_eq!(replayed.judging, check("framediff").judging);
    }

    #[test]
    fn the_command_starts_the_build_in_the_same_way() {
        let cell = fixtures::cell(Lane::Live);
        let original = check("framediff --python /py --python-arg=-X --python-arg=perf --layout-header /a/h.h");
        let row = Row { arguments: vec!["-X".into(), "perf".into()], ..fixtures::row() };
        let replayed = check(&command(&original, &row, &cell, &failure()));
        assert_eq!(replayed.source.python_arg, original.source.python_arg);
        assert_eq!(replayed.source.layout_header, original.source.layout_header);
    }

    #[test]
    fn the_command_contains_only_what_decides_the_outcome() {
        let cell = fixtures::cell(Lane::Stopped);
        let original = check(
            "framediff --stops 40 --known /k.toml --strict --confidence 0.99 --width 3 --speed 7 --jobs 2 --profiles \
             --budget 10s --report html=r.html",
        );
        let line = replay(&original, &cell);
        let replayed = check(&line);
        assert_eq!((replayed.stops, replayed.size, &replayed.judging), (Some(40), original.size, &original.judging));
        // A single cell needs no more than the default budget of a whole run.
        assert_eq!(replayed.budget, Duration::from_secs(60));
        for word in ["--jobs", "--profiles", "--report", "--budget"] {
            assert!(!line.contains(word), "{line}");
        }
        let plain = replay(&check("framediff"), &cell);
        for word in ["--stops", "--known", "--strict", "--confidence", "--budget", "--depth"] {
            assert!(!plain.contains(word), "{plain}");
        }
    }

    #[test]
    fn a_failure_of_a_row_takes_all_its_families_and_walkers_again() {
        let cell = fixtures::cell(Lane::Live);
        let line = |what: &str| {
            let violation = Violation::MoreThanReleased { what: what.into(), at_least: 0.9, most: 0.7 };
            command(&check("framediff"), &fixtures::row(), &cell, &Finding { violation, ..failure() })
        };
        let replayed = check(&line("rejections"));
        assert_eq!((replayed.selection.lane, replayed.selection.seed), (vec![Lane::Live], Some(cell.seed)));
        assert_eq!((replayed.selection.family, replayed.selection.walker), (vec![], vec![]));
        let replayed = check(&line("torn-read"));
        assert_eq!(replayed.selection.family, [Family::Alternating]);
    }

    #[test]
    fn the_command_passes_the_arguments_of_the_program() {
        let original = check("framediff --program /p.py --stops 5 -- 2000 it's");
        let cell = CellId { family: "program p.py 2000 it's".into(), ..fixtures::cell(Lane::Stopped) };
        let line = replay(&original, &cell);
        assert!(line.ends_with(r"-- 2000 'it'\''s'"), "{line}");
        let replayed = check(&line.replace(r"'it'\''s'", "it's"));
        assert_eq!((&replayed.program, &replayed.arguments), (&original.program, &original.arguments));
        assert!(replayed.selection.family.is_empty());
    }
}
