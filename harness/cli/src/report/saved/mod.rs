//! Reads saved documents, to report them again or together.
//!
//! Files are not trusted: their size is limited, and an error names the field that is missing.

mod content;
mod parse;

use std::path::Path;

use framewalk::printable::clean;
use model::json::Head;
use model::run::known::KnownFailures;
use model::run::verdict::Verdict;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use thiserror::Error;

pub use self::content::{Content, KnownCase, ReplayedCase, SavedReport};
pub use self::parse::LONGEST;
use self::parse::{UnbuiltDocument, read};

/// The `kind` and version of a document that holds several documents.
const SEVERAL: &str = "framediff-reports";
const SEVERAL_VERSION: u32 = 1;

/// Several documents in one.
#[derive(Serialize, Deserialize)]
struct Several<T> {
    kind: String,
    version: u32,
    reports: Vec<OneOfSeveral<T>>,
}

#[derive(Serialize, Deserialize)]
struct OneOfSeveral<T> {
    file: String,
    report: T,
}

/// A document, with the name of its file.
#[derive(Debug)]
pub struct Saved {
    /// The file's name as it is printed.
    pub name: String,
    /// The parsed document, by its kind.
    pub content: Content,
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
        let head = Head::of(&bytes).unwrap_or_default();
        if head.kind().as_deref() != Some(SEVERAL) {
            let content = Content::parse(&name, &bytes, known)?;
            return Ok(vec![Self { name, content }]);
        }
        let source = UnbuiltDocument { name: &name, bytes: &bytes, head: &head };
        let several: Several<&RawValue> = source.content("several reports in one", SEVERAL_VERSION)?;
        let one = |one: OneOfSeveral<&RawValue>| {
            let within = format!("{name}: {}", clean(&one.file));
            let content = Content::parse(&within, one.report.get().as_bytes(), known)?;
            Ok(Self { name: clean(&one.file), content })
        };
        several.reports.into_iter().map(one).collect()
    }

    /// Combines several documents into one.
    ///
    /// # Errors
    /// As [`SavedReport::json`].
    pub fn json_of_all(all: &[Self]) -> serde_json::Result<Value> {
        let one = |one: &Self| Ok(OneOfSeveral { file: one.name.clone(), report: one.report().json()? });
        let reports = all.iter().map(one).collect::<serde_json::Result<_>>()?;
        serde_json::to_value(Several { kind: SEVERAL.to_owned(), version: SEVERAL_VERSION, reports })
    }

    /// What the document says, whatever its kind.
    #[must_use]
    pub fn report(&self) -> &dyn SavedReport {
        self.content.report()
    }
}

/// The worst verdict of all documents. No documents at all is not a pass.
#[must_use]
pub fn overall(all: &[Saved]) -> Verdict {
    Verdict::worst(all.iter().map(|one| one.report().verdict()))
}

#[cfg(test)]
mod tests {
    use model::run::document::Document;
    use model::run::event::Event;
    use model::run::fixtures::{finding, run, summary};

    use super::*;
    use crate::report::fixtures::search as search_of;
    use crate::report::text::Look;
    use crate::report::{compare, human, searches};

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
        assert_eq!(saved.report().human(Look::plain()), human::render(&document, Look::plain()));
        assert_eq!(saved.report().json().unwrap(), serde_json::to_value(&document).unwrap());
        assert_eq!((saved.report().verdict(), overall(&[saved])), (Verdict::Fail, Verdict::Fail));
        assert_eq!(overall(&[]), Verdict::Inconclusive);
    }

    #[test]
    fn a_saved_case_renders_what_its_file_contains() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/cases/stepped");
        let known = KnownFailures::kept().unwrap();
        let mut told = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let saved = Saved::load(&entry.unwrap().path(), &known).unwrap();
            let Content::Case(KnownCase { file, .. }) = &saved.content else { panic!("{saved:?}") };
            let text = saved.report().human(Look::plain());
            assert!(text.contains(&file.case.to_string()) && text.contains(&file.case.schedule.to_string()), "{text}");
            told += 1;
        }
        assert!(told > 0);
    }

    #[test]
    fn searches_and_comparisons_load_and_render_in_every_format() {
        let searched = searches::SearchDocument::new(vec![search_of(false), search_of(true)]);
        let saved = parse(&serde_json::to_string(&searched).unwrap()).unwrap();
        assert_eq!(saved.report().json().unwrap(), serde_json::to_value(&searched).unwrap());
        assert_eq!(
            (saved.report().verdict(), saved.report().in_short().as_str()),
            (Verdict::Fail, "1 failure, 0 known")
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("searches.json");
        std::fs::write(&path, serde_json::to_string(&searched).unwrap()).unwrap();
        let compared = compare::document::ComparisonDocument::from(compare::compare(&path, &path).unwrap());
        let comparison = parse(&serde_json::to_string(&compared).unwrap()).unwrap();
        assert_eq!(comparison.report().json().unwrap(), serde_json::to_value(&compared).unwrap());
        assert_eq!(comparison.report().verdict(), Verdict::Pass);
        let all = [saved, comparison];
        for text in [
            all.iter().map(|one| one.report().human(Look::plain())).collect(),
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
        let human = |all: &[Saved]| all.iter().map(|one| one.report().human(Look::plain())).collect::<Vec<_>>();
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
