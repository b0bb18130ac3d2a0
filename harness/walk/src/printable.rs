//! Makes text from other processes and files safe to print.
//!
//! Names, exceptions and error output come from processes that may be broken or hostile. Such text can have any length
//! and any content, so it passes through here before it goes into an error, a finding or a report.

/// Longest excerpt of foreign text in a message, in characters.
pub const LONGEST: usize = 300;

/// Longest message on the terminal, in characters.
pub const LONGEST_MESSAGE: usize = 8000;

/// Escapes every character of `text` that could move the cursor or hide other characters. Names come from targets.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    text.chars().for_each(|c| push_clean(&mut clean, c));
    clean
}

/// `text` from a file or a process, escaped as by [`clean`] and cut to [`LONGEST`] characters.
#[must_use]
pub fn excerpt(text: &str) -> String {
    shortened(text, LONGEST)
}

/// Like [`excerpt`] with another length limit, in characters. For names, of which one line can hold several.
#[must_use]
pub fn shortened(text: &str, longest: usize) -> String {
    let mut start = String::new();
    let mut length = 0;
    for c in text.chars() {
        let before = start.len();
        push_clean(&mut start, c);
        length += start.get(before..).map_or(0, |added| added.chars().count());
        if length > longest {
            start.truncate(before);
            start.push('…');
            break;
        }
    }
    start
}

/// A whole message for the terminal, which may quote anything: escaped line by line, and cut to [`LONGEST_MESSAGE`]
/// characters.
#[must_use]
pub fn message(text: &str) -> String {
    // No more bytes than that many characters can have, so that a huge message costs nothing.
    let start = text.floor_char_boundary(4 * LONGEST_MESSAGE);
    let lines: Vec<String> = text.get(..start).unwrap_or_default().split('\n').map(clean).collect();
    let mut message = lines.join("\n");
    if let Some((end, _)) = message.char_indices().nth(LONGEST_MESSAGE) {
        message.truncate(end);
        message.push('…');
    }
    message
}

/// The last [`LONGEST`] characters of a process's output, on one line and escaped. The end of the output usually has
/// the reason of a failure.
#[must_use]
pub fn last_words(text: &str) -> String {
    let words = clean(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    match words.char_indices().rev().nth(LONGEST - 1) {
        Some((start, _)) if start > 0 => format!("…{}", words.get(start..).unwrap_or_default()),
        _ => words,
    }
}

fn push_clean(out: &mut String, c: char) {
    if c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
        out.extend(c.escape_default());
    } else {
        out.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest excerpt, including the ellipsis that marks a cut.
    const MOST: usize = LONGEST + 1;

    #[test]
    fn names_from_a_target_cannot_control_the_terminal() {
        assert_eq!(clean("a\x1b[2J\r\n\u{9b}é\u{202e}x"), r"a\u{1b}[2J\r\n\u{9b}é\u{202e}x");
    }

    #[test]
    fn an_excerpt_is_limited_in_its_printed_form() {
        assert_eq!(excerpt("short\n"), r"short\n");
        assert_eq!(excerpt(&"é".repeat(LONGEST)), "é".repeat(LONGEST));
        for text in ["x".repeat(10_000), "\x1b".repeat(10_000), "漢\u{202e}".repeat(LONGEST)] {
            let printed = excerpt(&text);
            assert!(printed.ends_with('…') && printed.chars().count() <= MOST, "{printed}");
            assert!(!printed.chars().any(char::is_control), "{printed}");
        }
    }

    #[test]
    fn a_message_keeps_its_lines_and_nothing_else_of_its_layout() {
        assert_eq!(message("TOML:\n1 | a = \"\x1b[31m\r\n  | ^"), "TOML:\n1 | a = \"\\u{1b}[31m\\r\n  | ^");
        for text in ["é".repeat(1 << 20), "\x1b".repeat(1 << 20)] {
            let printed = message(&text);
            assert!(printed.ends_with('…') && printed.chars().count() == LONGEST_MESSAGE + 1, "{}", printed.len());
        }
    }

    #[test]
    fn last_words_are_the_end_of_the_text_on_one_line() {
        assert_eq!(last_words("Traceback:\n  File\nValueError: no\n"), "Traceback: File ValueError: no");
        assert_eq!(last_words(" \n"), "");
        assert_eq!(last_words(&"é".repeat(LONGEST)), "é".repeat(LONGEST));
        for text in ["x".repeat(10_000) + " the end", "\x1b".repeat(10_000) + " the end"] {
            let printed = last_words(&text);
            assert!(printed.starts_with('…') && printed.ends_with("the end"), "{printed}");
            assert!(printed.chars().count() <= MOST && !printed.chars().any(char::is_control), "{printed}");
        }
    }
}
