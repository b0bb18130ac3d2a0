//! The live comparison on a process that is already running.
//!
//! Such a process has no grammar. The reference walker, which verifies each of its stacks, teaches the harness what the
//! process can legally show; the other walkers are then judged by that. A path that the reference walker happened to
//! miss counts against cached and uncached walkers alike, so only a difference between the two says something about the
//! cache.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use framewalk::layout::{CacheFields, Layout};
use framewalk::reference::ReferenceWalker;
use framewalk::sample::WalkerKind;
use framewalk::uncached::UncachedWalker;
use framewalk::walker::Site;
use model::oracle::tally::Tally;
use model::run::cell::{CellOutcome, Inconclusive};
use model::run::event::Event;
use model::workload::grammar::Grammar;
use process::memory::{ProcessMemory, read_only};
use process::program::Program;

use super::anchors::{attach, detach};
use super::compare::{compare_cpython, compare_own, sample_until};
use super::learnt::Learnt;
use super::weigh::{SHORTEST, end_of_another, weigh};
use crate::cell::{Cell, CellError};
use crate::chains::Chains;
use crate::drivers::{Observed, UnwinderPool};
use crate::recorder::CellRecorder;
/// Each look at the chains gets one part in this many of the remaining time.
const LOOKS: u32 = 20;
/// A walker that returned fewer stacks was not compared.
const FEWEST_STACKS: u64 = 20;

/// The process to sample, and whether its anchors may be written.
pub(crate) struct Process<'a> {
    /// Where it is walked.
    pub(crate) site: Site,
    /// The program that it ran at the start.
    pub(crate) program: &'a Program,
    /// Whether its anchors may be written.
    pub(crate) can_write: bool,
}

impl Process<'_> {
    /// Fails if the process no longer runs the program that it ran at the start.
    fn check(&self, memory: &ProcessMemory) -> Result<(), CellError> {
        ended(memory.pid(), self.site, self.program).map_or(Ok(()), |why| Err(Inconclusive::TargetEnded(why).into()))
    }
}

/// Compares the walkers of the cell on a process whose stacks are unknown.
pub(crate) fn compare_walkers(
    cell: &Cell<'_>,
    recorder: &CellRecorder<'_>,
    drivers: &mut UnwinderPool,
    memory: ProcessMemory,
    process: &Process<'_>,
) -> CellOutcome {
    let pid = memory.pid();
    let tallies = Mutex::new(BTreeMap::<WalkerKind, Tally>::new());
    let send = |event| {
        if let Event::Samples { walker, tally, .. } = &event {
            *tallies.lock().unwrap_or_else(PoisonError::into_inner).entry(*walker).or_default() += tally;
        }
        recorder.send(event);
    };
    let mut chains = Chains::default();
    // Dropping this recorder flushes its counts.
    let result = sample(cell, &mut recorder.through(&send), drivers, memory, process, &mut chains);
    let tallies = std::mem::take(&mut *tallies.lock().unwrap_or_else(PoisonError::into_inner));
    let shown = || match process.can_write {
        true => doubtful(&chains, &tallies),
        false => Some(read_only_run(&chains, &tallies, process.site.layout)),
    };
    // If the process is gone, the comparison proves nothing, even if no read failed.
    match (ended(pid, process.site, process.program), result) {
        (Some(why), _) => CellOutcome::Inconclusive(Inconclusive::TargetEnded(why)),
        (None, Err(cut)) => cut.into(),
        (None, Ok(())) if cell.is_interrupted() => CellOutcome::Inconclusive(Inconclusive::Interrupted),
        (None, Ok(())) => match shown() {
            Some(why) => CellOutcome::Inconclusive(Inconclusive::NothingCompared(why)),
            None => CellOutcome::Ran,
        },
    }
}

/// Why the samples are not enough to compare walkers, if they are not. The first reason explains those after it.
fn doubtful(chains: &Chains, tallies: &BTreeMap<WalkerKind, Tally>) -> Option<String> {
    let rejecting = tallies.iter().find(|(_, tally)| tally.rejected() * 2 > tally.samples);
    let few = tallies.iter().find(|(_, tally)| tally.accepted() < FEWEST_STACKS);
    let unlearnt =
        tallies.iter().find(|(walker, tally)| !walker.is_cached() && tally.impossible() * 2 > tally.accepted());
    if let Some(switched) = chains.switched() {
        Some(switched)
    } else if let Some((walker, tally)) = rejecting {
        Some(format!("{walker} rejected more than half of its samples: {}", rejections(tally)))
    } else if let Some((walker, tally)) = few {
        let stacks = tally.accepted();
        Some(format!("{walker} returned {stacks} stacks, and {FEWEST_STACKS} are needed: give a longer --budget"))
    } else if let Some((walker, tally)) = unlearnt {
        Some(format!(
            "of the {} stacks of {walker}, {} are of none of the paths that own-reference saw before: the process has more \
             paths than it showed in that time, or went on to others; give a longer --budget",
            tally.accepted(),
            tally.impossible()
        ))
    } else {
        None
    }
}

/// How many samples a walker rejected, and the most common reason.
fn rejections(tally: &Tally) -> String {
    let share = 100.0 * tally.rejected() as f64 / tally.samples.max(1) as f64;
    let mostly = tally.rejected.iter().max_by_key(|(_, count)| **count);
    let mostly = mostly.map(|(reason, count)| format!(", mostly {reason} ({count})")).unwrap_or_default();
    format!("{} of {} ({share:.1} %){mostly}", tally.rejected(), tally.samples)
}

