//! A benchmark: its curves and its tables.

use framewalk::printable::clean;
use lab::bench::document::Document;
use lab::bench::{markdown, svg};
use maud::{Markup, PreEscaped, html};

use super::shown;

/// Characters of the tables at most.
const MOST: usize = 200_000;

/// The curves as a picture, the tables as text.
pub(super) fn section(document: &Document) -> Markup {
    let tables = markdown::render(document, None);
    let cut: String = tables.chars().take(MOST).collect();
    html! {
        h3 { "Speed-up curves" }
        @match svg::render(document) {
            // It is made here, not taken from a file: texts in it are escaped.
            Ok(picture) => figure.wide.curves { (PreEscaped(picture)) },
            Err(why) => p.muted { (shown(&why.to_string())) },
        }
        details {
            summary { "Tables" }
            div.wide { pre { @for line in cut.lines() { (clean(line)) "\n" } } }
        }
    }
}
