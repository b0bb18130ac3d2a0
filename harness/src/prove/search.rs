//! The search: all samples that a walker can take of a program, whatever comes between two of its accesses.
//!
//! Between samples the walker is its cache. So the search goes sample by sample: from each cache and the states in which
//! the interpreter can then be, one sample is tried in every way, which gives caches and states for the next. Sequences
//! matter only relative to the entry's, so they are counted from there; then often no sample brings anything new after a
//! few, and what was shown holds for any number of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use clap::ValueEnum;
use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::prove::graph::{Config, FIRST_SEQUENCE, Graph, GraphError, sequence};
use crate::prove::set::{Element, Reach, close};
use crate::prove::trace::{Event, NO_TRACE, Trace};
use crate::prove::walk::{Branch, Walk, fresh};
use crate::sample::{Lookup, ThreadSample};
use crate::sim::layout::LAYOUT;
use crate::sim::map::RUNTIME;
use crate::sim::scenario::ContenderError;
use crate::sim::truth::matches;
use crate::walk::cache::FrameCache;
use crate::walk::walker::{CachingWalker, Site};

/// Makes the walker that is searched.
pub type MakeWalker<'a> = &'a (dyn Fn(Site) -> Result<Box<dyn CachingWalker>, ContenderError> + Sync);

/// What counts as wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum Clause {
    /// A stack that the thread did not have during the sample.
    #[default]
    NotThere,
    /// A stack that the thread never has: frames of several moments.
    Mixed,
    /// The same with callers from the cache: branches spliced together.
    Spliced,
}

/// How reads are torn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum Reads {
    /// The interpreter may move between any two words.
    #[default]
    Words,
    /// It moves between calls only: each segment of a read is one moment.
    Segments,
}

/// What is searched, and how far.
pub struct Options<'a> {
    /// The walker.
    pub walker: MakeWalker<'a>,
    /// How many samples at most.
    pub samples: u32,
    /// What counts as wrong.
    pub clause: Clause,
    /// How reads are torn.
    pub reads: Reads,
    /// Whether another profiler may anchor a thread's current frame at any time, in no time.
    pub other_profiler: bool,
    /// The search ends without a result after so many states.
    pub states: u64,
    /// Asked now and then.
    pub interrupted: &'a (dyn Fn() -> bool + Sync),
}

/// What the samples gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Different walks with a full hit.
    pub full_hits: u64,
    /// With a partial hit.
    pub partial_hits: u64,
    /// With a miss.
    pub misses: u64,
    /// Rejected.
    pub rejected: u64,
}

/// How a search ended.
#[derive(Debug)]
pub enum Outcome {
    /// Everything was tried.
    Complete {
        /// How many samples in a row that covers; none if any number.
        samples: Option<u32>,
    },
    /// A stack was returned that was not there.
    Counterexample(Counterexample),
    /// More states than allowed.
    OutOfStates,
    /// Stopped from outside.
    Interrupted,
}

/// A wrong sample and how it came about.
#[derive(Debug)]
pub struct Counterexample {
    /// What happened, in order.
    pub events: Vec<Event>,
    /// What the samples gave, by [`Event::Result`].
    pub results: Vec<ThreadSample>,
    /// What is wrong with the last one.
    pub wrong: Wrong,
    /// The stacks that were there during the last sample, by their numbers in the graph.
    pub possible: u128,
}

/// The clause that broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A stack that the thread did not have during the sample.
    NotThere,
    /// A write to something else than an anchor, or of something that is no frame.
    WroteOutside(u64),
}

/// A finished search.
#[derive(Debug)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// States met: of the interpreter, times what the walker has read and has in its cache.
    pub states: u64,
    /// Different walks.
    pub walks: u64,
    /// What they gave.
    pub answers: Answers,
    /// Caches that the walker can have between samples.
    pub caches: u64,
}

