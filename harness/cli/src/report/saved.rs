//! Reads saved documents, to report them again or together.
//!
//! Files are not trusted: their size is limited, and an error names the field that is missing.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use framewalk::printable::{clean, excerpt};
use lab::bench;
#[cfg(target_arch = "x86_64")]
use lab::mutants::report::{MutantsReport as Mutants, Score};
use model::run::document::Document;
use model::run::item::Results;
use model::run::known::{KnownFailure, KnownFailures};
use model::run::verdict::Verdict;
use model::run::{document, item};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sim::case::file::AnyCaseFile;
use sim::case::stepped::{SteppedCase, SteppedFile};
use thiserror::Error;

use crate::report::stream::RecordedRun;
use crate::report::text::{Look, plural};
use crate::report::{compare, conclusion, explain, human, mutants, searches, stream};

/// Files above this size are rejected, in bytes. No document of framediff comes near it.
const LONGEST: u64 = 256 << 20;
/// The documents that can be reported, for error messages.
const KINDS: &str = "the JSON or JSON lines of `check` or `attach`, the JSON of `merge`, `compare`, `explore`, `prove`, `conform`, \
                     `explain`, `mutants` or `bench`, the JSON lines of any of them, or a saved case of `explore`";

/// The `kind` and version of a document that holds several documents.
const SEVERAL: &str = "framediff-reports";
const SEVERAL_VERSION: u32 = 1;

/// Several documents in one.
#[derive(Serialize, Deserialize)]
struct Several {
    kind: String,
    version: u32,
    reports: Vec<OneOfSeveral>,
}

#[derive(Serialize, Deserialize)]
struct OneOfSeveral {
    file: String,
    report: Value,
}

/// A document, with the name of its file.
#[derive(Debug)]
pub struct Saved {
    /// The file's name as it is printed.
    pub name: String,
    /// The parsed document, by its kind.
    pub content: Content,
}

/// The kinds of document.
#[derive(Debug)]
pub enum Content {
    /// A run of `check`.
    Check(Box<Document>),
    /// A run of `mutants`.
    #[cfg(target_arch = "x86_64")]
    Mutants(Box<Mutants>),
    /// The results of a run of `bench`.
    Bench(Box<bench::document::BenchDocument>),
    /// A search of schedules.
    Searches(Box<searches::SearchDocument>),
    /// A run that judged items: `prove`, `conform`, or the events of another verb.
    Results(Box<Results>),
    /// A comparison of two reports.
    Comparison(Box<compare::ComparisonDocument>),
    /// A replayed case of the stepped lane, with the known failure that matches it.
    Explanation(Box<explain::ExplanationDocument>, Option<KnownFailure>),
    /// A saved case of the stepped lane, with the known failure that matches it.
    Case(Box<SteppedFile>, Option<KnownFailure>),
}

/// Why a file cannot be reported.
#[derive(Debug, Error)]
pub enum SavedError {
    /// The file cannot be read.
    #[error("cannot read {name}: {why}")]
    Unreadable {
        /// Name of the file.
        name: String,
        /// The error of opening or reading it.
        why: String,
    },
    /// The file is not a known kind of document, or is damaged.
    #[error("cannot use {name}: {why}; expected {wanted}")]
    Foreign {
        /// Name of the file.
        name: String,
        /// What the file is instead, or how it is damaged.
        why: String,
        /// The documents that would be accepted.
        wanted: &'static str,
    },
    /// The document has the format of another framediff version.
    #[error(
        "{name} is {kind} of version {found}, but this framediff reads version {expected}: use the framediff that made \
         it"
    )]
    OtherVersion {
        /// Name of the file.
        name: String,
        /// The kind of document.
        kind: &'static str,
        /// The version in the file.
        found: String,
        /// The version that this framediff reads.
        expected: u32,
    },
}

impl Saved {
    /// Reads a file. Failures of the stepped lane are looked up in `known`.
    ///
    /// # Errors
    /// The file cannot be read, or is not a document that can be reported. The error names the file.
    pub fn load(path: &Path, known: &KnownFailures) -> Result<Self, SavedError> {
        let (name, bytes) = read(path)?;
        let content = Content::parse(&name, &bytes, known)?;
        Ok(Self { name, content })
    }