/// What a read-only run showed, and how to continue.
fn read_only_run(chains: &Chains, tallies: &BTreeMap<WalkerKind, Tally>, layout: Layout) -> String {
    let walkers: Vec<String> = tallies
        .iter()
        .map(|(walker, tally)| format!("{walker} rejected {} thread samples", rejections(tally)))
        .collect();
    let base = chains.switched().unwrap_or_else(|| match chains.looks() {
        0 => "no chain was stable for long enough to check whether it ends at its base frame".to_owned(),
        looks => format!("in {looks} looks at stable chains, every chain ended at its base frame"),
    });
    let next = if layout.frame_cache() == CacheFields::AnchorAndSequence {
        "cached walkers write the anchor: allow it with --write"
    } else {
        "this CPython has no frame cache; cached walkers need --write and a CPython 3.15"
    };
    format!(
        "nothing was written, so only uncached walkers ran: threads seen: {}, at most {} Python frames deep; {}; \
         {base}. Nothing cached was compared: {next}",
        chains.threads(),
        chains.deepest(),
        walkers.join(", ")
    )
}

/// Why the sampled program is gone, if it is.
fn ended(pid: i32, site: Site, program: &Program) -> Option<String> {
    let now = Program::of(pid);
    if now.as_ref().is_ok_and(|now| now != program) {
        return Some(format!("process {pid} replaced its program (execve) and now runs another one"));
    }
    let unknown = |error| format!("cannot check whether process {pid} still runs the same program: {error}");
    Observed { pid, site }.ended().or_else(|| now.err().map(unknown))
}

fn sample(
    cell: &Cell<'_>,
    recorder: &mut CellRecorder<'_>,
    drivers: &mut UnwinderPool,
    mut memory: ProcessMemory,
    process: &Process<'_>,
    chains: &mut Chains,
) -> Result<(), CellError> {
    let site = process.site;
    chains.look_until(cell, &mut read_only(memory.clone()), site, cell.part(0, LOOKS));
    if !process.can_write {
        let mut walker = UncachedWalker::new(site)?;
        let mut memory = read_only(memory);
        let until = cell.part(0, 1);
        return sample_until(cell, recorder, &mut memory, &mut [&mut walker], until, |recorder, sample| {
            for thread in &sample.threads {
                recorder.count(sample.walker, thread);
            }
        });
    }
    let has_cpython = cell.id.walkers.iter().any(|walker| walker.is_cpythons());
    let parts = if has_cpython { 3 } else { 2 };
    let grammar = learn(cell, recorder, &mut memory, site, cell.part(0, parts))?;
    process.check(&memory)?;
    chains.look_until(cell, &mut read_only(memory.clone()), site, cell.part(0, LOOKS));
    // There is no other process that runs the same program, so what exceeds a bound is measured again on this one.
    let first = compare_own(cell, recorder, &mut memory, site, &grammar, cell.part(1, parts))?;
    weigh(cell, recorder, first, |recorder, time| {
        process.check(&memory)?;
        compare_own(cell, recorder, &mut memory, site, &grammar, end_of_another(cell, time)?)
    })?;
    process.check(&memory)?;
    if has_cpython {
        let target = Observed { pid: memory.pid(), site };
        let until = cell.deadline.max(Instant::now() + SHORTEST);
        let first = compare_cpython(cell, recorder, drivers, target, &grammar, until)?;
        weigh(cell, recorder, first, |recorder, time| {
            process.check(&memory)?;
            compare_cpython(cell, recorder, drivers, target, &grammar, end_of_another(cell, time)?)
        })?;
    }
    Ok(())
}

/// Learns what the process can show, from the stacks that the reference walker verified.
fn learn(
    cell: &Cell<'_>,
    recorder: &mut CellRecorder<'_>,
    memory: &mut ProcessMemory,
    site: Site,
    until: Instant,
) -> Result<Grammar, CellError> {
    let mut learnt = Learnt::default();
    let mut reference = ReferenceWalker::new(site)?;
    attach(&mut reference, memory)?;
    let result = sample_until(cell, recorder, memory, &mut [&mut reference], until, |recorder, sample| {
        for thread in &sample.threads {
            recorder.count(sample.walker, thread);
            if let Ok(stack) = &thread.outcome {
                learnt.learn(stack);
            }
        }
    });
    detach(&mut reference, memory)?;
    result?;
    Ok(learnt.grammar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walker_that_rejects_most_samples_is_named_with_its_main_reason() {
        let tally = |samples, rejected: &[(&str, u64)]| Tally {
            samples,
            rejected: rejected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            ..Tally::default()
        };
        let chains = Chains::default();
        let of = |tally: Tally| doubtful(&chains, &BTreeMap::from([(WalkerKind::OwnReference, tally)]));
        assert_eq!(of(tally(100, &[("moved", 20), ("generator-leaf", 30)])), None);
        let why = of(tally(100, &[("moved", 20), ("generator-leaf", 40)])).unwrap();
        assert_eq!(
            why,
            "own-reference rejected more than half of its samples: 60 of 100 (60.0 %), mostly generator-leaf (40)"
        );
    }

    #[test]
    fn a_comparison_needs_stacks_whose_paths_were_learnt() {
        let of = |walker, samples, torn| {
            let impossible = [(model::oracle::cause::Cause::TornRead, torn)].into();
            let tally = Tally { samples, impossible, ..Tally::default() };
            doubtful(&Chains::default(), &BTreeMap::from([(walker, tally)]))
        };
        assert!(of(WalkerKind::CpythonCached, 1, 0).is_some_and(|why| why.contains("returned 1 stacks")));
        assert_eq!(of(WalkerKind::CpythonUncached, 100, 50), None);
        assert!(
            of(WalkerKind::CpythonUncached, 100, 51).is_some_and(|why| why.contains("51 are of none of the paths"))
        );
        // A cached walker serves one torn walk again and again.
        assert_eq!(of(WalkerKind::CpythonCached, 100, 90), None);
    }
}
