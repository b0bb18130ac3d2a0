//! Documents that were saved, to be reported again or together.
//!
//! What a file says is not trusted: its size is bounded, and what it does not have is an error with its name.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use framewalk::printable::{clean, excerpt};
use lab::bench;
#[cfg(target_arch = "x86_64")]
use lab::mutants::report::{Report as Mutants, Score};
use model::run::document;
use model::run::document::Document;
use model::run::known::{KnownFailure, KnownFailures};
use model::run::verdict::Verdict;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sim::case::file::AnyCaseFile;
use sim::case::stepped::{SteppedCase, SteppedFile};
use thiserror::Error;

use crate::report::text::{Look, plural};
use crate::report::{compare, conclusion, explain, human, mutants, searches, stream};

/// No document that this program writes is nearly as long.
const LONGEST: u64 = 256 << 20;
/// What can be reported.
const KINDS: &str = "the JSON or JSON lines of `check` or `attach`, the JSON of `merge`, `compare`, `explore`, `explain`, `mutants` or \
                     `bench`, or a saved case of `explore`";

/// What the document of several documents says it is, and its version.
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

/// A document under the name of its file.
#[derive(Debug)]
pub struct Saved {
    /// The name.
    pub name: String,
    /// What it holds.
    pub content: Content,
}

/// What a document can hold.
#[derive(Debug)]
pub enum Content {
    /// A run of the check.
    Check(Box<Document>),
    /// A run of mutants.
    #[cfg(target_arch = "x86_64")]
    Mutants(Box<Mutants>),
    /// A benchmark.
    Bench(Box<bench::document::Document>),
    /// A search of schedules.
    Searches(Box<searches::Document>),
    /// Two reports held against each other.
    Comparison(Box<compare::Document>),
    /// A run of a case of the stepped lane, and what is known of such failures.
    Explanation(Box<explain::Document>, Option<KnownFailure>),
    /// A case of the stepped lane by itself, and what is known of such failures.
    Case(Box<SteppedFile>, Option<KnownFailure>),
}

/// A file that cannot be reported.
#[derive(Debug, Error)]
pub enum SavedError {
    /// It cannot be read.
    #[error("cannot read {name}: {why}")]
    Unreadable {
        /// The file.
        name: String,
        /// What the system says.
        why: String,
    },
    /// It is no document that is known, or a damaged one.
    #[error("{name} cannot be used: {why}; expected is {wanted}")]
    Foreign {
        /// The file.
        name: String,
        /// What it is instead.
        why: String,
        /// What would do.
        wanted: &'static str,
    },
    /// It has the form of another framediff.
    #[error("{name} is {kind} of version {found}, expected is version {expected}: use the framediff that made it")]
    OtherVersion {
        /// The file.
        name: String,
        /// What it is.
        kind: &'static str,
        /// The version that it says.
        found: String,
        /// The version that is known.
        expected: u32,
    },
}

impl Saved {
    /// Reads a file. What it tells of the stepped lane is held against `known`.
    ///
    /// # Errors
    /// That it cannot be read, or what it is instead, by its name.
    pub fn load(path: &Path, known: &KnownFailures) -> Result<Self, SavedError> {
        let (name, bytes) = read(path)?;
        let content = Content::parse(&name, &bytes, known)?;
        Ok(Self { name, content })
    }

    /// Reads a file of one document, or of several that were reported together as JSON.
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

    /// All documents as one.
    ///
    /// # Errors
    /// As [`Self::json`].
    pub fn json_of_all(all: &[Self]) -> serde_json::Result<Value> {
        let one = |one: &Self| Ok(OneOfSeveral { file: one.name.clone(), report: one.json()? });
        let reports = all.iter().map(one).collect::<serde_json::Result<_>>()?;
        serde_json::to_value(Several { kind: SEVERAL.to_owned(), version: SEVERAL_VERSION, reports })
    }

