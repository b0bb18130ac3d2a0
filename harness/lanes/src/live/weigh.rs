//! Compares what a pair of walkers returned with the bounds. What exceeds one is measured again on a new target: see
//! [`model::run::excess`].

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use framewalk::sample::WalkerKind;
use model::invariants::Violation;
use model::oracle::statistics::accuse;
use model::run::bounds::BoundJudgement;
use model::run::cell::Inconclusive;
use model::run::excess::{Measured, Shown};

use super::judge::{Judge, possible};
use crate::cell::{Cell, CellError};
use crate::recorder::{CellRecorder, Evidence};

/// The minimum sampling time of each target, so that every walker returns some stacks.
pub(super) const SHORTEST: Duration = Duration::from_millis(200);
/// How long a pair of walkers is measured again: as long as the first time, within these limits. A measurement in a default
/// run is shorter, so the others vary less than it. A longer one would take the time of other cells.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// What a cached walker and its uncached counterpart returned on one target.
pub(crate) struct Measurement<'a> {
    pub(super) walkers: [WalkerKind; 2],
    pub(super) judges: [Judge<'a>; 2],
    /// How long it took.
    pub(super) took: Duration,
}

impl Measurement<'_> {
    /// Every cause by which only the cached walker is worse than the uncached one, and for both walkers what exceeds the
    /// released builds.
    fn violations(&self, cell: &Cell<'_>) -> Vec<(WalkerKind, Violation)> {
        let (cached, [cached_judge, uncached_judge]) = (self.walkers[0], &self.judges);
        let mut violations = Vec::new();
        if !cell.id.configuration.shows_hits() {
            // The bounds are about every thread, and about causes that only counters show.
            return violations;
        }
        if cell.has(cached) {
            let accused = accuse(&cached_judge.tally, &uncached_judge.tally, cell.demand);
            violations.extend(accused.into_iter().map(|violation| (cached, violation)));
        }
        let version = cell.row.build.full_version();
        for (walker, judge) in self.walkers.into_iter().zip(&self.judges).filter(|(walker, _)| cell.has(*walker)) {
            let judged = BoundJudgement { family: &cell.id.family, walker, version: &version };
            let beyond = cell.known.live().judge(judged, &judge.tally, &uncached_judge.tally, cell.demand);
            violations.extend(beyond.into_iter().map(|violation| (walker, violation)));
        }
        violations
    }

    /// Adds the counts to those of the row.
    fn pool(&self, cell: &Cell<'_>) {
        if !cell.is_workload() || !cell.id.configuration.shows_hits() {
            return;
        }
        let [cached, uncached] = &self.judges;
        let mut rows = cell.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = rows.entry(cell.id.row.clone()).or_default();
        if self.walkers[0].is_cpythons() {
            pool.add(&cell.id.family, &cached.tally, &uncached.tally);
        } else {
            pool.add_own(&cell.id.family, &cached.tally, &uncached.tally);
        }
    }

    /// The evidence of a rate: for one of impossible stacks, the first stack of that cause.
    fn evidence(&self, walker: WalkerKind, violation: &Violation) -> Option<Evidence<'_>> {
        let (Violation::CacheWorse { cause: what, .. } | Violation::MoreThanReleased { what, .. }) = violation else {
            return None;
        };
        let judges = self.walkers.into_iter().zip(&self.judges).filter(|(of, _)| *of == walker);
        let mut examples = judges.flat_map(|(_, judge)| judge.examples.iter().map(move |example| (judge, example)));
        let (judge, (cause, (stack, illegal))) = examples.find(|(_, (cause, _))| cause.name() == what)?;
        let possible = Some(possible(judge.grammar, stack, illegal));
        Some(Evidence { cause: Some(*cause), seen: stack, possible, ..Evidence::default() })
    }
}

/// Judges a measurement, and reports what counts. `again` makes another one that should take the given time, on a new
/// target where there can be one.
///
/// # Errors
/// A measurement that another one is needed for cannot be made.
pub(crate) fn weigh<'a>(
    cell: &Cell<'_>,
    recorder: &mut CellRecorder<'_>,
    first: Measurement<'a>,
    mut again: impl FnMut(&mut CellRecorder<'_>, Duration) -> Result<Measurement<'a>, CellError>,
) -> Result<(), CellError> {
    if cell.is_interrupted() {
        return Ok(());
    }
    let time = first.took.clamp(AGAIN[0], AGAIN[1]);
    let mut measured = Measured::default();
    let mut measurements = vec![first];
    // Whether every measurement that was needed was made.
    let result = loop {
        let Some(latest) = measurements.last() else { break Ok(false) };
        latest.pool(cell);
        measured.add(latest.violations(cell), |walker, violation| recorder.is_known(walker, violation));
        if !measured.needs_another() {
            break Ok(true);
        }
        match again(recorder, time) {
            // A measurement that was cut short shows nothing.
            Ok(_) if cell.is_over() => break Ok(false),
            Ok(another) => measurements.push(another),
            Err(cut) => break Err(cut),
        }
    };
    let count = measured.count();
    let Shown { violations, unconfirmed } = measured.shown();
    for (walker, violation) in violations {
        let evidence = measurements.iter().find_map(|measurement| measurement.evidence(walker, &violation));
        recorder.violation(walker, violation, evidence.unwrap_or_default());
    }
    if result? {
        unconfirmed.into_iter().for_each(|(walker, excess)| recorder.unconfirmed(walker, excess, count));
    }
    Ok(())
}

/// When another measurement that begins now and should take this long ends. It may last beyond the end of the cell.
///
/// # Errors
/// Too little time is left before the end of the run.
pub(crate) fn end_of_another(cell: &Cell<'_>, time: Duration) -> Result<Instant, CellError> {
    let now = Instant::now();
    let time = time_of_another(time, cell.limit.saturating_duration_since(now));
    time.map(|time| now + time).ok_or_else(|| {
        let why = "a share beyond its bound could not be measured again before the budget was spent";
        Inconclusive::Deadline(why.to_owned()).into()
    })
}

/// How long another measurement takes if this much time is left. The second half is kept for the one after it. Returns
/// `None` if that is too short to show anything.
fn time_of_another(time: Duration, left: Duration) -> Option<Duration> {
    Some(time.min(left / 2)).filter(|&time| time >= SHORTEST)
}

/// Judges a row when all its live cells are done.
pub fn judge_row(cell: &Cell<'_>, recorder: &mut CellRecorder<'_>) {
    let rows = cell.rows.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(pool) = rows.get(&cell.id.row) else { return };
    for (walker, violation) in cell.known.live().judge_row(pool, cell.demand) {
        recorder.violation(walker, violation, Evidence::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_leaves_time_for_the_next() {
        let ms = Duration::from_millis;
        assert_eq!(time_of_another(ms(1_000), ms(9_000)), Some(ms(1_000)));
        assert_eq!(time_of_another(ms(3_000), ms(3_000)), Some(ms(1_500)));
        assert_eq!(time_of_another(ms(3_000), ms(1_500)), Some(ms(750)));
        assert_eq!(time_of_another(ms(1_000), SHORTEST), None);
        assert_eq!(time_of_another(ms(1_000), ms(0)), None);
    }
}
