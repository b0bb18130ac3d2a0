//! Finds out which kind of document a file holds, and parses it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use framewalk::printable::{clean, excerpt};
use lab::bench;
use model::run::document::{self, Document};
use model::run::known::{KnownFailure, KnownFailures};
use model::run::results;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sim::case::file::AnyCaseFile;
use sim::case::format::FORMAT;
use sim::case::stepped::SteppedCase;

use super::{Content, KnownCase, ReplayedCase, SavedError};
use crate::report::compare::document as comparison;
use crate::report::stream::{self, RecordedRun};
use crate::report::{explain, searches};

/// Files above this size are rejected, in bytes. No document of framediff comes near it.
const LONGEST: u64 = 256 << 20;
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
        let first = serde_json::from_slice::<Value>(first).unwrap_or_default();
        if first.get("format").and_then(Value::as_str) == Some(stream::FORMAT) {
            return Ok(match stream::read(bytes).map_err(|why| foreign(&why))? {
                RecordedRun::Check(summary) => Self::Check(Box::new(Document::from(&*summary))),
                RecordedRun::Items(results) => Self::Results(Box::new(results)),
            });
        }
        let value: Value = serde_json::from_slice(bytes).map_err(|why| foreign(&format!("it is not JSON: {why}")))?;
        let has = |fields: &[&str]| fields.iter().all(|field| value.get(field).is_some());
        let text = |field: &str| value.get(field).and_then(Value::as_str);
        if text("format") == Some(FORMAT) {
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
        if text("kind") == Some(bench::document::KIND) {
            let text = std::str::from_utf8(bytes).map_err(|why| foreign(&why))?;
            let document = bench::document::BenchDocument::from_json(text).map_err(|why| foreign(&why))?;
            return Ok(Self::Bench(Box::new(document)));
        }
        if text("kind") == Some(explain::KIND) {
            let document: explain::ExplanationDocument = content(name, "an explanation", explain::VERSION, value)?;
            let case: SteppedCase =
                document.case.parse().map_err(|why| foreign(&format!("its case cannot be used: {why}")))?;
            let version = document.build.split(' ').next().unwrap_or_default();
            let known = known_case(&case, version, known);
            return Ok(Self::Explanation(ReplayedCase { document: Box::new(document), known }));
        }
        if text("kind") == Some(results::KIND) {
            return content(name, "a report of judged items", results::VERSION, value).map(Box::new).map(Self::Results);
        }
        if text("kind") == Some(comparison::KIND) {
            return content(name, "a comparison", comparison::VERSION, value).map(Box::new).map(Self::Comparison);
        }
        if has(&["version", "searches"]) {
            return content(name, "a report of `explore`", searches::VERSION, value).map(Box::new).map(Self::Searches);
        }
        if has(&["version", "builds"]) && !has(&["cells"]) {
            return Err(foreign(&"it is the list of `builds`, which has no test results"));
        }
        if has(&["version", "verdict", "table", "cells"]) {
            return content(name, "a report of `check`", document::VERSION, value).map(Box::new).map(Self::Check);
        }
        #[cfg(target_arch = "x86_64")]
        if has(&["version", "rows", "unwinder", "own"]) {
            return content(name, "a report of `mutants`", document::VERSION, value).map(Box::new).map(Self::Mutants);
        }
        Err(match text("kind").or(text("format")) {
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
    let mut bytes = Vec::new();
    // Reading one byte past the limit reveals a file that is too long.
    let read = File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes));
    read.map_err(|why| SavedError::Unreadable { name: name.clone(), why: why.to_string() })?;
    if bytes.len() as u64 > LONGEST {
        return Err(SavedError::Foreign { name, why: format!("it is larger than {LONGEST} bytes"), wanted: KINDS });
    }
    Ok((name, bytes))
}

/// Parses a document, and checks its version first.
pub(super) fn content<T: DeserializeOwned>(
    name: &str,
    kind: &'static str,
    expected: u32,
    value: Value,
) -> Result<T, SavedError> {
    let found = value.get("version").cloned().unwrap_or_default();
    if found != expected {
        let (name, found) = (name.to_owned(), excerpt(&found.to_string()));
        return Err(SavedError::OtherVersion { name, kind, found, expected });
    }
    serde_json::from_value(value).map_err(|why| SavedError::Foreign {
        name: name.to_owned(),
        why: format!("it looks like {kind}, but {}", excerpt(&why.to_string())),
        wanted: KINDS,
    })
}
