//! The report as a self-contained page, without external scripts, fonts or images.
//!
//! The texts come from targets and files. The template escapes all of them; they are cleaned and limited in length.
//! Links may only point to https addresses.

mod bench;
mod check;
mod history;
mod matrix;
#[cfg(target_arch = "x86_64")]
mod mutants;
mod profiles;
mod stacks;
mod stepped;

use framewalk::printable::clean;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use model::run::item::Item;
use model::run::known::KnownFailure;
use model::run::results::Results;
use model::run::verdict::Verdict;

use crate::report::saved::{Content, Saved, overall};
use crate::report::text::plural;

/// Width of preformatted text, in columns. The text renderers have already cleaned it.
const WIDTH: u16 = 100;
const STYLE: &str = include_str!("style.css");
/// Forbids loading anything, whatever a text contains.
const POLICY: &str =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// Renders everything in `all` as one page.
#[must_use]
pub fn render(all: &[Saved]) -> String {
    let verdict = overall(all);
    let several = all.len() > 1;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                link rel="icon" href="data:,";
                title { "framediff: " (verdict) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header.verdict.(colour(verdict)) {
                    h1 { "framediff: " (verdict) }
                    @if let [one] = all { p { (shown(&one.report().in_short())) } }
                    @if several {
                        p { (plural(all.len(), "report")) " on this page. The worst verdict counts:" }
                        ul { @for (index, one) in all.iter().enumerate() {
                            li {
                                (tag(colour(one.report().verdict()), &one.report().verdict().to_string())) " "
                                a href={ "#report-" (index + 1) } { (shown(&one.name)) } ": " (shown(&one.report().in_short()))
                            }
                        } }
                    }
                }
                main { @for (index, one) in all.iter().enumerate() {
                    section id={ "report-" (index + 1) } {
                        @if several { h2 { (shown(&one.name)) " " (tag(colour(one.report().verdict()), &one.report().verdict().to_string())) } }
                        (content(&one.content))
                    }
                } }
                footer { "Made by framediff " (env!("CARGO_PKG_VERSION")) ". Click a command to select it." }
            }
        }
    };
    page.into_string()
}

fn content(content: &Content) -> Markup {
    match content {
        Content::Check(document) => check::section(document),
        Content::Bench(document) => bench::section(document),
        Content::Searches(document) => html! { pre { (document.text(WIDTH)) } },
        Content::Results(results) => results_table(results),
        Content::Comparison(document) => html! { pre { (document.text(WIDTH)) } },
        Content::Explanation(explained) => stepped::explained(&explained.document, explained.known.as_ref()),
        Content::Case(case) => stepped::case(&case.file, case.known.as_ref()),
        #[cfg(target_arch = "x86_64")]
        Content::Mutants(report) => mutants::section(report),
    }
}

/// The judged items of a run, failures first.
fn results_table(results: &Results) -> Markup {
    let rank = |item: &&Item| match item.verdict {
        Verdict::Fail => 0,
        Verdict::Inconclusive => 1,
        Verdict::Pass => 2,
    };
    let mut items: Vec<&Item> = results.items.iter().collect();
    items.sort_by_key(rank);
    html! {
        @for item in items {
            details open[item.verdict != Verdict::Pass] {
                summary {
                    (tag(colour(item.verdict), &item.verdict.to_string())) " "
                    (shown(&item.of)) ", " (shown(&item.name)) ": " (shown(&item.short))
                }
                @if !item.history.is_empty() { (history::picture(&item.history)) }
                pre { (item.text.lines().map(clean).collect::<Vec<_>>().join("\n")) }
            }
        }
    }
}

/// The CSS class of a verdict.
fn colour(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "good",
        Verdict::Fail => "bad",
        Verdict::Inconclusive => "doubt",
    }
}

fn tag(class: &str, text: &str) -> Markup {
    html! { span.tag.(class) { (text) } }
}

/// A foreign text, cleaned and limited in length.
fn shown(text: &str) -> String {
    const LONGEST: usize = 2_000;
    let clean = clean(text);
    let mut characters = clean.char_indices().skip(LONGEST);
    match characters.next() {
        Some((end, _)) => format!("{}… ({} more characters)", &clean[..end], characters.count() + 1),
        None => clean,
    }
}

/// A command to copy. It is never cut, because part of a command is a different command.
fn command(text: &str) -> Markup {
    html! { pre.copy { code { (clean(text)) } } }
}

/// A link, if the address is an https address; plain text otherwise.
fn link(to: &str) -> Markup {
    let text = shown(to);
    if to.starts_with("https://") && text == to {
        html! { a href=(to) rel="noreferrer noopener" { (text) } }
    } else {
        html! { (text) }
    }
}

/// The terms of a definition list that describe a known failure.
fn known_terms(known: &KnownFailure) -> Markup {
    html! { dt { "known" } dd { (shown(&known.id)) " (" (known.versions()) "): " (link(&known.link)) br; (shown(&known.note)) } }
}

#[cfg(test)]
mod tests;
