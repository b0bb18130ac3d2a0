//! What a benchmark measured: the document that is written as JSON, drawn, and compared with a later one.

use std::time::Duration;

use model::seconds;
use serde::{Deserialize, Serialize};

use crate::bench::machine::Machine;

/// What the document says it is; the reports of `check` have a version, too.
pub const KIND: &str = "framediff-bench";
/// The version of the document's form; it grows when a field changes its meaning or goes away.
pub const VERSION: u32 = 1;

/// The contender of the cost to the target: nobody samples it.
pub const NOBODY: &str = "nobody";
/// The contender of the cost to the target that reads as much, but of its own memory: what it slows is not due to being
/// read, but to a neighbour that works.
pub const BYSTANDER: &str = "bystander";

/// Everything that one run measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// [`KIND`].
    pub kind: String,
    /// [`VERSION`].
    pub version: u32,
    /// The program's own version.
    pub framediff: String,
    /// Whether framediff itself was built with optimisation.
    pub optimised: bool,
    /// Where it ran.
    pub machine: Machine,
    /// The seed of the order in which contenders took turns, and of the resampling.
    pub seed: u64,
    /// The time the run could take.
    #[serde(rename = "budget_seconds", with = "seconds")]
    pub budget: Duration,
    /// Whether the user stopped the run.
    pub interrupted: bool,
    /// The most memory that the harness ever held, in bytes; absent where the kernel does not say.
    pub peak_bytes: Option<u64>,
    /// The builds, one entry for each run mode.
    pub builds: Vec<BenchedBuild>,
    /// What was measured.
    pub points: Vec<Point>,
    /// What the reader should know of the run.
    pub notes: Vec<String>,
    /// What was wanted and not measured.
    pub left_out: Vec<LeftOut>,
}

/// A build in one run mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BenchedBuild {
    /// What tables call it.
    pub name: String,
    /// Its version.
    pub version: String,
    /// "release", "debug", ...
    pub flavour: String,
    /// Whether its JIT is on in the target.
    pub jit: bool,
}

/// What is varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
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

impl Part {
    /// All of them; where time is short, the first ones come first.
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

/// Where on the curves a point lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// What is varied.
    pub part: Part,
    /// Frames on each thread's stack.
    pub depth: u32,
    /// How many of them, from the leaf on, are returned from and called anew between two samples.
    pub changed: u32,
    /// Threads of each target.
    pub threads: u32,
    /// Targets.
    pub targets: u32,
    /// Samples that are wanted in a second; absent: as many as can be had.
    pub rate: Option<u32>,
}

impl Place {
    /// One target with one thread whose stack is so deep and stays.
    #[must_use]
    pub fn still(part: Part, depth: u32) -> Self {
        Self { part, depth, changed: 0, threads: 1, targets: 1, rate: None }
    }
}

/// One point, with everybody who was measured there, in turns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The build's name.
    pub build: String,
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// Nanoseconds of one bare system call that reads 64 bytes of the target, block by block.
    pub yardstick: Launches,
    /// Who was measured.
    pub series: Vec<Series>,
}

impl Point {
    /// The series of that contender.
    #[must_use]
    pub fn series(&self, contender: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.contender == contender)
    }
}

/// Means of blocks in nanoseconds: for each launch of the target, one number for each round. Block `j` of launch `i` was
/// measured beside block `j` of launch `i` of everybody else at the point.
pub type Launches = Vec<Vec<f64>>;

/// One contender at one point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// A walker's name, [`NOBODY`] or [`BYSTANDER`].
    pub contender: String,
    /// Nanoseconds of one sample; in the part `cost`, of one block of the target's work; in `targets`, the time of the run
    /// divided by all samples taken in it.
    pub blocks: Launches,
    /// How many samples these blocks are made of.
    pub samples: u64,
    /// What the cache answered in them.
    pub lookups: Lookups,
    /// What one sample does.
    pub breakdown: Option<Breakdown>,
    /// Why there are no blocks: the contender cannot do this.
    pub refused: Option<String>,
}

/// What the cache answered, counted over threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookups {
    /// Full hits.
    pub full: u64,
    /// Partial hits.
    pub partial: u64,
    /// Misses.
    pub misses: u64,
    /// Samples of a thread that no walker could give, on a target that runs.
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

