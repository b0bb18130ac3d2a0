//! Renders a comparison as text.

use std::fmt::Write as _;

use framewalk::printable::clean;
use model::run::change::{Change, Fate};

use crate::report::compare::document::ComparisonDocument;
use crate::report::text::{paragraph, plural};

/// At most this many places are listed.
const PLACES: usize = 8;

/// Renders one change. `name` says what its fate is called.
pub(in crate::report) fn change(out: &mut String, change: &Change, name: fn(Fate) -> &'static str, width: u16) {
    let known = change.known.as_ref().map(|id| format!(" (known: {})", clean(id))).unwrap_or_default();
    paragraph(out, "", &format!("{}: {}{known}", name(change.fate), change.fingerprint), width);
    let counts = format!("{} before, {} now", change.old_count, change.new_count);
    paragraph(out, "  how often  ", &counts, width);
    let places: Vec<&str> = change.places.iter().take(PLACES).map(String::as_str).collect();
    let more = change.places.len() - places.len();
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    paragraph(out, "  where      ", &format!("{}{more}", places.join("; ")), width);
    if change.schedules > 0 {
        let schedules = match change.schedules {
            1 => "1 schedule passed before and fails now:".to_owned(),
            more => format!("{more} schedules passed before and fail now; the simplest:"),
        };
        paragraph(out, "  schedules  ", &schedules, width);
    }
}

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
            self::change(&mut out, change, Fate::name, width);
            for case in &change.cases {
                let _ = writeln!(out, "  replay     framediff replay {}", clean(case));
            }
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
        let counts = Fate::ALL.map(|fate| format!("{} {}", comparison.count(fate), fate.name()));
        let _ = writeln!(
            out,
            "\nverdict: {verdict} ({}; {} new and not excused, or worse)",
            counts.join(", "),
            comparison.failing().count()
        );
        out
    }
}
