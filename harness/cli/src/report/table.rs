//! The table of a run: one block for each row and lane, one line for each walker.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table};
use framewalk::printable::clean;
use model::oracle::tally::Tally;
use model::run::line::Line;
use model::run::verdict::LineVerdict;

use crate::report::text::{Look, paragraph, short};

/// The titles of the columns.
pub(super) const HEADER: [&str; 7] =
    ["walker", "samples", "rejected", "impossible", "full/part/miss", "per s", "verdict"];

/// Explains the columns, and those verdicts in `lines` that need an explanation.
pub(super) fn legend(lines: &[Line]) -> String {
    let mut words = vec![
        "samples: walks of one thread",
        "rejected: walks that returned no stack",
        "impossible: stacks that the program can never have; in the stepped lane, stacks that it did not have during \
         the sample",
        "full/part/miss: samples with all, some or none of the callers from the cache",
        "per s: walks per second of walking",
    ];
    let shown = |wanted: LineVerdict| lines.iter().any(|line| line.verdict == wanted);
    for (verdict, meaning) in [
        (LineVerdict::Known, "known: fails only in ways known for this release"),
        (LineVerdict::Vacuous, "vacuous: its cache was not tested"),
        (LineVerdict::Undecided, "undecided: too few samples to compare it with its uncached counterpart"),
        (LineVerdict::Inconclusive, "inconclusive: not everything ran"),
    ] {
        if shown(verdict) {
            words.push(meaning);
        }
    }
    words.join("; ") + "."
}

/// Appends the block of each row and lane.
pub(crate) fn render(out: &mut String, lines: &[Line], look: Look) {
    for block in lines.chunk_by(|left, right| (&left.row, left.lane) == (&right.row, right.lane)) {
        let Some(first) = block.first() else { continue };
        out.push_str(&look.bold(&format!("{}, {}", clean(&first.row), first.lane)));
        out.push('\n');
        for line in table(block, look).to_string().lines() {
            out.push_str(line.trim_end());
            out.push('\n');
        }
        for line in block {
            details(out, line, look.width);
        }
        out.push('\n');
    }
}

fn table(block: &[Line], look: Look) -> Table {
    let mut table = Table::new();
    // The table fits into eighty columns. If counts are huge, a longer line is better than a broken number.
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if look.colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(HEADER.map(|title| Cell::new(title).add_attribute(Attribute::Dim)));
    for line in block {
        table.add_row(cells(line));
    }
    let gap = if look.width < 90 { 1 } else { 2 };
    for column in table.column_iter_mut() {
        column.set_padding((0, gap)).set_cell_alignment(CellAlignment::Right);
    }
    for (at, padding) in [(0, (0, gap)), (HEADER.len() - 1, (0, 0))] {
        if let Some(column) = table.column_mut(at) {
            column.set_padding(padding).set_cell_alignment(CellAlignment::Left);
        }
    }
    table
}

/// The columns between walker and verdict.
pub(super) fn figures(line: &Line) -> [String; 5] {
    let tally = &line.tally;
    let cache = if line.walker.is_cached() {
        format!("{}/{}/{}", short(tally.full_hits), short(tally.partial_hits), short(tally.misses()))
    } else {
        "-".to_owned()
    };
    [
        tally.samples.to_string(),
        percent(tally.rejected(), tally.samples),
        tally.impossible().to_string(),
        cache,
        tally.per_second().map_or_else(|| "-".to_owned(), rate),
    ]
}

fn cells(line: &Line) -> Vec<Cell> {
    let colour = match line.verdict {
        LineVerdict::Pass => Color::Green,
        LineVerdict::Fail => Color::Red,
        LineVerdict::Known
        | LineVerdict::Vacuous
        | LineVerdict::Inconclusive
        | LineVerdict::Undecided
        | LineVerdict::NotRun => Color::Yellow,
    };
    let mut cells = vec![Cell::new(line.walker.name())];
    cells.extend(figures(line).into_iter().map(Cell::new));
    cells.push(Cell::new(line.verdict.name()).fg(colour));
    cells
}

/// The reasons and causes, which do not fit into the table.
fn details(out: &mut String, line: &Line, width: u16) {
    let tally: &Tally = &line.tally;
    let mut parts = Vec::new();
    if tally.impossible() > 0 {
        parts.push(format!("impossible: {}", list(tally.impossible.iter().map(|(cause, n)| (cause.name(), n)))));
    }
    if tally.differences > 0 {
        parts.push(format!("different from another walker or from the target's account: {}", tally.differences));
    }
    if tally.rejected() > 0 {
        parts.push(format!("rejected: {}", list(tally.rejected.iter().map(|(reason, n)| (reason.as_str(), n)))));
    }
    if tally.misses() > 0 {
        parts.push(format!("misses: {}", list(tally.misses.iter().map(|(reason, n)| (reason.name(), n)))));
    }
    if !tally.degraded.is_empty() {
        let limits = list(tally.degraded.iter().map(|(limit, n)| (limit.name(), n)));
        parts.push(format!("less than the truth, a documented limit: {limits}"));
    }
    if tally.not_asked > 0 {
        let stops = tally.not_asked + tally.samples;
        parts.push(format!(
            "not judged at {} random moments in a generator's code ({} of all); judged at {} gates and stores in such \
             code",
            tally.not_asked,
            percent(tally.not_asked, stops),
            tally.asked_instead
        ));
    }
    if tally.misfits > 0 {
        parts.push(format!(
            "{} of {} schedules are kept ones that run differently here and are judged like drawn ones: the walker or \
             the target behaves differently than in the builds that they were recorded on",
            tally.misfits, tally.schedules
        ));
    }
    if !parts.is_empty() {
        paragraph(out, "  ", &format!("{}: {}", line.walker, parts.join("; ")), width);
    }
}

fn list<'a>(counts: impl Iterator<Item = (&'a str, &'a u64)>) -> String {
    let counts: Vec<_> = counts.filter(|(_, n)| **n > 0).map(|(name, n)| format!("{name} {n}")).collect();
    counts.join(", ")
}

/// A percentage for readers. Only an exact zero is printed as zero.
#[allow(clippy::cast_precision_loss, reason = "two digits are shown")]
fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let share = part as f64 / whole as f64 * 100.0;
    if part > 0 && share < 0.01 { "<0.01 %".to_owned() } else { format!("{share:.2} %") }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is positive; three digits are shown"
)]
fn rate(per_second: f64) -> String {
    short(per_second.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_zero_is_shown_as_zero() {
        assert_eq!(percent(0, 0), "-");
        assert_eq!(percent(0, 10), "0.00 %");
        assert_eq!(percent(1, 1_000_000), "<0.01 %");
        assert_eq!(percent(10, 10), "100.00 %");
    }
}
