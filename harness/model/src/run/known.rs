//! Known failures of released CPython versions. They are reported, but do not fail a run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use framewalk::layout::CacheFields;
use framewalk::sample::WalkerKind;
use semver::{Op, VersionReq};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::files;
use crate::invariants::{SampleFault, Violation};
use crate::lane::Lane;
use crate::oracle::proportion::Proportion;
use crate::run::bounds::{BoundJudgement, LiveBounds};
use crate::run::finding::{Finding, Fingerprint};
use crate::run::version::{BadVersion, PythonVersion};
use crate::schedule::cast::ProfilerScript;
use crate::schedule::fingerprint::{LeafKind, SteppedFingerprint};
use crate::workload::Family;

/// The list in the repository.
const KEPT: &str = include_str!("../../corpus/known-failures.toml");

/// Lists above this size, in bytes, are rejected. The repository's is a tenth of it.
const SIZE_LIMIT: u64 = 1 << 20;

/// The probability of reporting an excess where the true share is within its bound.
const DOUBT: f64 = 0.001;

/// One known failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct KnownFailure {
    /// A short, unique name.
    pub id: String,
    /// The fingerprint it must match.
    pub fingerprint: Fingerprint,
    /// The versions on which it was seen, in any order. There is at least one.
    pub seen_in: Vec<PythonVersion>,
    /// The first version without it. `None` until somebody has confirmed that it is gone.
    pub gone_since: Option<PythonVersion>,
    /// The link to its discussion.
    pub link: String,
    /// The symptom and the cause, in a sentence or two.
    pub note: String,
    /// Whether it takes luck to see it in any build. If so, not seeing it means nothing.
    pub by_chance: bool,
    /// For failures of schedules: the families of the programs on which the released builds showed it. In any other
    /// family the failure is new.
    pub families: BTreeSet<Family>,
    /// For failures of schedules: how many of 1000 schedules of a search may show it. If more do, the failure is new.
    pub most: Option<u32>,
}

/// How sure it is that a build has a known failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confirmation {
    /// It was seen on this version, or on an earlier and a later one.
    Seen,
    /// It was seen on other versions, and this one has the same protocol. Nobody has confirmed that it is gone.
    NotConfirmed,
}

impl Confirmation {
    /// Whether a build of `version` has what was seen in `seen_in` and is gone since `gone_since`. `None`: as far as is
    /// known, it has not.
    #[must_use]
    pub(crate) fn on(
        seen_in: &[PythonVersion],
        gone_since: Option<&PythonVersion>,
        version: &str,
        same_protocol: bool,
    ) -> Option<Self> {
        let version = PythonVersion::try_from(version.to_owned()).ok()?;
        if gone_since.is_some_and(|gone| gone.order() <= version.order()) {
            return None;
        }
        let seen = || seen_in.iter().map(PythonVersion::order);
        let is_between = seen().any(|seen| seen <= version.order()) && seen().any(|seen| version.order() <= seen);
        if is_between && version.is_release() {
            return Some(Self::Seen);
        }
        same_protocol.then_some(Self::NotConfirmed)
    }
}

/// An entry that describes a failure of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownMatch<'a> {
    /// The entry.
    pub entry: &'a KnownFailure,
    /// Whether the entry is confirmed for the build's version.
    pub confirmation: Confirmation,
}

/// The protocol of the builds on which all entries were seen, as a [`Row`](crate::run::cell::Row) says it.
#[must_use]
pub fn has_known_protocol(frame_cache: &str) -> bool {
    frame_cache == CacheFields::AnchorAndSequence.to_string()
}

impl KnownFailure {
    /// Whether a build of this version has the failure, as far as is known. `None`: the entry does not describe it.
    /// `same_protocol` says whether the build has the protocol of the builds on which the failure was seen.
    #[must_use]
    pub fn applies_to(&self, version: &str, same_protocol: bool) -> Option<Confirmation> {
        Confirmation::on(&self.seen_in, self.gone_since.as_ref(), version, same_protocol)
    }

