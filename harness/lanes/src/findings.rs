//! Runs the reproducers of `corpus/findings` on a build.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use std::{fs, io};

use model::findings::{FindingAnswer, FindingFolder, FindingState, TriedBuild};
use model::run::known::has_known_protocol;
use model::run::verdict::Verdict;
use process::build::BuildVariant;
use process::python_run::{PythonRunError, run_python};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use thiserror::Error;

/// A reproducer takes a fraction of a second. One that runs longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(60);
const FILE: &str = "reproducer.py";

/// What the reproducer of one finding showed on a build.
#[derive(Clone, Debug)]
pub struct TriedFinding {
    /// What its runs answered.
    pub state: FindingState,
    /// What that means for a build of this version.
    pub verdict: Verdict,
    /// Why the verdict is not obvious; empty if it is.
    pub remark: String,
    /// The time of all runs.
    pub time: Duration,
}

/// Why a finding was not tried.
#[derive(Debug, Error)]
pub enum FindingError {
    /// A reproducer could not be written to a file.
    #[error("cannot write a reproducer to {}: {source}; free some space there, or set TMPDIR to another folder", folder.display())]
    File {
        /// The folder.
        folder: std::path::PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// It could not be started, or the run was called off.
    #[error(transparent)]
    Run(#[from] PythonRunError),
}

/// Runs each reproducer this many times, each time in a new interpreter. Several reproducers run at the same time.
/// `folder` holds the files meanwhile. The results are in the order of `findings`.
#[must_use]
pub fn try_all(
    variant: &BuildVariant,
    findings: &[FindingFolder],
    times: u32,
    folder: &Path,
) -> Vec<Result<TriedFinding, FindingError>> {
    findings.par_iter().map(|finding| try_one(variant, finding, times, folder)).collect()
}

fn try_one(
    variant: &BuildVariant,
    finding: &FindingFolder,
    times: u32,
    folder: &Path,
) -> Result<TriedFinding, FindingError> {
    let failed = |source| FindingError::File { folder: folder.to_owned(), source };
    let inside = tempfile::tempdir_in(folder).map_err(failed)?;
    fs::write(inside.path().join(FILE), finding.reproducer).map_err(failed)?;
    let begun = Instant::now();
    let answers = (0..times).map(|_| answer(variant, inside.path())).collect::<Result<Vec<_>, _>>()?;
    let state = FindingState::of(&answers);
    let build = &variant.build;
    let version = build.full_version();
    let same_protocol = has_known_protocol(&build.frame_cache().to_string());
    let tried = TriedBuild { version: &version, same_protocol, is_debug: build.debug };
    let (verdict, remark) = finding.judge(&state, tried);
    Ok(TriedFinding { state, verdict, remark, time: begun.elapsed() })
}

fn answer(variant: &BuildVariant, folder: &Path) -> Result<FindingAnswer, PythonRunError> {
    match run_python(variant, &[FILE], folder, Stdio::null(), PATIENCE) {
        Ok(run) => Ok(FindingAnswer::of(run.status.code(), &run.stdout, &run.stderr)),
        Err(why @ PythonRunError::Hangs { .. }) => Ok(FindingAnswer::Unclear(why.to_string())),
        Err(why @ (PythonRunError::Start { .. } | PythonRunError::CalledOff(_))) => Err(why),
    }
}
