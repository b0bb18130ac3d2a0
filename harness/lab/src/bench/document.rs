//! The results of a benchmark: a document that is written as JSON, drawn, and compared with a later one.

use std::fmt;
use std::time::Duration;

use framewalk::printable::excerpt;
use model::json::Head;
use model::run::item::Item;
use model::run::verdict::Verdict;
use model::seconds;
use serde::{Deserialize, Serialize};

use crate::bench::machine::Machine;

/// The document's kind. It distinguishes the document from reports of `check`, which have a version too.
pub const KIND: &str = "framediff-bench";
/// The version of the format. It increases when a field changes its meaning or is removed.
pub const VERSION: u32 = 1;

/// The contender in the cost part that does not sample the target.
pub const NOBODY: &str = "nobody";
/// The contender in the cost part that reads as much, but from its own memory. Slowdown that it causes comes from a
/// busy neighbour, not from being read.
pub const BYSTANDER: &str = "bystander";

/// All results of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchDocument {
    /// Always [`KIND`] in a document of this framediff.
    pub kind: String,
    /// The format's version: [`VERSION`] in a document of this framediff.
    pub version: u32,
    /// The version of framediff.
    pub framediff: String,
    /// Whether framediff itself was compiled with optimisation.
    pub optimised: bool,
    /// The machine it ran on.
    pub machine: Machine,
    /// The seed for the order of the contenders and for resampling.
    pub seed: u64,
    /// The time budget of the run.
    #[serde(rename = "budget_seconds", with = "seconds")]
    pub budget: Duration,
    /// Whether the user interrupted the run.
    pub interrupted: bool,
    /// The harness' peak memory use in bytes, or `None` if the kernel does not report it.
    pub peak_bytes: Option<u64>,
    /// The builds, one entry for each run mode.
    pub builds: Vec<BenchedBuild>,
    /// The measured points, in the order in which they were planned.
    pub points: Vec<BenchPoint>,
    /// Notes on the run for the reader.
    pub notes: Vec<String>,
    /// Points that were planned but not measured.
    pub left_out: Vec<LeftOut>,
}

/// A build in one run mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BenchedBuild {
    /// Its name in tables.
    pub name: String,
    /// CPython's version, such as "3.15.2".
    pub version: String,
    /// The kind of build: "release", "debug", ...
    pub flavour: String,
    /// Whether its JIT is on in the target.
    pub jit: bool,
}

/// A part of the benchmark, by the parameter that it varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum BenchPart {
    /// The depth of a stack that does not change
    SpeedUp,
    /// How many frames change between two samples
    Change,
    /// Who watches a target that does nothing but call and return
    Cost,
    /// How many threads one target has
    Threads,
    /// How many targets are sampled at once
    Targets,
}

impl BenchPart {
    /// All parts. If time is short, the first ones have priority.
    pub const ALL: [Self; 5] = [Self::SpeedUp, Self::Change, Self::Cost, Self::Threads, Self::Targets];

    /// The name on command lines and in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SpeedUp => "speed-up",
            Self::Change => "change",
            Self::Cost => "cost",
            Self::Threads => "threads",
            Self::Targets => "targets",
        }
    }
}

/// The parameters of a point on the curves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PointParameters {
    /// The parameter that is varied.
    pub part: BenchPart,
    /// Frames on each thread's stack.
    pub depth: u32,
    /// How many frames, counted from the leaf, return and are called again between two samples.
    pub changed: u32,
    /// Number of threads of each target.
    pub threads: u32,
    /// Number of targets that are sampled at once.
    pub targets: u32,
    /// Requested samples per second. `None` means as many as possible.
    pub rate: Option<u32>,
}

impl PointParameters {
    /// One target with one thread whose stack has `depth` frames and does not change.
    #[must_use]
    pub fn still(part: BenchPart, depth: u32) -> Self {
        Self { part, depth, changed: 0, threads: 1, targets: 1, rate: None }
    }
}

impl fmt::Display for PointParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, depth, changed, threads, targets, rate } = self;
        match (part, rate) {
            (BenchPart::SpeedUp, _) => write!(f, "{}: {depth} frames", part.name()),
            (BenchPart::Change, _) => write!(f, "{}: {changed} of {depth} frames", part.name()),
            (BenchPart::Cost, None) => write!(f, "{}: {depth} frames, as many samples as possible", part.name()),
            (BenchPart::Cost, Some(rate)) => write!(f, "{}: {depth} frames, {rate} samples/s", part.name()),
            (BenchPart::Threads, _) => write!(f, "{}: {threads} of {depth} frames", part.name()),
            (BenchPart::Targets, _) => write!(f, "{}: {targets}, {depth} frames", part.name()),
        }
    }
}