    /// The versions in words, for reports.
    #[must_use]
    pub fn versions(&self) -> String {
        let seen: Vec<String> = self.seen_in.iter().map(ToString::to_string).collect();
        let gone = self.gone_since.as_ref().map(|gone| format!(", gone since {gone}")).unwrap_or_default();
        format!("seen in {}{gone}", seen.join(", "))
    }

    /// Whether it is a failure of schedules, which needs bounds.
    fn is_of_schedules(&self) -> bool {
        let has = |fault: SampleFault| self.fingerprint.as_str().split('/').any(|part| part == fault.name());
        self.fingerprint.lane() == Some(Lane::Stepped) && SampleFault::STEPPED.into_iter().any(has)
    }

    /// By how much this many failed schedules exceed what the entry excuses, if they do.
    #[must_use]
    pub fn exceeded_by(&self, failed: u64, schedules: u64) -> Option<Excess> {
        Excess::of(Proportion::new(failed, schedules), self.most.unwrap_or(0))
    }
}

/// An entry as it is written in files and documents.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: String,
    fingerprint: Fingerprint,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    seen_in: Vec<PythonVersion>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gone_since: Option<PythonVersion>,
    /// The same as a range of releases. Documents keep it for those who read them; the entries of older files have
    /// nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    versions: Option<VersionReq>,
    link: String,
    note: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    by_chance: bool,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    families: BTreeSet<Family>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    most: Option<u32>,
}

/// Why an entry cannot be used.
#[derive(Debug, Error)]
enum BadEntry {
    #[error("the known failure {0:?} does not say on which versions it was seen: give it `seen_in = [\"3.15.2\"]`")]
    NeverSeen(String),
    #[error(transparent)]
    Version(#[from] BadVersion),
}

impl TryFrom<Written> for KnownFailure {
    type Error = BadEntry;

    fn try_from(written: Written) -> Result<Self, BadEntry> {
        let Written { id, fingerprint, mut seen_in, gone_since, versions, link, note, by_chance, families, most } =
            written;
        if seen_in.is_empty() {
            let ends = versions.iter().flat_map(|range| &range.comparators);
            let ends = ends.filter(|end| matches!(end.op, Op::Exact | Op::GreaterEq | Op::LessEq));
            let version = |end: &semver::Comparator| {
                let [minor, patch] = [end.minor, end.patch].map(Option::unwrap_or_default);
                PythonVersion::try_from(format!("{}.{minor}.{patch}", end.major))
            };
            seen_in = ends.map(version).collect::<Result<_, _>>()?;
        }
        if seen_in.is_empty() {
            return Err(BadEntry::NeverSeen(id));
        }
        Ok(Self { id, fingerprint, seen_in, gone_since, link, note, by_chance, families, most })
    }
}

impl From<KnownFailure> for Written {
    fn from(known: KnownFailure) -> Self {
        let KnownFailure { id, fingerprint, seen_in, gone_since, link, note, by_chance, families, most } = known;
        let order = || seen_in.iter().map(PythonVersion::order);
        let range = order().min().zip(order().max()).map(|(first, last)| format!(">={first}, <={last}"));
        let versions = range.and_then(|range| range.parse().ok());
        Self { id, fingerprint, seen_in, gone_since, versions, link, note, by_chance, families, most }
    }
}

/// A share that is larger than allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Excess {
    /// The lower confidence bound of the share. It decides, because a share of few samples proves little.
    pub at_least: f64,
    /// The largest share allowed.
    pub most: f64,
}

impl Excess {
    /// Returns `None` if the share is within `most` of 1000.
    fn of(share: Proportion, most: u32) -> Option<Self> {
        let (at_least, most) = (share.at_least(DOUBT), f64::from(most) / 1000.0);
        (at_least > most).then_some(Self { at_least, most })
    }
}

