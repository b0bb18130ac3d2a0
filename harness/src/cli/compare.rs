//! The verb that holds two reports against each other.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::arguments::Format;
use crate::cli::exit;
use crate::cli::verbs::{Failure, print};
use crate::report::compare::{Comparison, Fate, compare as compared};
use crate::report::json;
use crate::report::text::{clean, paragraph, plural};

const WIDTH: u16 = 100;

/// Arguments of `compare`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Compare {
    /// The earlier report, of `check`, `merge` or `explore` with --format json
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// The later report, of the same verb
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "human", help_heading = "Run")]
    pub format: Format,
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