/// One point with the results of all contenders, which were measured there in turns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchPoint {
    /// The build, by its [`BenchedBuild::name`].
    pub build: String,
    /// The parameters, as fields of this object in JSON.
    #[serde(flatten)]
    pub place: PointParameters,
    /// Nanoseconds per plain system call that reads 64 bytes from the target, for each block.
    pub yardstick: Launches,
    /// The results of each contender.
    pub series: Vec<Series>,
}

impl BenchPoint {
    /// Whether any contender was measured.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.series.iter().any(|series| !series.blocks.is_empty())
    }

    /// The point as a judged item. Only whether it was measured can be judged.
    #[must_use]
    pub fn item(&self) -> Item {
        let nanoseconds: f64 = self.series.iter().flat_map(|series| series.blocks.iter().flatten()).sum();
        Item {
            name: self.place.to_string(),
            of: self.build.clone(),
            verdict: if self.is_measured() { Verdict::Pass } else { Verdict::Inconclusive },
            seconds: nanoseconds / 1e9,
            short: format!("{} contenders", self.series.len()),
            text: String::new(),
            history: Vec::new(),
        }
    }

    /// The results of the contender with this name.
    #[must_use]
    pub fn series(&self, contender: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.contender == contender)
    }
}

/// Times of blocks in nanoseconds: for each launch of the target, one number per round. Block `j` of launch `i` was
/// measured next to block `j` of launch `i` of all other contenders at the point.
pub type Launches = Vec<Vec<f64>>;

/// The results of one contender at one point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// A walker's name, [`NOBODY`] or [`BYSTANDER`].
    pub contender: String,
    /// Nanoseconds per sample. In the part `cost`, nanoseconds of one block of the target's work. In `targets`, the
    /// time of the run divided by the number of all samples taken in it.
    pub blocks: Launches,
    /// Number of samples in these blocks.
    pub samples: u64,
    /// The results of the cache lookups in these samples.
    pub lookups: Lookups,
    /// The accesses and times that make up one sample.
    pub breakdown: Option<Breakdown>,
    /// If the contender cannot do this, the reason; then there are no blocks.
    pub refused: Option<String>,
}

/// Results of cache lookups, counted per thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookups {
    /// Samples of a thread whose callers all came from the cache.
    pub full: u64,
    /// Samples of a thread with some of the callers from the cache.
    pub partial: u64,
    /// Samples of a thread with nothing from the cache.
    pub misses: u64,
    /// Rejected samples of a thread of a running target.
    pub rejected: u64,
}

impl std::ops::AddAssign for Lookups {
    fn add_assign(&mut self, other: Self) {
        self.full += other.full;
        self.partial += other.partial;
        self.misses += other.misses;
        self.rejected += other.rejected;
    }
}

/// The accesses and times that make up one sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Breakdown {
    /// Number of system calls that access the target.
    pub system_calls: u64,
    /// How many of them write.
    pub writes: u64,
    /// Number of ranges in these calls.
    pub segments: u64,
    /// Number of bytes read.
    pub bytes: u64,
    /// Nanoseconds of one vectored read of the same ranges, measured next to the walker.
    pub bare: Launches,
    /// Nanoseconds the walker spends outside its accesses: following the chain, cache lookups, decoding. Empty for
    /// CPython's walkers.
    #[serde(default)]
    pub decoding: Launches,
    /// Nanoseconds for copying the sample into a separate list of frames. Walkers whose stacks share their callers do
    /// not need that copy. Empty for CPython's walkers, which make it in every sample.
    #[serde(default)]
    pub results: Launches,
}

/// A point that was not measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The build, by its [`BenchedBuild::name`].
    pub build: String,
    /// The parameters, as fields of this object in JSON.
    #[serde(flatten)]
    pub place: PointParameters,
    /// Why it was not measured.
    pub why: String,
}

