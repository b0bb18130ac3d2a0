//! The report as text: the table, each violation in full, what did not run, and the verdict.

use std::collections::BTreeMap;
use std::fmt::Write;

use framewalk::frame::Frame;
use framewalk::printable::{clean, excerpt};
use framewalk::sample::WalkerKind;
use model::invariants::Violation;
use model::lane::Lane;
use model::oracle::distribution::Bias;
use model::run::cell::{CellId, NotRun, Row};
use model::run::change::{AgainstBase, BaseComparison, Fate};
use model::run::distinct::DistinctViolation;
use model::run::document::{Document, NotRunCell};
use model::run::finding::{Finding, Possible};
use model::run::group::Group;
use model::run::part::Part;
use model::run::phases::Phases;
use model::run::verdict::{Judgement, Verdict};

use crate::report::next_step::NextStep;
use crate::report::text::{Look, paragraph, plural};
use crate::report::{changes, conclusion, table};

/// Longer stacks are printed without their middle. The JSON document has them in full.
const LEAF_END: usize = 10;
const ROOT_END: usize = 3;
const AROUND: usize = 2;
const INDENT: &str = "             ";

/// The whole report as text, for a terminal or a file.
#[must_use]
pub fn render(document: &Document, look: Look) -> String {
    let mut out = String::new();
    let budget = humantime::format_duration(document.budget);
    let shards = document.part.as_ref().map(shards).unwrap_or_default();
    let stops = document.stops.map(|stops| format!(", {stops} stops")).unwrap_or_default();
    let _ = writeln!(out, "seed {}, budget {budget}{stops}{shards}\n", document.seed);
    for line in origins(document) {
        paragraph(&mut out, "", &line, look.width);
        out.push('\n');
    }
    table::render(&mut out, &document.table, look);
    if !document.table.is_empty() {
        paragraph(&mut out, "", &table::legend(&document.table), look.width);
        out.push('\n');
    }
    violations(&mut out, document, look);
    against_base(&mut out, document, look);
    not_seen(&mut out, document, look);
    not_run(&mut out, document, look);
    profiles(&mut out, document, look);
    phases(&mut out, document, look);
    remarks(&mut out, &document.judgement, look);
    verdict(&mut out, document, look);
    out
}

/// Which file gave defaults, and how the layout of each build was proved, where that was needed.
pub(super) fn origins(document: &Document) -> Vec<String> {
    let proof = |row: &Row| Some(format!("{}: {}", row.name, row.layout.as_ref()?));
    let defaults = document.defaults.iter();
    let defaults = defaults.map(|it| clean(&format!("defaults from {}: {}", it.file, it.options.join(", "))));
    defaults.chain(document.builds.iter().filter_map(proof)).collect()
}

/// The shards that the report covers, unless there is only one.
fn shards(part: &Part) -> String {
    let shards: Vec<String> = part.shards.iter().map(u64::to_string).collect();
    match (part.of, shards.as_slice()) {
        (1, _) => String::new(),
        (of, [shard]) => format!(", shard {shard}/{of}"),
        (of, all) if all.len() as u64 == of => format!(", all {of} shards"),
        (of, some) => format!(", shards {} of {of}", some.join(", ")),
    }
}

/// The remark after the name of a known violation.
pub(super) fn excuse(violation: &DistinctViolation, strict: bool) -> String {
    let known = match (&violation.known, violation.not_confirmed) {
        (Some(_), false) => Some("known"),
        (Some(_), true) => Some("known, not confirmed for this version"),
        (None, _) => None,
    };
    let strict = (known.is_some() && strict).then_some("but --strict");
    let words = [violation.against_base.map(AgainstBase::words), known, strict];
    let words: Vec<&str> = words.into_iter().flatten().collect();
    if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
}

