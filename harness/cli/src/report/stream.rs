//! The report for programs that follow a run: one event on a line, as they come.
//!
//! ```text
//! {"format":"framediff-events","version":1,"framediff":"0.1.0","rules":{...}}
//! {"event":"run-started",...}
//! ```
//! The rules are what the verdict is judged by, so that [`read`] gives the summary that the run had.

use std::io::{self, BufRead, Write};

use framewalk::printable::excerpt;
use model::run::event::{Consumer, Event};
use model::run::summary::{Rules, Summary};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What the first line calls this format.
pub const FORMAT: &str = "framediff-events";
/// The version of the lines' form; it grows when a field changes its meaning or goes away.
pub const VERSION: u32 = 1;
/// No line that this program writes is nearly as long.
const LONGEST_LINE: u64 = 64 << 20;

/// The first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    framediff: String,
    rules: Rules,
}

/// Writes events as they come; each is there when the next one is told.
#[derive(Debug)]
pub struct Stream<W> {
    out: W,
    failed: Option<io::Error>,
}

impl<W: Write> Stream<W> {
    /// Writes the first line.
    ///
    /// # Errors
    /// That it cannot be written.
    pub fn begin(out: W, rules: &Rules) -> io::Result<Self> {
        let mut stream = Self { out, failed: None };
        let framediff = env!("CARGO_PKG_VERSION").to_owned();
        stream.line(&Header { format: FORMAT.to_owned(), version: VERSION, framediff, rules: rules.clone() })?;
        Ok(stream)
    }

    /// Whether everything was written.
    ///
    /// # Errors
    /// The first thing that went wrong; nothing was written after it.
    pub fn end(self) -> io::Result<()> {
        self.failed.map_or(Ok(()), Err)
    }

    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.out.write_all(&line)?;
        self.out.flush()
    }
}

impl<W: Write> Consumer for Stream<W> {
    fn event(&mut self, event: &Event) {
        if self.failed.is_none() {
            self.failed = self.line(event).err();
        }
    }
}

/// Lines that are not the events of a run.
#[derive(Debug, Error)]
pub enum StreamError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The first line is another.
    #[error("its first line is not the one of a {FORMAT} file of version {VERSION}: {0}")]
    Foreign(String),
    /// The first line has another version.
    #[error("it is a {FORMAT} file of version {found}, this framediff {} reads version {VERSION}", env!("CARGO_PKG_VERSION"))]
    OtherVersion {
        /// The version that it has.
        found: u32,
    },
    /// A later line is no event.
    #[error("line {line} is no event: {why}")]
    BadLine {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
}

/// Reads what a [`Stream`] wrote. A last line without its end, of a run that was killed, is left out.
///
/// # Errors
/// The first line that cannot be understood.
pub fn read(mut lines: impl BufRead) -> Result<Summary, StreamError> {
    #[derive(Deserialize)]
    struct Kind {
        format: String,
        version: u32,
    }
    let foreign = |why: String| StreamError::Foreign(excerpt(&why));
    let first = next(&mut lines)?.ok_or_else(|| foreign("there is none".to_owned()))?;
    let Kind { format, version } = serde_json::from_slice(&first).map_err(|why| foreign(why.to_string()))?;
    if format != FORMAT {
        return Err(foreign(format!("it names the format {format:?}")));
    }
    if version != VERSION {
        return Err(StreamError::OtherVersion { found: version });
    }
    let header: Header = serde_json::from_slice(&first).map_err(|why| foreign(why.to_string()))?;
    let mut summary = Summary::new(header.rules);
    let mut number = 1;
    while let Some(line) = next(&mut lines)? {
        number += 1;
        let event = serde_json::from_slice(&line)
            .map_err(|why| StreamError::BadLine { line: number, why: excerpt(&why.to_string()) })?;
        summary.event(&event);
    }
    Ok(summary)
}

/// The next whole line.
fn next(lines: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    io::Read::take(lines, LONGEST_LINE).read_until(b'\n', &mut line)?;
    if u64::try_from(line.len()).is_ok_and(|length| length == LONGEST_LINE) {
        return Err(io::Error::other(format!("a line is longer than {LONGEST_LINE} bytes")));
    }
    Ok(line.ends_with(b"\n").then_some(line))
}

#[cfg(test)]
mod tests {
    use model::lane::Lane;
    use model::run::cell::CellOutcome;
    use model::run::document::Document;
    use model::run::fixtures::{cell, finding, run, summary};
    use model::run::known::KnownFailures;
    use model::run::verdict::Doubt;

    use super::*;

    fn events() -> Vec<Event> {
        run(vec![
            Event::Violation(Box::new(finding())),
            Event::CellFinished { cell: cell(Lane::Live), outcome: CellOutcome::Ran },
        ])
    }

    fn written(events: &[Event]) -> Vec<u8> {
        let rules = Rules { known: KnownFailures::kept().unwrap(), strict: false, confidence: 0.9999, sought: None };
        let mut bytes = Vec::new();
        let mut stream = Stream::begin(&mut bytes, &rules).unwrap();
        events.iter().for_each(|event| stream.event(event));
        stream.end().unwrap();
        bytes
    }

    #[test]
    fn the_lines_give_the_summary_that_saw_the_events() {
        let bytes = written(&events());
        assert_eq!(bytes.iter().filter(|&&byte| byte == b'\n').count(), 1 + events().len());
        let read = read(&*bytes).unwrap();
        assert_eq!(read, summary(&events(), false));
        assert_eq!(Document::from(&read), Document::from(&summary(&events(), false)));
    }

    #[test]
    fn a_run_that_was_killed_keeps_what_it_had_written() {
        let events = events();
        let mut bytes = written(&events[..4]);
        bytes.extend_from_slice(br#"{"event":"samp"#);
        let read = read(&*bytes).unwrap();
        assert_eq!(read, summary(&events[..4], false));
        assert!(read.judgement().doubts.contains(&Doubt::Unfinished));
    }

    #[test]
    fn other_files_are_refused_by_what_they_are() {
        let mut later = written(&[]);
        let at = later.windows(11).position(|window| window == br#""version":1"#).unwrap();
        later[at + 10] = b'7';
        let mut damaged = written(&events());
        damaged.extend_from_slice(b"{}\n");
        for (bytes, words) in [
            (&b""[..], "there is none"),
            (b"# Readme\n", "framediff-events"),
            (b"{\"format\":\"<script>\",\"version\":1}\n", "it names the format"),
            (&later, "of version 7"),
            (&damaged, "is no event: missing field"),
        ] {
            let error = read(bytes).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    /// A writer that is full at once.
    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_told_and_nothing_is_written_after_it() {
        let mut stream = Stream { out: Full, failed: None };
        events().iter().for_each(|event| stream.event(event));
        assert_eq!(stream.end().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
