//! Makes walkers by their kind.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cached::CachedWalker;
use crate::reference::ReferenceWalker;
use crate::sample::WalkerKind;
use crate::uncached::UncachedWalker;
use crate::walker::{CachingWalker, Site, Unsupported, Walker};
use crate::weakening::Weakening;

/// What a walker of this project is made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalkerSpec {
    /// The kind of walker.
    pub kind: WalkerKind,
    /// The checks that it skips.
    pub weakenings: BTreeSet<Weakening>,
}

/// A walker with all its checks.
impl From<WalkerKind> for WalkerSpec {
    fn from(kind: WalkerKind) -> Self {
        Self { kind, weakenings: BTreeSet::new() }
    }
}

impl WalkerSpec {
    /// Makes the walker for the build at `site`.
    ///
    /// # Errors
    /// The walker is CPython's own, or it does not support the build.
    pub fn build(&self, site: Site) -> Result<Box<dyn Walker>, Unsupported> {
        Ok(match self.kind {
            WalkerKind::OwnUncached => Box::new(UncachedWalker::new(site)?),
            WalkerKind::OwnCached | WalkerKind::OwnReference => self.build_caching(site)?,
            WalkerKind::CpythonUncached | WalkerKind::CpythonCached => return Err(Unsupported::Kind(self.kind)),
        })
    }

    /// Makes the walker for the build at `site`, if it has a cache.
    ///
    /// # Errors
    /// As [`WalkerSpec::build`]; also fails if the walker has no cache.
    pub fn build_caching(&self, site: Site) -> Result<Box<dyn CachingWalker>, Unsupported> {
        Ok(match self.kind {
            WalkerKind::OwnCached => Box::new(CachedWalker::new(site, self.weakenings.clone())?),
            WalkerKind::OwnReference => Box::new(ReferenceWalker::new(site)?.weakened(self.weakenings.clone())),
            WalkerKind::OwnUncached | WalkerKind::CpythonUncached | WalkerKind::CpythonCached => {
                return Err(Unsupported::Kind(self.kind));
            }
        })
    }
}

impl fmt::Display for WalkerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        self.weakenings.iter().try_for_each(|weakening| write!(f, " with {weakening}"))
    }
}
