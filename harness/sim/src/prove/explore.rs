//! Explores every course that one sample can take, of one thread or of all, from one cache.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use framewalk::sample::{Lookup, ThreadSample, WalkerKind};
use model::invariants::SampleFault;
use smallvec::smallvec;

use crate::program::Thread;
use crate::prove::element::{Branch, Element, Member};
use crate::prove::found::{Collector, Found};
use crate::prove::graph::{Graph, GraphError, NO_PROMISE};
use crate::prove::memory::{KnownCodes, Memory};
use crate::prove::options::{ProofOptions, Reads, SoughtStack};
use crate::prove::space::Space;
use crate::prove::trace::{ProofEvent, ProofTrace};
use crate::prove::walk::{Promise, Walk};
use crate::scenario::single_attempt;
use crate::truth::matches;

/// Counts of the lookups' results, over different walks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Walks with a full hit.
    pub full_hits: u64,
    /// Walks with a partial hit.
    pub partial_hits: u64,
    /// Walks with a miss.
    pub misses: u64,
    /// Walks that returned no stack.
    pub rejected: u64,
}

impl Answers {
    pub(super) fn add(&mut self, other: Self) {
        self.full_hits += other.full_hits;
        self.partial_hits += other.partial_hits;
        self.misses += other.misses;
        self.rejected += other.rejected;
    }

    pub(super) fn count(&mut self, sample: &ThreadSample) {
        match (&sample.outcome, sample.provenance.lookup) {
            (Err(_), _) => self.rejected += 1,
            (Ok(_), Lookup::FullHit) => self.full_hits += 1,
            (Ok(_), Lookup::PartialHit) => self.partial_hits += 1,
            (Ok(_), _) => self.misses += 1,
        }
    }
}

/// Shared by all explorations of a search.
pub struct SharedSearch<'a> {
    /// The states of the program, and the steps between them.
    pub graph: &'a Graph,
    /// The options of the search.
    pub options: &'a ProofOptions<'a>,
    /// Number of states so far.
    pub states: AtomicU64,
    /// Set to end the search early.
    pub stop: AtomicBool,
}

/// One sample to explore.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// The walker's memory before the sample.
    pub memory: &'a Memory,
    /// The threads that one sample walks.
    pub unit: &'a [usize],
    /// The highest cost, if costs are counted.
    pub limit: Option<u32>,
    /// Number of walks after which the rest is handed back.
    pub walks: u64,
}

/// The result of an exploration.
#[derive(Default)]
pub struct Explored {
    /// Memories and states from which the next sample starts.
    pub found: Found,
    /// Number of different walks.
    pub walks: u64,
    /// Counts of the lookups' results.
    pub answers: Answers,
    /// The cheapest wrong sample.
    pub wrong: Option<(SampleFault, Element, ThreadSample)>,
    /// The error that ends the search.
    pub error: Option<GraphError>,
}

impl Explored {
    /// Adds the result of another exploration.
    pub fn merge(&mut self, other: Self) {
        self.found.merge(other.found);
        self.walks += other.walks;
        self.answers.add(other.answers);
        self.error = self.error.take().or(other.error);
        if let Some(wrong) = other.wrong {
            self.keep_cheaper(wrong);
        }
    }

    fn keep_cheaper(&mut self, wrong: (SampleFault, Element, ThreadSample)) {
        if self.wrong.as_ref().is_none_or(|(_, best, _)| wrong.1.cost < best.cost) {
            self.wrong = Some(wrong);
        }
    }
}

/// The initial branch of an exploration: the sample can begin in each of these states.
pub fn beginning(set: &[Element], unit: &[usize], trace: &mut ProofTrace) -> Branch<Element> {
    let thread = only(unit);
    let mut set = set.to_vec();
    for element in &mut set {
        element.trace = trace.push(element.trace, ProofEvent::Sample { thread });
    }
    Branch { script: Vec::new(), set, closed: false }
}

fn only(unit: &[usize]) -> Option<usize> {
    match unit {
        [thread] => Some(*thread),
        _ => None,
    }
}

