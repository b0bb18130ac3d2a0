//! Turns a counterexample into a scenario that reproduces it.

use framewalk::cache::Limits;
use framewalk::spec::WalkerSpec;
use rustc_hash::FxHashMap;

use crate::prove::graph::{Config, Edge, FIRST_SEQUENCE, Far, Graph, GraphError};
use crate::prove::search::Counterexample;
use crate::prove::set::edge;
use crate::prove::trace::ProofEvent;
use crate::scenario::{Leg, Scenario, Setting};

/// The scenario in which `walker` returns the samples of a counterexample. `at_rest` is set for [`Reads::Samples`].
///
/// [`Reads::Samples`]: crate::prove::options::Reads::Samples
///
/// # Errors
/// As [`Graph::follow`].
pub fn scenario(
    graph: &Graph,
    walker: WalkerSpec,
    found: &Counterexample,
    at_rest: bool,
) -> Result<Scenario, GraphError> {
    let mut schedule = Schedule { at_rest, ..Schedule::default() };
    let mut samples = Vec::new();
    for event in &found.events {
        match *event {
            ProofEvent::Begin { config } => {
                for edge in path(graph, &config)? {
                    schedule.step(&edge);
                }
            }
            ProofEvent::Step { before, edge: index } => {
                if let Some(edge) = edge(graph, &before, index) {
                    schedule.step(edge);
                }
            }
            ProofEvent::OtherProfiler { thread } => {
                schedule.leg().other_profiler = u8::try_from(thread).ok();
                schedule.closed = true;
            }
            ProofEvent::Sample { thread } => {
                // Steps of the interpreter before a sample's first access are recorded after the sample's beginning.
                if !samples.is_empty() {
                    schedule.next_sample();
                }
                samples.push(thread.and_then(|thread| u8::try_from(thread).ok()));
            }
            ProofEvent::Read { .. } => schedule.accesses += 1,
            ProofEvent::Write { loaded_before, .. } => {
                schedule.accesses += 1;
                schedule.loaded_before_writes.push(loaded_before);
            }
            ProofEvent::Result { .. } => {}
        }
    }
    if schedule.loaded_before_writes.iter().all(|&loaded| loaded == 0) {
        schedule.loaded_before_writes.clear();
    }
    let limits = Limits::CPYTHON;
    Ok(Scenario {
        program: graph.interpreter.program.clone(),
        variations: graph.interpreter.variations.clone(),
        walker,
        threads_cached: u8::try_from(limits.threads).unwrap_or(u8::MAX),
        addresses_cached: u16::try_from(limits.addresses).unwrap_or(u16::MAX),
        first_sequence: FIRST_SEQUENCE,
        samples,
        forks_before: None,
        setting: if at_rest { Setting::AtRest } else { Setting::Moving },
        loaded_before_writes: schedule.loaded_before_writes,
        legs: schedule.legs,
        decisions: schedule.decisions,
    })
}

#[derive(Default)]
struct Schedule {
    legs: Vec<Leg>,
    decisions: Vec<u8>,
    loaded_before_writes: Vec<u8>,
    /// Accesses of the walker since the last leg.
    accesses: u16,
    /// Whether the last leg is finished.
    closed: bool,
    /// Whether legs are counted by samples instead of accesses.
    at_rest: bool,
    /// Whether the sample has a leg.
    has_leg: bool,
}

impl Schedule {
    fn leg(&mut self) -> &mut Leg {
        if self.at_rest {
            if !self.has_leg || self.closed {
                if let Some(last) = self.legs.last_mut().filter(|_| self.has_leg) {
                    last.joined = true;
                }
                self.legs.push(Leg::default());
                (self.has_leg, self.closed) = (true, false);
            }
        } else if self.legs.is_empty() || self.accesses > 0 || self.closed {
            self.legs.push(Leg { accesses: self.accesses, ..Leg::default() });
            self.accesses = 0;
            self.closed = false;
        }
        let last = self.legs.len() - 1;
        &mut self.legs[last]
    }

    /// Starts the next sample. At rest, each gap between samples has a leg, even an empty one.
    fn next_sample(&mut self) {
        if self.at_rest {
            self.leg();
            (self.has_leg, self.closed) = (false, false);
        }
    }

    fn step(&mut self, edge: &Edge) {
        self.leg().stores += 1;
        self.decisions.extend_from_slice(&edge.decisions);
    }
}

/// The shortest sequence of steps from the initial state to `goal` while no anchor is set.
fn path(graph: &Graph, goal: &Config) -> Result<Vec<Edge>, GraphError> {
    let start = graph.start();
    let mut came: FxHashMap<u32, (Config, Edge)> = FxHashMap::default();
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(config) = queue.pop_front() {
        if config.node == goal.node {
            break;
        }
        for edge in graph.edges(&config) {
            let next = graph.follow(&config, edge, Far::Refused)?;
            if next.node != start.node && !came.contains_key(&next.node) {
                came.insert(next.node, (config, edge.clone()));
                queue.push_back(next);
            }
        }
    }
    let mut path = Vec::new();
    let mut node = goal.node;
    while let Some((before, edge)) = came.get(&node) {
        path.push(edge.clone());
        node = before.node;
    }
    path.reverse();
    Ok(path)
}
