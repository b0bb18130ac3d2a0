//! What a search of schedules tells: the document of `explore`, written and read.

use std::fmt::{self, Write as _};
use std::time::Duration;

use framewalk::printable::clean;
use model::run::verdict::Verdict;
use model::schedule::cast::Cast;
use serde::{Deserialize, Serialize};

use crate::report::text::{paragraph, plural};

/// The version of the document's form; it grows when a field changes its meaning or goes away.
pub const VERSION: u32 = 1;

/// All searches of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// [`VERSION`].
    pub version: u32,
    /// One for each family.
    pub searches: Vec<Search>,
}

impl Document {
    /// The document of these searches.
    #[must_use]
    pub fn new(searches: Vec<Search>) -> Self {
        Self { version: VERSION, searches }
    }

    /// The worst of its searches; a search that was interrupted shows nothing, and none at all neither.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let has = |verdict| self.searches.iter().any(|search| search.verdict == verdict);
        if has(SearchVerdict::Fail) {
            Verdict::Fail
        } else if self.searches.is_empty() || has(SearchVerdict::Inconclusive) || has(SearchVerdict::Interrupted) {
            Verdict::Inconclusive
        } else {
            Verdict::Pass
        }
    }

    /// The searches for people, in lines of `width` columns.
    #[must_use]
    pub fn text(&self, width: u16) -> String {
        self.searches.iter().map(|search| search.text(width)).collect()
    }
}

/// Why a search came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SearchEnd {
    /// Everything was tried.
    Everything,
    /// The first failure was all that was asked for.
    First,
    /// The budget was spent.
    Deadline,
    /// The user stopped it.
    Interrupted,
}

/// What a search says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SearchVerdict {
    /// Nothing unknown failed, and everything was tried that was asked for.
    Pass,
    /// Something failed that is not known to.
    Fail,
    /// Not everything was tried.
    Inconclusive,
    /// The user stopped it.
    Interrupted,
}

impl fmt::Display for SearchVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
            Self::Interrupted => "interrupted",
        })
    }
}

/// One search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Search {
    /// The build and its run mode.
    pub build: String,
    /// Whose samples were judged.
    pub walker: String,
    /// Who takes them.
    pub scenario: String,
    /// Whether the target moved between samples only.
    pub at_rest: bool,
    /// Accesses during which it did not move.
    pub still: Vec<String>,
    /// Checks that were left out of the walker.
    pub weakenings: Vec<String>,
    /// The workload.
    pub family: String,
    /// Its seed.
    pub seed: u64,
    /// Samples of a schedule at most.
    pub samples: u32,
    /// Moves of a schedule at most.
    pub moves: u32,
    /// Steps of a move at most.
    pub steps: u32,
    /// Schedules that ran.
    pub schedules: u64,
    /// Schedules within the bounds that are known.
    pub known_schedules: u64,
    /// Samples that were judged.
    pub told: u64,
    /// The time it took.
    pub seconds: f64,
    /// Why it ended.
    pub ended: SearchEnd,
    /// Schedules that failed.
    pub failed: u64,
    /// Kinds of failure before they were made small.
    pub shapes: usize,
    /// Schedules that did not run as they stand.
    pub never_came: u64,
    /// Samples and rejected ones by kind of leaf.
    pub leaves: Vec<SearchLeaf>,
    /// Why samples were rejected, with how many.
    pub rejected: Vec<(String, u64)>,
    /// Answers of the cache, with how many.
    pub answers: Vec<(String, u64)>,
    /// The kinds of failure.
    pub failures: Vec<SearchFailure>,
    /// Why it is no pass, besides its failures.
    #[serde(default)]
    pub doubts: Vec<String>,
    /// What it says.
    pub verdict: SearchVerdict,
}

/// Samples of one kind of leaf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchLeaf {
    /// The kind.
    pub leaf: String,
    /// All samples.
    pub samples: u64,
    /// Those that were rejected.
    pub rejected: u64,
}

/// One kind of failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchFailure {
    /// What makes two the same.
    pub fingerprint: String,
    /// How many schedules failed so.
    pub schedules: u64,
    /// Samples of the simplest one.
    pub samples: u32,
    /// The simplest one.
    pub schedule: String,
    /// The case that replays it, on a line.
    pub case: String,
    /// The file of the case.
    pub saved: Option<String>,
    /// The entry of the known failures that excuses it.
    pub known: Option<String>,
    /// The entry that describes it, and excuses no more than so many of 1000 schedules: more failed.
    #[serde(default)]
    pub beyond: Option<(String, u32)>,
}

/// A rate.
pub(crate) fn per_second(count: u64, time: Duration) -> u64 {
    let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1000) / milliseconds
}

impl Search {
    /// The search for people, in lines of `width` columns.
    #[must_use]
    pub fn text(&self, width: u16) -> String {
        let mut out = format!("{}, {}", clean(&self.build), clean(&self.walker));
        for weakening in &self.weakenings {
            let _ = write!(out, " without {}", clean(weakening));
        }
        if self.scenario != Cast::default().to_string() {
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
            // One line, however long: it is there to be copied.
            let _ = writeln!(out, "  replay     framediff replay {}", clean(&failure.case));
        }
        if self.shapes > self.failures.len() {
            let _ = writeln!(out, "\n{} came down to these when they were made small", plural(self.shapes, "shape"));
        }
        let _ = writeln!(out, "\nverdict: {}\n", self.verdict);
        out
    }
}
