//! The part of `mutants` that patches CPython's own unwinder.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use crate::cli::mutants;
use crate::cli::mutants_arguments::Mutants;
use crate::cli::verbs::Failure;
use crate::explore::search::Until;
use crate::mutants::history;
use crate::mutants::hunt::{Hunted, Hunter};
use crate::mutants::judge::Judged;
use crate::mutants::peers::Baseline;
use crate::mutants::report::{MutantReport, UnwinderReport};
use crate::mutants::subject::Seeded;
use crate::mutants::unwinder::module::{CopyError, Module, Patched};
use crate::mutants::unwinder::stepped::{Original, Plan, plans};
use crate::mutants::unwinder::{Fault, alone};
use crate::sample::WalkerKind;
use crate::target::build::Row;
use crate::workload::Family;

/// The walkers that the module has a part in; the own uncached one is always there.
const WALKERS: [WalkerKind; 2] = [WalkerKind::CpythonUncached, WalkerKind::CpythonCached];

/// Makes the mutants with the given faults of the module of `row`, and hunts them.
pub(super) fn report(
    arguments: &Mutants,
    hunter: &Hunter<'_>,
    row: &Row,
    faults: &[Fault],
    peers: Option<&Baseline>,
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
    let mut original = Original::new(row, &hunter.folder);
    if !arguments.list {
        for _ in 0..arguments.control {
            let end = Instant::now() + hunter.budget;
            report.control.push(stepped(&mut original, hunter, &row.build.python, &plans(Fault::ALL[0]), end));
        }
    }
    for &fault in faults {
        if hunter.interrupted.load(Ordering::Relaxed) {
            break;
        }
        let made = match mutants::kept(arguments, row, fault.name())? {
            Some(folder) => module.kept_with(fault, &folder),
            None => module.with(fault, &hunter.folder),
        };
        let patched = match made {
            Ok(patched) => patched,
            Err(error @ (CopyError::NotViable(_) | CopyError::Probe(_))) => {
                report.mutants.push(mutant(fault, Judged::NotViable { why: error.to_string() }));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if arguments.list {
            continue;
        }
        let hunted = hunt(arguments, hunter, row, fault, &patched, &mut original);
        let judged = match hunted {
            Hunted::Killed(kill) => Judged::Killed(kill),
            Hunted::Passed { samples } => match alone::equivalent(fault) {
                Some(argument) => Judged::Equivalent { argument, samples },
                None => Judged::Survived { samples },
            },
            Hunted::Died { how } => Judged::Died { how },
            Hunted::Inconclusive { why } => Judged::Inconclusive { why },
        };
        let mut reported = mutant(fault, judged);
        let stopped = || hunter.interrupted.load(Ordering::Relaxed);
        reported.peers = peers.and_then(|peers| peers.judge(&patched.build, true, &stopped).ok());
        report.mutants.push(reported);
    }
    Ok(report)
}

fn mutant(fault: Fault, judged: Judged) -> MutantReport {
    MutantReport {
        mutant: fault.name().to_owned(),
        issue: history::of_unwinder_fault(fault).map(|issue| issue.name.to_owned()),
        judged,
        peers: None,
    }
}

/// First the lane that shows the fault soonest, then, if there is time left, the other one.
fn hunt(
    arguments: &Mutants,
    hunter: &Hunter<'_>,
    row: &Row,
    fault: Fault,
    patched: &Patched,
    original: &mut Original<'_>,
) -> Hunted {
    let end = Instant::now() + hunter.budget;
    let mut samples = 0;
    for at_rest in [fault.shows_when_stopped(), !fault.shows_when_stopped()] {
        if samples > 0 && Instant::now() >= end {
            break;
        }
        let hunted = if at_rest {
            let changed = Row { build: Arc::new(patched.build.clone()), jit: row.jit, name: row.name.clone() };
            let programs: Vec<Seeded> = Family::ALL.into_iter().map(|family| (family, arguments.seed)).collect();
            let hunter = Hunter {
                known: hunter.known,
                walkers: WALKERS.to_vec(),
                budget: hunter.budget,
                jobs: hunter.jobs,
                folder: hunter.folder.clone(),
                interrupted: hunter.interrupted,
            };
            hunter.hunt(&changed, &programs, end.saturating_duration_since(Instant::now()))
        } else {
            stepped(original, hunter, &patched.build.python, &plans(fault), end)
        };
        match hunted {
            Hunted::Passed { samples: more } => samples += more,
            other => return other,
        }
    }
    Hunted::Passed { samples }
}

/// On a thread of its own, which goes away with the processor that it was put on.
fn stepped(original: &mut Original<'_>, hunter: &Hunter<'_>, python: &Path, plans: &[Plan], end: Instant) -> Hunted {
    let interrupted: &AtomicBool = hunter.interrupted;
    let stopped = || interrupted.load(Ordering::Relaxed);
    let until = Until { deadline: Some(end), interrupted: &stopped, first: true };
    thread::scope(|scope| {
        let hunt = scope.spawn(|| original.hunt(python, plans, until));
        hunt.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
