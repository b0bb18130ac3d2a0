//! Runs a case of the stepped lane once and records its history.

use std::sync::atomic::{AtomicBool, Ordering};

use lanes::explore::place::{find, identity, plan};
use lanes::explore::replay::{ReplayResult, run};
use lanes::stepped::{RecordOptions, RigPlan};
use model::workload::Workload;
use process::build::{BuildVariant, Terminal, cache_folder, select};
use process::run_folder::RunFolder;
use sim::case::file::SteppedFile;
use sim::case::stepped::SteppedCase;

use crate::cli::output::{Failure, tell};
use crate::cli::shared_arguments::BuildSource;
use crate::report::explain::{ExplanationDocument, KIND, VERSION};
use crate::report::searched::explain as explained;

/// A case with everything needed to run it.
pub(super) struct Ready {
    pub(super) row: BuildVariant,
    pub(super) plan: RigPlan,
    pub(super) workload: Workload,
    /// Removed on drop.
    pub(super) folder: RunFolder,
}

impl Ready {
    pub(super) fn new(
        case: &SteppedCase,
        source: &BuildSource,
        interrupted: &'static AtomicBool,
    ) -> Result<Self, Failure> {
        let workload = case.workload.generate()?;
        let cache = cache_folder(source.cache.as_deref())?;
        let stopped = || interrupted.load(Ordering::Relaxed);
        let selection = select(&source.python, &source.options(), &cache, &mut Terminal::new(stopped))?;
        let row = find(&selection.rows, case, !source.python.is_empty())?.clone();
        if identity(&row) != case.build {
            tell(&format!("note: the case was made on CPython {}, this is {}", case.build, identity(&row)));
        }
        let folder = RunFolder::after_cleaning()?;
        let plan = plan(&row, case, folder.path());
        Ok(Self { row, plan, workload, folder })
    }
}

/// Runs a case once and explains what happened and why it fails.
pub(super) fn explanation(
    file: &SteppedFile,
    source: &BuildSource,
    interrupted: &'static AtomicBool,
) -> Result<(ExplanationDocument, ReplayResult), Failure> {
    let ready = Ready::new(&file.case, source, interrupted)?;
    let plan = RigPlan { keeping: RecordOptions { history: true, digests: false }, ..ready.plan };
    let (ran, again) = run(&plan, &ready.workload, &file.case)?;
    let document = ExplanationDocument {
        kind: KIND.to_owned(),
        version: VERSION,
        framediff: env!("CARGO_PKG_VERSION").to_owned(),
        case: file.case.to_string(),
        note: file.note.clone(),
        fingerprint: file.case.fingerprint.to_string(),
        build: identity(&ready.row).to_string(),
        explanation: explained(&ran, &again),
    };
    Ok((document, again))
}
