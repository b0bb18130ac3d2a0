//! The history of a run, in lines: what the target and the walkers did, one after the other. It is shown in two columns,
//! the target on the left and the walkers on the right.

use comfy_table::{ContentArrangement, Table, presets};
use framewalk::printable::clean;
use framewalk::sample::{Lookup, ThreadSample};
use serde::{Deserialize, Serialize};

/// One line of the history: something that one side did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryLine {
    /// The kind of action.
    pub did: Did,
    /// The action in words.
    pub text: String,
}

/// The kinds of action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Did {
    /// The target took steps that are left out.
    Hidden,
    /// The target stored a word.
    Store,
    /// The target loaded the anchor.
    Load,
    /// A profiler made or dropped its unwinder between samples, or its process was killed.
    Happened,
    /// A walker began a sample.
    Sample,
    /// A walker read memory.
    Read,
    /// A walker wrote the anchor.
    Write,
    /// What the walker returned at the end of a sample.
    Result,
}

impl Did {
    /// The column of such an action: the target's on the left, the walkers' on the right.
    #[must_use]
    pub fn side(self) -> Side {
        match self {
            Self::Hidden | Self::Store | Self::Load => Side::Left,
            Self::Happened | Self::Sample | Self::Read | Self::Write | Self::Result => Side::Right,
        }
    }
}

/// Renders the history in two columns.
#[must_use]
pub fn columns(history: &[HistoryLine], width: u16) -> String {
    let mut columns = Columns::default();
    for HistoryLine { did, text } in history {
        match did.side() {
            Side::Left => columns.add(Side::Left, clean(text)),
            Side::Right => columns.add_below(Side::Right, clean(text)),
        }
    }
    columns.render(["target", "walker"], width)
}

/// One of the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The left column, for the target.
    Left,
    /// The right column, for the walkers.
    Right,
}

/// A history under construction. Consecutive actions of one side share a row.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    rows: Vec<[Vec<String>; 2]>,
}

impl Columns {
    /// Adds an action of `side` after everything else.
    pub fn add(&mut self, side: Side, text: String) {
        let (here, other) = if side == Side::Left { (0, 1) } else { (1, 0) };
        match self.rows.last_mut() {
            Some(row) if row[other].is_empty() && !row[here].is_empty() => row[here].push(text),
            _ => self.add_below(side, text),
        }
    }

    /// Adds an action of `side` on a new row.
    pub fn add_below(&mut self, side: Side, text: String) {
        self.rows.push(match side {
            Side::Left => [vec![text], Vec::new()],
            Side::Right => [Vec::new(), vec![text]],
        });
    }

    /// Adds an action of the right side that happened at the same time as the last one of the left side.
    pub fn beside(&mut self, text: String) {
        match self.rows.last_mut() {
            Some([_, right]) => right.push(text),
            None => self.add_below(Side::Right, text),
        }
    }

    /// The table, in lines of at most `width` columns.
    #[must_use]
    pub fn render(&self, headers: [&str; 2], width: u16) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        table.set_header(headers);
        for [left, right] in &self.rows {
            table.add_row([left.join("; "), right.join("; ")]);
        }
        let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
        lines.join("\n") + "\n"
    }
}

/// The result of a sample, in a few words.
#[must_use]
pub fn returned(sample: &ThreadSample) -> String {
    match &sample.outcome {
        Ok(stack) => {
            let how = match sample.provenance.lookup {
                Lookup::FullHit => "full hit".to_owned(),
                Lookup::PartialHit => "partial hit".to_owned(),
                Lookup::Miss(reason) => format!("miss ({reason})"),
                Lookup::Uncached | Lookup::Unknown => "uncached".to_owned(),
            };
            let frames: Vec<&str> = stack.iter().map(|frame| &*frame.function).collect();
            format!("{how}: returns {}", frames.join(" < "))
        }
        Err(rejection) => format!("rejects: {rejection}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_actions_of_one_side_are_grouped() {
        let mut columns = Columns::default();
        for (side, text) in [(Side::Left, "one"), (Side::Left, "two"), (Side::Right, "three"), (Side::Left, "four")] {
            columns.add(side, text.to_owned());
        }
        columns.add_below(Side::Left, "five".to_owned());
        columns.add(Side::Left, "six".to_owned());
        let text = columns.render(["left", "right"], 80);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines, [&["left", "right"][..], &["one;", "two"], &["three"], &["four"], &["five;", "six"]]);
        assert!(text.lines().nth(2).is_some_and(|line| line.starts_with("   ")), "on the right: {text}");
    }
}