type Frontier = Vec<(FrameCache, Vec<Element>)>;
type Found = FxHashMap<FrameCache, FxHashMap<Config, Element>>;

struct Search<'a> {
    graph: &'a Graph,
    options: &'a Options<'a>,
    units: Vec<Vec<usize>>,
    states: AtomicU64,
    stop: AtomicBool,
}

/// What one cache led to.
#[derive(Default)]
struct Explored {
    found: Found,
    walks: u64,
    answers: Answers,
    wrong: Option<(Wrong, Element, ThreadSample)>,
    error: Option<GraphError>,
}

/// Searches a program.
///
/// # Errors
/// The program is too large.
pub fn search(graph: &Graph, options: &Options<'_>) -> Result<Report, GraphError> {
    let search =
        Search { graph, options, units: units(graph), states: AtomicU64::new(0), stop: AtomicBool::new(false) };
    let mut report = Report {
        outcome: Outcome::Complete { samples: Some(options.samples) },
        states: 0,
        walks: 0,
        answers: Answers::default(),
        caches: 1,
    };
    let mut known: FxHashMap<FrameCache, FxHashSet<Config>> = FxHashMap::default();
    let mut frontier: Frontier = vec![(FrameCache::default(), search.beginnings(&mut Trace::default())?)];
    for sample in 1..=options.samples {
        let explored: Vec<Explored> = frontier
            .par_iter()
            .flat_map_iter(|(cache, set)| search.units.iter().map(move |unit| (cache, set, unit)))
            .map(|(cache, set, unit)| {
                let mut results = Vec::new();
                search.explore(cache, set, unit, None, &mut Trace::default(), &mut results)
            })
            .collect();
        let mut next: Found = FxHashMap::default();
        let mut wrong = false;
        for explored in explored {
            if let Some(error) = explored.error {
                return Err(error);
            }
            report.walks += explored.walks;
            report.answers.add(explored.answers);
            wrong |= explored.wrong.is_some();
            for (cache, configs) in explored.found {
                next.entry(cache).or_default().extend(configs);
            }
        }
        report.states = search.states.load(Ordering::Relaxed);
        if wrong {
            report.outcome = search.shortest(sample)?;
            return Ok(report);
        }
        if (options.interrupted)() {
            report.outcome = Outcome::Interrupted;
            return Ok(report);
        }
        if search.stop.load(Ordering::Relaxed) {
            report.outcome = Outcome::OutOfStates;
            return Ok(report);
        }
        frontier.clear();
        for (cache, configs) in next {
            let known = known.entry(cache.clone()).or_default();
            let new: Vec<Element> =
                configs.into_iter().filter(|(config, _)| known.insert(*config)).map(|(_, element)| element).collect();
            if !new.is_empty() {
                frontier.push((cache, new));
            }
        }
        report.caches = known.len() as u64;
        if frontier.is_empty() {
            report.outcome = Outcome::Complete { samples: None };
            return Ok(report);
        }
    }
    Ok(report)
}

