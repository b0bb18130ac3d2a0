//! The kinds of document, and what each of them says.

use framewalk::printable::clean;
use lab::bench;
use lab::bench::document::BenchDocument;
#[cfg(target_arch = "x86_64")]
use lab::mutants::report::{MutantsReport, Score};
use model::run::change::Fate;
use model::run::document::Document;
use model::run::known::KnownFailure;
use model::run::results::Results;
use model::run::verdict::Verdict;
use serde_json::{Result, Value, to_value};
use sim::case::file::SteppedFile;

use crate::report::compare::document::ComparisonDocument;
use crate::report::explain::ExplanationDocument;
#[cfg(target_arch = "x86_64")]
use crate::report::mutants;
use crate::report::searches::SearchDocument;
use crate::report::text::{Look, plural};
use crate::report::{conclusion, human};

/// The kinds of document.
#[derive(Debug)]
pub enum Content {
    /// A run of `check`.
    Check(Box<Document>),
    /// A run of `mutants`.
    #[cfg(target_arch = "x86_64")]
    Mutants(Box<MutantsReport>),
    /// The results of a run of `bench`.
    Bench(Box<BenchDocument>),
    /// A search of schedules.
    Searches(Box<SearchDocument>),
    /// A run that judged items: `prove`, `conform`, or the events of another verb.
    Results(Box<Results>),
    /// A comparison of two reports.
    Comparison(Box<ComparisonDocument>),
    /// A replayed case of the stepped lane.
    Explanation(ReplayedCase),
    /// A saved case of the stepped lane.
    Case(KnownCase),
}

/// A replayed case of the stepped lane.
#[derive(Debug)]
pub struct ReplayedCase {
    /// What the replay showed.
    pub document: Box<ExplanationDocument>,
    /// The known failure that matches it.
    pub known: Option<KnownFailure>,
}

/// A saved case of the stepped lane.
#[derive(Debug)]
pub struct KnownCase {
    /// The case with its note.
    pub file: Box<SteppedFile>,
    /// The known failure that matches it.
    pub known: Option<KnownFailure>,
}

/// What every kind of document says.
pub trait SavedReport {
    /// The kind of document, as a noun phrase for messages.
    fn what(&self) -> &'static str;

    /// The verdict of the document.
    fn verdict(&self) -> Verdict;

    /// The result in a few words.
    fn in_short(&self) -> String;

    /// Renders the document as text.
    fn human(&self, look: Look) -> String;

    /// The document as JSON.
    ///
    /// # Errors
    /// None are known: the document came from JSON or can be written as JSON.
    fn json(&self) -> Result<Value>;
}

impl Content {
    /// What the document says, whatever its kind.
    #[must_use]
    pub fn report(&self) -> &dyn SavedReport {
        match self {
            Self::Check(document) => &**document,
            #[cfg(target_arch = "x86_64")]
            Self::Mutants(report) => &**report,
            Self::Bench(document) => &**document,
            Self::Searches(document) => &**document,
            Self::Results(results) => &**results,
            Self::Comparison(document) => &**document,
            Self::Explanation(explained) => explained,
            Self::Case(case) => case,
        }
    }
}

impl SavedReport for Document {
    fn what(&self) -> &'static str {
        "a report of `check`"
    }

    fn verdict(&self) -> Verdict {
        self.judgement.verdict
    }

    fn in_short(&self) -> String {
        conclusion::sentence(self, "listed below")
    }

    fn human(&self, look: Look) -> String {
        human::render(self, look)
    }

    fn json(&self) -> Result<Value> {
        to_value(self)
    }
}

#[cfg(target_arch = "x86_64")]
impl SavedReport for MutantsReport {
    fn what(&self) -> &'static str {
        "a report of `mutants`"
    }

    fn verdict(&self) -> Verdict {
        self.verdict()
    }

    fn in_short(&self) -> String {
        let Score { killed, survived, equivalent, .. } = self.score();
        format!("{killed} mutants killed, {survived} survived, {equivalent} equivalent")
    }

    fn human(&self, look: Look) -> String {
        mutants::human(self, look)
    }

    fn json(&self) -> Result<Value> {
        to_value(self)
    }
}

