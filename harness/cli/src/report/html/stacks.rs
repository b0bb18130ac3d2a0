//! Shows two stacks side by side, frame by frame, and marks the differences.

use framewalk::frame::Frame;
use maud::{Markup, html};
use similar::{Algorithm, DiffOp, capture_diff_slices_by_key};

use super::shown;
use crate::report::text::plural;

/// Equal frames shown on either side of a difference. The rest of a longer equal run is left out.
const AROUND: usize = 4;
/// At most this many rows are shown.
const MOST: usize = 200;
/// Longer stacks are not aligned; they are compared frame by frame from the leaf.
const ALIGNED: usize = 2_000;

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beside<'a> {
    seen: Option<&'a Frame>,
    possible: Option<&'a Frame>,
}

impl Beside<'_> {
    fn differs(&self) -> bool {
        self.seen != self.possible
    }
}

/// Pairs the frames of both stacks by function, so that few frames remain without a partner.
pub(super) fn align<'a>(seen: &'a [Frame], possible: &'a [Frame]) -> Vec<Beside<'a>> {
    let pairs = |seen: &'a [Frame], possible: &'a [Frame]| {
        let length = seen.len().max(possible.len());
        (0..length).map(move |index| Beside { seen: seen.get(index), possible: possible.get(index) })
    };
    if seen.len().max(possible.len()) > ALIGNED {
        return pairs(seen, possible).collect();
    }
    let function = |frame: &Frame| (frame.function.clone(), frame.file.clone());
    let mut rows = Vec::new();
    for operation in capture_diff_slices_by_key(Algorithm::Myers, seen, possible, function) {
        let range = |frames: &'a [Frame], range| frames.get::<std::ops::Range<usize>>(range).unwrap_or_default();
        match operation {
            DiffOp::Equal { .. } | DiffOp::Replace { .. } => {
                rows.extend(pairs(range(seen, operation.old_range()), range(possible, operation.new_range())));
            }
            DiffOp::Delete { .. } | DiffOp::Insert { .. } => {
                rows.extend(pairs(range(seen, operation.old_range()), &[]));
                rows.extend(pairs(&[], range(possible, operation.new_range())));
            }
        }
    }
    rows
}

/// A table with both stacks.
pub(super) fn side_by_side(seen: &[Frame], possible: &[Frame], titles: [&str; 2]) -> Markup {
    let rows = align(seen, possible);
    let differs: Vec<usize> = (0..rows.len()).filter(|&index| rows[index].differs()).collect();
    let near = |index: usize| differs.iter().any(|at| at.abs_diff(index) <= AROUND);
    let ends = |index: usize| index < AROUND || index + AROUND >= rows.len();
    let mut shown_rows = 0;
    let keep: Vec<bool> = (0..rows.len())
        .map(|index| {
            let keep = shown_rows < MOST && (near(index) || ends(index));
            shown_rows += usize::from(keep);
            keep
        })
        .collect();
    html! {
        table.stacks {
            thead { tr { @for title in titles { th scope="col" { (shown(title)) } } } }
            tbody {
                @for (index, row) in rows.iter().enumerate() {
                    @if keep[index] {
                        tr.stack.differs[row.differs()] {
                            td { @if let Some(one) = row.seen { (frame(one, row.differs())) } }
                            td { @if let Some(one) = row.possible { (frame(one, row.differs())) } }
                        }
                    } @else if index == 0 || keep[index - 1] {
                        tr { td.fold colspan="2" { "… " (left_out(&keep[index..])) } }
                    }
                }
            }
        }
    }
}

fn left_out(keep: &[bool]) -> String {
    let hidden = keep.iter().take_while(|keep| !**keep).count();
    format!("{} left out", plural(hidden, "row"))
}