    /// Reads a file that holds one document, or several that `report` combined into one.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_all(path: &Path, known: &KnownFailures) -> Result<Vec<Self>, SavedError> {
        let (name, bytes) = read(path)?;
        let value = serde_json::from_slice::<Value>(&bytes).unwrap_or_default();
        if value.get("kind").and_then(Value::as_str) != Some(SEVERAL) {
            let content = Content::parse(&name, &bytes, known)?;
            return Ok(vec![Self { name, content }]);
        }
        let several: Several = content(&name, "several reports in one", SEVERAL_VERSION, value)?;
        let one = |one: OneOfSeveral| {
            let within = format!("{name}: {}", clean(&one.file));
            let content = Content::parse(&within, one.report.to_string().as_bytes(), known)?;
            Ok(Self { name: clean(&one.file), content })
        };
        several.reports.into_iter().map(one).collect()
    }

    /// Combines several documents into one.
    ///
    /// # Errors
    /// As [`Self::json`].
    pub fn json_of_all(all: &[Self]) -> serde_json::Result<Value> {
        let one = |one: &Self| Ok(OneOfSeveral { file: one.name.clone(), report: one.json()? });
        let reports = all.iter().map(one).collect::<serde_json::Result<_>>()?;
        serde_json::to_value(Several { kind: SEVERAL.to_owned(), version: SEVERAL_VERSION, reports })
    }

    /// The verdict of the document.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match &self.content {
            Content::Check(document) => document.judgement.verdict,
            #[cfg(target_arch = "x86_64")]
            Content::Mutants(report) => report.verdict(),
            Content::Bench(document) if document.interrupted || !document.is_measured() => Verdict::Inconclusive,
            Content::Bench(_) => Verdict::Pass,
            Content::Searches(document) => document.verdict(),
            Content::Results(results) => results.verdict(),
            Content::Comparison(document) => document.verdict,
            Content::Explanation(document, known) => match (&document.explanation, known) {
                (explanation, _) if explanation.misfit.is_some() => Verdict::Inconclusive,
                (explanation, None) if explanation.failure.is_some() => Verdict::Fail,
                _ => Verdict::Pass,
            },
            Content::Case(_, known) => known.as_ref().map_or(Verdict::Fail, |_| Verdict::Pass),
        }
    }

    /// The result in a few words.
    #[must_use]
    pub fn in_short(&self) -> String {
        let known = |known: &Option<KnownFailure>| {
            known.as_ref().map(|known| format!(" (known: {})", known.id)).unwrap_or_default()
        };
        match &self.content {
            Content::Check(document) => conclusion::sentence(document, "listed below"),
            #[cfg(target_arch = "x86_64")]
            Content::Mutants(report) => {
                let Score { killed, survived, equivalent, .. } = report.score();
                format!("{killed} mutants killed, {survived} survived, {equivalent} equivalent")
            }
            Content::Bench(document) => {
                format!("{} measured, {} left out", plural(document.points.len(), "point"), document.left_out.len())
            }
            Content::Searches(document) => {
                let failures: Vec<_> = document.searches.iter().flat_map(|search| &search.failures).collect();
                let known = failures.iter().filter(|failure| failure.known.is_some()).count();
                format!("{}, {known} known", plural(failures.len(), "failure"))
            }
            Content::Results(results) => results.in_short(),
            Content::Comparison(document) => {
                let changes = &document.comparison.changes;
                let new = changes.iter().filter(|change| change.fate == model::run::comparison::Fate::New).count();
                format!("{}, {new} new", plural(changes.len(), "failure"))
            }
            Content::Explanation(document, of) => format!("{}{}", document.fingerprint, known(of)),
            Content::Case(file, of) => format!("{}{}", file.case.fingerprint, known(of)),
        }
    }

    /// Renders the document as text.
    #[must_use]
    pub fn human(&self, look: Look) -> String {
        match &self.content {
            Content::Check(document) => human::render(document, look),
            #[cfg(target_arch = "x86_64")]
            Content::Mutants(report) => mutants::human(report, look),
            Content::Bench(document) => bench::markdown::render(document, None),
            Content::Searches(document) => document.text(look.width),
            Content::Results(results) => results.text(),
            Content::Comparison(document) => document.text(look.width),
            Content::Explanation(document, _) => document.text(look),
            Content::Case(file, _) => {
                let case = &file.case;
                let note = if file.note.is_empty() { String::new() } else { format!("{}\n", clean(&file.note)) };
                format!(
                    "{} on CPython {}\n{note}\n  schedule   {} in {} samples\n  replay     framediff replay {case}\n",
                    case.fingerprint, case.build, case.schedule, case.samples
                )
            }
        }
    }

    /// The document as JSON.
    ///
    /// # Errors
    /// None are known: the document came from JSON or can be written as JSON.
    pub fn json(&self) -> serde_json::Result<Value> {
        match &self.content {
            Content::Check(document) => serde_json::to_value(document),
            #[cfg(target_arch = "x86_64")]
            Content::Mutants(report) => serde_json::to_value(report),
            Content::Bench(document) => serde_json::to_value(document),
            Content::Searches(document) => serde_json::to_value(document),
            Content::Results(results) => serde_json::to_value(results),
            Content::Comparison(document) => serde_json::to_value(document),
            Content::Explanation(document, _) => serde_json::to_value(document),
            Content::Case(file, _) => {
                file.text().map_err(serde::ser::Error::custom).and_then(|text| serde_json::from_str(&text))
            }
        }
    }
}

