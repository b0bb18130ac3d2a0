//! The part of `mutants` that replaces CPython's unwinder with faulty stand-ins.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use lab::mutants::hunt::{Hunted, Hunter};
use lab::mutants::judge::Judged;
use lab::mutants::peers::{Baseline, Peers};
use lab::mutants::replaced::ReplaceError;
use lab::mutants::report::{ListedStandIn, MutantReport, StandInReport};
use lab::mutants::stand_in::{StandIn, StandInError, StandIns};
use model::lane::Lane;
use model::run::event::Consumer;
use process::build::BuildVariant;

use crate::cli::mutant_steps;
use crate::cli::mutants_arguments::Mutants;
use crate::cli::output::Failure;

/// Makes the stand-ins whose names `is_wanted` accepts, and hunts them.
pub(super) fn report(
    arguments: &Mutants,
    hunter: &Hunter<'_>,
    row: &BuildVariant,
    is_wanted: &dyn Fn(&str) -> bool,
    peers: Option<&Baseline>,
    events: &mut dyn Consumer,
) -> Result<Option<StandInReport>, Failure> {
    let stand_ins = StandIns::of(&row.build)?;
    let wanted: Vec<&StandIn> = stand_ins.faults.iter().filter(|fault| is_wanted(&fault.name())).collect();
    if wanted.is_empty() {
        return Ok(None);
    }
    let mut report =
        StandInReport { row: row.name.clone(), control: Vec::new(), mutants: Vec::new(), list: Vec::new() };
    if arguments.list {
        let listed = |fault: &&StandIn| ListedStandIn {
            mutant: fault.name(),
            lane: fault.lane.name().to_owned(),
            description: fault.description.clone(),
            missing: fault.missing.clone(),
        };
        report.list = wanted.iter().map(listed).collect();
        return Ok(Some(report));
    }
    // The original is checked in the same lanes as the stand-ins.
    for is_live in [false, true] {
        if wanted.iter().any(|fault| (fault.lane == Lane::Live) == is_live) {
            let control = |_| if is_live { hunter.control_live(row) } else { hunter.control(row) };
            report.control.extend((0..arguments.control).map(control));
        }
    }
    let stopped = || hunter.interrupted.load(Ordering::Relaxed);
    for (done, &fault) in wanted.iter().enumerate() {
        if stopped() {
            break;
        }
        mutant_steps::hunting(events, done, wanted.len(), &fault.name());
        let begun = Instant::now();
        let kept = mutant_steps::kept(arguments, row, &fault.name())?;
        let replaced = match stand_ins.with(fault, kept.as_deref(), &hunter.folder) {
            Ok(replaced) => replaced,
            Err(error @ (StandInError::NotViable(_) | StandInError::Replace(ReplaceError::Probe(_)))) => {
                let mutant = mutant(fault, Judged::NotViable { why: error.to_string() }, None);
                mutant_steps::judged(events, &row.name, &mutant, begun);
                report.mutants.push(mutant);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let changed = BuildVariant { build: Arc::new(replaced.build.clone()), jit: row.jit, name: row.name.clone() };
        let judged = match if fault.lane == Lane::Live { hunter.hunt_live(&changed) } else { hunter.hunt(&changed, 1) }
        {
            Hunted::Killed(kill) => Judged::Killed(kill),
            Hunted::Passed { samples } => Judged::Survived { samples },
            Hunted::Died { how } => Judged::Died { how },
            Hunted::Inconclusive { why } => Judged::Inconclusive { why },
        };
        let peers = peers.and_then(|peers| peers.judge(&replaced.build, true, &stopped).ok());
        let mutant = mutant(fault, judged, peers);
        mutant_steps::judged(events, &row.name, &mutant, begun);
        report.mutants.push(mutant);
    }
    Ok(Some(report))
}

fn mutant(fault: &StandIn, judged: Judged, peers: Option<Peers>) -> MutantReport {
    MutantReport { mutant: fault.name(), issue: fault.issue.clone(), judged, peers }
}