/// Why a text is not a usable document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is not JSON, or has another format.
    #[error("not a document of `framediff bench --format json`: {0}")]
    Foreign(String),
    /// Its format has another version.
    #[error(
        "its format version is {found}, but this framediff reads version {VERSION}: measure again with `framediff \
         bench --format json`"
    )]
    Version {
        /// The version in the document.
        found: u64,
    },
    /// It contains a number that no measurement produces.
    #[error("{0}: the document was not written by framediff, or was edited since")]
    Damaged(String),
}

impl BenchDocument {
    /// Whether anything was measured.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.points.iter().any(BenchPoint::is_measured)
    }

    /// Parses a document.
    ///
    /// # Errors
    /// The bytes are not a document, or its format has another version.
    pub fn from_json(bytes: &[u8]) -> Result<Self, DocumentError> {
        let foreign = |error: serde_json::Error| DocumentError::Foreign(excerpt(&error.to_string()));
        let head = Head::of(bytes).map_err(foreign)?;
        match head.kind() {
            Some(kind) if kind == KIND => {}
            Some(kind) => {
                return Err(DocumentError::Foreign(format!("its \"kind\" is {:?}, not \"{KIND}\"", excerpt(&kind))));
            }
            None => return Err(DocumentError::Foreign(format!("it has no \"kind\": \"{KIND}\""))),
        }
        match head.version() {
            Some(version) if version == u64::from(VERSION) => {}
            Some(found) => return Err(DocumentError::Version { found }),
            None => return Err(DocumentError::Foreign("its \"version\" is not a number".into())),
        }
        let document: Self = serde_json::from_slice(bytes).map_err(foreign)?;
        document.check()?;
        Ok(document)
    }

    /// Checks that blocks match each other in number, and that times are above zero.
    fn check(&self) -> Result<(), DocumentError> {
        for point in &self.points {
            let shape: Vec<usize> = point.yardstick.iter().map(Vec::len).collect();
            let breakdowns = point.series.iter().filter_map(|series| series.breakdown.as_ref());
            let parts = breakdowns.flat_map(|breakdown| {
                let Breakdown { bare, decoding, results, .. } = breakdown;
                [("bare reads", bare), ("decoding", decoding), ("results", results)]
            });
            let blocks = point.series.iter().map(|series| (series.contender.as_str(), &series.blocks));
            for (name, launches) in blocks.chain(parts).chain([("yardstick", &point.yardstick)]) {
                if !launches.is_empty() && launches.iter().map(Vec::len).ne(shape.iter().copied()) {
                    return Err(DocumentError::Damaged(format!(
                        "the blocks of {name} do not match those of the others"
                    )));
                }
                if launches.iter().flatten().any(|time| !time.is_finite() || *time <= 0.0) {
                    return Err(DocumentError::Damaged(format!("{name} has a time that is not above zero")));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::fixtures::document;

    #[test]
    fn a_document_round_trips() {
        let document = document(1.0, 1);
        let text = serde_json::to_string(&document).unwrap();
        assert!(BenchDocument::from_json(text.as_bytes()).unwrap() == document, "{text}");
    }

    fn refused(change: impl Fn(&mut serde_json::Value)) -> String {
        let mut value = serde_json::to_value(document(1.0, 1)).unwrap();
        change(&mut value);
        BenchDocument::from_json(value.to_string().as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn other_documents_are_refused_with_the_reason() {
        assert!(
            BenchDocument::from_json(b"# framediff bench")
                .unwrap_err()
                .to_string()
                .contains("framediff bench --format json")
        );
        // The report of a check has a version too.
        assert!(
            BenchDocument::from_json(br#"{"version": 1, "table": []}"#)
                .unwrap_err()
                .to_string()
                .contains("no \"kind\"")
        );
        assert!(refused(|value| value["kind"] = "criterion".into()).contains("\"criterion\""));
        assert!(refused(|value| value["version"] = 0.into()).contains("version is 0"));
        assert!(refused(|value| value["version"] = "1".into()).contains("not a number"));
        assert!(refused(|value| value["points"] = 1.into()).contains("not a document"));
        let blocks = |value: &mut serde_json::Value, blocks: serde_json::Value| {
            value["points"][0]["series"][0]["blocks"] = blocks;
        };
        assert!(
            refused(|value| blocks(value, serde_json::json!([[1.0]]))).contains("do not match those of the others")
        );
        let zero = serde_json::json!(vec![vec![0.0; 8]; 5]);
        assert!(refused(|value| blocks(value, zero.clone())).contains("not above zero"));
    }
}
