//! A run of `check`.

use maud::{Markup, html};
use model::invariants::Violation;
use model::run::distinct::DistinctViolation;
use model::run::document::Document;
use model::run::finding::{Finding, Possible};
use model::run::group::Group;
use model::run::line::Line;
use model::run::verdict::LineVerdict;

use super::matrix::matrix;
use super::stacks::{beside_words, side_by_side};
use super::{WIDTH, command, known_terms, shown, tag};
use crate::report::next_step::{NextStep, explain};
use crate::report::text::plural;
use crate::report::{conclusion, human, table};

/// Lists are cut after this many entries. The JSON document has all of them.
const MOST: usize = 200;

/// The kinds of [`Advice`](model::run::verdict::Advice), each with its title.
const REMARKS: [(&str, &str); 2] = [
    ("undecided", "Undecided (does not affect the verdict)"),
    ("unconfirmed", "Exceeded a bound once, but not when measured again (does not affect the verdict)"),
];

/// Everything the document says about a run.
pub(super) fn section(document: &Document) -> Markup {
    let next = NextStep::of(document);
    let mut grounds = conclusion::grounds(document);
    grounds.retain(|ground| next.as_ref().is_none_or(|next| next.broke != *ground));
    let groups = document.grouped();
    let (failing, known): (Vec<&Group>, Vec<&Group>) = groups.iter().partition(|group| group.fails);
    html! {
        @if let Some(NextStep { broke, new, command: show }) = &next {
            dl { dt { "broke" } dd { (shown(broke)) } dt { "new" } dd { (shown(new)) } dt { "show it" } dd { (command(show)) } }
        }
        (list(&grounds))
        (self::groups(document, "Failures", &failing))
        h3 { "Run" }
        dl {
            dt { "seed, budget" } dd { (document.seed) ", " (humantime::format_duration(document.budget)) }
            @for row in document.builds.iter().take(MOST) {
                dt { (shown(&row.name)) } dd { code { (shown(&row.python.display().to_string())) } span.muted { " (" (shown(&row.frame_cache)) @if let Some(layout) = &row.layout { "; " (shown(layout)) } ")" } }
            }
        }
        h3 { "Matrix" }
        (matrix(document))
        h3 { "Walkers" }
        (walkers(document))
        (super::profiles::section(document))
        (self::groups(document, "Not new", &known))
        @if let Some(baseline) = &document.baseline {
            h3 { "Against the base" }
            pre { (human::changes(document, baseline, WIDTH)) }
        }
        @if !document.known_not_seen.is_empty() {
            h3 { "Known failures not seen" }
            (list(&document.known_not_seen.iter().map(|entry| {
                format!("{}: {}, {} stacks", entry.name(), entry.row, entry.stacks)
            }).collect::<Vec<_>>()))
        }
        @if !document.not_run.is_empty() {
            h3 { "Not run" }
            (list(&human::not_run_by_reason(document).into_iter().map(|(place, families)| {
                format!("{place}: {}", families.join(", "))
            }).collect::<Vec<_>>()))
        }
        @for (name, title) in REMARKS {
            @let advice: Vec<_> = document.judgement.advice.iter().filter(|advice| advice.name() == name).collect();
            @if !advice.is_empty() {
                h3 { (title) }
                (list(&advice.iter().map(ToString::to_string).collect::<Vec<_>>()))
            }
        }
    }
}

/// Groups of violations under a title.
fn groups(document: &Document, title: &str, groups: &[&Group]) -> Markup {
    html! {
        @if !groups.is_empty() {
            h3 { (title) }
            @for group in groups.iter().take(MOST) { (group_of(document, group)) }
            (more(groups.len(), "violation"))
        }
    }
}

fn list(entries: &[String]) -> Markup {
    html! {
        @if !entries.is_empty() { ul { @for entry in entries.iter().take(MOST) { li { (shown(entry)) } } } }
        (more(entries.len(), "entry"))
    }
}

/// Says how many entries of a list were left out.
fn more(count: usize, noun: &str) -> Markup {
    html! { @if count > MOST { p.muted { "… " (count - MOST) " more. The JSON document lists every " (noun) "." } } }
}

fn walkers(document: &Document) -> Markup {
    html! {
        @for block in document.table.chunk_by(|one, other| (&one.row, one.lane) == (&other.row, other.lane)).take(MOST) {
            @if let Some(first) = block.first() {
                h4 { (shown(&first.row)) ", " (first.lane) }
                table.lines {
                    thead { tr { @for (index, title) in table::HEADER.iter().enumerate() {
                        th.number[(1..6).contains(&index)] scope="col" { (title) }
                    } } }
                    tbody { @for one in block { (line(one)) } }
                }
            }
        }
        @if !document.table.is_empty() { p.muted { (table::legend(&document.table)) } }
    }
}

