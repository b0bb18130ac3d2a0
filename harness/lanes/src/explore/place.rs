//! Where a case runs: the build that it was made on, and the rig's plan for it.

use std::path::Path;

use model::jit_mode::JitMode;
use model::workload::Mode;
use process::build::BuildVariant;
use sim::case::stepped::{BuildIdentity, SteppedCase};
use thiserror::Error;

use crate::stepped::{Movement, RecordOptions, RigPlan};

/// No available build is the one that a case was made on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the case was made on CPython {wanted}, but {}; name that build with --python PATH", described(.there))]
pub struct NoSuchBuild {
    wanted: BuildIdentity,
    there: Vec<String>,
}

fn described(there: &[String]) -> String {
    if there.is_empty() { "no build was found".to_owned() } else { format!("only {} was found", there.join(", ")) }
}

/// The identity of a build in a run mode.
#[must_use]
pub fn identity(row: &BuildVariant) -> BuildIdentity {
    let version = row.build.full_version();
    BuildIdentity { version, debug: row.build.debug, jit: row.jit == JitMode::On }
}

/// Finds the build that a case was made on. If `given`, another version of the same kind and run mode will do. Then
/// only the run itself shows whether the schedule still fits.
///
/// # Errors
/// None of `rows` matches.
pub fn find<'a>(rows: &'a [BuildVariant], case: &SteppedCase, given: bool) -> Result<&'a BuildVariant, NoSuchBuild> {
    let exact = rows.iter().find(|row| identity(row) == case.build);
    let similar = || {
        rows.iter().filter(|_| given).find(|row| {
            let identity = identity(row);
            (identity.debug, identity.jit) == (case.build.debug, case.build.jit)
        })
    };
    exact.or_else(similar).ok_or_else(|| NoSuchBuild {
        wanted: case.build.clone(),
        there: rows.iter().map(|row| identity(row).to_string()).collect(),
    })
}

/// The plan that runs a case on a build.
#[must_use]
pub fn plan(row: &BuildVariant, case: &SteppedCase, folder: &Path) -> RigPlan {
    RigPlan {
        jit: row.jit.switch(),
        cast: case.cast.clone(),
        weakenings: case.weakenings.clone(),
        configuration: case.configuration,
        movement: if case.loads { Movement::Loads } else { movement(case.workload.mode) },
        tearing: case.tearing,
        keeping: RecordOptions { history: false, digests: false },
        folder: folder.to_owned(),
        ..RigPlan::new(&row.build, case.walker)
    }
}

/// The meaning of a step in a workload of this mode.
#[must_use]
pub fn movement(mode: Mode) -> Movement {
    if mode == Mode::GatedRounds { Movement::Gates } else { Movement::Stores }
}
