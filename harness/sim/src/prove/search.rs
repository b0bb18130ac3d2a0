//! The search: every sample that a walker can take of a program, with any interpreter steps between two of its
//! accesses.
//!
//! Between samples the walker's state is its cache and, in programs that free code objects, the decoded code objects.
//! So the search proceeds sample by sample. For each such memory, with the states that the interpreter can then be in,
//! it tries one sample in every possible way. This yields the memories and states for the next sample. Sequences matter
//! only relative to the entry's, so they are counted from there. Often no sample yields anything new after a few; the
//! result then holds for any number of samples.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use framewalk::cache::FrameCache;
use framewalk::sample::ThreadSample;
use model::invariants::SampleFault;
use rayon::Scope;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::prove::element::{Branch, Element, fresh};
use crate::prove::explore::{Answers, Explored, SharedSearch, Task, beginning};
use crate::prove::found::Found;
use crate::prove::graph::{Config, Graph, GraphError};
use crate::prove::memory::{KnownCodes, Memory};
use crate::prove::options::{ProofOptions, Reads};
use crate::prove::set::close;
use crate::prove::space::{Anchors, Space};
use crate::prove::trace::{NO_TRACE, ProofEvent, ProofTrace};
use crate::scenario::single_attempt;

/// How a search ended.
#[derive(Debug)]
pub enum SearchOutcome {
    /// Every possibility was tried.
    Complete {
        /// Number of samples in a row that this covers; `None` for any number.
        samples: Option<u32>,
    },
    /// A walker returned a stack that its thread did not have.
    Counterexample(Counterexample),
    /// The search met more states than allowed.
    OutOfStates,
    /// The search was interrupted.
    Interrupted,
}

/// A wrong sample and how it was reached.
#[derive(Debug)]
pub struct Counterexample {
    /// The events, in order.
    pub events: Vec<ProofEvent>,
    /// The samples, by the index in [`ProofEvent::Result`].
    pub results: Vec<ThreadSample>,
    /// What is wrong with the last sample. A wrong stack is always [`SampleFault::NotThere`]: the replay in
    /// [`crate::scenario`] judges it.
    pub wrong: SampleFault,
    /// The stacks that the thread had during the last sample, as a bit set of their numbers in the graph.
    pub possible: u128,
}

/// What a search found, and how far it got.
#[derive(Debug)]
pub struct ProofReport {
    /// Whether a wrong stack was found.
    pub outcome: SearchOutcome,
    /// Number of states: states of the interpreter, each combined with what the walker has read and what its cache
    /// holds.
    pub states: u64,
    /// Number of different walks.
    pub walks: u64,
    /// Counts of the lookups' results.
    pub answers: Answers,
    /// Number of different memories that the walker can have between samples.
    pub caches: u64,
}

/// Memories, each with the states in which a sample can begin.
type Frontier = Vec<(Memory, Vec<Element>)>;

/// Number of walks after which the rest of an exploration is shared among the workers.
const WALKS_PER_TASK: u64 = 2048;

struct Search<'a> {
    shared: SharedSearch<'a>,
    /// The groups of threads that are sampled together: one thread each, or all threads if threads start and end.
    units: Vec<Vec<usize>>,
}

/// Searches a program.
///
/// # Errors
/// The program is too large.
pub fn search(graph: &Graph, options: &ProofOptions<'_>) -> Result<ProofReport, GraphError> {
    let shared = SharedSearch { graph, options, states: AtomicU64::new(0), stop: AtomicBool::new(false) };
    let search = Search { shared, units: units(graph) };
    let mut report = ProofReport {
        outcome: SearchOutcome::Complete { samples: Some(options.samples) },
        states: 0,
        walks: 0,
        answers: Answers::default(),
        caches: 1,
    };
    let mut known: FxHashMap<Memory, FxHashSet<Config>> = FxHashMap::default();
    let mut frontier: Frontier = vec![(search.no_memory()?, search.beginnings(&mut ProofTrace::default())?)];
    for sample in 1..=options.samples {
        let explored = search.sample(&frontier);
        if let Some(error) = explored.error {
            return Err(error);
        }
        report.walks += explored.walks;
        report.answers.add(explored.answers);
        report.states = search.shared.states.load(Ordering::Relaxed);
        if explored.wrong.is_some() {
            report.outcome = search.shortest(sample)?;
            return Ok(report);
        }
        if (options.interrupted)() {
            report.outcome = SearchOutcome::Interrupted;
            return Ok(report);
        }
        if search.shared.stop.load(Ordering::Relaxed) {
            report.outcome = SearchOutcome::OutOfStates;
            return Ok(report);
        }
        frontier.clear();
        for (memory, configs) in explored.found {
            let known = known.entry(memory.clone()).or_default();
            let new: Vec<Element> =
                configs.into_iter().filter(|(config, _)| known.insert(*config)).map(|(_, element)| element).collect();
            if !new.is_empty() {
                frontier.push((memory, new));
            }
        }
        report.caches = known.len() as u64;
        if frontier.is_empty() {
            report.outcome = SearchOutcome::Complete { samples: None };
            return Ok(report);
        }
    }
    Ok(report)
}

fn units(graph: &Graph) -> Vec<Vec<usize>> {
    let threads = &graph.interpreter.program.threads;
    let all: Vec<usize> = (0..graph.interpreter.map.threads()).collect();
    if threads.iter().all(|thread| thread.started) {
        all.into_iter().map(|thread| vec![thread]).collect()
    } else {
        vec![all]
    }
}