fn line(line: &Line) -> Markup {
    let class = match line.verdict {
        LineVerdict::Pass => "good",
        LineVerdict::Fail => "bad",
        LineVerdict::Known | LineVerdict::Vacuous | LineVerdict::Inconclusive | LineVerdict::Undecided => "doubt",
        LineVerdict::NotRun => "none",
    };
    let figures = table::figures(line);
    html! { tr {
        td.title { (line.walker) }
        @for (title, figure) in table::HEADER.iter().skip(1).zip(&figures) {
            td.number data-label=(title) { span { (figure) } }
        }
        td data-label="verdict" { (tag(class, line.verdict.name())) }
    } }
}

/// A group: its simplest member, and the others folded.
fn group_of(document: &Document, group: &Group) -> Markup {
    let mut members = group.violations(&document.violations);
    let simplest = members.next();
    let others: Vec<&DistinctViolation> = members.collect();
    html! { section.group {
        h3 { (shown(&group.headline)) }
        @if let Some(simplest) = simplest { (violation(document, simplest)) }
        @if !others.is_empty() {
            details {
                summary { (plural(others.len(), "more kind")) " with the same probable cause" }
                @for other in others.iter().take(MOST) { (violation(document, other)) }
                (more(others.len(), "kind"))
            }
        }
    } }
}

fn violation(document: &Document, violation: &DistinctViolation) -> Markup {
    let DistinctViolation { fingerprint, known, count, rows, first, .. } = violation;
    let fails = violation.fails(document.strict);
    let excuse = human::excuse(violation, document.strict);
    let words = excuse.trim_matches([' ', '(', ')']);
    let words = if words.is_empty() { "not known" } else { words };
    let rows: Vec<&str> = rows.iter().map(String::as_str).take(MOST).collect();
    html! { article {
        h4 { span.mono { (shown(fingerprint.as_str())) } " " (tag(if fails { "bad" } else { "doubt" }, words)) }
        dl {
            dt { "clause" } dd { (shown(&first.violation.to_string())) }
            @if let Some(cause) = first.cause { dt { "cause" } dd { (cause.name()) } }
            dt { "where" } dd { (first.lane) " lane, " (first.walker) "; on " (shown(&rows.join(", "))) }
            dt { "how often" } dd { (if *count == 1 { "once".to_owned() } else { format!("{count} times; the first is shown") }) }
            dt { "workload" } dd { (shown(&first.family)) " with seed " (first.seed) " on " (shown(&first.row)) }
            @if let Some(known) = known { (known_terms(known)) }
        }
        (evidence(first))
        (around(first))
        h4 { "Replay" }
        (command(&first.replay))
        @if let Some(bundle) = &violation.bundle { (command(&explain(bundle))) }
    } }
}

/// The stack that was seen, beside the possible one.
fn evidence(finding: &Finding) -> Markup {
    match &finding.possible {
        Some(Possible::Stack(possible)) => {
            let source = match finding.violation {
                Violation::Agreement { other, .. } => format!("what {other} saw: "),
                Violation::Account { .. } => "the target's account: ".to_owned(),
                _ => "possible: ".to_owned(),
            };
            let seen = format!("seen: {}, leaf first", plural(finding.seen.len(), "frame"));
            let possible_title = format!("{source}{}", plural(possible.len(), "frame"));
            side_by_side(&finding.seen, possible, [&seen, &possible_title])
        }
        Some(Possible::Text(words)) if finding.seen.is_empty() => {
            html! { dl { dt { "possible" } dd { (shown(words)) } } }
        }
        Some(Possible::Text(words)) => beside_words(&finding.seen, finding.offending(), words),
        None if finding.seen.is_empty() => html! {},
        None => beside_words(&finding.seen, finding.offending(), "not told"),
    }
}

/// The stack of the sample before, and the lines of the program.
fn around(finding: &Finding) -> Markup {
    html! {
        @if !finding.before.is_empty() { (beside_words(&finding.before, None, "the stack at the last look")) }
        @if !finding.source.is_empty() {
            dl { dt { "source" } dd { @for line in finding.source.iter().take(MOST) {
                div { (shown(&line.function)) ", line " (line.line) ": " code { (shown(&line.text)) } }
            } } }
        }
    }
}
