//! Text layout for terminals and pipes.

use std::fmt::Write;
use std::io::IsTerminal;

pub use framewalk::printable::{clean, excerpt};

/// How a text is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Width of the lines, in columns.
    pub width: u16,
    /// Whether to use colours, which are terminal escape codes.
    pub colour: bool,
}

impl Look {
    /// The width of text in a pipe, and the minimum width on a terminal.
    const LEAST: u16 = 80;
    /// Longer lines are hard to read.
    const MOST: u16 = 120;

    /// No escape codes, eighty columns.
    #[must_use]
    pub fn plain() -> Self {
        Self { width: Self::LEAST, colour: false }
    }

    /// Fits standard output: eighty columns in a pipe, else the width of the terminal. Colours are on where it is a terminal
    /// that has them, and where the user or the environment (`NO_COLOR`, `CLICOLOR_FORCE`) does not decide otherwise.
    #[must_use]
    pub fn of_stdout() -> Self {
        let columns = if std::io::stdout().is_terminal() { console::Term::stdout().size().1 } else { Self::LEAST };
        Self { width: columns.clamp(Self::LEAST, Self::MOST), colour: console::colors_enabled() }
    }

    /// `text` in bold, if escape codes are allowed.
    #[must_use]
    pub fn bold(self, text: &str) -> String {
        console::style(text).bold().force_styling(self.colour).to_string()
    }
}

/// Appends `text` after `label`, wrapped at `width`. Words are never broken.
pub fn paragraph(out: &mut String, label: &str, text: &str, width: u16) {
    let indent = label.chars().count();
    let mut column = indent;
    out.push_str(label);
    for (index, word) in clean(text).split_whitespace().enumerate() {
        let length = word.chars().count();
        if index > 0 && column + 1 + length > usize::from(width) {
            let _ = write!(out, "\n{:indent$}", "");
            column = indent;
        } else if index > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
}

/// A count in at most four characters.
#[must_use]
pub fn short(count: u64) -> String {
    if count < 10_000 {
        return count.to_string();
    }
    let (mut whole, mut tenths, mut unit) = (count, 0, ' ');
    for next in ['k', 'M', 'G', 'T', 'P', 'E'] {
        if whole < 1000 {
            break;
        }
        (whole, tenths, unit) = (whole / 1000, whole % 1000 / 100, next);
    }
    if whole < 10 { format!("{whole}.{tenths}{unit}") } else { format!("{whole}{unit}") }
}

/// "3 things", "1 thing".
#[must_use]
pub fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_wrap_between_words() {
        let mut out = String::new();
        paragraph(&mut out, "  note  ", "one two three four-and-a-very-long-word", 16);
        assert_eq!(out, "  note  one two\n        three\n        four-and-a-very-long-word\n");
    }

    #[test]
    fn counts_are_abbreviated() {
        for (count, expected) in [
            (0, "0"),
            (9_999, "9999"),
            (10_000, "10k"),
            (99_960, "99k"),
            (999_999, "999k"),
            (1_260_000, "1.2M"),
            (123_456_789, "123M"),
            (u64::MAX, "18E"),
        ] {
            assert_eq!(short(count), expected);
        }
    }

    #[test]
    fn colours_can_be_switched_off() {
        assert_eq!(Look::plain().bold("x"), "x");
        assert_eq!(Look { colour: true, ..Look::plain() }.bold("x"), "\u{1b}[1mx\u{1b}[0m");
    }
}
