//! Tables that can be put into an issue.

use std::fmt::Write;

use crate::bench::document::{Document, NOBODY, Part, Place, Point, Series};
use crate::bench::run::describe;
use crate::bench::statistics::{Interval, estimate, ratios};
use crate::bench::text::{bytes, factor, time, timed};
use crate::report::text::clean;
use crate::sample::WalkerKind;

/// Cached walkers, each with the one that differs from it in nothing but the cache.
pub const PAIRS: [(WalkerKind, WalkerKind); 3] = [
    (WalkerKind::OwnUncached, WalkerKind::OwnCached),
    (WalkerKind::OwnUncached, WalkerKind::OwnReference),
    (WalkerKind::CpythonUncached, WalkerKind::CpythonCached),
];

/// Everything that the document says.
#[must_use]
pub fn render(document: &Document) -> String {
    let mut out = String::new();
    heading(&mut out, document);
    for build in &document.builds {
        for part in Part::ALL {
            let points: Vec<&Point> =
                document.points.iter().filter(|point| point.build == build.name && point.place.part == part).collect();
            if !points.is_empty() {
                section(&mut out, document, &build.name, part, &points);
            }
        }
    }
    closing(&mut out, document);
    out
}

/// The contender whose blocks are divided by this contender's.
pub(super) fn baseline_of(kind: &str) -> Option<&'static str> {
    PAIRS.iter().find(|(_, cached)| cached.name() == kind).map(|(uncached, _)| uncached.name())
}

/// How many times as fast as without its cache a contender is at a point.
pub(super) fn speed_up(point: &Point, series: &Series, seed: u64) -> Option<Interval> {
    let uncached = point.series(baseline_of(&series.contender)?)?;
    estimate(&ratios(&uncached.blocks, &series.blocks), seed)
}

fn heading(out: &mut String, document: &Document) {
    let machine = &document.machine;
    let cpu = if machine.cpu.is_empty() { "unknown processor" } else { &machine.cpu };
    let _ = writeln!(out, "# framediff bench\n");
    let _ = writeln!(
        out,
        "framediff {}, {} cores of {}, {}; seed {}, {:.0} s. Intervals are of 95 %.",
        clean(&document.framediff),
        machine.cores,
        clean(cpu),
        clean(&machine.kernel),
        document.seed,
        document.budget.as_secs_f64(),
    );
    if !document.optimised {
        let _ = writeln!(out, "\n**framediff itself was built without optimisation: its own walkers are slower than they need be.**");
    }
    if document.interrupted {
        let _ = writeln!(out, "\n**Interrupted: this is not everything.**");
    }
}

fn section(out: &mut String, document: &Document, build: &str, part: Part, points: &[&Point]) {
    let _ = writeln!(out, "\n## {}: {}\n\n{}\n", clean(build), title(part), explained(part));
    let mut notes = Notes::default();
    let factors = factors(document, part, points, &mut notes);
    let times = times(document, part, points, &mut notes);
    for table in [factors, times].into_iter().flatten() {
        out.push_str(&table);
        out.push('\n');
    }
    for (number, note) in (1..).zip(&notes.texts) {
        let _ = writeln!(out, "[{number}] {}  ", clean(note));
    }
    if part == Part::SpeedUp {
        out.push_str(&breakdown(document, points));
    }
}

fn title(part: Part) -> &'static str {
    match part {
        Part::SpeedUp => "speed-up by depth",
        Part::Change => "speed-up by what changes",
        Part::Cost => "cost to the target",
        Part::Threads => "threads",
        Part::Targets => "targets",
    }
}

fn explained(part: Part) -> &'static str {
    match part {
        Part::SpeedUp => "Time of a sample without the cache over the time with it, by the same walker, on a stack that stands still (full hits).",
        Part::Change => "The same, where so many frames return and are called anew between two samples (partial hits).",
        Part::Cost => "Time of the same calls and returns in the target, over the time when nobody samples it.",
        Part::Threads => "Time of a sample of all threads, and of one thread of it.",
        Part::Targets => "Time of a run divided by its samples, with all targets sampled at once by as many threads or processes as suit.",
    }
}

/// What a row is of.
fn varied(place: &Place) -> String {
    match place.part {
        Part::SpeedUp => place.depth.to_string(),
        Part::Change => format!("{} of {}", place.changed, place.depth),
        Part::Cost => place.rate.map_or_else(|| "full speed".to_owned(), |rate| format!("{rate}/s")),
        Part::Threads => place.threads.to_string(),
        Part::Targets => place.targets.to_string(),
    }
}

fn axis(part: Part) -> &'static str {
    match part {
        Part::SpeedUp => "frames",
        Part::Change => "changed",
        Part::Cost => "samples",
        Part::Threads => "threads",
        Part::Targets => "targets",
    }
}

/// Reasons for which a cell has no number.
#[derive(Default)]
struct Notes {
    texts: Vec<String>,
}

impl Notes {
    fn cell(&mut self, text: &str) -> String {
        let number = self.texts.iter().position(|known| known == text).unwrap_or_else(|| {
            self.texts.push(text.to_owned());
            self.texts.len() - 1
        });
        format!("— [{}]", number + 1)
    }
}

