//! A run of `mutants`.

use lab::mutants::hunt::Kill;
use lab::mutants::judge::Judged;
use lab::mutants::report::{MutantReport, MutantsReport, Score};
use maud::{Markup, html};

use super::{shown, tag};
use crate::report::text::plural;

/// At most this many mutants are listed in a table.
const MOST: usize = 1_000;

/// The score, then every mutant.
pub(super) fn section(report: &MutantsReport) -> Markup {
    let score = report.score();
    html! {
        h3 { "Mutation score" }
        (bar(score))
        ul.counts { @for (name, class, count) in parts(score) { li { b.(class) { (count) } " " (name) } } }
        @if let Some((median, worst)) = report.times() {
            p { "Time to a kill: median " (format!("{median:.2}")) " s, worst " (format!("{worst:.2}")) " s. Seed " (report.seed) ", up to " (report.budget_seconds) " s for each." }
        }
        @let alarms = report.false_alarms();
        p.bad[alarms > 0] { "The original: " (plural(alarms, "false alarm")) "." @if report.has_doubtful_control() { " It was not checked to the end everywhere." } }
        @for unreached in report.unreached() { p.bad { "Never reached: " (shown(&unreached)) } }
        @if report.interrupted { p.doubt { "The run was interrupted." } }
        @for (title, mutants) in report.groups() { (group(&title, mutants)) }
    }
}

fn parts(score: Score) -> [(&'static str, &'static str, usize); 6] {
    [
        ("killed", "good", score.killed),
        ("survived", "bad", score.survived),
        ("died", "doubt", score.died),
        ("inconclusive", "doubt", score.inconclusive),
        ("equivalent", "none", score.equivalent),
        ("not viable", "none", score.not_viable),
    ]
}

fn bar(score: Score) -> Markup {
    html! { div.score role="img" aria-label="mutation score" {
        @for (name, class, count) in parts(score) { @if count > 0 {
            span.(class) style={ "flex-grow:" (count) } title={ (count) " " (name) } {}
        } }
    } }
}

fn class(judged: &Judged) -> &'static str {
    match judged {
        Judged::Killed(_) => "good",
        Judged::Survived { .. } => "bad",
        Judged::Died { .. } | Judged::Inconclusive { .. } => "doubt",
        Judged::Equivalent { .. } | Judged::NotViable { .. } => "none",
    }
}

/// Mutants that survived or are undecided are visible; the others are folded.
fn group(title: &str, mutants: &[MutantReport]) -> Markup {
    let of = |wanted: &[&str]| {
        mutants.iter().take(MOST).filter(|mutant| wanted.contains(&class(&mutant.judged))).collect::<Vec<_>>()
    };
    let open = of(&["bad", "doubt"]);
    html! {
        h4 { (shown(title)) }
        @if !open.is_empty() { (table(&open)) }
        @for (folded, what) in [(of(&["good"]), "killed"), (of(&["none"]), "equivalent to the original, or not viable")] {
            @if !folded.is_empty() { details { summary { (folded.len()) " " (what) } (table(&folded)) } }
        }
        @if mutants.len() > MOST { p.muted { "… " (mutants.len() - MOST) " more. The JSON document lists them." } }
    }
}

fn table(mutants: &[&MutantReport]) -> Markup {
    html! { table.lines {
        thead { tr { th scope="col" { "mutant" } th scope="col" { "outcome" } th scope="col" { "how" } } }
        tbody { @for mutant in mutants { tr {
            td.title { span { (shown(&mutant.mutant)) @if let Some(issue) = &mutant.issue { span.muted { " (" (shown(issue)) ")" } } } }
            td.whole { (tag(class(&mutant.judged), mutant.judged.name())) }
            td.whole { span { (shown(&by(&mutant.judged))) } }
        } } }
    } }
}

fn by(judged: &Judged) -> String {
    match judged {
        Judged::Killed(Kill { clause, walker, family, samples, seconds, .. }) => {
            format!("{clause}, {walker}, {family}; {samples} samples, {seconds:.2} s")
        }
        Judged::Survived { samples } => format!("{samples} samples"),
        Judged::Equivalent { argument: why, .. }
        | Judged::NotViable { why }
        | Judged::Died { how: why }
        | Judged::Inconclusive { why } => why.clone(),
    }
}