impl Search<'_> {
    /// The memory of a new walker.
    fn no_memory(&self) -> Result<Memory, GraphError> {
        let codes = if self.shared.graph.interpreter.program.frees_code() {
            let walker = single_attempt(self.shared.options.walker)?;
            Some(KnownCodes::of(walker.as_ref()))
        } else {
            None
        };
        Ok(Memory { cache: FrameCache::default(), codes })
    }

    /// All states before the first sample: the program has run for any time, and no anchor is set.
    fn beginnings(&self, trace: &mut ProofTrace) -> Result<Vec<Element>, GraphError> {
        let graph = self.shared.graph;
        let mut space = Space::new(graph, &[], None);
        let start = Config { anchorings: self.shared.options.anchorings, ..graph.start() };
        let mut set = vec![space.member(&fresh(start, NO_TRACE))];
        close(&mut set, &mut space, false, None, &mut ProofTrace::default())?;
        let mut set: Vec<Element> = set.iter().map(|member| space.element(member)).collect();
        for element in &mut set {
            element.trace = trace.push(NO_TRACE, ProofEvent::Begin { config: element.config });
        }
        Ok(set)
    }

    fn space(&self, unit: &[usize]) -> Space<'_> {
        let ProofOptions { anchorings, reads, .. } = *self.shared.options;
        let when = if reads == Reads::Samples { Anchors::AtRest } else { Anchors::AtAnyTime };
        let other = (anchorings > 0).then_some(when);
        Space::new(self.shared.graph, unit, other)
    }

    /// Takes every sample of every unit from every memory, using all workers.
    fn sample(&self, frontier: &Frontier) -> Explored {
        let together = Together { search: self, explored: Mutex::default(), spaces: Mutex::default() };
        rayon::scope(|scope| {
            for (memory, set) in frontier {
                for (index, unit) in self.units.iter().enumerate() {
                    let task = Task { memory, unit, limit: None, walks: WALKS_PER_TASK };
                    let first = beginning(set, unit, &mut ProofTrace::default());
                    let together = &together;
                    scope.spawn(move |scope| together.work(scope, index, task, vec![first]));
                }
            }
        });
        together.explored.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counterexample with the fewest accesses of the interpreter, within this number of samples.
    fn shortest(&self, samples: u32) -> Result<SearchOutcome, GraphError> {
        let mut cost = 4;
        loop {
            self.shared.stop.store(false, Ordering::Relaxed);
            let mut trace = ProofTrace::kept();
            let mut results = Vec::new();
            let mut best: Option<(SampleFault, Element, ThreadSample)> = None;
            let mut frontier: Frontier = vec![(self.no_memory()?, self.beginnings(&mut trace)?)];
            for _ in 0..samples {
                let mut next = Found::default();
                for (memory, set) in &frontier {
                    for unit in &self.units {
                        let limit = best.as_ref().map_or(cost, |(_, best, _)| best.cost.saturating_sub(1).min(cost));
                        let task = Task { memory, unit, limit: Some(limit), walks: u64::MAX };
                        let first = vec![beginning(set, unit, &mut trace)];
                        let mut space = self.space(unit);
                        let (explored, _) = self.shared.explore(&task, &mut space, first, &mut trace, &mut results);
                        if let Some(error) = explored.error {
                            return Err(error);
                        }
                        if let Some(found) = explored.wrong
                            && best.as_ref().is_none_or(|(_, best, _)| found.1.cost < best.cost)
                        {
                            best = Some(found);
                        }
                        next.merge(explored.found);
                        if (self.shared.options.interrupted)() {
                            return Ok(SearchOutcome::Interrupted);
                        }
                    }
                }
                frontier =
                    next.into_iter().map(|(memory, configs)| (memory, configs.into_values().collect())).collect();
            }
            if let Some((wrong, element, sample)) = best {
                let mut events = trace.path(element.trace);
                events.push(ProofEvent::Result { index: u32::try_from(results.len()).unwrap_or(u32::MAX) });
                results.push(sample);
                return Ok(SearchOutcome::Counterexample(Counterexample {
                    events,
                    results,
                    wrong,
                    possible: element.seen,
                }));
            }
            cost *= 2;
            if cost > 4096 {
                return Ok(SearchOutcome::OutOfStates);
            }
        }
    }
}

/// Shared by the workers during one sample.
struct Together<'a> {
    search: &'a Search<'a>,
    explored: Mutex<Explored>,
    /// Spaces that no worker is using, with the index of their unit.
    spaces: Mutex<Vec<(usize, Space<'a>)>>,
}

impl<'a> Together<'a> {
    /// Works on one task for a while, then splits what is left into two.
    fn work<'s>(&'s self, scope: &Scope<'s>, unit: usize, task: Task<'s>, mut branches: Vec<Branch<Element>>) {
        let mut space = self.take_space(unit);
        while !branches.is_empty() && !self.search.shared.stop.load(Ordering::Relaxed) {
            let trace = &mut ProofTrace::default();
            let (explored, rest) = self.search.shared.explore(&task, &mut space, branches, trace, &mut Vec::new());
            lock(&self.explored).merge(explored);
            // Neighbouring branches lead to similar numbers of walks.
            let (mine, other): (Vec<_>, Vec<_>) = (0_usize..).zip(rest).partition(|(index, _)| index % 2 == 0);
            branches = mine.into_iter().map(|(_, branch)| branch).collect();
            let other: Vec<_> = other.into_iter().map(|(_, branch)| branch).collect();
            if !other.is_empty() {
                scope.spawn(move |scope| self.work(scope, unit, task, other));
            }
        }
        lock(&self.spaces).push((unit, space));
    }

    fn take_space(&self, unit: usize) -> Space<'a> {
        let mut spaces = lock(&self.spaces);
        match spaces.iter().position(|(other, _)| *other == unit) {
            Some(index) => spaces.swap_remove(index).1,
            None => self.search.space(&self.search.units[unit]),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