/// The threads that are sampled one at a time; all at once if they come and go.
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
    fn reach<'b>(&'b self, watched: &'b [usize], cost: Option<u32>) -> Reach<'b> {
        Reach { graph: self.graph, watched, cost, other_profiler: self.options.other_profiler }
    }

    /// Every state before the first sample: the program may have run for any time, and no anchor is set.
    fn beginnings(&self, trace: &mut Trace) -> Result<Vec<Element>, GraphError> {
        let mut set = vec![fresh(self.graph.start(), NO_TRACE)];
        let reach = Reach { other_profiler: false, ..self.reach(&[], None) };
        close(&mut set, &reach, &mut Trace::default())?;
        for element in &mut set {
            element.trace = trace.push(NO_TRACE, Event::Begin { config: element.config });
        }
        Ok(set)
    }

    /// All ways of one sample.
    fn explore(
        &self,
        cache: &FrameCache,
        set: &[Element],
        unit: &[usize],
        cost: Option<u32>,
        trace: &mut Trace,
        results: &mut Vec<ThreadSample>,
    ) -> Explored {
        let mut explored = Explored::default();
        let mut walker = match (self.options.walker)(Site { layout: LAYOUT, runtime: RUNTIME }) {
            Ok(walker) => walker,
            Err(error) => {
                explored.error = Some(error.into());
                return explored;
            }
        };
        let one = match unit {
            [thread] => Some(*thread),
            _ => None,
        };
        let mut first = Branch { script: Vec::new(), set: set.to_vec(), closed: false };
        for element in &mut first.set {
            element.trace = trace.push(element.trace, Event::Sample { thread: one });
        }
        let mut open = vec![first];
        while let Some(branch) = open.pop() {
            if self.stop.load(Ordering::Relaxed) {
                return explored;
            }
            walker.set_cache(cache.clone());
            let mut walk = Walk::new(self.reach(unit, cost), self.options.reads, trace, &mut open, branch);
            let samples = match one {
                Some(thread) => {
                    vec![walker.sample_thread(&mut walk, self.graph.interpreter.map.thread_address(thread))]
                }
                None => walker.sample(&mut walk).map(|sample| sample.threads).unwrap_or_default(),
            };
            let states = self.states.fetch_add(walk.states, Ordering::Relaxed);
            explored.walks += 1;
            let error = walk.error.clone();
            let outside = walk.wrote_outside;
            let set = walk.into_set();
            if let Some(error) = error {
                explored.error = Some(error);
                return explored;
            }
            for sample in &samples {
                explored.answers.count(sample);
                if let Some((wrong, element)) = self.judge(sample, &set, outside) {
                    if explored.wrong.as_ref().is_none_or(|(_, best, _)| element.cost < best.cost) {
                        explored.wrong = Some((wrong, element, sample.clone()));
                    }
                    if cost.is_none() {
                        self.stop.store(true, Ordering::Relaxed);
                        return explored;
                    }
                }
            }
            if states > self.options.states || (explored.walks % 1024 == 0 && (self.options.interrupted)()) {
                self.stop.store(true, Ordering::Relaxed);
            }
            let result = u32::try_from(results.len()).unwrap_or(u32::MAX);
            if trace.is_kept() {
                results.extend(samples);
            }
            self.store(&mut explored.found, walker.cache(), set, result, trace);
        }
        explored
    }

    fn judge(&self, sample: &ThreadSample, set: &[Element], outside: Option<u64>) -> Option<(Wrong, Element)> {
        let cheapest =
            |elements: &mut dyn Iterator<Item = &Element>| elements.min_by_key(|element| element.cost).copied();
        if let Some(address) = outside {
            return cheapest(&mut set.iter()).map(|element| (Wrong::WroteOutside(address), element));
        }
        let stack = sample.outcome.as_ref().ok()?;
        let program = &self.graph.interpreter.program;
        let legal = (0..)
            .zip(self.graph.stacks())
            .filter(|(_, (id, chain))| *id == sample.native_thread_id && matches(program, chain, stack))
            .fold(0_u128, |legal, (number, _)| legal | 1 << number);
        let counts = match self.options.clause {
            Clause::NotThere => true,
            Clause::Mixed => legal == 0,
            Clause::Spliced => legal == 0 && sample.provenance.from_cache > 0,
        };
        cheapest(&mut set.iter().filter(|element| counts && element.seen & legal == 0))
            .map(|element| (Wrong::NotThere, element))
    }

    /// Adds states after a sample, with sequences counted from the entries.
    fn store(&self, found: &mut Found, cache: &FrameCache, set: Vec<Element>, result: u32, trace: &mut Trace) {
        let mut cache = cache.clone();
        let map = &self.graph.interpreter.map;
        let entries: Vec<(u64, u64, u64)> =
            cache.entries().map(|(id, entry)| (id, entry.thread_state, entry.sequence)).collect();
        let mut offsets: Vec<Option<i8>> = vec![None; map.threads()];
        for (id, thread_state, own) in entries {
            let thread = (0..map.threads()).find(|&thread| map.thread_address(thread) == thread_state);
            let offset = own.wrapping_sub(FIRST_SEQUENCE).cast_signed();
            if let (Some(thread), Ok(offset)) = (thread, i8::try_from(offset)) {
                debug_assert_eq!(sequence(offset), own);
                offsets[thread] = Some(offset);
                cache.shift_sequence(id, 0_u64.wrapping_sub(own.wrapping_sub(FIRST_SEQUENCE)));
            }
        }
        let there = found.entry(cache).or_default();
        for mut element in set {
            element.seen = 0;
            element.trace = trace.push(element.trace, Event::Result { index: result });
            for (sequence, offset) in element.config.sequences.iter_mut().zip(&offsets) {
                // A thread without an entry is compared with nothing.
                *sequence = offset.map_or(0, |offset| sequence.saturating_sub(offset));
            }
            match there.get(&element.config) {
                Some(known) if known.cost <= element.cost => {}
                _ => {
                    there.insert(element.config, element);
                }
            }
        }
    }

    /// The counterexample with the fewest accesses of the interpreter, within so many samples.
    fn shortest(&self, samples: u32) -> Result<Outcome, GraphError> {
        let mut cost = 4;
        loop {
            self.stop.store(false, Ordering::Relaxed);
            let mut trace = Trace::kept();
            let mut results = Vec::new();
            let mut best: Option<(Wrong, Element, ThreadSample)> = None;
            let mut frontier: Frontier = vec![(FrameCache::default(), self.beginnings(&mut trace)?)];
            for _ in 0..samples {
                let mut next: Found = FxHashMap::default();
                for (cache, set) in &frontier {
                    for unit in &self.units {
                        let limit = best.as_ref().map_or(cost, |(_, best, _)| best.cost.saturating_sub(1).min(cost));
                        let explored = self.explore(cache, set, unit, Some(limit), &mut trace, &mut results);
                        if let Some(error) = explored.error {
                            return Err(error);
                        }
                        if let Some(found) = explored.wrong
                            && best.as_ref().is_none_or(|(_, best, _)| found.1.cost < best.cost)
                        {
                            best = Some(found);
                        }
                        for (cache, configs) in explored.found {
                            let there = next.entry(cache).or_default();
                            for (config, element) in configs {
                                match there.get(&config) {
                                    Some(known) if known.cost <= element.cost => {}
                                    _ => {
                                        there.insert(config, element);
                                    }
                                }
                            }
                        }
                        if (self.options.interrupted)() {
                            return Ok(Outcome::Interrupted);
                        }
                    }
                }
                frontier = next.into_iter().map(|(cache, configs)| (cache, configs.into_values().collect())).collect();
            }
            if let Some((wrong, element, sample)) = best {
                let mut events = trace.path(element.trace);
                events.push(Event::Result { index: u32::try_from(results.len()).unwrap_or(u32::MAX) });
                results.push(sample);
                return Ok(Outcome::Counterexample(Counterexample { events, results, wrong, possible: element.seen }));
            }
            cost *= 2;
            if cost > 4096 {
                return Ok(Outcome::OutOfStates);
            }
        }
    }
}

impl Answers {
    fn add(&mut self, other: Self) {
        self.full_hits += other.full_hits;
        self.partial_hits += other.partial_hits;
        self.misses += other.misses;
        self.rejected += other.rejected;
    }

    fn count(&mut self, sample: &ThreadSample) {
        match (&sample.outcome, sample.provenance.lookup) {
            (Err(_), _) => self.rejected += 1,
            (Ok(_), Lookup::FullHit) => self.full_hits += 1,
            (Ok(_), Lookup::PartialHit) => self.partial_hits += 1,
            (Ok(_), _) => self.misses += 1,
        }
    }
}