/// All known failures, with the bounds of what they excuse.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownFailures {
    #[serde(default)]
    failure: Vec<KnownFailure>,
    #[serde(default)]
    live: LiveBounds,
    /// How many of 1000 samples CPython's unwinder may reject in a search of schedules in which the target moves during
    /// samples, by the kind of leaf at the start of the sample.
    #[serde(default)]
    rejected: BTreeMap<LeafKind, u32>,
}

/// Why a list of known failures cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KnownError {
    /// The file cannot be read.
    #[error("cannot read the known failures in {}: {why}", path.display())]
    Unreadable {
        /// The file that cannot be read.
        path: PathBuf,
        /// The system's error message.
        why: String,
    },
    /// The file can be read, but its content is invalid.
    #[error("{}: {error}", path.display())]
    InFile {
        /// The file with the error.
        path: PathBuf,
        /// The error in its content.
        error: Box<KnownError>,
    },
    /// The text is not a list of known failures.
    #[error("this is no list of known failures: {0}")]
    Malformed(String),
    /// Two entries have the same id.
    #[error("two known failures are called {0:?}; give each its own id")]
    SameId(String),
    /// An entry for schedules has no bounds, so it would excuse everything that it matches.
    #[error(
        "the known failure {0:?} is one of schedules and has no bounds: give it `families = [...]`, those on which it was seen, \
         and `most = N`, how many of 1000 schedules of a search may fail so"
    )]
    Unbounded(String),
}

impl KnownFailures {
    /// Parses a list.
    ///
    /// # Errors
    /// The first problem found. An entry that can never match is an error, too.
    pub fn parse(text: &str) -> Result<Self, KnownError> {
        let list: Self = toml::from_str(text).map_err(|error| KnownError::Malformed(error.to_string()))?;
        let mut ids: Vec<&str> = list.failure.iter().map(|failure| failure.id.as_str()).collect();
        ids.sort_unstable();
        if let Some(id) = ids.windows(2).find(|pair| pair.first() == pair.last()).and_then(<[&str]>::first) {
            return Err(KnownError::SameId((*id).to_owned()));
        }
        let bounded = |known: &KnownFailure| !known.families.is_empty() && known.most.is_some();
        match list.failure.iter().find(|known| known.is_of_schedules() && !bounded(known)) {
            Some(known) => Err(KnownError::Unbounded(known.id.clone())),
            None => Ok(list),
        }
    }

    /// The repository's list, as it was when this program was compiled.
    ///
    /// # Errors
    /// As for [`KnownFailures::parse`]. A test checks that the list is valid.
    pub fn kept() -> Result<Self, KnownError> {
        Self::parse(KEPT)
    }

    /// Reads a list from a file. If it has no bounds, those of the repository's list apply.
    ///
    /// # Errors
    /// As for [`KnownFailures::parse`], with the name of the file; or the file cannot be read.
    pub fn load(path: &Path) -> Result<Self, KnownError> {
        let path_of = || path.to_path_buf();
        let text = files::read_text(path, SIZE_LIMIT)
            .map_err(|error| KnownError::Unreadable { path: path_of(), why: error.to_string() })?;
        let mut list =
            Self::parse(&text).map_err(|error| KnownError::InFile { path: path_of(), error: Box::new(error) })?;
        if list.live.is_empty() {
            list.live = Self::kept()?.live;
        }
        if list.rejected.is_empty() {
            list.rejected = Self::kept()?.rejected;
        }
        Ok(list)
    }

    /// What the released builds were seen to do in the live lane.
    #[must_use]
    pub fn live(&self) -> &LiveBounds {
        &self.live
    }

    /// Removes the entries for `walker` in `lane`.
    pub fn forget_walker(&mut self, walker: WalkerKind, lane: Lane) {
        self.failure.retain(|known| {
            known.fingerprint.walker() != Some(walker.name()) || known.fingerprint.lane() != Some(lane)
        });
    }

    /// By how much the rejections among samples with such a leaf exceed what is allowed while the target moves, if they
    /// do.
    #[must_use]
    pub fn rejected_beyond(&self, leaf: LeafKind, rejected: u64, samples: u64) -> Option<Excess> {
        Excess::of(Proportion::new(rejected, samples), *self.rejected.get(&leaf)?)
    }

