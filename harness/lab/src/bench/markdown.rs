//! Renders a document as Markdown tables, for example for an issue.

use std::fmt::Write;

use framewalk::printable::clean;

use crate::bench::baseline::{BaselineComparison, ComparisonAnswer, MARGIN};
use crate::bench::derived::{slow_down, speed_up, uncached};
use crate::bench::document::{BenchDocument, BenchPart, BenchPoint, NOBODY, PointParameters, Series};
use crate::bench::statistics::{estimate, ratios};
use crate::bench::text::{bytes, factor, time, timed};

/// The whole document, and the comparison with an earlier one.
#[must_use]
pub fn render(document: &BenchDocument, comparison: Option<&BaselineComparison>) -> String {
    let mut out = String::new();
    heading(&mut out, document);
    if let Some(comparison) = comparison {
        compared(&mut out, comparison);
    }
    for build in &document.builds {
        for part in BenchPart::ALL {
            let points: Vec<&BenchPoint> =
                document.points.iter().filter(|point| point.build == build.name && point.place.part == part).collect();
            if !points.is_empty() {
                section(&mut out, document, &build.name, part, &points);
            }
        }
    }
    closing(&mut out, document);
    out
}

fn heading(out: &mut String, document: &BenchDocument) {
    let machine = &document.machine;
    let cpu = if machine.cpu.is_empty() { "unknown processor" } else { &machine.cpu };
    let _ = writeln!(out, "# framediff bench\n");
    let _ = writeln!(
        out,
        "framediff {}, {} cores of {}, {}; seed {}, {:.0} s. All intervals have a confidence of 95 %.",
        clean(&document.framediff),
        machine.cores,
        clean(cpu),
        clean(&machine.kernel),
        document.seed,
        document.budget.as_secs_f64(),
    );
    if !document.optimised {
        let _ = writeln!(
            out,
            "\n**framediff itself was built without optimisation: its own walkers are slower than they could be. \
             Measure with a release build.**"
        );
    }
    if document.interrupted {
        let _ = writeln!(out, "\n**Interrupted: some points are missing.**");
    }
}

fn section(out: &mut String, document: &BenchDocument, build: &str, part: BenchPart, points: &[&BenchPoint]) {
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
    if part == BenchPart::SpeedUp {
        out.push_str(&breakdown(document, points));
    }
}

fn title(part: BenchPart) -> &'static str {
    match part {
        BenchPart::SpeedUp => "speed-up by depth",
        BenchPart::Change => "speed-up by what changes",
        BenchPart::Cost => "cost to the target",
        BenchPart::Threads => "threads",
        BenchPart::Targets => "targets",
    }
}

fn explained(part: BenchPart) -> &'static str {
    match part {
        BenchPart::SpeedUp => {
            "Time of a sample without the cache, divided by the time with it, for the same walker on a stack that does \
             not change (full hits)."
        }
        BenchPart::Change => {
            "The same, but this many frames return and are called again between two samples (partial hits)."
        }
        BenchPart::Cost => {
            "Time of the same calls and returns in the target, divided by the time when nothing samples it. The \
             bystander reads its own memory with as many system calls as it can: the slowdown that it causes comes \
             from a busy neighbour, not from being read."
        }
        BenchPart::Threads => "Time of a sample of all threads, and its share for one thread.",
        BenchPart::Targets => {
            "Time of a run divided by its samples, with all targets sampled at the same time: own walkers in one \
             thread for each core, CPython's in one process for each target, whose own work is included."
        }
    }
}

/// The label of a table row: the value of the varied parameter.
fn varied(place: &PointParameters) -> String {
    match place.part {
        BenchPart::SpeedUp => place.depth.to_string(),
        BenchPart::Change => format!("{} of {}", place.changed, place.depth),
        BenchPart::Cost => place.rate.map_or_else(|| "full speed".to_owned(), |rate| format!("{rate}/s")),
        BenchPart::Threads => place.threads.to_string(),
        BenchPart::Targets => place.targets.to_string(),
    }
}

fn axis(part: BenchPart) -> &'static str {
    match part {
        BenchPart::SpeedUp => "frames",
        BenchPart::Change => "changed",
        BenchPart::Cost => "samples",
        BenchPart::Threads => "threads",
        BenchPart::Targets => "targets",
    }
}

/// Footnotes: the reasons why a cell has no number.
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

/// The names of the contenders at these points, in the order of their first appearance.
fn contenders<'a>(points: &[&'a BenchPoint]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for series in points.iter().flat_map(|point| &point.series) {
        if !names.contains(&series.contender.as_str()) {
            names.push(&series.contender);
        }
    }
    names
}

