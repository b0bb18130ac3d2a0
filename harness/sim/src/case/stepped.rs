//! A case of the stepped lane: a failure that a schedule reproduces, with everything that the schedule depends on.
//!
//! ```json
//! {
//!   "format": "framediff-case",
//!   "version": 2,
//!   "kind": "stepped",
//!   "note": "the anchor is written for another frame",
//!   "case": {
//!     "build": {"version": "3.15.2", "debug": false, "jit": false},
//!     "workload": {"family": "alternating", "mode": "rounds", "seed": 7, "parameters": {...}, "source": "0123456789abcdef"},
//!     "walker": "cpython-cached",
//!     "weakenings": [],
//!     "samples": 2,
//!     "tearing": false,
//!     "schedule": "0.2:12",
//!     "fingerprint": "stepped/cpython-cached/spliced/full-hit/function/read-chunk..write-anchor"
//!   }
//! }
//! ```
//! From version 3 on, a case can have `"cast": "a+b"` in the text form of [`model::schedule::cast`], which says who
//! takes each sample, and `"loads": true`. A case with a single actor whose steps are only stores has neither, and has
//! version 2.
//!
//! [`line`](super::line) has the one-line form for issues and command lines.

use std::collections::BTreeSet;
use std::fmt;

use framewalk::printable::excerpt;
use framewalk::sample::WalkerKind;
use framewalk::weakening::Weakening;
use model::run::configuration::Configuration;
use model::schedule::cast::ProfilerScript;
use model::schedule::fingerprint::SteppedFingerprint;
use model::schedule::{Digest, Schedule};
use model::workload::{Family, Mode, Parameters, Workload, generate};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::format::VERSION;

/// A CPython build and run mode. Steps are stores of its machine code; another build may have other stores.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildIdentity {
    /// Its exact version as the build prints it: "3.15.2", "3.15.0b4".
    pub version: String,
    /// Whether it is a debug build.
    pub debug: bool,
    /// Whether the JIT is on.
    pub jit: bool,
}

impl fmt::Display for BuildIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.debug { "debug" } else { "release" };
        write!(f, "{} {kind}{}", self.version, if self.jit { " JIT" } else { "" })
    }
}

/// Identity of a generated program.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadIdentity {
    /// The family of the program.
    pub family: Family,
    /// [`Mode::Rounds`] moves the target store by store, [`Mode::GatedRounds`] from gate to gate. Other modes have no
    /// rounds, so a schedule has no starting point.
    pub mode: Mode,
    /// The seed of the generator.
    pub seed: u64,
    /// The parameters of the generator.
    pub parameters: Parameters,
    /// Digest of the source. It reveals that the generator now produces another program from the same seed.
    pub source: SourceDigest,
}

/// Digest of a program's source: 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SourceDigest(pub u64);

impl SourceDigest {
    /// Computes the digest of a source.
    #[must_use]
    pub fn of(source: &str) -> Self {
        Self(Digest::default().text(source).value())
    }
}

impl fmt::Display for SourceDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::str::FromStr for SourceDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let well_formed = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let parsed = well_formed.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        parsed.map(Self).ok_or_else(|| format!("{:?} is not 16 hexadecimal digits", excerpt(text)))
    }
}

impl TryFrom<String> for SourceDigest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<SourceDigest> for String {
    fn from(digest: SourceDigest) -> Self {
        digest.to_string()
    }
}

impl WorkloadIdentity {
    /// Identity of a generated program.
    #[must_use]
    pub fn of(workload: &Workload) -> Self {
        Self {
            family: workload.family,
            mode: workload.mode,
            seed: workload.seed,
            parameters: workload.parameters.clone(),
            source: SourceDigest::of(&workload.source),
        }
    }

    /// Generates the program again.
    ///
    /// # Errors
    /// [`BadStepped::OtherProgram`] if the digest differs.
    pub fn generate(&self) -> Result<Workload, BadStepped> {
        let workload = generate(self.family, self.mode, &self.parameters, self.seed);
        let source = SourceDigest::of(&workload.source);
        if source == self.source {
            Ok(workload)
        } else {
            Err(BadStepped::OtherProgram { family: self.family, seed: self.seed, was: self.source, is: source })
        }
    }
}

