//! The document of `explore`: the results of searches over schedules, written and read.

use std::fmt::Write as _;
use std::time::Duration;

use framewalk::printable::clean;
use model::run::item::Item;
use model::run::verdict::Verdict;
use model::schedule::cast::ProfilerScript;
use serde::{Deserialize, Serialize};

use crate::report::text::{paragraph, plural};

/// The version of the document format. It grows when a field changes its meaning or is removed.
pub const VERSION: u32 = 1;

/// All searches of one run of `explore`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchDocument {
    /// The version of the format, [`VERSION`].
    pub version: u32,
    /// One for each family.
    pub searches: Vec<Search>,
}

impl SearchDocument {
    /// Makes a document of these searches.
    #[must_use]
    pub fn new(searches: Vec<Search>) -> Self {
        Self { version: VERSION, searches }
    }

    /// The worst verdict of the searches.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        Verdict::worst(self.searches.iter().map(|search| search.verdict))
    }

    /// Renders the searches as text, in lines of `width` columns.
    #[must_use]
    pub fn text(&self, width: u16) -> String {
        self.searches.iter().map(|search| search.text(width)).collect()
    }
}

/// Why a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SearchEnd {
    /// It tried every schedule within the bounds.
    Everything,
    /// It was asked to stop at the first failure.
    First,
    /// It used up its time budget.
    Deadline,
    /// The user interrupted it.
    Interrupted,
}

/// The result of one search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Search {
    /// The build and its run mode.
    pub build: String,
    /// The walker whose samples were judged.
    pub walker: String,
    /// The unwinders that take the samples.
    pub scenario: String,
    /// Whether the target moved only between samples.
    pub at_rest: bool,
    /// Kinds of access during which the target did not move.
    pub still: Vec<String>,
    /// Checks left out of the walker.
    pub weakenings: Vec<String>,
    /// The family of the program.
    pub family: String,
    /// The seed of the program.
    pub seed: u64,
    /// Maximum number of samples in a schedule.
    pub samples: u32,
    /// Maximum number of moves in a schedule.
    pub moves: u32,
    /// Maximum number of steps in a move.
    pub steps: u32,
    /// Number of schedules that ran.
    pub schedules: u64,
    /// Number of schedules known to exist within the bounds.
    pub known_schedules: u64,
    /// Number of samples that were judged.
    pub told: u64,
    /// Duration of the search, in seconds.
    pub seconds: f64,
    /// Why the search ended.
    pub ended: SearchEnd,
    /// Number of schedules that failed.
    pub failed: u64,
    /// Number of distinct kinds of failure before shrinking.
    pub shapes: usize,
    /// Number of schedules that did not run as written, because the same moves led to other accesses.
    pub never_came: u64,
    /// Samples and rejected samples by kind of leaf.
    pub leaves: Vec<SearchLeaf>,
    /// Reasons for rejecting samples, with counts.
    pub rejected: Vec<(String, u64)>,
    /// Answers of the cache (hits and misses), with counts.
    pub answers: Vec<(String, u64)>,
    /// The failures, one for each fingerprint.
    pub failures: Vec<SearchFailure>,
    /// Reasons other than failures why the search does not pass.
    #[serde(default)]
    pub doubts: Vec<String>,
    /// The verdict of the search.
    pub verdict: Verdict,
}

/// The samples with one kind of leaf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchLeaf {
    /// The kind of leaf.
    pub leaf: String,
    /// Number of samples, rejected ones included.
    pub samples: u64,
    /// Number of rejected samples.
    pub rejected: u64,
}

/// One kind of failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchFailure {
    /// Two failures with the same fingerprint are the same bug.
    pub fingerprint: String,
    /// Number of schedules that failed this way.
    pub schedules: u64,
    /// Number of samples in the simplest failing schedule.
    pub samples: u32,
    /// The simplest failing schedule.
    pub schedule: String,
    /// The case that replays it, in its one-line form.
    pub case: String,
    /// The file in which the case was saved.
    pub saved: Option<String>,
    /// The known failure that excuses this one.
    pub known: Option<String>,
    /// The known failure that matches, and how many of 1000 schedules it excuses: more than that failed.
    #[serde(default)]
    pub beyond: Option<(String, u32)>,
}

/// A count per second.
pub(crate) fn per_second(count: u64, time: Duration) -> u64 {
    let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1000) / milliseconds
}