/// The worst verdict of all documents. No documents at all is not a pass.
#[must_use]
pub fn overall(all: &[Saved]) -> Verdict {
    Verdict::worst(all.iter().map(Saved::verdict))
}

impl Content {
    /// The kind of document, as a noun phrase for messages.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match self {
            Self::Check(_) => "a report of `check`",
            #[cfg(target_arch = "x86_64")]
            Self::Mutants(_) => "a report of `mutants`",
            Self::Bench(_) => "a benchmark",
            Self::Searches(_) => "a report of `explore`",
            Self::Results(_) => "a report of judged items",
            Self::Comparison(_) => "a comparison",
            Self::Explanation(..) => "an explanation",
            Self::Case(..) => "a saved case",
        }
    }

    fn parse(name: &str, bytes: &[u8], known: &KnownFailures) -> Result<Self, SavedError> {
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
        if text("format") == Some(sim::case::envelope::FORMAT) {
            return match AnyCaseFile::parse(bytes).map_err(|why| foreign(&why))? {
                AnyCaseFile::Stepped(file) => {
                    let known = known_case(&file.case, &file.case.build.version, known);
                    Ok(Self::Case(Box::new(file), known))
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
            return Ok(Self::Explanation(Box::new(document), known));
        }
        if text("kind") == Some(item::KIND) {
            return content(name, "a report of judged items", item::VERSION, value).map(Box::new).map(Self::Results);
        }
        if text("kind") == Some(compare::KIND) {
            return content(name, "a comparison", compare::VERSION, value).map(Box::new).map(Self::Comparison);
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
fn read(path: &Path) -> Result<(String, Vec<u8>), SavedError> {
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
fn content<T: DeserializeOwned>(name: &str, kind: &'static str, expected: u32, value: Value) -> Result<T, SavedError> {
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

#[cfg(test)]
mod tests {
    use model::run::event::Event;
    use model::run::fixtures::{finding, run, summary};

    use super::*;
    use crate::report::fixtures::search as search_of;

    fn parse(text: &str) -> Result<Saved, SavedError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("night.json");
        std::fs::write(&path, text).unwrap();
        Saved::load(&path, &KnownFailures::kept().unwrap())
    }

    #[test]
    fn a_loaded_document_renders_like_the_run() {
        let document = Document::from(&summary(&run(vec![Event::Violation(Box::new(finding()))]), false));
        let saved = parse(&crate::report::json::render(&document).unwrap()).unwrap();
        assert_eq!(saved.human(Look::plain()), human::render(&document, Look::plain()));
        assert_eq!(saved.json().unwrap(), serde_json::to_value(&document).unwrap());
        assert_eq!((saved.verdict(), overall(&[saved])), (Verdict::Fail, Verdict::Fail));
        assert_eq!(overall(&[]), Verdict::Inconclusive);
    }

    #[test]
    fn a_saved_case_renders_what_its_file_contains() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/cases/stepped");
        let known = KnownFailures::kept().unwrap();
        let mut told = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let saved = Saved::load(&entry.unwrap().path(), &known).unwrap();
            let Content::Case(file, _) = &saved.content else { panic!("{saved:?}") };
            let text = saved.human(Look::plain());
            assert!(text.contains(&file.case.to_string()) && text.contains(&file.case.schedule.to_string()), "{text}");
            told += 1;
        }
        assert!(told > 0);
    }

    #[test]
    fn searches_and_comparisons_load_and_render_in_every_format() {
        let searched = searches::SearchDocument::new(vec![search_of(false), search_of(true)]);
        let saved = parse(&serde_json::to_string(&searched).unwrap()).unwrap();
        assert_eq!(saved.json().unwrap(), serde_json::to_value(&searched).unwrap());
        assert_eq!((saved.verdict(), saved.in_short().as_str()), (Verdict::Fail, "1 failure, 0 known"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("searches.json");
        std::fs::write(&path, serde_json::to_string(&searched).unwrap()).unwrap();
        let compared = compare::ComparisonDocument::from(compare::compare(&path, &path).unwrap());
        let comparison = parse(&serde_json::to_string(&compared).unwrap()).unwrap();
        assert_eq!(comparison.json().unwrap(), serde_json::to_value(&compared).unwrap());
        assert_eq!(comparison.verdict(), Verdict::Pass);
        let all = [saved, comparison];
        for text in [
            all.iter().map(|one| one.human(Look::plain())).collect(),
            crate::report::junit::render(&all).unwrap(),
            crate::report::html::render(&all),
            crate::report::markdown::render(&all, 1 << 20),
        ] {
            assert!(text.contains("stepped/a/b") && text.contains("still there"), "{text}");
        }
    }

    #[test]
    fn a_file_with_several_reports_loads() {
        let folder = tempfile::tempdir().unwrap();
        let check = Document::from(&summary(&run(vec![]), false));
        let searched = searches::SearchDocument::new(vec![search_of(false)]);
        let case = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/cases/stepped"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .min()
            .unwrap();
        let known = KnownFailures::kept().unwrap();
        let mut all = vec![
            parse(&crate::report::json::render(&check).unwrap()).unwrap(),
            parse(&serde_json::to_string(&searched).unwrap()).unwrap(),
            Saved::load(&case, &known).unwrap(),
        ];
        for (index, saved) in all.iter_mut().enumerate() {
            saved.name = format!("{index}.json");
        }
        let path = folder.path().join("all.json");
        let value = Saved::json_of_all(&all).unwrap();
        std::fs::write(&path, value.to_string()).unwrap();
        let again = Saved::load_all(&path, &known).unwrap();
        assert_eq!(Saved::json_of_all(&again).unwrap(), value);
        let human = |all: &[Saved]| all.iter().map(|one| one.human(Look::plain())).collect::<Vec<_>>();
        assert_eq!(human(&again), human(&all));
        // The error for a damaged document names the file and what is missing.
        std::fs::write(&path, value.to_string().replace("\"searches\"", "\"search\"")).unwrap();
        let error = Saved::load_all(&path, &known).unwrap_err().to_string();
        assert!(error.contains("all.json: 1.json") && error.contains("the fields of no known document"), "{error}");
        std::fs::write(&path, r#"{"kind":"framediff-reports","version":7,"reports":[]}"#).unwrap();
        assert!(Saved::load_all(&path, &known).unwrap_err().to_string().contains("of version 7"));
    }

    #[test]
    fn foreign_files_and_other_versions_are_refused_by_name() {
        let check = crate::report::json::render(&Document::from(&summary(&run(vec![]), false))).unwrap();
        for (text, words) in [
            (String::new(), "it is not JSON"),
            ("[]".into(), "it has the fields of no known document"),
            (r#"{"kind":"\u001b[2Jother","version":1}"#.into(), r#"its kind is "\u{1b}[2Jother""#),
            (check.replace("\"version\": 1,", "\"version\": 0,"), "of version 0, but this framediff reads version 1"),
            (check.replace("\"seed\"", "\"sead\""), "it looks like a report of `check`, but missing field `seed`"),
            (r#"{"format":"framediff-events","version":9}"#.to_owned() + "\n", "of version 9"),
            (r#"{"version":0,"searches":[]}"#.into(), "a report of `explore` of version 0"),
            (r#"{"version":1,"searches":[{}]}"#.into(), "a report of `explore`, but missing field"),
            (r#"{"kind":"framediff-comparison","version":2}"#.into(), "is a comparison of version 2"),
            (r#"{"version":1,"builds":[]}"#.into(), "the list of `builds`, which has no test results"),
            (r#"{"kind":"framediff-explanation","version":2}"#.into(), "is an explanation of version 2"),
        ] {
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains("night.json") && error.contains(words), "{words:?} is not in {error}");
            assert!(!error.contains('\u{1b}'));
        }
        let error = Saved::load(Path::new("/no/such/file"), &KnownFailures::default()).unwrap_err().to_string();
        assert!(error.contains("/no/such/file"), "{error}");
    }
}