    /// What it says.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match &self.content {
            Content::Check(document) => document.judgement.verdict,
            #[cfg(target_arch = "x86_64")]
            Content::Mutants(report) => report.verdict(),
            Content::Bench(document) if document.interrupted || document.points.is_empty() => Verdict::Inconclusive,
            Content::Bench(_) => Verdict::Pass,
            Content::Searches(document) => document.verdict(),
            Content::Comparison(document) => document.verdict,
            Content::Explanation(document, known) => match (&document.explanation, known) {
                (explanation, _) if explanation.misfit.is_some() => Verdict::Inconclusive,
                (explanation, None) if explanation.failure.is_some() => Verdict::Fail,
                _ => Verdict::Pass,
            },
            Content::Case(_, known) => known.as_ref().map_or(Verdict::Fail, |_| Verdict::Pass),
        }
    }

    /// The same in a few words.
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
            Content::Comparison(document) => {
                let changes = &document.comparison.changes;
                let new = changes.iter().filter(|change| change.fate == compare::Fate::New).count();
                format!("{}, {new} new", plural(changes.len(), "failure"))
            }
            Content::Explanation(document, of) => format!("{}{}", document.fingerprint, known(of)),
            Content::Case(file, of) => format!("{}{}", file.case.fingerprint, known(of)),
        }
    }

    /// For people.
    #[must_use]
    pub fn human(&self, look: Look) -> String {
        match &self.content {
            Content::Check(document) => human::render(document, look),
            #[cfg(target_arch = "x86_64")]
            Content::Mutants(report) => mutants::human(report, look),
            Content::Bench(document) => bench::markdown::render(document, None),
            Content::Searches(document) => document.text(look.width),
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
    /// None are known: it came from JSON or has a form in it.
    pub fn json(&self) -> serde_json::Result<Value> {
        match &self.content {
            Content::Check(document) => serde_json::to_value(document),
            #[cfg(target_arch = "x86_64")]
            Content::Mutants(report) => serde_json::to_value(report),
            Content::Bench(document) => serde_json::to_value(document),
            Content::Searches(document) => serde_json::to_value(document),
            Content::Comparison(document) => serde_json::to_value(document),
            Content::Explanation(document, _) => serde_json::to_value(document),
            Content::Case(file, _) => {
                file.text().map_err(serde::ser::Error::custom).and_then(|text| serde_json::from_str(&text))
            }
        }
    }
}

/// The worst verdict; nothing at all is no pass.
#[must_use]
pub fn overall(all: &[Saved]) -> Verdict {
    let verdicts: Vec<Verdict> = all.iter().map(Saved::verdict).collect();
    if verdicts.contains(&Verdict::Fail) {
        Verdict::Fail
    } else if verdicts.is_empty() || verdicts.contains(&Verdict::Inconclusive) {
        Verdict::Inconclusive
    } else {
        Verdict::Pass
    }
}

impl Content {
    /// What it is, in a sentence.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match self {
            Self::Check(_) => "a report of `check`",
            #[cfg(target_arch = "x86_64")]
            Self::Mutants(_) => "a report of `mutants`",
            Self::Bench(_) => "a benchmark",
            Self::Searches(_) => "a report of `explore`",
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
            let summary = stream::read(bytes).map_err(|why| foreign(&why))?;
            return Ok(Self::Check(Box::new(Document::from(&summary))));
        }
        let value: Value = serde_json::from_slice(bytes).map_err(|why| foreign(&format!("it is no JSON: {why}")))?;
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
            let document = bench::document::Document::from_json(text).map_err(|why| foreign(&why))?;
            return Ok(Self::Bench(Box::new(document)));
        }
        if text("kind") == Some(explain::KIND) {
            let document: explain::Document = content(name, "an explanation", explain::VERSION, value)?;
            let case: SteppedCase =
                document.case.parse().map_err(|why| foreign(&format!("its case cannot be used: {why}")))?;
            let version = document.build.split(' ').next().unwrap_or_default();
            let known = known_case(&case, version, known);
            return Ok(Self::Explanation(Box::new(document), known));
        }
        if text("kind") == Some(compare::KIND) {
            return content(name, "a comparison", compare::VERSION, value).map(Box::new).map(Self::Comparison);
        }
        if has(&["version", "searches"]) {
            return content(name, "a report of `explore`", searches::VERSION, value).map(Box::new).map(Self::Searches);
        }
        if has(&["version", "builds"]) && !has(&["cells"]) {
            return Err(foreign(&"it is the list of `builds`, in which nothing was tested"));
        }
        if has(&["version", "verdict", "table", "cells"]) {
            return content(name, "a report of `check`", document::VERSION, value).map(Box::new).map(Self::Check);
        }
        #[cfg(target_arch = "x86_64")]
        if has(&["version", "rows", "unwinder", "own"]) {
            return content(name, "a report of `mutants`", document::VERSION, value).map(Box::new).map(Self::Mutants);
        }
        Err(match text("kind").or(text("format")) {
            Some(kind) => foreign(&format!("it says that it is {kind:?}")),
            None => foreign(&"it has the fields of none of them"),
        })
    }
}

