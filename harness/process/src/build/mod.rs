//! CPython installations under test: finding, fetching and probing them.
//!
//! A [`Build`] is one installation on disk. A [`BuildVariant`] is a build in one run mode; tables have one line for each.
//! [`select()`] decides which builds a run tests. [`listing`] describes all builds that were found.

mod cache;
pub mod calibrate;
mod error;
mod fetch;
mod image;
mod listing;
pub mod order;
mod probe;
mod progress;
pub(crate) mod run;
pub(super) mod sanitizer;
mod search;
mod select;
#[cfg(test)]
mod tests;
mod unwinder;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use cache::{CACHE_VARIABLE, CacheFolderError, cache_folder};
pub use error::{BuildError, LayoutRefusal, LocateError};
pub use fetch::{
    Archive, Companion, FetchError, complete_folder, fetch, fetch_companion, fetch_companion_from, fetch_from, fetched,
};
use framewalk::layout::{CacheFields, Layout, VersionHex, WordOrder};
use framewalk::walker::Site;
pub use listing::{Listed, Origin, listing};
use model::jit_mode::JitMode;
pub use order::OrderSource;
pub use probe::{BuildOptions, probe, probe_with};
pub use progress::{FetchProgress, Silent, Terminal};
pub use run::ask;
pub use sanitizer::Sanitizer;
pub use search::{installed, on_path};
pub use select::{BuildSelection, SelectError, select};
pub use unwinder::{WithoutUnwinder, without_unwinder};

use crate::memory::ProcessMemory;
use crate::runtime::{RuntimeLocation, runtime_address};
use crate::target::PythonCommand;

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
    /// Whether it was built from a checkout after that version, so that its version ends with `+`.
    pub is_development: bool,
    /// The header that the user named for the order of the offsets.
    pub layout_header: Option<PathBuf>,
    /// Arguments of the interpreter when it runs a program, before the program's own.
    pub arguments: Vec<String>,
    /// Whether it is a debug build (`Py_DEBUG`).
    pub debug: bool,
    /// Whether it is a free-threaded build.
    pub free_threaded: bool,
    /// Whether it has a JIT that can be turned on.
    pub jit_available: bool,
    /// The sanitizers it was compiled with.
    pub sanitizers: BTreeSet<Sanitizer>,
    /// The offsets in its image, or the reason why they were rejected.
    pub layout: Result<ProvedLayout, LayoutRefusal>,
}

/// The layout of a build, and why it can be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvedLayout {
    /// The offsets.
    pub layout: Layout,
    /// The order in which they are in the table.
    pub order: WordOrder,
    /// Where the order was found.
    pub source: OrderSource,
    /// How many words were proved on a live process. `None` for a final release whose built-in table was compared with
    /// real builds, and for builds that the walkers cannot read.
    pub proved: Option<usize>,
}

impl fmt::Display for ProvedLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "order from {}", self.source)?;
        self.proved.map_or(Ok(()), |words| write!(f, ", {words} words proved"))?;
        let lacks_status = self.layout.thread.cache.is_some() && self.layout.thread.status.is_none();
        f.write_str(if lacks_status { ", without the words of a thread's status, which is not checked" } else { "" })
    }
}

impl Build {
    /// The layout, if walkers can read this build.
    ///
    /// # Errors
    /// [`BuildError::Layout`]: a pre-release, an unknown version or a free-threaded build.
    pub fn usable(&self) -> Result<&Layout, BuildError> {
        let refused = |source| BuildError::Layout { path: self.python.clone(), source: Box::new(source) };
        let proved = self.layout.as_ref().map_err(|error| refused(error.clone()))?;
        proved.layout.walkable().map_err(|error| refused(error.into()))?;
        Ok(&proved.layout)
    }

    /// Where its `_PyRuntime` is in process `pid`, which runs it, and the offsets in that process.
    ///
    /// # Errors
    /// The process has ended or cannot be read, or its table is not the build's.
    pub fn site(&self, pid: i32) -> Result<Site, LocateError> {
        let proved = self.layout.as_ref().map_err(|error| LocateError::Layout(error.clone()))?;
        let runtime = runtime_address(pid)?.address;
        let mut layout = proved.order.read(&mut ProcessMemory::new(pid), runtime).map_err(LayoutRefusal::from)?;
        // A layout that had to be proved is used without them.
        if proved.layout.interpreter.running.is_none() {
            layout = layout.without_running();
        }
        if layout != proved.layout {
            return Err(LocateError::OtherBuild { pid, version: self.full_version() });
        }
        Ok(Site { layout, runtime })
    }

    /// What is known about a process whose interpreter cannot be started alone, for example a program that embeds it.
    ///
    /// # Errors
    /// The table cannot be read, or is not that of a final release whose built-in table was compared with real builds:
    /// it could not be proved.
    pub fn of_process(
        executable: PathBuf,
        memory: &mut ProcessMemory,
        location: &RuntimeLocation,
    ) -> Result<Self, LayoutRefusal> {
        let layout = Layout::read(memory, location.address)?;
        let order = WordOrder::of_version(layout.version).filter(|_| order::is_known_final(layout.version));
        let order = order.ok_or(LayoutRefusal::NotAlone(layout.version))?;
        Ok(Self {
            python: executable.clone(),
            executable,
            image: location.image.clone(),
            version: layout.version,
            is_development: false,
            layout_header: None,
            arguments: Vec::new(),
            debug: false,
            free_threaded: layout.free_threaded,
            jit_available: false,
            sanitizers: BTreeSet::new(),
            layout: Ok(ProvedLayout { layout, order, source: OrderSource::Table, proved: None }),
        })
    }

    /// What is known about the layout of a copy of this build.
    #[must_use]
    pub fn options_for_copies(&self) -> BuildOptions {
        let proved = self.layout.as_ref().map(|proved| proved.layout).into_iter().collect();
        BuildOptions { header: self.layout_header.clone(), proved, arguments: self.arguments.clone() }
    }

    /// How its layout was proved, if that was needed.
    #[must_use]
    pub fn proof(&self) -> Option<String> {
        self.layout.as_ref().ok().filter(|layout| layout.proved.is_some()).map(ToString::to_string)
    }

    /// The interpreter with its arguments.
    #[must_use]
    pub fn interpreter(&self) -> PythonCommand<'_> {
        PythonCommand { path: &self.python, arguments: &self.arguments }
    }

    /// The version as the interpreter prints it: "3.16.0a2+" for a build from a checkout after 3.16.0a2.
    #[must_use]
    pub fn full_version(&self) -> String {
        format!("{}{}", self.version, if self.is_development { "+" } else { "" })
    }

    /// The form of its frame cache. If the layout is unknown, the version number alone decides.
    #[must_use]
    pub fn frame_cache(&self) -> CacheFields {
        self.layout.as_ref().map_or_else(|_| CacheFields::of_version(self.version), |it| it.layout.frame_cache())
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
        self.command_at(&self.build.python)
    }

    /// The same with another path to the interpreter.
    pub(crate) fn command_at(&self, python: &Path) -> std::process::Command {
        let mut command = std::process::Command::new(python);
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
    let label = |build: &Build| {
        let words = [build.full_version(), build.kind()].into_iter().chain(build.arguments.iter().cloned());
        words.collect::<Vec<_>>().join(" ")
    };
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
