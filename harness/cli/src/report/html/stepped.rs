//! Failures of the stepped lane: an explanation with its history, or a saved case.

use maud::{Markup, html};
use model::run::known::KnownFailure;
use sim::case::file::SteppedFile;

use super::history::picture;
use super::stacks::{beside_words, side_by_side};
use super::{command, known_terms, shown};
use crate::report::explain::{Explained, ExplanationDocument};
use crate::report::text::plural;

/// At most this many further possible stacks are shown.
const MOST_POSSIBLE: usize = 8;

/// A replayed case, with its history and the explanation of its failure.
pub(super) fn explained(document: &ExplanationDocument, known: Option<&KnownFailure>) -> Markup {
    let ExplanationDocument { case, note, fingerprint, build, explanation, .. } = document;
    html! { article {
        h3.mono { (shown(fingerprint)) }
        dl {
            dt { "build" } dd { "CPython " (shown(build)) }
            @if !note.is_empty() { dt { "note" } dd { (shown(note)) } }
            @if let Some(misfit) = &explanation.misfit { dt { "misfit" } dd { (shown(misfit)) } }
            @if let Some(failure) = &explanation.failure { (grounds(failure)) } @else {
                dt { "result" } dd { "nothing is wrong: the target had every stack during its sample" }
            }
            @if let Some(known) = known { (known_terms(known)) }
        }
        @if let Some(failure) = &explanation.failure { (stacks(failure)) }
        figure {
            figcaption { "What target and walker did, from top to bottom. Arrows are the walker's accesses: dashed ones read, solid ones write." }
            (picture(&explanation.history))
        }
        h4 { "Replay" }
        (command(&format!("framediff replay {case}")))
    } }
}

fn grounds(failure: &Explained) -> Markup {
    html! {
        dt { "clause" } dd { (failure.clause.describe()) }
        dt { "cause" } dd { (shown(failure.cause.as_deref().unwrap_or("unknown: the history does not contain this sample"))) }
        @if let Some(too_late) = &failure.too_late { dt { "too late" } dd { (shown(too_late)) } }
    }
}

fn stacks(failure: &Explained) -> Markup {
    let seen = format!("seen in sample {}: {}, leaf first", failure.sample, plural(failure.seen.len(), "frame"));
    let nearest = failure.nearest.or(if failure.possible.is_empty() { None } else { Some(0) });
    let Some(possible) = nearest.and_then(|index| failure.possible.get(index)) else {
        return beside_words(&failure.seen, failure.parting, "nothing: the target had no stack that could be read");
    };
    let others = || failure.possible.iter().enumerate().filter(|(index, _)| Some(*index) != nearest);
    html! {
        (side_by_side(&failure.seen, possible, [&seen, &format!("possible: {}", plural(possible.len(), "frame"))]))
        @if others().next().is_some() {
            details {
                summary { (plural(others().count(), "other stack")) " that the target had during the sample" }
                @for (_, other) in others().take(MOST_POSSIBLE) {
                    (side_by_side(&failure.seen, other, [&seen, &format!("possible: {}", plural(other.len(), "frame"))]))
                }
            }
        }
    }
}

/// A saved case that was not replayed: the contents of its file.
pub(super) fn case(file: &SteppedFile, known: Option<&KnownFailure>) -> Markup {
    let case = &file.case;
    let workload = &case.workload;
    html! { article {
        h3.mono { (case.fingerprint) }
        dl {
            @if !file.note.is_empty() { dt { "note" } dd { (shown(&file.note)) } }
            dt { "build" } dd { "CPython " (shown(&case.build.to_string())) }
            dt { "walker" } dd { (case.walker) @for weakening in &case.weakenings { ", without " (weakening.name()) } }
            dt { "scenario" } dd { (case.cast) }
            dt { "workload" } dd { (workload.family) " with seed " (workload.seed) }
            dt { "samples" } dd { (case.samples) "; the last one failed" }
            @if let Some(known) = known { (known_terms(known)) }
        }
        h4 { "Schedule" }
        ul { @for one in case.schedule.moves.iter().take(MOST_MOVES) {
            li { "before access " (one.at.access) " of sample " (one.at.sample) @if one.at.word > 0 { ", before its word " (one.at.word) } ", the target does " (one.steps) " steps" }
        } }
        @if case.schedule.moves.len() > MOST_MOVES { p.muted { "… " (case.schedule.moves.len() - MOST_MOVES) " more moves" } }
        h4 { "Replay it, or explain it with its history" }
        (command(&format!("framediff replay {case}")))
        (command(&format!("framediff explain {case}")))
    } }
}

/// At most this many moves are listed.
const MOST_MOVES: usize = 50;