/// What is known of the failure of a case, unless something was left out of its walker.
fn known_case(case: &SteppedCase, version: &str, known: &KnownFailures) -> Option<KnownFailure> {
    known.find_stepped(&case.fingerprint, version, case.workload.family).filter(|_| case.weakenings.is_empty()).cloned()
}

/// The name of a file and its content.
fn read(path: &Path) -> Result<(String, Vec<u8>), SavedError> {
    let name = clean(&path.display().to_string());
    let mut bytes = Vec::new();
    // One byte more tells that there is too much.
    let read = File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes));
    read.map_err(|why| SavedError::Unreadable { name: name.clone(), why: why.to_string() })?;
    if bytes.len() as u64 > LONGEST {
        return Err(SavedError::Foreign { name, why: format!("it is longer than {LONGEST} bytes"), wanted: KINDS });
    }
    Ok((name, bytes))
}

/// A document of the version that is expected.
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
    fn a_document_is_told_as_the_run_was() {
        let document = Document::from(&summary(&run(vec![Event::Violation(Box::new(finding()))]), false));
        let saved = parse(&crate::report::json::render(&document).unwrap()).unwrap();
        assert_eq!(saved.human(Look::plain()), human::render(&document, Look::plain()));
        assert_eq!(saved.json().unwrap(), serde_json::to_value(&document).unwrap());
        assert_eq!((saved.verdict(), overall(&[saved])), (Verdict::Fail, Verdict::Fail));
        assert_eq!(overall(&[]), Verdict::Inconclusive);
    }

    #[test]
    fn a_saved_case_is_told_as_far_as_its_file_goes() {
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
    fn searches_and_comparisons_are_read_as_they_were_written_and_told_in_every_form() {
        let searched = searches::Document::new(vec![search_of(false), search_of(true)]);
        let saved = parse(&serde_json::to_string(&searched).unwrap()).unwrap();
        assert_eq!(saved.json().unwrap(), serde_json::to_value(&searched).unwrap());
        assert_eq!((saved.verdict(), saved.in_short().as_str()), (Verdict::Fail, "1 failure, 0 known"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("searches.json");
        std::fs::write(&path, serde_json::to_string(&searched).unwrap()).unwrap();
        let compared = compare::Document::from(compare::compare(&path, &path).unwrap());
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
    fn several_reports_in_one_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let check = Document::from(&summary(&run(vec![]), false));
        let searched = searches::Document::new(vec![search_of(false)]);
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
        // What is damaged within is told by both names.
        std::fs::write(&path, value.to_string().replace("\"searches\"", "\"search\"")).unwrap();
        let error = Saved::load_all(&path, &known).unwrap_err().to_string();
        assert!(error.contains("all.json: 1.json") && error.contains("the fields of none"), "{error}");
        std::fs::write(&path, r#"{"kind":"framediff-reports","version":7,"reports":[]}"#).unwrap();
        assert!(Saved::load_all(&path, &known).unwrap_err().to_string().contains("of version 7"));
    }

    #[test]
    fn what_is_foreign_or_of_another_version_is_refused_by_name() {
        let check = crate::report::json::render(&Document::from(&summary(&run(vec![]), false))).unwrap();
        for (text, words) in [
            (String::new(), "it is no JSON"),
            ("[]".into(), "it has the fields of none"),
            (r#"{"kind":"\u001b[2Jother","version":1}"#.into(), r#"it says that it is "\u{1b}[2Jother""#),
            (check.replace("\"version\": 1,", "\"version\": 0,"), "of version 0, expected is version 1"),
            (check.replace("\"seed\"", "\"sead\""), "it looks like a report of `check`, but missing field `seed`"),
            (r#"{"format":"framediff-events","version":9}"#.to_owned() + "\n", "of version 9"),
            (r#"{"version":0,"searches":[]}"#.into(), "a report of `explore` of version 0"),
            (r#"{"version":1,"searches":[{}]}"#.into(), "a report of `explore`, but missing field"),
            (r#"{"kind":"framediff-comparison","version":2}"#.into(), "is a comparison of version 2"),
            (r#"{"version":1,"builds":[]}"#.into(), "the list of `builds`, in which nothing was tested"),
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