/// A table with one row per point and one column per name, or `None` if there are no names.
fn table(
    part: BenchPart,
    points: &[&BenchPoint],
    names: &[&str],
    mut cell: impl FnMut(&BenchPoint, &Series) -> Option<String>,
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

/// Ratios of contenders that were measured next to each other.
fn factors(document: &BenchDocument, part: BenchPart, points: &[&BenchPoint], notes: &mut Notes) -> Option<String> {
    let all = contenders(points);
    let over = |name: &str| if part == BenchPart::Cost { Some(NOBODY) } else { uncached(name) };
    let names: Vec<&str> = all
        .iter()
        .copied()
        .filter(|name| *name != NOBODY && over(name).is_some_and(|one| all.contains(&one)))
        .collect();
    table(part, points, &names, |point, series| {
        let other = point.series(over(&series.contender)?)?;
        if let Some(why) = series.refused.as_ref().or(other.refused.as_ref()) {
            return Some(notes.cell(why));
        }
        let found = if part == BenchPart::Cost { slow_down } else { speed_up };
        found(point, series, document.seed).map(factor)
    })
}

/// The table of absolute times of a part.
fn times(document: &BenchDocument, part: BenchPart, points: &[&BenchPoint], notes: &mut Notes) -> Option<String> {
    table(part, points, &contenders(points), |point, series| {
        if let Some(why) = &series.refused {
            return Some(notes.cell(why));
        }
        let found = estimate(&series.blocks, document.seed)?;
        let mut text = timed(found);
        match part {
            BenchPart::Threads => {
                let _ = write!(text, ", {} each", time(found.value / f64::from(point.place.threads)));
                let found = series.lookups;
                if found.full > 0 && found.misses > 0 {
                    let hits = 100.0 * found.full as f64 / (found.full + found.misses) as f64;
                    let note = format!(
                        "the cache of {} does not hold all threads: {hits:.0} % are full hits",
                        series.contender
                    );
                    let _ = write!(text, " {}", notes.cell(&note).trim_start_matches("— "));
                }
            }
            BenchPart::Targets => _ = write!(text, ", {:.0}/s", 1e9 / found.value),
            BenchPart::Cost if series.contender != NOBODY => {
                let block: f64 = series.blocks.concat().iter().sum();
                let _ = write!(text, ", {:.0} samples/s", series.samples as f64 / (block / 1e9));
            }
            _ => {}
        }
        Some(text)
    })
}

/// The accesses and times that make up a sample.
fn breakdown(document: &BenchDocument, points: &[&BenchPoint]) -> String {
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
            rows.truncate(rows.trim_end().len());
            for part in [&found.decoding, &found.results] {
                let part = estimate(part, document.seed).map(|part| time(part.value)).unwrap_or_default();
                let _ = write!(rows, " {part} |");
            }
            rows.push('\n');
        }
    }
    if rows.is_empty() {
        return rows;
    }
    format!(
        "\nWhat one sample asks of the target's memory. *Bare read*: all that it reads, in one vectored read without \
            a walker, measured next to it; *rest*: further system calls, decoding, and building the result; \
            *decoding*: what an own walker does apart from its accesses; *results*: copying the frames into a new \
            list. CPython's walkers do that in every sample; own walkers do not, because their stacks share their \
            callers.\n\n\
         | frames | walker | system calls | ranges | bytes | bare read | rest | decoding | results |\n\
         | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n{rows}"
    )
}

fn compared(out: &mut String, comparison: &BaselineComparison) {
    let _ = writeln!(
        out,
        "\n## Against the baseline\n\nThe factor by which the time changed, relative to what was measured next to it \
         (a bare system call; for the cost to the target, a target that nothing samples). All intervals hold together \
         with a confidence of 95 %. Less than {:.0} % counts as no change.\n",
        100.0 * MARGIN
    );
    for caution in &comparison.cautions {
        let _ = writeln!(out, "**{}**  ", clean(caution));
    }
    let mut rows = String::new();
    for one in &comparison.compared {
        let _ = writeln!(
            rows,
            "| {} | {} | {} | {} | {} |",
            clean(&one.build),
            one.place,
            clean(&one.contender),
            factor(one.factor),
            if one.answer == ComparisonAnswer::CannotTell {
                one.answer.name().to_owned()
            } else {
                format!("**{}**", one.answer.name())
            }
        );
    }
    let all = comparison.compared.len();
    let count = |answer: ComparisonAnswer| comparison.compared.iter().filter(|one| one.answer == answer).count();
    let _ = writeln!(
        out,
        "{} slower, {} faster, {} of {all} undecided.\n\n| build | point | contender | factor | answer |\n\
         | --- | --- | --- | ---: | --- |\n{rows}",
        count(ComparisonAnswer::Slower),
        count(ComparisonAnswer::Faster),
        count(ComparisonAnswer::CannotTell),
    );
}

