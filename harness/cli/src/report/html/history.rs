//! Draws the history of a run: time runs downwards, the target's lifeline is on the left, the walker's on the right.

use maud::{Markup, html};
use model::history::{Did, HistoryLine, Side};

use super::shown;

/// At most this many lines of the history are drawn.
const MOST: usize = 400;
/// The drawing is narrow enough to be read on a phone at its own size. Wider screens enlarge it.
const WIDTH: u32 = 400;
const LEFT: u32 = 16;
const RIGHT: u32 = WIDTH - 16;
/// The height of a line of text at the style sheet's font size.
const LINE: u32 = 14;
const GAP: u32 = 8;
/// The number of characters that fit between the lifelines, at 6.7 units each.
const COLUMNS: usize = 52;

/// A line of the history with its position.
struct Placed<'a> {
    told: &'a HistoryLine,
    lines: Vec<String>,
    top: u32,
}

impl Placed<'_> {
    fn height(&self) -> u32 {
        let lines = u32::try_from(self.lines.len()).unwrap_or(u32::MAX).saturating_mul(LINE);
        lines + if has_arrow(self.told.did) { GAP } else { 0 }
    }

    /// The vertical position of its mark.
    fn middle(&self) -> u32 {
        if has_arrow(self.told.did) { self.top + self.height() } else { self.top + LINE / 2 + 2 }
    }
}

fn has_arrow(did: Did) -> bool {
    matches!(did, Did::Read | Did::Write)
}

pub(super) fn picture(history: &[HistoryLine]) -> Markup {
    let mut top = 2 * LINE;
    let mut placed: Vec<Placed<'_>> = Vec::new();
    for told in history.iter().take(MOST) {
        let one = Placed { told, lines: broken(&shown(&told.text)), top };
        top += one.height() + GAP;
        placed.push(one);
    }
    let hidden = history.len().saturating_sub(MOST);
    let height = top + if hidden > 0 { 2 * LINE } else { GAP };
    html! {
        svg.history viewBox={ "0 0 " (WIDTH) " " (height) } role="img" aria-label="history of accesses" {
            text.name.target x=(LEFT - 8) y=(LINE) { "target" }
            text.name.walker x=(RIGHT + 8) y=(LINE) text-anchor="end" { "walker" }
            @for x in [LEFT, RIGHT] { line.line x1=(x) x2=(x) y1=(LINE + 6) y2=(height) {} }
            @for one in &placed { (drawn(one)) }
            @if hidden > 0 {
                text x=(WIDTH / 2) y=(height - LINE) text-anchor="middle" { "… " (hidden) " more lines, in the JSON document" }
            }
        }
    }
}

fn drawn(one: &Placed<'_>) -> Markup {
    let did = one.told.did;
    let (x, anchor, class) = match did.side() {
        Side::Left => (LEFT + 10, "start", "target"),
        Side::Right => (RIGHT - 10, "end", "walker"),
    };
    let middle = one.middle();
    let is_title = matches!(did, Did::Sample | Did::Result | Did::Happened);
    html! {
        @if did == Did::Sample { rect.band x=(LEFT) width=(RIGHT - LEFT) y=(one.top) height=(one.height() + 4) {} }
        @for (line, text) in (1..).zip(&one.lines) {
            text.(class).name[is_title] x=(x) y=(one.top + line * LINE - 3) text-anchor=(anchor) { (text) }
        }
        @match did {
            Did::Store => circle.(class) cx=(LEFT) cy=(middle) r="4" {},
            Did::Load | Did::Hidden => circle.line cx=(LEFT) cy=(middle) r="3" {},
            // Data that is read flows from the target, data that is written flows to it.
            Did::Read => {
                line.arrow.read x1=(LEFT) x2=(RIGHT - 6) y1=(middle) y2=(middle) {}
                path.head d={ "M" (RIGHT) " " (middle) "l-8 -4v8z" } {}
            },
            Did::Write => {
                line.arrow.written x1=(LEFT + 6) x2=(RIGHT) y1=(middle) y2=(middle) {}
                path.head d={ "M" (LEFT) " " (middle) "l8 -4v8z" } {}
            },
            Did::Sample | Did::Result | Did::Happened => rect.(class) x=(RIGHT - 4) y=(middle - 4) width="8" height="8" {},
        }
    }
}

/// Breaks a text into lines of at most [`COLUMNS`], between words if possible.
fn broken(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut length = 0;
    for word in text.split_whitespace() {
        let word: Vec<char> = word.chars().collect();
        for (index, piece) in word.chunks(COLUMNS).enumerate() {
            let space = usize::from(length > 0 && index == 0);
            if length + space + piece.len() > COLUMNS {
                lines.push(String::new());
                length = 0;
            } else if space > 0 {
                length += 1;
                if let Some(line) = lines.last_mut() {
                    line.push(' ');
                }
            }
            length += piece.len();
            if let Some(line) = lines.last_mut() {
                line.extend(piece);
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use model::schedule::story::Story;

    use super::*;
    use crate::report::history::history;

    #[test]
    fn every_access_has_an_arrow_and_time_goes_down() {
        let history = history(&Story::late_anchor());
        let picture = picture(&history).into_string();
        let count = |did| history.iter().filter(|told| told.did == did).count();
        assert!(count(Did::Read) > 0 && count(Did::Write) == 1 && count(Did::Store) > 0);
        assert_eq!(picture.matches("arrow read").count(), count(Did::Read));
        assert_eq!(picture.matches("arrow written").count(), 1);
        assert_eq!(picture.matches("<circle").count(), count(Did::Store) + count(Did::Hidden));
        let at = |text: &str| picture.find(text).unwrap_or_else(|| panic!("{text:?} is not in {picture}"));
        let order = ["sample 0:", "0 read-thread-state", "anchor = b_leaf@3", "sample 1:", "full hit: returns"].map(at);
        assert!(order.is_sorted(), "{order:?}");
    }

    #[test]
    fn lines_fit_whatever_a_name_is() {
        let text = format!("a {} {} b", "x".repeat(3 * COLUMNS + 1), "漢".repeat(10));
        let lines = broken(&text);
        assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS), "{lines:?}");
        assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
        assert_eq!(broken("one two"), ["one two"]);
    }

    #[test]
    fn a_long_history_is_cut_and_that_is_said() {
        let told = HistoryLine { did: Did::Store, text: "x".into() };
        let picture = picture(&vec![told; MOST + 3]).into_string();
        assert_eq!(picture.matches("<circle").count(), MOST);
        assert!(picture.contains("3 more"));
    }
}