impl SharedSearch<'_> {
    /// Explores `branches`. Returns the result, and the branches that were not explored within the limit of walks.
    pub fn explore(
        &self,
        task: &Task<'_>,
        space: &mut Space<'_>,
        branches: Vec<Branch<Element>>,
        trace: &mut ProofTrace,
        results: &mut Vec<ThreadSample>,
    ) -> (Explored, Vec<Branch<Element>>) {
        let mut explored = Explored::default();
        let mut collector = Collector::default();
        let mut walker = match single_attempt(self.options.walker) {
            Ok(walker) => walker,
            Err(error) => {
                explored.error = Some(error.into());
                return (explored, Vec::new());
            }
        };
        let thread = only(task.unit).map(|thread| self.graph.interpreter.map.thread_address(thread));
        let mut open: Vec<Branch<Member>> =
            branches.into_iter().map(|branch| branch.map(|element| space.member(element))).collect();
        while explored.walks < task.walks && !self.stop.load(Ordering::Relaxed) {
            let Some(branch) = open.pop() else { break };
            task.memory.restore(walker.as_mut());
            let asked = (self.options.reads, self.options.memory, self.promise(task, walker.kind()));
            let mut walk = Walk::new(space, task.limit, asked, trace, &mut open, branch);
            let samples = match thread {
                Some(thread) => smallvec![walker.sample_thread(&mut walk, thread)],
                None => walker.sample(&mut walk).map(|sample| sample.threads).unwrap_or_default(),
            };
            let states = self.states.fetch_add(walk.states, Ordering::Relaxed);
            explored.walks += 1;
            explored.error = walk.error.take();
            let outside = walk.wrote_outside;
            let ended = walk.into_branch();
            if explored.error.is_some() {
                break;
            }
            for sample in &samples {
                explored.answers.count(sample);
                if let Some((wrong, member)) = self.judge(sample, &ended.set, outside) {
                    explored.keep_cheaper((wrong, space.element(&member), sample.clone()));
                    if task.limit.is_none() {
                        self.stop.store(true, Ordering::Relaxed);
                    }
                }
            }
            if states > self.options.states || (self.options.interrupted)() {
                self.stop.store(true, Ordering::Relaxed);
            }
            let result = u32::try_from(results.len()).unwrap_or(u32::MAX);
            if trace.is_kept() {
                results.extend(samples);
            }
            let codes = task.memory.codes.as_ref().map(|_| KnownCodes::of(walker.as_ref()));
            collector.add(space, (walker.cache(), codes), &ended.set, result, trace);
            space.reuse(ended);
        }
        explored.found = collector.into_found();
        let rest = open.into_iter().map(|branch| branch.map(|member| space.element(member))).collect();
        (explored, rest)
    }

    fn promise<'t>(&self, task: &Task<'t>, kind: WalkerKind) -> Option<Promise<'t>> {
        let asked = self.options.reads == Reads::Samples && self.options.anchorings == 0;
        only(task.unit).filter(|_| asked).map(|thread| Promise { thread, cache: &task.memory.cache, kind })
    }

    fn judge(&self, sample: &ThreadSample, set: &[Member], outside: bool) -> Option<(SampleFault, Member)> {
        let cheapest = |members: &mut dyn Iterator<Item = &Member>| members.min_by_key(|member| member.cost).copied();
        if outside {
            return cheapest(&mut set.iter()).map(|member| (SampleFault::WroteOutside, member));
        }
        let stack = sample.outcome.as_ref().ok()?;
        let program = &self.graph.interpreter.program;
        let legal = (0..)
            .zip(self.graph.stacks())
            .filter(|(_, (id, chain))| *id == sample.native_thread_id && matches(program, chain, stack))
            .fold(0_u128, |legal, (number, _)| legal | 1 << number);
        let counts = match self.options.sought {
            SoughtStack::NotThere => true,
            SoughtStack::Mixed => legal == 0,
            SoughtStack::Spliced => legal == 0 && sample.provenance.from_cache > 0,
            SoughtStack::Torn => legal == 0 && sample.provenance.from_cache == 0,
            SoughtStack::CutShort => {
                let of = |thread: &&Thread| thread.native_thread_id == sample.native_thread_id;
                let entry = |thread: &Thread| program.functions.get(usize::from(thread.entry));
                let mut entries = program.threads.iter().filter(of).filter_map(entry);
                !entries.any(|entry| stack.last().is_some_and(|frame| *frame.function == *entry.name))
            }
        };
        if counts && let Some(member) = cheapest(&mut set.iter().filter(|member| member.seen & legal == 0)) {
            return Some((SampleFault::NotThere, member));
        }
        let hit = matches!(sample.provenance.lookup, Lookup::FullHit | Lookup::PartialHit);
        cheapest(&mut set.iter().filter(|member| !hit && member.seen & NO_PROMISE == 0))
            .map(|member| (SampleFault::HitMissed, member))
    }
}