/// The names of contenders at these points, in the order of the first that has them.
fn contenders<'a>(points: &[&'a Point]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for series in points.iter().flat_map(|point| &point.series) {
        if !names.contains(&series.contender.as_str()) {
            names.push(&series.contender);
        }
    }
    names
}

/// A table with one row for each point and one column for each of `names`; none without numbers.
fn table(
    part: Part,
    points: &[&Point],
    names: &[&str],
    mut cell: impl FnMut(&Point, &Series) -> Option<String>,
) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    let mut out = format!("| {} | {} |\n|{}\n", axis(part), names.join(" | "), " ---: |".repeat(names.len() + 1));
    for point in points {
        let _ = write!(out, "| {} |", varied(&point.place));
        for name in names {
            let text = point.series(name).and_then(|series| cell(point, series));
            let _ = write!(out, " {} |", text.unwrap_or_default());
        }
        out.push('\n');
    }
    Some(out)
}

/// Ratios of contenders that were measured side by side.
fn factors(document: &Document, part: Part, points: &[&Point], notes: &mut Notes) -> Option<String> {
    let all = contenders(points);
    let over = |name: &str| if part == Part::Cost { Some(NOBODY) } else { baseline_of(name) };
    let names: Vec<&str> =
        all.iter().copied().filter(|name| *name != NOBODY && over(name).is_some_and(|one| all.contains(&one))).collect();
    table(part, points, &names, |point, series| {
        let other = point.series(over(&series.contender)?)?;
        if let Some(why) = series.refused.as_ref().or(other.refused.as_ref()) {
            return Some(notes.cell(why));
        }
        let found = match part {
            Part::Cost => estimate(&ratios(&series.blocks, &other.blocks), document.seed),
            _ => estimate(&ratios(&other.blocks, &series.blocks), document.seed),
        };
        found.map(factor)
    })
}

/// Times, for what they are worth.
fn times(document: &Document, part: Part, points: &[&Point], notes: &mut Notes) -> Option<String> {
    table(part, points, &contenders(points), |point, series| {
        if let Some(why) = &series.refused {
            return Some(notes.cell(why));
        }
        let found = estimate(&series.blocks, document.seed)?;
        let mut text = timed(found);
        match part {
            Part::Threads => {
                let _ = write!(text, ", {} each", time(found.value / f64::from(point.place.threads)));
                let found = series.lookups;
                if found.full > 0 && found.misses > 0 {
                    let hits = 100.0 * found.full as f64 / (found.full + found.misses) as f64;
                    let note = format!("{} finds only so many threads in its cache: {hits:.0} % are full hits", series.contender);
                    let _ = write!(text, " {}", notes.cell(&note).trim_start_matches("— "));
                }
            }
            Part::Targets => _ = write!(text, ", {:.0}/s", 1e9 / found.value),
            Part::Cost if series.contender != NOBODY => {
                let block: f64 = series.blocks.concat().iter().sum();
                let _ = write!(text, ", {:.0} samples/s", series.samples as f64 / (block / 1e9));
            }
            _ => {}
        }
        Some(text)
    })
}

/// What the time of a sample is made of.
fn breakdown(document: &Document, points: &[&Point]) -> String {
    let mut rows = String::new();
    for point in points {
        for series in &point.series {
            let Some(found) = &series.breakdown else { continue };
            let _ = write!(
                rows,
                "| {} | {} | {}{} | {} | {} |",
                varied(&point.place),
                clean(&series.contender),
                found.system_calls,
                if found.writes > 0 { format!(" ({} write)", found.writes) } else { String::new() },
                found.segments,
                bytes(found.bytes as f64)
            );
            let share = estimate(&ratios(&found.bare, &series.blocks), document.seed);
            let _ = match (share, estimate(&found.bare, document.seed), estimate(&series.blocks, document.seed)) {
                (Some(share), Some(bare), Some(total)) => writeln!(
                    rows,
                    " {} ({:.0} %) | {} |",
                    time(bare.value),
                    100.0 * share.value,
                    time((total.value - bare.value).max(0.0))
                ),
                _ => writeln!(rows, " | |"),
            };
        }
    }
    if rows.is_empty() {
        return rows;
    }
    format!(
        "\nWhat one sample asks of the target's memory. *Bare read*: everything that it reads, in one vectored read without \
         a walker, measured beside it; *rest*: further system calls, decoding, and building the result.\n\n\
         | frames | walker | system calls | ranges | bytes | bare read | rest |\n\
         | ---: | --- | ---: | ---: | ---: | ---: | ---: |\n{rows}"
    )
}

fn closing(out: &mut String, document: &Document) {
    for note in &document.notes {
        let _ = writeln!(out, "\nNote: {}", clean(note));
    }
    if let Some(peak) = document.peak_bytes {
        let _ = writeln!(out, "\nThe harness held {} of memory at the most.", bytes(peak as f64));
    }
    if document.left_out.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nNot measured:\n");
    let mut reasons: Vec<(&str, &str, Vec<String>)> = Vec::new();
    for left in &document.left_out {
        match reasons.iter_mut().find(|(build, why, _)| *build == left.build && *why == left.why) {
            Some((_, _, places)) => places.push(describe(&left.place)),
            None => reasons.push((&left.build, &left.why, vec![describe(&left.place)])),
        }
    }
    for (build, why, places) in reasons {
        let _ = writeln!(out, "- {}: {}: {}", clean(build), places.join("; "), clean(why));
    }
}