/// One stack, with a description in words beside it.
pub(super) fn beside_words(seen: &[Frame], offending: Option<usize>, words: &str) -> Markup {
    let near = |index: usize| offending.is_some_and(|at| at.abs_diff(index) <= AROUND);
    let keep: Vec<bool> =
        (0..seen.len()).map(|index| index < 2 * AROUND || index + AROUND >= seen.len() || near(index)).collect();
    html! {
        table.stacks {
            thead { tr { th scope="col" { "seen, leaf first" } th scope="col" { "possible" } } }
            tbody {
                @for (index, one) in seen.iter().enumerate() {
                    @if keep[index] {
                        tr.stack.differs[offending == Some(index)] {
                            td { (frame(one, offending == Some(index))) }
                            @if index == 0 { td rowspan=(rows(&keep)) { (shown(words)) } }
                        }
                    } @else if index == 0 || keep[index - 1] {
                        tr { td.fold { "… " (left_out(&keep[index..])) } }
                    }
                }
            }
        }
    }
}

/// The number of table rows, where each run of omitted frames takes one row.
fn rows(keep: &[bool]) -> usize {
    let folds = keep.windows(2).filter(|pair| pair[0] && !pair[1]).count();
    keep.iter().filter(|keep| **keep).count() + folds
}

fn frame(frame: &Frame, marked: bool) -> Markup {
    let location = &frame.location;
    let line = location.line.map_or("no line".to_owned(), |line| line.to_string());
    html! {
        @if marked { span.mark { "▸ " } }
        (frame.name()) " " span.place {
            (frame.file_name()) ":" (line)
            // Columns are shown only in a marked row, where they may be the difference.
            @if marked { @if let (Some(from), Some(to)) = (location.column, location.end_column) { ", columns " (from) "–" (to) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use model::run::fixtures::frame;

    use super::*;

    fn stack(text: &str) -> Vec<Frame> {
        let one = |word: &str| {
            let (name, line) = word.split_once(':').unwrap_or((word, "1"));
            frame(name, line.parse().unwrap())
        };
        text.split_whitespace().map(one).collect()
    }

    fn aligned(seen: &str, possible: &str) -> Vec<(String, String, bool)> {
        let (seen, possible) = (stack(seen), stack(possible));
        let name = |frame: Option<&Frame>| frame.map(|frame| frame.function.to_string()).unwrap_or_default();
        align(&seen, &possible).iter().map(|row| (name(row.seen), name(row.possible), row.differs())).collect()
    }

    #[test]
    fn the_same_functions_stand_beside_each_other() {
        let row = |seen: &str, possible: &str, differs| (seen.to_owned(), possible.to_owned(), differs);
        assert_eq!(
            aligned("leaf b a main", "leaf a main"),
            [row("leaf", "leaf", false), row("b", "", true), row("a", "a", false), row("main", "main", false)]
        );
        assert_eq!(
            aligned("leaf main:3", "leaf main:4"),
            [row("leaf", "leaf", false), row("main", "main", true)],
            "another line of the same function"
        );
        assert_eq!(aligned("b1 main", "b2 main"), [row("b1", "b2", true), row("main", "main", false)]);
        assert_eq!(aligned("", "main"), [row("", "main", true)]);
    }

    #[test]
    fn of_deep_stacks_what_differs_is_shown() {
        let deep: Vec<Frame> = (0..5_000).map(|index| frame(&format!("f{index}"), 1)).collect();
        let mut other = deep.clone();
        other[3_000] = frame("other", 7);
        for (seen, possible) in [(&deep[..], &other[..]), (&deep[2_000..3_500], &other[2_000..3_500])] {
            let page = side_by_side(seen, possible, ["seen", "possible"]).into_string();
            assert!(page.contains("other") && page.contains("f3000 ") && page.contains("rows left out"), "{page}");
            assert!(page.matches("<tr").count() < 30, "{page}");
        }
        let page = beside_words(&deep, Some(3_000), "w").into_string();
        assert_eq!(page.matches("differs").count(), 1);
        assert!(page.contains(&format!("rowspan=\"{}\"", page.matches("<tr").count() - 1)), "{page}");
    }

    #[test]
    fn nothing_alike_is_still_bounded() {
        let side = |name: &str| (0..3_000).map(|index| frame(&format!("{name}{index}"), 1)).collect::<Vec<_>>();
        let page = side_by_side(&side("a"), &side("b"), ["seen", "possible"]).into_string();
        assert!(page.matches("<tr").count() <= MOST + 5 && page.contains("rows left out"));
    }
}
