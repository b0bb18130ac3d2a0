//! What a bundle records about itself, the interpreter and the machine.

use std::fs;
use std::path::{Path, PathBuf};

use framewalk::sample::WalkerKind;
use framewalk::weakening::Weakening;
use model::digest;
use model::jit_mode::JitMode;
use model::lane::Lane;
use model::run::configuration::Configuration;
use model::run::finding::Finding;
use model::workload::user_program::UserProgram;
use model::workload::{Family, Overrides};
use object::Object;
use object::read::ReadCache;
use process::build::{BuildVariant, ask};
use serde::{Deserialize, Serialize};

/// The value of `format` in every bundle.
pub const FORMAT: &str = "framediff-bundle";
/// The version of the format that this build writes and reads.
pub const VERSION: u64 = 1;

/// The content of `bundle.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The name of the format, always [`FORMAT`].
    pub format: String,
    /// The format's version: [`VERSION`].
    pub version: u64,
    /// The version of framediff that made the bundle.
    pub framediff: String,
    /// The fingerprint of the failure.
    pub fingerprint: String,
    /// The interpreter on which it failed.
    pub interpreter: InterpreterIdentity,
    /// The machine on which it failed.
    pub machine: MachineIdentity,
}

impl About {
    /// Describes a failure on a row of this machine.
    #[must_use]
    pub fn new(fingerprint: String, row: &BuildVariant) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            framediff: env!("CARGO_PKG_VERSION").to_owned(),
            fingerprint,
            interpreter: InterpreterIdentity::of(row),
            machine: MachineIdentity::here(),
        }
    }
}

/// An interpreter in a run mode, described so that another machine can recognise it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterpreterIdentity {
    /// Its exact version: "3.15.2".
    pub version: String,
    /// The kind of build: release, debug or free-threaded.
    pub flavour: String,
    /// Whether the JIT is on.
    pub jit: bool,
    /// Its arguments before the program, for example `-X perf`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// Its path on the machine where it failed. Older bundles do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<PathBuf>,
    /// Its `sys.version`; `None` if it could not be asked.
    pub sys_version: Option<String>,
    /// The linker's build id of the file that holds `_PyRuntime`.
    pub build_id: Option<String>,
    /// The SHA-256 of that file.
    pub sha256: Option<String>,
}

impl InterpreterIdentity {
    /// Describes a row's interpreter. Fields that cannot be determined are `None`.
    #[must_use]
    pub fn of(row: &BuildVariant) -> Self {
        let build = &row.build;
        let told = ask(&build.python, &["-I", "-S", "-c", "import sys; print(sys.version)"]).ok();
        Self {
            version: build.full_version(),
            flavour: build.kind(),
            jit: row.jit == JitMode::On,
            arguments: build.arguments.clone(),
            python: Some(build.python.clone()),
            sys_version: told.map(|text| String::from_utf8_lossy(&text).trim().to_owned()),
            build_id: build_id(&build.image),
            sha256: digest::of_file(&build.image).ok(),
        }
    }

    /// Whether the row is exactly this interpreter in this run mode.
    #[must_use]
    pub fn is(&self, row: &BuildVariant) -> bool {
        self.is_like(row) && self.is_image(row)
    }

    /// Whether the row's interpreter is the same file, byte for byte.
    #[must_use]
    pub fn is_image(&self, row: &BuildVariant) -> bool {
        self.sha256.is_some() && digest::of_file(&row.build.image).ok() == self.sha256
    }

    /// Whether the row has the same version, kind and run mode.
    #[must_use]
    pub fn is_like(&self, row: &BuildVariant) -> bool {
        self.is_kind(row) && row.build.full_version() == self.version
    }

    /// Whether the row has the same kind and run mode.
    #[must_use]
    pub fn is_kind(&self, row: &BuildVariant) -> bool {
        row.build.kind() == self.flavour && (row.jit == JitMode::On) == self.jit
    }
}

fn build_id(image: &Path) -> Option<String> {
    let cache = ReadCache::new(fs::File::open(image).ok()?);
    let elf = object::File::parse(&cache).ok()?;
    let id = elf.build_id().ok()??;
    Some(digest::hexadecimal(id))
}

/// The machine on which a bundle was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineIdentity {
    /// The kernel's release, as in `/proc/sys/kernel/osrelease`.
    pub kernel: String,
    /// The processor's model name, as in `/proc/cpuinfo`.
    pub processor: String,
}

impl MachineIdentity {
    /// Describes the machine that this process runs on.
    #[must_use]
    pub fn here() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpus = read("/proc/cpuinfo");
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processor: model.map(|(_, name)| name.trim().to_owned()).unwrap_or_default(),
        }
    }
}

/// A failure of `check`, with everything that determines its cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellRecord {
    /// The failure as `check` reported it.
    pub finding: Finding,
    /// How often it was seen.
    pub count: u64,
    /// The matching entry of the known failures, if there is one.
    pub known: Option<String>,
    /// The failure and its probable cause in words, as the whole run made them. Older bundles do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headline: Option<String>,
    /// How to run the cell again.
    pub again: Again,
}

/// Everything needed to run a cell again, except the interpreter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    /// The lane in which it failed.
    pub lane: Lane,
    /// What the target runs.
    #[serde(flatten)]
    pub workload: AgainWorkload,
    /// The walker under test, without those it is compared with.
    pub walker: WalkerKind,
    /// The seed of the workload.
    pub seed: u64,
    /// The workload parameters that the user overrode.
    pub overrides: Overrides,
    /// Faults put into our own cached walker.
    pub weakenings: Vec<Weakening>,
    /// The options of CPython's unwinder. Older bundles do not say.
    #[serde(default, skip_serializing_if = "Configuration::is_default")]
    pub configuration: Configuration,
}

/// What the target of a cell runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgainWorkload {
    /// A program of this family, generated from the seed.
    Family(Family),
    /// The user's program, which the bundle contains.
    Program {
        /// The file name, without folders.
        file_name: String,
        /// The arguments for the program, without its name.
        arguments: Vec<String>,
    },
}

impl Again {
    /// The cell of a finding, with the user's program if one was run. `None` if the finding names an unknown family.
    #[must_use]
    pub fn of(
        finding: &Finding,
        program: Option<&UserProgram>,
        overrides: Overrides,
        weakenings: Vec<Weakening>,
    ) -> Option<Self> {
        let workload = match program {
            Some(program) => {
                AgainWorkload::Program { file_name: program.file_name(), arguments: program.arguments.clone() }
            }
            None => AgainWorkload::Family(Family::from_name(&finding.family)?),
        };
        let Finding { lane, walker, seed, configuration, .. } = *finding;
        Some(Self { lane, workload, walker, seed, overrides, weakenings, configuration })
    }
}
