//! What a bundle says of itself, of the interpreter and of the machine.

use std::fs;
use std::path::Path;

use framewalk::sample::WalkerKind;
use framewalk::weakening::Weakening;
use model::digest;
use model::jit_mode::JitMode;
use model::lane::Lane;
use model::run::finding::Finding;
use model::workload::user_program::UserProgram;
use model::workload::{Family, Overrides};
use object::Object;
use object::read::ReadCache;
use process::build::{Row, ask};
use serde::{Deserialize, Serialize};

/// What every bundle says of itself.
pub const FORMAT: &str = "framediff-bundle";
/// The version of the form that is written and read.
pub const VERSION: u64 = 1;

/// What a bundle is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u64,
    /// The version of the program that made it.
    pub framediff: String,
    /// What makes the failure the same as another one.
    pub fingerprint: String,
    /// Where it failed.
    pub interpreter: Interpreter,
    /// On what machine.
    pub machine: Machine,
}

impl About {
    /// Of a failure on a row, here.
    #[must_use]
    pub fn new(fingerprint: String, row: &Row) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            framediff: env!("CARGO_PKG_VERSION").to_owned(),
            fingerprint,
            interpreter: Interpreter::of(row),
            machine: Machine::here(),
        }
    }
}

/// An interpreter in a run mode, so that another machine can tell whether it has the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interpreter {
    /// Its exact version: "3.15.2".
    pub version: String,
    /// Release, debug or free-threaded.
    pub flavour: String,
    /// Whether the JIT is on.
    pub jit: bool,
    /// What it calls itself: `sys.version`.
    pub sys_version: Option<String>,
    /// The linker's build id of the file that holds `_PyRuntime`.
    pub build_id: Option<String>,
    /// The SHA-256 of that file.
    pub sha256: Option<String>,
}

impl Interpreter {
    /// That of a row. What cannot be found out is left out.
    #[must_use]
    pub fn of(row: &Row) -> Self {
        let build = &row.build;
        let told = ask(&build.python, &["-I", "-S", "-c", "import sys; print(sys.version)"]).ok();
        Self {
            version: build.version.to_string(),
            flavour: build.kind(),
            jit: row.jit == JitMode::On,
            sys_version: told.map(|text| String::from_utf8_lossy(&text).trim().to_owned()),
            build_id: build_id(&build.image),
            sha256: digest::of_file(&build.image).ok(),
        }
    }

    /// Whether the row is this very interpreter in this run mode.
    #[must_use]
    pub fn is(&self, row: &Row) -> bool {
        self.is_like(row) && self.is_image(row)
    }

    /// Whether the row's interpreter is the same file, byte for byte.
    #[must_use]
    pub fn is_image(&self, row: &Row) -> bool {
        self.sha256.is_some() && digest::of_file(&row.build.image).ok() == self.sha256
    }

    /// Whether the row has the same version, kind and run mode.
    #[must_use]
    pub fn is_like(&self, row: &Row) -> bool {
        self.is_kind(row) && row.build.version.to_string() == self.version
    }

    /// Whether the row has the same kind and run mode.
    #[must_use]
    pub fn is_kind(&self, row: &Row) -> bool {
        row.build.kind() == self.flavour && (row.jit == JitMode::On) == self.jit
    }
}

fn build_id(image: &Path) -> Option<String> {
    let cache = ReadCache::new(fs::File::open(image).ok()?);
    let elf = object::File::parse(&cache).ok()?;
    let id = elf.build_id().ok()??;
    Some(id.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The kernel's release.
    pub kernel: String,
    /// What the processor calls itself.
    pub processor: String,
}

impl Machine {
    /// This one.
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

/// A failure of `check`, with everything that its cell depends on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// The failure.
    pub finding: Finding,
    /// How often it was seen.
    pub count: u64,
    /// The entry of the known failures.
    pub known: Option<String>,
    /// What runs the cell again.
    pub again: Again,
}

/// What runs a cell again, but for the interpreter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    /// The lane.
    pub lane: Lane,
    /// What the target runs.
    #[serde(flatten)]
    pub workload: AgainWorkload,
    /// Who walks, besides those it is compared with.
    pub walker: WalkerKind,
    /// The seed of the workload.
    pub seed: u64,
    /// What the user wanted the workload to look like.
    pub overrides: Overrides,
    /// Faults that were put into the own cached walker.
    pub weakenings: Vec<Weakening>,
}

/// What the target of a cell runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgainWorkload {
    /// A program of this family, made by the seed.
    Family(Family),
    /// The program that lies in the bundle.
    Program {
        /// The name of its file, without folders.
        file_name: String,
        /// What it is given.
        arguments: Vec<String>,
    },
}

impl Again {
    /// The cell of a finding, with the program of the user's that was run; none if there is no such workload.
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
        Some(Self { lane: finding.lane, workload, walker: finding.walker, seed: finding.seed, overrides, weakenings })
    }
}
