//! A benchmark: its curves and its tables.

use framewalk::printable::clean;
use lab::bench::document::BenchDocument;
use lab::bench::{markdown, svg};
use maud::{Markup, PreEscaped, html};

use super::shown;

/// The tables are cut after this many characters.
const MOST: usize = 200_000;

/// The curves as an image, the tables as text.
pub(super) fn section(document: &BenchDocument) -> Markup {
    let tables = markdown::render(document, None);
    let cut: String = tables.chars().take(MOST).collect();
    html! {
        h3 { "Speed-up curves" }
        @match svg::render(document) {
            // This is our own SVG, not text from a file; the plotter escapes the texts in it.
            Ok(picture) => figure.wide.curves { (PreEscaped(picture)) },
            Err(why) => p.muted { (shown(&why.to_string())) },
        }
        details {
            summary { "Tables" }
            div.wide { pre { @for line in cut.lines() { (clean(line)) "\n" } } }
        }
    }
}
