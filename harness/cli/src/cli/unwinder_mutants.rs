//! The part of `mutants` that patches CPython's own unwinder.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use lab::mutants::code::Kind;
use lab::mutants::history;
use lab::mutants::hunt::{Hunted, Hunter};
use lab::mutants::image::BinaryImage;
use lab::mutants::judge::Judged;
use lab::mutants::peers::Baseline;
use lab::mutants::replaced::ReplaceError;
use lab::mutants::report::{MutantReport, UnwinderReport};
use lab::mutants::unwinder::UnwinderFault;
use lab::mutants::unwinder::module::{CopyError, Module};
use model::run::event::Consumer;
use process::build::BuildVariant;

use crate::cli::mutant_steps;
use crate::cli::mutants_arguments::Mutants;
use crate::cli::output::Failure;

/// Patches each fault into a copy of the unwinder module of `row`, and hunts the mutants.
pub(super) fn report(
    arguments: &Mutants,
    hunter: &Hunter<'_>,
    row: &BuildVariant,
    faults: &[UnwinderFault],
    peers: Option<&Baseline>,
    events: &mut dyn Consumer,
) -> Result<UnwinderReport, Failure> {
    let mut report = UnwinderReport { row: row.name.clone(), module: None, control: Vec::new(), mutants: Vec::new() };
    let module = match Module::of(&row.build) {
        Ok(module) => module,
        Err(error) => {
            let why = error.to_string();
            report.mutants =
                faults.iter().map(|&fault| mutant(fault, Judged::NotViable { why: why.clone() })).collect();
            return Ok(report);
        }
    };
    report.module = Some(module.path().display().to_string());
    let anchor_first = stores_anchor_first(row)?;
    if !arguments.list {
        report.control = (0..arguments.control).map(|_| hunter.control(row)).collect();
    }
    for (done, &fault) in faults.iter().enumerate() {
        if hunter.interrupted.load(Ordering::Relaxed) {
            break;
        }
        mutant_steps::hunting(events, done, faults.len(), fault.name());
        let begun = Instant::now();
        let kept = mutant_steps::kept(arguments, row, fault.name())?;
        let patched = match module.with(fault, kept.as_deref(), &hunter.folder) {
            Ok(patched) => patched,
            Err(error @ (CopyError::NotViable(_) | CopyError::Replace(ReplaceError::Probe(_)))) => {
                let mutant = mutant(fault, Judged::NotViable { why: error.to_string() });
                mutant_steps::judged(events, &row.name, &mutant, begun);
                report.mutants.push(mutant);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if arguments.list {
            continue;
        }
        let changed = BuildVariant { build: Arc::new(patched.build.clone()), jit: row.jit, name: row.name.clone() };
        let judged = match hunter.hunt(&changed, 1) {
            Hunted::Killed(kill) => Judged::Killed(kill),
            Hunted::Passed { samples } => match fault.equivalent(anchor_first) {
                Some(argument) => Judged::Equivalent { argument, samples },
                None => Judged::Survived { samples },
            },
            Hunted::Died { how } => Judged::Died { how },
            Hunted::Inconclusive { why } => Judged::Inconclusive { why },
        };
        let mut reported = mutant(fault, judged);
        let stopped = || hunter.interrupted.load(Ordering::Relaxed);
        reported.peers = peers.and_then(|peers| peers.judge(&patched.build, true, &stopped).ok());
        mutant_steps::judged(events, &row.name, &reported, begun);
        report.mutants.push(reported);
    }
    Ok(report)
}

/// Whether the interpreter of `row` stores the anchor before it increments the sequence, at every site in its own
/// code.
fn stores_anchor_first(row: &BuildVariant) -> Result<bool, Failure> {
    let layout = row.build.usable()?;
    let image = BinaryImage::read(&row.build.image, layout)?;
    let mut sites = image.sites().iter().filter(|site| site.kind == Kind::Text).peekable();
    Ok(sites.peek().is_some() && sites.all(|site| site.pointer.address < site.increment.store().address))
}

fn mutant(fault: UnwinderFault, judged: Judged) -> MutantReport {
    MutantReport {
        mutant: fault.name().to_owned(),
        // Each of these faults is a part of that issue.
        issue: Some(history::REUSED_ADDRESS.name.to_owned()),
        judged,
        peers: None,
    }
}