impl SavedReport for BenchDocument {
    fn what(&self) -> &'static str {
        "a benchmark"
    }

    fn verdict(&self) -> Verdict {
        if self.interrupted || !self.is_measured() { Verdict::Inconclusive } else { Verdict::Pass }
    }

    fn in_short(&self) -> String {
        format!("{} measured, {} left out", plural(self.points.len(), "point"), self.left_out.len())
    }

    fn human(&self, _: Look) -> String {
        bench::markdown::render(self, None)
    }

    fn json(&self) -> Result<Value> {
        to_value(self)
    }
}

impl SavedReport for SearchDocument {
    fn what(&self) -> &'static str {
        "a report of `explore`"
    }

    fn verdict(&self) -> Verdict {
        self.verdict()
    }

    fn in_short(&self) -> String {
        let failures: Vec<_> = self.searches.iter().flat_map(|search| &search.failures).collect();
        let known = failures.iter().filter(|failure| failure.known.is_some()).count();
        format!("{}, {known} known", plural(failures.len(), "failure"))
    }

    fn human(&self, look: Look) -> String {
        self.text(look.width)
    }

    fn json(&self) -> Result<Value> {
        to_value(self)
    }
}

impl SavedReport for Results {
    fn what(&self) -> &'static str {
        "a report of judged items"
    }

    fn verdict(&self) -> Verdict {
        self.verdict()
    }

    fn in_short(&self) -> String {
        self.in_short()
    }

    fn human(&self, _: Look) -> String {
        self.text()
    }

    fn json(&self) -> Result<Value> {
        to_value(self)
    }
}

impl SavedReport for ComparisonDocument {
    fn what(&self) -> &'static str {
        "a comparison"
    }

    fn verdict(&self) -> Verdict {
        self.verdict
    }

    fn in_short(&self) -> String {
        let changes = &self.comparison.changes;
        let new = changes.iter().filter(|change| change.fate == Fate::New).count();
        format!("{}, {new} new", plural(changes.len(), "failure"))
    }

    fn human(&self, look: Look) -> String {
        self.text(look.width)
    }

    fn json(&self) -> Result<Value> {
        to_value(self)
    }
}

impl SavedReport for ReplayedCase {
    fn what(&self) -> &'static str {
        "an explanation"
    }

    fn verdict(&self) -> Verdict {
        let explanation = &self.document.explanation;
        if explanation.misfit.is_some() {
            Verdict::Inconclusive
        } else if explanation.failure.is_some() && self.known.is_none() {
            Verdict::Fail
        } else {
            Verdict::Pass
        }
    }

    fn in_short(&self) -> String {
        format!("{}{}", self.document.fingerprint, in_brackets(self.known.as_ref()))
    }

    fn human(&self, look: Look) -> String {
        self.document.text(look)
    }

    fn json(&self) -> Result<Value> {
        to_value(&self.document)
    }
}

impl SavedReport for KnownCase {
    fn what(&self) -> &'static str {
        "a saved case"
    }

    fn verdict(&self) -> Verdict {
        if self.known.is_some() { Verdict::Pass } else { Verdict::Fail }
    }

    fn in_short(&self) -> String {
        format!("{}{}", self.file.case.fingerprint, in_brackets(self.known.as_ref()))
    }

    fn human(&self, _: Look) -> String {
        let SteppedFile { case, note } = &*self.file;
        let note = if note.is_empty() { String::new() } else { format!("{}\n", clean(note)) };
        format!(
            "{} on CPython {}\n{note}\n  schedule   {} in {} samples\n  replay     framediff replay {case}\n",
            case.fingerprint, case.build, case.schedule, case.samples
        )
    }

    fn json(&self) -> Result<Value> {
        let text = self.file.text().map_err(serde::ser::Error::custom)?;
        serde_json::from_str(&text)
    }
}

fn in_brackets(known: Option<&KnownFailure>) -> String {
    known.map(|known| format!(" (known: {})", known.id)).unwrap_or_default()
}