/// Prints each group of violations: those that fail the run first, then the known ones, numbered separately.
fn violations(out: &mut String, document: &Document, look: Look) {
    let (mut failures, mut known) = (0, 0);
    for group in document.grouped() {
        let (what, number) = match (group.fails, &document.baseline) {
            (true, None) => ("failure", &mut failures),
            (true, Some(_)) => ("new in this change", &mut failures),
            (false, None) => ("known", &mut known),
            (false, Some(_)) => ("not new", &mut known),
        };
        *number += 1;
        let headline = group.headline.strip_prefix("known, ").filter(|_| what == "known").unwrap_or(&group.headline);
        let mut title = String::new();
        paragraph(&mut title, &format!("{what} {number}: "), headline, look.width);
        for line in title.lines() {
            let _ = writeln!(out, "{}", look.bold(line));
        }
        group_in_full(out, document, &group, look.width);
        out.push('\n');
    }
}

/// A group below its title: its simplest member in full, the others in two lines each, one of them a command to copy.
pub(super) fn group_in_full(out: &mut String, document: &Document, group: &Group, width: u16) {
    let mut members = group.violations(&document.violations);
    let Some(simplest) = members.next() else { return };
    if group.members.len() > 1 {
        let kinds = format!(
            "{}, {} times in all; the simplest:",
            plural(group.members.len(), "kind"),
            group.count(&document.violations)
        );
        paragraph(out, "  shows as   ", &kinds, width);
    }
    let name = format!("{}{}", simplest.fingerprint, excuse(simplest, document.strict));
    paragraph(out, "  violation  ", &name, width);
    describe(out, simplest, width);
    for other in members {
        let known = other.known.as_ref().map(|known| format!(" ({})", known.id)).unwrap_or_default();
        paragraph(out, "  also       ", &format!("{}{known}, {}", other.fingerprint, times(other.count)), width);
        let _ = writeln!(out, "{INDENT}{}", clean(&other.first.replay));
    }
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// Prints a violation in full, below its title.
pub(crate) fn describe(out: &mut String, violation: &DistinctViolation, width: u16) {
    let DistinctViolation { count, rows, first, known, .. } = violation;
    paragraph(out, "  clause     ", &first.violation.to_string(), width);
    if let Some(cause) = first.cause {
        paragraph(out, "  cause      ", cause.name(), width);
    }
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let with = if first.configuration.is_default() { String::new() } else { format!(" ({})", first.configuration) };
    let place = format!("{} lane, {}{with}; on {}", first.lane, first.walker, rows.join(", "));
    paragraph(out, "  where      ", &place, width);
    let first_of_many = if *count == 1 { "" } else { "; the first:" };
    paragraph(out, "  how often  ", &format!("{}{first_of_many}", times(*count)), width);
    if !first.seen.is_empty() {
        let _ = writeln!(out, "  seen       {}, leaf first", plural(first.seen.len(), "frame"));
        stack(out, &first.seen, first.offending());
    }
    possible(out, first, width);
    if !first.before.is_empty() {
        let _ = writeln!(out, "  before     when last looked at, {}, leaf first", plural(first.before.len(), "frame"));
        stack(out, &first.before, None);
    }
    for (index, line) in first.source.iter().enumerate() {
        let label = if index == 0 { "  source     " } else { INDENT };
        let _ = writeln!(out, "{label}{}", excerpt(&format!("{}, line {}: {}", line.function, line.line, line.text)));
    }
    let program = match first.violation {
        Violation::Existence { .. } => format!("{} as in the case", first.family),
        _ => format!("{} with seed {}", first.family, first.seed),
    };
    let workload = format!("{program} on {}", first.row);
    paragraph(out, "  workload   ", &workload, width);
    // Never wrapped, because the line is meant to be copied.
    let _ = writeln!(out, "  replay     {}", clean(&first.replay));
    if let Some(known) = known {
        paragraph(out, "  known      ", &format!("{} ({}): {}", known.id, known.versions(), known.link), width);
        paragraph(out, INDENT, &known.note, width);
    }
}

fn possible(out: &mut String, finding: &Finding, width: u16) {
    match &finding.possible {
        Some(Possible::Text(text)) => paragraph(out, "  possible   ", text, width),
        Some(Possible::Stack(frames)) => {
            let source = match finding.violation {
                Violation::Agreement { other, .. } => format!("what {other} saw: "),
                Violation::Account { .. } => "the target's account: ".to_owned(),
                _ => String::new(),
            };
            let _ = writeln!(out, "  possible   {source}{}, leaf first", plural(frames.len(), "frame"));
            stack(out, frames, finding.offending());
        }
        None => {}
    }
}

/// Prints the frames of a stack, one a line. The middle of a deep stack is left out, except around the frame at fault.
pub(super) fn stack(out: &mut String, frames: &[Frame], offending: Option<usize>) {
    let near = |index: usize| offending.is_some_and(|at| index.abs_diff(at) <= AROUND);
    let shown = |index: usize| index < LEAF_END || index + ROOT_END >= frames.len() || near(index);
    let mut hidden = 0;
    for (index, frame) in frames.iter().enumerate() {
        if !shown(index) {
            hidden += 1;
            continue;
        }
        if hidden > 0 {
            let _ = writeln!(out, "{INDENT}  ... {} left out", plural(hidden, "frame"));
            hidden = 0;
        }
        let mark = if offending == Some(index) { "> " } else { "  " };
        let _ = writeln!(out, "{INDENT}{mark}{}", clean(&frame.to_string()));
    }
}

/// How the failures changed against the base, and where to see it.
fn against_base(out: &mut String, document: &Document, look: Look) {
    let Some(baseline) = &document.baseline else { return };
    let builds: Vec<&str> = baseline.builds.iter().map(|row| row.name.as_str()).collect();
    let builds = if builds.is_empty() { String::new() } else { format!(" ({})", builds.join(", ")) };
    let title = format!("against the base {}{builds}", baseline.base);
    let mut text = String::new();
    paragraph(&mut text, "", &title, look.width);
    for line in text.lines() {
        let _ = writeln!(out, "{}", look.bold(line));
    }
    out.push_str(&changes(document, baseline, look.width));
    out.push('\n');
}

/// How the failures changed against the base, in lines of `width` columns.
pub(super) fn changes(document: &Document, baseline: &BaseComparison, width: u16) -> String {
    let mut out = String::new();
    for change in &baseline.comparison.changes {
        changes::change(&mut out, change, Fate::against_base, width);
        if !change.fails && change.fate == Fate::New {
            paragraph(&mut out, "  advice     ", AgainstBase::NotProved.words(), width);
        }
        for replay in document.replays_of(change) {
            let _ = writeln!(out, "  replay     {}", clean(&replay));
        }
    }
    if baseline.comparison.changes.is_empty() {
        out.push_str("  no failure in either\n");
    }
    out
}

fn not_seen(out: &mut String, document: &Document, look: Look) {
    let not_seen = &document.known_not_seen;
    if not_seen.is_empty() {
        return;
    }
    let _ = writeln!(out, "{}", look.bold("known failures not seen"));
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in not_seen {
        rows.entry(entry.name()).or_default().push(format!("{} ({} stacks)", entry.row, entry.stacks));
    }
    for (known, rows) in rows {
        paragraph(out, "  ", &format!("{known}: {}", rows.join(", ")), look.width);
    }
    out.push('\n');
}

/// The families of cells that did not run, grouped by row, lane and reason.
pub(super) fn by_reason<'a>(cells: impl Iterator<Item = (&'a CellId, &'a NotRun)>) -> BTreeMap<String, Vec<&'a str>> {
    let mut families: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (cell, why) in cells {
        let place = format!("{}, {}: {}", cell.row, cell.lane, why);
        families.entry(place).or_default().push(&cell.family);
    }
    families
}

/// The same for all cells of the document that did not run.
pub(super) fn not_run_by_reason(document: &Document) -> BTreeMap<String, Vec<&str>> {
    by_reason(document.not_run.iter().map(|NotRunCell { cell, why }| (cell, why)))
}

fn not_run(out: &mut String, document: &Document, look: Look) {
    let cells = not_run_by_reason(document);
    if cells.is_empty() {
        return;
    }
    let _ = writeln!(out, "{}", look.bold("not run"));
    for (place, families) in cells {
        paragraph(out, "  ", &format!("{place}: {}", families.join(", ")), look.width);
    }
    out.push('\n');
}

/// The profile of each walker against the truth, counted over programs.
fn profiles(out: &mut String, document: &Document, look: Look) {
    let mut said: BTreeMap<(&str, u8, WalkerKind), BTreeMap<Bias, usize>> = BTreeMap::new();
    let mut worst: BTreeMap<(&str, WalkerKind), (f64, &str)> = BTreeMap::new();
    for program in &document.profiles {
        for picture in &program.walkers {
            let (row, walker) = (program.row.as_str(), picture.walker);
            *said.entry((row, walker.rank(), walker)).or_default().entry(picture.bias).or_default() += 1;
            let distance = picture.tvd.map_or(0.0, |tvd| tvd.distance);
            let worst = worst.entry((row, walker)).or_insert((distance, &program.family));
            if distance > worst.0 {
                *worst = (distance, &program.family);
            }
        }
    }
    if said.is_empty() {
        return;
    }
    let _ = writeln!(out, "{}", look.bold("profiles against the truth (without effect on the verdict)"));
    for ((row, _, walker), said) in said {
        let counts: Vec<String> = said.iter().map(|(bias, count)| format!("{} {count}", bias.words())).collect();
        let (distance, family) = worst.get(&(row, walker)).copied().unwrap_or_default();
        let text = format!("{row}, {walker}: {}; farthest: {family}, TVD {distance:.3}", counts.join(", "));
        paragraph(out, "  ", &text, look.width);
    }
    out.push('\n');
}

/// How each row's time was spent, for the lanes that report it.
fn phases(out: &mut String, document: &Document, look: Look) {
    let mut sums: BTreeMap<(Lane, &str), Phases> = BTreeMap::new();
    for report in document.cells.iter().filter(|report| !report.phases.is_empty()) {
        *sums.entry((report.cell.lane, report.cell.row.as_str())).or_default() += &report.phases;
    }
    if sums.is_empty() {
        return;
    }
    let _ = writeln!(out, "{}", look.bold("where the time went"));
    for ((lane, row), phases) in sums {
        let shares: Vec<String> =
            phases.shares().iter().map(|(phase, share)| format!("{} {:.0} %", phase.name(), share * 100.0)).collect();
        let total = phases.total().as_secs_f64();
        paragraph(out, "  ", &format!("{row}, {lane}: {total:.1} s: {}", shares.join(", ")), look.width);
    }
    out.push('\n');
}

/// Comparisons with too few samples, and excesses that were not confirmed. They do not affect the verdict.
fn remarks(out: &mut String, judgement: &Judgement, look: Look) {
    for (name, title) in REMARKS {
        let advice: Vec<_> = judgement.advice.iter().filter(|advice| advice.name() == name).collect();
        if advice.is_empty() {
            continue;
        }
        let _ = writeln!(out, "{}", look.bold(title));
        for advice in advice {
            paragraph(out, "  ", &advice.to_string(), look.width);
        }
        out.push('\n');
    }
}

/// The kinds of [`Advice`](model::run::verdict::Advice), each with its title.
const REMARKS: [(&str, &str); 2] = [
    ("undecided", "undecided (without effect on the verdict)"),
    ("unconfirmed", "beyond a bound once, but not when measured again (without effect on the verdict)"),
];

/// Prints the verdict and the reasons for it.
fn verdict(out: &mut String, document: &Document, look: Look) {
    let verdict = document.judgement.verdict;
    let word = console::style(verdict.to_string()).bold().force_styling(look.colour);
    let word = match verdict {
        Verdict::Pass => word.green(),
        Verdict::Fail => word.red(),
        Verdict::Inconclusive => word.yellow(),
    };
    let mut sentence = String::new();
    let label = format!("verdict: {verdict}: ");
    paragraph(&mut sentence, &label, &conclusion::sentence(document, "listed above"), look.width);
    let rest = sentence.strip_prefix(label.trim_end()).unwrap_or(&sentence);
    let _ = write!(out, "verdict: {word}:{rest}");
    let next = NextStep::of(document);
    let said = next.as_ref().map(|next| next.broke.as_str());
    for ground in conclusion::grounds(document).iter().filter(|ground| said != Some(ground)) {
        paragraph(out, "- ", ground, look.width);
    }
    if let Some(NextStep { broke, new, command }) = &next {
        out.push('\n');
        paragraph(out, "broke      ", broke, look.width);
        paragraph(out, "new        ", new, look.width);
        // Never wrapped, because the line is meant to be copied.
        let _ = writeln!(out, "show it    {}", look.bold(&clean(command)));
    }
}
