//! Finds out which kind of document a file holds, and parses it.

use std::path::Path;

use framewalk::printable::{clean, excerpt};
use lab::bench;
use model::files;
use model::json::Head;
use model::run::document::{self, Document};
use model::run::known::{KnownFailure, KnownFailures};
use model::run::results;
use serde::Deserialize;
use sim::case::file::AnyCaseFile;
use sim::case::format::FORMAT;
use sim::case::stepped::SteppedCase;

use super::{Content, KnownCase, ReplayedCase, SavedError};
use crate::report::compare::document as comparison;
use crate::report::stream::{self, RecordedRun};
use crate::report::{explain, searches};

/// Longer documents are rejected, in bytes. None of framediff comes near it.
pub const LONGEST: u64 = 64 << 20;
/// Files above this size are rejected, in bytes: JSON lines are read one by one, and a long run has many.
const LONGEST_LINES: u64 = 256 << 20;
/// The documents that can be reported, for error messages.
const KINDS: &str = "the JSON or JSON lines of `check` or `attach`, the JSON of `merge`, `compare`, `explore`, `prove`, `conform`, \
                     `explain`, `mutants` or `bench`, the JSON lines of any of them, or a saved case of `explore`";

impl Content {
    pub(super) fn parse(name: &str, bytes: &[u8], known: &KnownFailures) -> Result<Self, SavedError> {
        let foreign = |why: &dyn ToString| SavedError::Foreign {
            name: name.to_owned(),
            why: excerpt(&why.to_string()),
            wanted: KINDS,
        };
        let first = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let is_stream = |head: &Head<'_>| head.format().as_deref() == Some(stream::FORMAT);
        if Head::of(first).as_ref().is_ok_and(is_stream) {
            return Ok(match stream::read(bytes).map_err(|why| foreign(&why))? {
                RecordedRun::Check(summary) => Self::Check(Box::new(Document::from(&*summary))),
                RecordedRun::Items(results) => Self::Results(Box::new(results)),
            });
        }
        if bytes.len() as u64 > LONGEST {
            return Err(foreign(&format!("it is larger than {} MiB, and not JSON lines", LONGEST >> 20)));
        }
        let head = Head::of(bytes).map_err(|why| foreign(&format!("it is not JSON: {why}")))?;
        Self::parse_json(name, bytes, &head, known)
    }

    fn parse_json(name: &str, bytes: &[u8], head: &Head<'_>, known: &KnownFailures) -> Result<Self, SavedError> {
        let foreign = |why: &dyn ToString| SavedError::Foreign {
            name: name.to_owned(),
            why: excerpt(&why.to_string()),
            wanted: KINDS,
        };
        let has = |fields: &[&str]| head.has(fields);
        let (kind, format) = (head.kind(), head.format());
        let is_kind = |wanted: &str| kind.as_deref() == Some(wanted);
        let source = UnbuiltDocument { name, bytes, head };
        if format.as_deref() == Some(FORMAT) {
            return match AnyCaseFile::parse(bytes).map_err(|why| foreign(&why))? {
                AnyCaseFile::Stepped(file) => {
                    let known = known_case(&file.case, &file.case.build.version, known);
                    Ok(Self::Case(KnownCase { file: Box::new(file), known }))
                }
                AnyCaseFile::Fuzz(file) => Err(foreign(&format!(
                    "it is a case of the fuzz target {}, which `framediff replay` runs",
                    file.target.name()
                ))),
            };
        }
        if is_kind(bench::document::KIND) {
            let document = bench::document::BenchDocument::from_json(bytes).map_err(|why| foreign(&why))?;
            return Ok(Self::Bench(Box::new(document)));
        }
        if is_kind(explain::KIND) {
            let document: explain::ExplanationDocument = source.content("an explanation", explain::VERSION)?;
            let case: SteppedCase =
                document.case.parse().map_err(|why| foreign(&format!("its case cannot be used: {why}")))?;
            let version = document.build.split(' ').next().unwrap_or_default();
            let known = known_case(&case, version, known);
            return Ok(Self::Explanation(ReplayedCase { document: Box::new(document), known }));
        }
        if is_kind(results::KIND) {
            return source.content("a report of judged items", results::VERSION).map(Box::new).map(Self::Results);
        }
        if is_kind(comparison::KIND) {
            return source.content("a comparison", comparison::VERSION).map(Box::new).map(Self::Comparison);
        }
        if has(&["version", "searches"]) {
            return source.content("a report of `explore`", searches::VERSION).map(Box::new).map(Self::Searches);
        }
        if has(&["version", "builds"]) && !has(&["cells"]) {
            return Err(foreign(&"it is the list of `builds`, which has no test results"));
        }
        if has(&["version", "verdict", "table", "cells"]) {
            return source.content("a report of `check`", document::VERSION).map(Box::new).map(Self::Check);
        }
        #[cfg(target_arch = "x86_64")]
        if has(&["version", "rows", "unwinder", "own"]) {
            return source.content("a report of `mutants`", document::VERSION).map(Box::new).map(Self::Mutants);
        }
        Err(match kind.or(format) {
            Some(kind) => foreign(&format!("its kind is {kind:?}")),
            None => foreign(&"it has the fields of no known document"),
        })
    }
}

/// The known failure that matches a case, unless checks were left out of its walker.
fn known_case(case: &SteppedCase, version: &str, known: &KnownFailures) -> Option<KnownFailure> {
    let known = known.find_stepped(&case.fingerprint, version, case.workload.family);
    known.filter(|_| case.weakenings.is_empty()).map(|known| known.entry.clone())
}

/// Reads a file; returns its name and its content.
pub(super) fn read(path: &Path) -> Result<(String, Vec<u8>), SavedError> {
    let name = clean(&path.display().to_string());
    match files::read(path, LONGEST_LINES) {
        Ok(bytes) => Ok((name, bytes)),
        Err(why) => Err(SavedError::Unreadable { name, why: why.to_string() }),
    }
}

/// A document that is not built yet.
pub(super) struct UnbuiltDocument<'a> {
    pub(super) name: &'a str,
    pub(super) bytes: &'a [u8],
    pub(super) head: &'a Head<'a>,
}

impl<'a> UnbuiltDocument<'a> {
    /// Parses the document, and checks its version first.
    pub(super) fn content<T: Deserialize<'a>>(&self, kind: &'static str, expected: u32) -> Result<T, SavedError> {
        if self.head.version() != Some(u64::from(expected)) {
            let (name, found) = (self.name.to_owned(), excerpt(self.head.version_text()));
            return Err(SavedError::OtherVersion { name, kind, found, expected });
        }
        serde_json::from_slice(self.bytes).map_err(|why| SavedError::Foreign {
            name: self.name.to_owned(),
            why: format!("it looks like {kind}, but {}", excerpt(&why.to_string())),
            wanted: KINDS,
        })
    }
}
