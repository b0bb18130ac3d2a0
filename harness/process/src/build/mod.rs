//! CPython installations under test: finding, fetching and probing them.
//!
//! A [`Build`] is one installation on disk. A [`BuildVariant`] is a build in one run mode; tables have one line for each.
//! [`select()`] decides which builds a run tests. [`listing`] describes all builds that were found.

mod cache;
mod error;
mod fetch;
mod image;
mod listing;
mod probe;
mod progress;
mod run;
pub(super) mod sanitizer;
mod search;
mod select;
#[cfg(test)]
mod tests;
mod unwinder;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

pub use cache::{CACHE_VARIABLE, CacheFolderError, cache_folder};
pub use error::BuildError;
pub use fetch::{Archive, FetchError, fetch, fetch_from, fetch_tests, fetch_tests_from, fetched};
use framewalk::layout::{CacheFields, Layout, LayoutError, VersionHex};
pub use listing::{Listed, Origin, listing};
use model::jit_mode::JitMode;
pub use probe::probe;
pub use progress::{FetchProgress, Silent, Terminal};
pub use run::ask;
pub use sanitizer::Sanitizer;
pub use search::on_path;
pub use select::{BuildSelection, SelectError, select};
pub use unwinder::without_unwinder;

/// One CPython installation under test, without a run mode.
#[derive(Clone, Debug)]
pub struct Build {
    /// The file to execute: an interpreter, or a script that starts one in the same process.
    pub python: PathBuf,
    /// The path that the interpreter reports as `sys.executable`.
    pub executable: PathBuf,
    /// The ELF file with the `.PyRuntime` section: the executable or libpython.
    pub image: PathBuf,
    /// The exact version, with level and serial.
    pub version: VersionHex,
    /// Whether it is a debug build (`Py_DEBUG`).
    pub debug: bool,
    /// Whether it is a free-threaded build.
    pub free_threaded: bool,
    /// Whether it has a JIT that can be turned on.
    pub jit_available: bool,
    /// The sanitizers it was compiled with.
    pub sanitizers: BTreeSet<Sanitizer>,
    /// The offsets in its image, or the reason why they were rejected.
    pub layout: Result<Layout, LayoutError>,
}

impl Build {
    /// The layout, if walkers can read this build.
    ///
    /// # Errors
    /// [`BuildError::Layout`]: a pre-release, an unknown version or a free-threaded build.
    pub fn usable(&self) -> Result<&Layout, BuildError> {
        let refused = |source| BuildError::Layout { path: self.python.clone(), source };
        let layout = self.layout.as_ref().map_err(|error| refused(error.clone()))?;
        layout.walkable().map_err(refused)?;
        Ok(layout)
    }

    /// The form of its frame cache. If the layout is unknown, the version number alone decides.
    #[must_use]
    pub fn frame_cache(&self) -> CacheFields {
        self.layout.as_ref().map_or_else(|_| CacheFields::of_version(self.version), Layout::frame_cache)
    }

    /// "release", "debug", "free-threaded" or "free-threaded debug", followed by sanitizers if any: "debug ASan+UBSan".
    #[must_use]
    pub fn kind(&self) -> String {
        let base = match (self.free_threaded, self.debug) {
            (false, false) => "release",
            (false, true) => "debug",
            (true, false) => "free-threaded",
            (true, true) => "free-threaded debug",
        };
        if self.sanitizers.is_empty() {
            return base.to_owned();
        }
        let names: Vec<&str> = self.sanitizers.iter().map(|sanitizer| sanitizer.name()).collect();
        format!("{base} {}", names.join("+"))
    }
}

/// A build in one run mode.
#[derive(Clone, Debug)]
pub struct BuildVariant {
    /// The installation, shared by its run modes.
    pub build: Arc<Build>,
    /// Whether its JIT is on.
    pub jit: JitMode,
    /// The name in tables, for example "3.15.2 release JIT". Names are unique within a run.
    pub name: String,
}

impl BuildVariant {
    /// A command that runs the build in this mode.
    #[must_use]
    pub fn command(&self) -> std::process::Command {
        let mut command = std::process::Command::new(&self.build.python);
        match self.jit.variable() {
            (name, Some(value)) => command.env(name, value),
            (name, None) => command.env_remove(name),
        };
        sanitizer::without_leak_search(&mut command);
        command
    }
}

/// One row per build and run mode, in the order of `builds`.
#[must_use]
pub fn rows(builds: &[Arc<Build>]) -> Vec<BuildVariant> {
    let label = |build: &Build| format!("{} {}", build.version, build.kind());
    let mut rows = Vec::new();
    for build in builds {
        let mut name = label(build);
        if builds.iter().filter(|other| label(other) == name).count() > 1 {
            name = format!("{name} ({})", build.python.display());
        }
        let row = |jit, name| BuildVariant { build: Arc::clone(build), jit, name };
        if build.jit_available {
            rows.push(row(JitMode::Off, name.clone()));
            rows.push(row(JitMode::On, format!("{name} JIT")));
        } else {
            rows.push(row(JitMode::Unavailable, name));
        }
    }
    rows
}
