//! Where a walker finds what it reads.

use crate::layout::{CacheLayout, Layout, VersionHex};
use crate::memory::Address;

/// The layout of a build and the address of the target's `_PyRuntime`.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// Field offsets of the build.
    pub layout: Layout,
    /// Address of `_PyRuntime` in the target's memory.
    pub runtime: Address,
}

impl Site {
    /// Offsets of the frame cache's fields.
    ///
    /// # Errors
    /// [`NoFrameCache`] before 3.15.
    pub fn cache(&self) -> Result<CacheLayout, NoFrameCache> {
        self.layout.thread.cache.ok_or(NoFrameCache(self.layout.version))
    }
}

/// A cached walker was requested for a build without the frame cache's fields. Holds the version.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("CPython {0} has no frame cache: only uncached walkers run on it")]
pub struct NoFrameCache(pub VersionHex);
