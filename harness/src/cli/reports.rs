//! The verbs that work on reports.

use std::fmt::Write as _;
use std::fs;

use serde::Serialize;

use crate::cli::arguments::Format;
use crate::cli::exit;
use crate::cli::reports_arguments::{Compare, Merge};
use crate::cli::verbs::{Failure, known_failures, print};
use crate::report::cell::Lane;
use crate::report::compare::{Comparison, Fate, compare as compared};
use crate::report::load::load_check;
use crate::report::merge::{Source, merge as merged};
use crate::report::text::{Look, clean, paragraph, plural};
use crate::report::verdict::Verdict;
use crate::report::{human, json};
use crate::sample::WalkerKind;

const WIDTH: u16 = 100;

/// Merges the reports of shards.
pub(super) fn merge(arguments: &Merge) -> Result<u8, Failure> {
    let mut known = known_failures(arguments.known.as_deref())?;
    let mut sources = Vec::new();
    for path in &arguments.files {
        sources.push(Source { path: path.clone(), document: load_check(path)? });
    }
    let weakened = |source: &Source| source.document.part.as_ref().is_some_and(|part| !part.weakenings.is_empty());
    if sources.iter().any(weakened) {
        known.forget_walker(WalkerKind::OwnCached, Lane::Live);
    }
    let summary = merged(&sources, &known)?;
    let document = json::render(&summary)?;
    if let Some(path) = &arguments.output {
        fs::write(path, &document).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    match arguments.format {
        Format::Human => print(&human::render(&summary, Look::of_stdout()))?,
        Format::Json => print(&document)?,
    }
    // Whoever merges was not interrupted: a shard that was is a doubt.
    Ok(match summary.judgement().verdict {
        Verdict::Pass => exit::PASS,
        Verdict::Fail => exit::VIOLATION,
        Verdict::Inconclusive => exit::INCONCLUSIVE,
    })
}

/// Compares two reports.
pub(super) fn compare(arguments: &Compare) -> Result<u8, Failure> {
    let comparison = compared(&arguments.old, &arguments.new)?;
    let (verdict, code) = if comparison.unknown().next().is_some() {
        ("fail", exit::VIOLATION)
    } else if comparison.is_complete() {
        ("pass", exit::PASS)
    } else {
        ("inconclusive", exit::INCONCLUSIVE)
    };
    match arguments.format {
        Format::Json => {
            #[derive(Serialize)]
            struct Document<'a> {
                version: u32,
                verdict: &'a str,
                #[serde(flatten)]
                comparison: &'a Comparison,
            }
            let document = Document { version: json::VERSION, verdict, comparison: &comparison };
            print(&(serde_json::to_string_pretty(&document)? + "\n"))?;
        }
        Format::Human => print(&told(&comparison, verdict))?,
    }
    Ok(code)
}

/// Places are many; so many of them are told.
const PLACES: usize = 8;

fn told(comparison: &Comparison, verdict: &str) -> String {
    let mut out = String::new();
    for (old, new) in &comparison.renamed {
        let _ = writeln!(out, "note: {} stands for {}", clean(new), clean(old));
    }
    for change in &comparison.changes {
        let known = change.known.as_ref().map(|id| format!(" (known: {})", clean(id))).unwrap_or_default();
        let _ = writeln!(out, "{}: {}{known}", change.fate.name(), clean(&change.fingerprint));
        let counts = format!("{} before, {} now", change.old_count, change.new_count);
        paragraph(&mut out, "  how often  ", &counts, WIDTH);
        let places: Vec<String> = change.places.iter().map(|place| clean(place)).collect();
        paragraph(&mut out, "  where      ", &places.join("; "), WIDTH);
    }
    let _ = writeln!(out, "{} came to a result both times", plural(comparison.ran_both, "place"));
    for (what, places) in
        [("before, but not now", &comparison.ran_before_only), ("now, but not before", &comparison.ran_now_only)]
    {
        if !places.is_empty() {
            let _ = writeln!(out, "{} came to a result {what}:", plural(places.len(), "place"));
            for place in places.iter().take(PLACES) {
                let _ = writeln!(out, "  {}", clean(place));
            }
            if places.len() > PLACES {
                let _ = writeln!(out, "  and {} more", places.len() - PLACES);
            }
        }
    }
    let of = |fate| comparison.changes.iter().filter(|change| change.fate == fate).count();
    let counts = [Fate::New, Fate::StillThere, Fate::Gone, Fate::NotLookedFor]
        .map(|fate| format!("{} {}", of(fate), fate.name()));
    let _ = writeln!(
        out,
        "\nverdict: {verdict} ({}; {} new and not known)",
        counts.join(", "),
        comparison.unknown().count()
    );
    out
}
