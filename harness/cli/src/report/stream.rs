//! The events of a run as JSON lines, written while the run goes on.
//!
//! ```text
//! {"format":"framediff-events","version":1,"framediff":"0.1.0","rules":{...}}
//! {"event":"run-started",...}
//! ```
//! The header holds the rules of the verdict, so that [`read`] returns the same summary as the run itself.

use std::io::{self, BufRead, Write};

use framewalk::printable::excerpt;
use model::json;
use model::run::event::{Consumer, Event};
use model::run::results::Results;
use model::run::summary::{Rules, Summary};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The name of the format, in the header line.
pub const FORMAT: &str = "framediff-events";
/// The version of the line format. It grows when a field changes its meaning or is removed.
pub const VERSION: u32 = 1;
/// Longer lines are rejected, in bytes. No line that framediff writes comes near this limit.
const LONGEST_LINE: u64 = 64 << 20;
/// Lines below this length, in bytes, may have any number of values.
const SHORT_LINE: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    framediff: String,
    rules: Rules,
}

/// Writes each event to `out` before the next one arrives.
#[derive(Debug)]
pub struct Stream<W> {
    out: W,
    failed: Option<io::Error>,
}

impl<W: Write> Stream<W> {
    /// Writes the header line.
    ///
    /// # Errors
    /// The header cannot be written.
    pub fn begin(out: W, rules: &Rules) -> io::Result<Self> {
        let mut stream = Self { out, failed: None };
        let framediff = env!("CARGO_PKG_VERSION").to_owned();
        stream.line(&Header { format: FORMAT.to_owned(), version: VERSION, framediff, rules: rules.clone() })?;
        Ok(stream)
    }

    /// Ends the stream and reports whether everything was written.
    ///
    /// # Errors
    /// The first write error; nothing is written after it.
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
        if self.failed.is_none() && !matches!(event, Event::Working { .. }) {
            self.failed = self.line(event).err();
        }
    }
}

/// The recorded events of a run, folded.
#[derive(Clone, Debug, PartialEq)]
pub enum RecordedRun {
    /// A run of `check` or `attach`.
    Check(Box<Summary>),
    /// A run that judged items.
    Items(Results),
}

/// Why a file is not the recorded events of a run.
#[derive(Debug, Error)]
pub enum StreamError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The first line is not the header of this format.
    #[error("its first line is not the one of a {FORMAT} file of version {VERSION}: {0}")]
    Foreign(String),
    /// The header has another version.
    #[error("it is a {FORMAT} file of version {found}, this framediff {} reads version {VERSION}", env!("CARGO_PKG_VERSION"))]
    OtherVersion {
        /// The version in the file.
        found: u32,
    },
    /// A line after the header is not an event.
    #[error("line {line} is no event: {why}")]
    BadLine {
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with the line.
        why: String,
    },
}

/// Reads what a [`Stream`] wrote. An unfinished last line is ignored: the run was killed while writing it.
///
/// # Errors
/// The first line that cannot be read or parsed.
pub fn read(mut lines: impl BufRead) -> Result<RecordedRun, StreamError> {
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
    let header: Header = json::parse(&first).map_err(|why| foreign(why.to_string()))?;
    let (mut summary, mut results) = (Summary::new(header.rules), Results::default());
    let mut number = 1;
    while let Some(line) = next(&mut lines)? {
        number += 1;
        // Counting takes time, and few short values fit into a short line.
        let event = if line.len() < SHORT_LINE { serde_json::from_slice(&line) } else { json::parse(&line) };
        let event: Event =
            event.map_err(|why| StreamError::BadLine { line: number, why: excerpt(&why.to_string()) })?;
        summary.event(&event);
        results.event(&event);
    }
    Ok(if results.verb.is_empty() { RecordedRun::Check(Box::new(summary)) } else { RecordedRun::Items(results) })
}

/// The next complete line.
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
        let RecordedRun::Check(read) = read(&*bytes).unwrap() else { panic!("no run of check") };
        assert_eq!(*read, summary(&events(), false));
        assert_eq!(Document::from(&*read), Document::from(&summary(&events(), false)));
    }

    #[test]
    fn a_run_that_was_killed_keeps_what_it_had_written() {
        let events = events();
        let mut bytes = written(&events[..4]);
        bytes.extend_from_slice(br#"{"event":"samp"#);
        let RecordedRun::Check(read) = read(&*bytes).unwrap() else { panic!("no run of check") };
        assert_eq!(*read, summary(&events[..4], false));
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

    /// A writer whose disk is full.
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