/// What one sample consists of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Breakdown {
    /// System calls that access the target.
    pub system_calls: u64,
    /// Those of them that write.
    pub writes: u64,
    /// Ranges that they name.
    pub segments: u64,
    /// Bytes that they read.
    pub bytes: u64,
    /// Nanoseconds of one vectored read of the same ranges, measured beside the walker.
    pub bare: Launches,
    /// Nanoseconds that the walker spends beside its accesses: finding the way, looking up, decoding. None for CPython's.
    #[serde(default)]
    pub decoding: Launches,
    /// Nanoseconds of making a list of frames of its own out of the sample, which a walker whose stacks share their callers
    /// need not do. None for CPython's, which makes one in every sample.
    #[serde(default)]
    pub results: Launches,
}

/// A point that was not measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The build's name.
    pub build: String,
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// Why.
    pub why: String,
}

/// Why a text is no document that can be used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// No JSON, or not of this form.
    #[error("it is no document of `framediff bench --format json`: {0}")]
    Foreign(String),
    /// Of another version.
    #[error(
        "it is of version {found} of the form, this framediff writes and reads version {VERSION}: measure again with \
         `framediff bench --format json`"
    )]
    Version {
        /// What it says.
        found: u64,
    },
    /// A number that no measurement gives.
    #[error("{0}: it was not written by framediff, or was changed since")]
    Damaged(String),
}

impl Document {
    /// Reads a document again.
    ///
    /// # Errors
    /// Something else, or one of another version.
    pub fn from_json(text: &str) -> Result<Self, DocumentError> {
        let foreign = |error: serde_json::Error| DocumentError::Foreign(error.to_string());
        let value: serde_json::Value = serde_json::from_str(text).map_err(foreign)?;
        match value.get("kind") {
            Some(kind) if kind == KIND => {}
            Some(kind) => return Err(DocumentError::Foreign(format!("its \"kind\" is {kind}, not \"{KIND}\""))),
            None => return Err(DocumentError::Foreign(format!("it has no \"kind\": \"{KIND}\""))),
        }
        match value.get("version").and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(VERSION) => {}
            Some(found) => return Err(DocumentError::Version { found }),
            None => return Err(DocumentError::Foreign("its \"version\" is no number".into())),
        }
        let document: Self = serde_json::from_value(value).map_err(foreign)?;
        document.check()?;
        Ok(document)
    }

    /// Blocks stand beside one another, and times are above zero.
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
                    return Err(DocumentError::Damaged(format!("the blocks of {name} do not stand beside the others")));
                }
                if launches.iter().flatten().any(|time| !time.is_finite() || *time <= 0.0) {
                    return Err(DocumentError::Damaged(format!("a time of {name} is not above zero")));
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
    fn a_document_is_read_as_it_was_written() {
        let document = document(1.0, 1);
        let text = serde_json::to_string(&document).unwrap();
        assert!(Document::from_json(&text).unwrap() == document, "{text}");
    }

    fn refused(change: impl Fn(&mut serde_json::Value)) -> String {
        let mut value = serde_json::to_value(document(1.0, 1)).unwrap();
        change(&mut value);
        Document::from_json(&value.to_string()).unwrap_err().to_string()
    }

    #[test]
    fn anything_else_is_refused_and_told_why() {
        assert!(
            Document::from_json("# framediff bench").unwrap_err().to_string().contains("framediff bench --format json")
        );
        // The report of a check has a version, too.
        assert!(Document::from_json(r#"{"version": 1, "table": []}"#).unwrap_err().to_string().contains("no \"kind\""));
        assert!(refused(|value| value["kind"] = "criterion".into()).contains("\"criterion\""));
        assert!(refused(|value| value["version"] = 0.into()).contains("version 0"));
        assert!(refused(|value| value["version"] = "1".into()).contains("no number"));
        assert!(refused(|value| value["points"] = 1.into()).contains("no document"));
        let blocks = |value: &mut serde_json::Value, blocks: serde_json::Value| {
            value["points"][0]["series"][0]["blocks"] = blocks;
        };
        assert!(refused(|value| blocks(value, serde_json::json!([[1.0]]))).contains("beside the others"));
        let zero = serde_json::json!(vec![vec![0.0; 8]; 5]);
        assert!(refused(|value| blocks(value, zero.clone())).contains("own-uncached is not above zero"));
    }
}