/// A failure that a schedule reproduces.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SteppedCase {
    /// The build on which it was seen.
    pub build: BuildIdentity,
    /// The program that ran.
    pub workload: WorkloadIdentity,
    /// The walker that failed.
    pub walker: WalkerKind,
    /// The checks that the walker skipped.
    pub weakenings: BTreeSet<Weakening>,
    /// The options of CPython's unwinder. Older cases do not say.
    #[serde(default, skip_serializing_if = "Configuration::is_default")]
    pub configuration: Configuration,
    /// Which actor takes each sample.
    #[serde(default, skip_serializing_if = "ProfilerScript::is_alone")]
    pub cast: ProfilerScript,
    /// Number of samples. The last one failed.
    pub samples: u32,
    /// Whether reads are torn: the target can move between the words of a read.
    pub tearing: bool,
    /// Whether loads of the anchor are steps, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub loads: bool,
    /// Where the target moved.
    pub schedule: Schedule,
    /// How the last sample is wrong.
    pub fingerprint: SteppedFingerprint,
}

/// Why a stepped case cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadStepped {
    /// A field has no meaning, or the case is incomplete.
    #[error("{0}")]
    Field(String),
    /// Two fields contradict each other, or a value is out of bounds.
    #[error("{0}")]
    Inconsistent(String),
    /// A one-line case with an unknown version.
    #[error("it has version {0}, but this framediff reads 2 to {known}: use the framediff that made it, or a newer one", known = VERSION)]
    UnknownVersion(String),
    /// The generator now produces another program.
    #[error(
        "the workload {family} of seed {seed} is another program by now (its text has digest {is}, not {was}): the schedule \
         no longer fits; use the framediff that made the case"
    )]
    OtherProgram {
        /// Family of the workload.
        family: Family,
        /// Seed of the workload.
        seed: u64,
        /// The digest in the case.
        was: SourceDigest,
        /// The digest of the program that this framediff makes.
        is: SourceDigest,
    },
}

/// Cases with more samples or steps are rejected. A schedule is run one store at a time, so they would not finish in
/// useful time.
const MOST_SAMPLES: u32 = 100_000;
const MOST_STEPS: u64 = 100_000_000;

impl SteppedCase {
    /// The oldest case version that supports all of its fields.
    pub(super) fn version(&self) -> u64 {
        if self.cast.is_alone() && !self.loads { 2 } else { 3 }
    }

    /// Checks that the fields are consistent.
    ///
    /// # Errors
    /// [`BadStepped::Inconsistent`] with the first inconsistency.
    pub fn check(&self) -> Result<(), BadStepped> {
        let wrong = |why: String| Err(BadStepped::Inconsistent(why));
        let Self { build, workload, walker, schedule, .. } = self;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".+-".contains(&byte);
        if build.version.is_empty() || build.version.len() > 40 || !build.version.bytes().all(plain) {
            return wrong(format!("{:?} is not a version of CPython", excerpt(&build.version)));
        }
        let family = workload.family;
        if workload.parameters.clone().within_bounds(family) != workload.parameters {
            return wrong(format!("no workload of the family {family} has these parameters"));
        }
        if !matches!(workload.mode, Mode::Rounds | Mode::GatedRounds) {
            return wrong(format!(
                "its workload is {}, and has no rounds at which a schedule starts",
                workload.mode.name()
            ));
        }
        if self.loads && workload.mode != Mode::Rounds {
            return wrong("loads are steps, but its workload moves from gate to gate".to_owned());
        }
        if self.fingerprint.walker != *walker {
            return wrong(format!("the walker is {walker}, but the fingerprint is of {}", self.fingerprint.walker));
        }
        if self.fingerprint.cast != self.cast {
            return wrong(format!("the cast is {}, but the fingerprint is of {}", self.cast, self.fingerprint.cast));
        }
        if let Some(weakening) = self.weakenings.iter().find(|weakening| !weakening.applies_to(*walker)) {
            return wrong(format!("`{weakening}` does not apply to {walker}"));
        }
        if !(1..=MOST_SAMPLES).contains(&self.samples) {
            return wrong(format!("it has {} samples; 1 to {MOST_SAMPLES} are allowed", self.samples));
        }
        if schedule.total_steps() > MOST_STEPS {
            return wrong(format!("it has {} steps; at most {MOST_STEPS} are allowed", schedule.total_steps()));
        }
        if let Some(one) = schedule.moves.iter().find(|one| one.at.sample >= self.samples) {
            return wrong(format!("the move {one} is in a sample that is not taken; the case has {}", self.samples));
        }
        if let Some(one) = schedule.moves.iter().find(|one| one.at.word > 0 && !self.tearing) {
            return wrong(format!("the move {one} is inside a read, but reads are not torn"));
        }
        Ok(())
    }
}