impl Search {
    /// The search as a judged item, its text in lines of `width` columns.
    #[must_use]
    pub fn item(&self, width: u16) -> Item {
        let known = self.failures.iter().filter(|failure| failure.known.is_some()).count();
        Item {
            name: format!("{}, {} {}", self.family, self.walker, self.scenario),
            of: self.build.clone(),
            verdict: self.verdict,
            seconds: self.seconds,
            short: format!(
                "{} of {} schedules, {}, {known} known",
                self.schedules,
                self.known_schedules,
                plural(self.failures.len(), "failure")
            ),
            text: self.text(width),
            history: Vec::new(),
        }
    }

    /// Renders the search as text, in lines of `width` columns.
    #[must_use]
    pub fn text(&self, width: u16) -> String {
        let mut out = format!("{}, {}", clean(&self.build), clean(&self.walker));
        for weakening in &self.weakenings {
            let _ = write!(out, " without {}", clean(weakening));
        }
        if self.scenario != ProfilerScript::default().to_string() {
            let _ = write!(out, " {}", clean(&self.scenario));
        }
        let _ = writeln!(out, ", {} with seed {}", clean(&self.family), self.seed);
        let rate = per_second(self.schedules, Duration::try_from_secs_f64(self.seconds).unwrap_or_default());
        let searched = format!(
            "up to {} of up to {} in {}{}{}: {} of {} schedules in {:.1} s ({rate}/s), {} failed",
            plural(self.moves as usize, "move"),
            plural(self.steps as usize, "step"),
            plural(self.samples as usize, "sample"),
            if self.at_rest { ", between them only" } else { "" },
            self.still.iter().map(|kind| format!(", none at {}", clean(kind))).collect::<String>(),
            self.schedules,
            self.known_schedules,
            self.seconds,
            self.failed,
        );
        paragraph(&mut out, "  searched   ", &searched, width);
        let answers: Vec<String> =
            self.answers.iter().map(|(answer, count)| format!("{} {count}", clean(answer))).collect();
        let _ = writeln!(out, "  answers    {}", answers.join(", "));
        let leaves: Vec<String> = self
            .leaves
            .iter()
            .map(|SearchLeaf { leaf, samples, rejected }| {
                let rate = *rejected as f64 * 100.0 / (*samples).max(1) as f64;
                format!("{rate:.2} % of {samples} with a {} leaf", clean(leaf))
            })
            .collect();
        let mut reasons: Vec<String> =
            self.rejected.iter().map(|(name, count)| format!("{} {count}", clean(name))).collect();
        if reasons.is_empty() {
            reasons.push("none".to_owned());
        }
        paragraph(&mut out, "  rejected   ", &format!("{} ({})", leaves.join(", "), reasons.join(", ")), width);
        if self.never_came > 0 {
            let text = format!(
                "{} did not run as they stand: the same moves gave other accesses; nothing is proved",
                plural(usize::try_from(self.never_came).unwrap_or(usize::MAX), "schedule")
            );
            paragraph(&mut out, "  note       ", &text, width);
        }
        for doubt in &self.doubts {
            paragraph(&mut out, "  no pass    ", &clean(doubt), width);
        }
        for (number, failure) in self.failures.iter().enumerate() {
            let known = match (&failure.known, &failure.beyond) {
                (Some(id), _) => format!(" (known: {})", clean(id)),
                (None, Some((id, most))) => {
                    format!(" (new: {} excuses {most} of 1000 schedules, and more failed)", clean(id))
                }
                (None, None) => String::new(),
            };
            let _ = writeln!(out, "\nfailure {}: {}{known}", number + 1, clean(&failure.fingerprint));
            let _ = writeln!(
                out,
                "  schedule   {} in {}; {} failed so",
                clean(&failure.schedule),
                plural(failure.samples as usize, "sample"),
                plural(usize::try_from(failure.schedules).unwrap_or(usize::MAX), "schedule")
            );
            if let Some(saved) = &failure.saved {
                let _ = writeln!(out, "  saved      {}", clean(saved));
            }
            // Never wrapped, because the line is meant to be copied.
            let _ = writeln!(out, "  replay     framediff replay {}", clean(&failure.case));
        }
        if self.shapes > self.failures.len() {
            let _ = writeln!(out, "\n{} came down to these when they were made small", plural(self.shapes, "shape"));
        }
        let interrupted = if self.ended == SearchEnd::Interrupted { ", interrupted" } else { "" };
        let _ = writeln!(out, "\nverdict: {}{interrupted}\n", self.verdict);
        out
    }
}