fn closing(out: &mut String, document: &BenchDocument) {
    for note in &document.notes {
        let _ = writeln!(out, "\nNote: {}", clean(note));
    }
    if let Some(peak) = document.peak_bytes {
        let _ = writeln!(out, "\nThe harness used at most {} of memory.", bytes(peak as f64));
    }
    if document.left_out.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nNot measured:\n");
    let mut reasons: Vec<(&str, &str, Vec<String>)> = Vec::new();
    for left in &document.left_out {
        match reasons.iter_mut().find(|(build, why, _)| *build == left.build && *why == left.why) {
            Some((_, _, places)) => places.push(left.place.to_string()),
            None => reasons.push((&left.build, &left.why, vec![left.place.to_string()])),
        }
    }
    for (build, why, places) in reasons {
        let _ = writeln!(out, "- {}: {}: {}", clean(build), places.join("; "), clean(why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::baseline::compare;
    use crate::bench::fixtures::document;

    /// The cells of the first row with this label after the given heading.
    fn cells(text: &str, heading: &str, row: &str) -> Vec<String> {
        let (_, section) = text.split_once(heading).unwrap_or_else(|| panic!("{heading:?} is not in {text}"));
        let line = section.lines().find(|line| line.starts_with(&format!("| {row} |")));
        let line = line.unwrap_or_else(|| panic!("no row {row:?} in {section}"));
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    }

    fn number(cell: &str) -> f64 {
        let digits: String = cell.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        digits.parse().unwrap_or_else(|_| panic!("{cell:?} is no number"))
    }

    #[test]
    fn ratios_come_before_times_and_both_have_intervals() {
        let text = render(&document(1.0, 1), None);
        let speed_up = cells(&text, "speed-up by depth", "10");
        assert!((7.5..8.5).contains(&number(&speed_up[1])), "{speed_up:?}");
        assert!((1.8..2.2).contains(&number(&speed_up[2])), "{speed_up:?}");
        assert!(speed_up[1].contains('[') && speed_up[1].contains(']'));
        let times = cells(&text, "| frames | own-uncached | own-cached |", "10");
        assert!((0.9..1.2).contains(&number(&times[1])) && times[1].contains("µs ±"), "{times:?}");
        let half = cells(&text, "speed-up by what changes", "5 of 10");
        assert!((1.8..2.2).contains(&number(&half[1])), "{half:?}");
    }

    #[test]
    fn an_unavailable_contender_shows_a_reason_instead_of_a_number() {
        let text = render(&document(1.0, 1), None);
        assert_eq!(cells(&text, "speed-up by depth", "5000")[2], "— [1]");
        assert!(text.contains("[1] Too many stack frames"));
    }

    #[test]
    fn cost_is_relative_to_an_unsampled_target_and_a_thread_limit_is_noted() {
        let text = render(&document(1.0, 1), None);
        let cost = cells(&text, "cost to the target", "1000/s");
        assert!((1.05..1.15).contains(&number(&cost[1])) && (1.4..1.6).contains(&number(&cost[2])), "{cost:?}");
        assert!(text.contains("50 % are full hits"), "{text}");
        let breakdown = cells(&text, "What one sample asks", "10");
        assert_eq!(breakdown[1..5], ["own-uncached", "5 (1 write)", "8", "2.00 KiB"]);
        assert!(breakdown[5].contains("(50 %)") || breakdown[5].contains("(49 %)") || breakdown[5].contains("(51 %)"));
    }

    #[test]
    fn missing_parts_are_named() {
        let mut document = document(1.0, 1);
        (document.optimised, document.interrupted) = (false, true);
        let text = render(&document, None);
        for words in
            ["without optimisation", "Interrupted", "targets: 16, 100 frames: no time", "Note: a note", "32.0 MiB"]
        {
            assert!(text.contains(words), "{words:?} is not in {text}");
        }
    }

    #[test]
    fn a_comparison_comes_first_with_the_number_of_each_answer() {
        let after = document(1.3, 50);
        let text = render(&after, Some(&compare(&document(1.0, 1), &after).unwrap()));
        assert!(text.contains("2 slower, 0 faster, 10 of 12 undecided."), "{text}");
        assert!(text.find("Against the baseline") < text.find("speed-up by depth"));
    }
}
