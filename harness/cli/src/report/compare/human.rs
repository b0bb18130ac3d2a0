//! Renders a comparison as text.

use std::fmt::Write as _;

use framewalk::printable::clean;

use super::document::{ComparisonDocument, Fate};
use crate::report::text::{paragraph, plural};

/// At most this many places are listed.
const PLACES: usize = 8;

impl ComparisonDocument {
    /// Renders the comparison as text, in lines of `width` columns.
    #[must_use]
    pub fn text(&self, width: u16) -> String {
        let Self { comparison, verdict, .. } = self;
        let mut out = String::new();
        for (old, new) in &comparison.renamed {
            let _ = writeln!(out, "note: {} is compared with {}", clean(new), clean(old));
        }
        for change in &comparison.changes {
            let known = change.known.as_ref().map(|id| format!(" (known: {})", clean(id))).unwrap_or_default();
            let _ = writeln!(out, "{}: {}{known}", change.fate.name(), clean(&change.fingerprint));
            let counts = format!("{} before, {} now", change.old_count, change.new_count);
            paragraph(&mut out, "  how often  ", &counts, width);
            let places: Vec<String> = change.places.iter().map(|place| clean(place)).collect();
            paragraph(&mut out, "  where      ", &places.join("; "), width);
        }
        let _ = writeln!(out, "{} had a result both times", plural(comparison.ran_both, "place"));
        for (what, places) in
            [("before, but not now", &comparison.ran_before_only), ("now, but not before", &comparison.ran_now_only)]
        {
            if !places.is_empty() {
                let _ = writeln!(out, "{} had a result {what}:", plural(places.len(), "place"));
                for place in places.iter().take(PLACES) {
                    let _ = writeln!(out, "  {}", clean(place));
                }
                if places.len() > PLACES {
                    let _ = writeln!(out, "  and {} more", places.len() - PLACES);
                }
            }
        }
        for doubt in &comparison.doubts {
            paragraph(&mut out, "no pass: ", &clean(doubt), width);
        }
        let of = |fate| comparison.changes.iter().filter(|change| change.fate == fate).count();
        let counts = [Fate::New, Fate::Worse, Fate::StillThere, Fate::Gone, Fate::NotLookedFor]
            .map(|fate| format!("{} {}", of(fate), fate.name()));
        let _ = writeln!(
            out,
            "\nverdict: {verdict} ({}; {} new and not excused, or worse)",
            counts.join(", "),
            comparison.failing().count()
        );
        out
    }
}
