//! The stopped lane: the target is stopped, all walkers look at the same state, and the target runs on to its next
//! stop.
//!
//! A gated program stops where it says, so its own account can be compared with the walkers. A free program is stopped
//! after a random time, at whatever instruction it has reached, or where a frame was just entered or left. A thread
//! state has only one anchor, so the cached walkers have the target to themselves one after the other. The uncached
//! walkers look at every stop.
//!
//! CPython 3.15 has a gap of a few instructions: a yield, and RETURN_GENERATOR, check the anchor before they move the
//! current frame. If a profiler writes the anchor in between, the interpreter does not notice, and the profiler's cache
//! is wrong from then on. Random stops would hit the gap once in millions, and a verdict would depend on luck. So no
//! walker of CPython's protocol takes a sample where the target may be at one of these instructions. The stepped lane
//! goes there on purpose.

mod anchors;
mod gates;
mod lane;
mod look;
mod program;

use framewalk::sample::WalkerKind;
use model::run::cell::CellOutcome;
use model::run::phases::Phase;

use self::lane::Lane;
use crate::cell::Cell;
use crate::drivers::UnwinderPool;
use crate::owner::all_turns;
use crate::recorder::CellRecorder;
use crate::stops::Stops;

/// Runs the cell to its deadline.
pub fn run(cell: &Cell<'_>, recorder: &mut CellRecorder<'_>, drivers: &mut UnwinderPool) -> CellOutcome {
    let owners = owners(cell);
    if let Some(program) = cell.program {
        return program::run(cell, program, &owners, recorder, drivers);
    }
    let all_stops = Stops::of(cell.family);
    // Each walker has the target to itself. Where the protocol is exact with two profilers, two walkers of a kind share
    // it.
    let passes = |stops: Stops| {
        let turns = |&walker: &Option<WalkerKind>| {
            all_turns(walker, cell.family, stops).iter().map(move |&turns| (walker, turns))
        };
        owners.iter().flat_map(turns).collect::<Vec<_>>()
    };
    let count: usize = all_stops.iter().map(|&stops| passes(stops).len()).sum();
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let mut parts = (0..count).map(|index| move || cell.part(index, count));
    for &stops in all_stops {
        let mut lane = match Lane::new(cell, recorder, drivers, stops) {
            Ok(lane) => lane,
            Err(cut) => return cut.into(),
        };
        let mut result = lane.start(recorder);
        for ((walker, turns), part) in passes(stops).into_iter().zip(&mut parts) {
            result = result.and_then(|()| lane.run(recorder, drivers, walker, turns, part()));
        }
        let closed = lane.close(recorder, drivers);
        recorder.end_of(Phase::Starting);
        if let Err(cut) = result.and(closed) {
            return cut.into();
        }
        if let Some(outcome) = cell.ended_early() {
            return outcome;
        }
    }
    CellOutcome::Ran
}

/// The cached walkers, each of which has a target to itself in turn. A single `None` if there are none.
fn owners(cell: &Cell<'_>) -> Vec<Option<WalkerKind>> {
    let mut owners: Vec<Option<WalkerKind>> = cell.cached().map(Some).collect();
    if owners.is_empty() {
        owners.push(None);
    }
    owners
}