    /// The entries, in the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = &KnownFailure> {
        self.failure.iter()
    }

    /// The entry that describes `finding`, if any.
    #[must_use]
    pub fn find(&self, finding: &Finding) -> Option<KnownMatch<'_>> {
        if let Violation::Existence { fingerprint, kept, seen, .. } = &finding.violation {
            // An entry excuses only what released builds were seen to do.
            let family = Family::ALL.into_iter().find(|family| family.name() == finding.family)?;
            return if *seen && !*kept { self.find_stepped(fingerprint, &finding.version, family) } else { None };
        }
        if !self.is_bounded(finding) {
            return None;
        }
        let fingerprint = finding.clause();
        let same_protocol = has_known_protocol(&finding.frame_cache);
        self.first(&finding.version, same_protocol, |known| known.fingerprint == fingerprint)
    }

    /// The first entry that `describes` a failure and applies to the version.
    fn first(
        &self,
        version: &str,
        same_protocol: bool,
        describes: impl Fn(&KnownFailure) -> bool,
    ) -> Option<KnownMatch<'_>> {
        let mut described = self.iter().filter(|known| describes(known));
        described.find_map(|entry| Some(KnownMatch { entry, confirmation: entry.applies_to(version, same_protocol)? }))
    }

    /// Whether an entry may excuse the finding. A rate is excused only up to what the released builds showed with that
    /// family.
    fn is_bounded(&self, finding: &Finding) -> bool {
        match &finding.violation {
            Violation::CacheWorse { cause, cached_at_least, .. } => {
                let Finding { family, walker, version, .. } = finding;
                // framediff's own walkers are not under test.
                !walker.is_cpythons()
                    || !self.live.is_empty()
                        && *cached_at_least
                            <= self.live.most(BoundJudgement { family, walker: *walker, version }, cause)
            }
            // What exceeds the bounds was never seen.
            Violation::MoreThanReleased { .. } | Violation::LessThanReleased { .. } => false,
            _ => true,
        }
    }

    /// The entry that excuses a failure of the stepped lane in this version of CPython, on a program of this family.
    #[must_use]
    pub fn find_stepped(
        &self,
        fingerprint: &SteppedFingerprint,
        version: &str,
        family: Family,
    ) -> Option<KnownMatch<'_>> {
        self.describing(fingerprint, version).filter(|known| known.entry.families.contains(&family))
    }

    /// The entry that describes the failure, in whatever program. An entry whose fingerprint ends before the shape
    /// covers every shape with a move inside a sample. A failure in which the target does not move during samples needs
    /// an entry with its shape. If one unwinder fails because the target moves during its samples, the same entry also
    /// covers that failure when other actors are involved.
    #[must_use]
    pub fn describing(&self, fingerprint: &SteppedFingerprint, version: &str) -> Option<KnownMatch<'_>> {
        // The stepped lane runs only where there is the protocol.
        let find = |fingerprint: &SteppedFingerprint| {
            self.first(version, true, |known| covers(&known.fingerprint, fingerprint))
        };
        let in_company = !fingerprint.cast.is_alone() && fingerprint.shape.is_inside_samples();
        find(fingerprint).or_else(|| {
            let alone =
                in_company.then(|| SteppedFingerprint { cast: ProfilerScript::default(), ..fingerprint.clone() })?;
            find(&alone)
        })
    }
}

/// Whether an entry's text is this fingerprint, or this fingerprint without its shape if the shape has a move inside a
/// sample.
fn covers(known: &Fingerprint, fingerprint: &SteppedFingerprint) -> bool {
    let text = fingerprint.to_string();
    let rest = text.strip_prefix(known.as_str());
    let any_shape = fingerprint.shape.is_inside_samples().then(|| format!("/{}", fingerprint.shape));
    rest.is_some_and(|rest| rest.is_empty() || any_shape.is_some_and(|shape| rest == shape))
}

#[cfg(test)]
mod tests;
