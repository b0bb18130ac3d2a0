//! Decides which points a run measures and how much time each one gets.

use std::time::Duration;

use crate::bench::document::{BenchPart, PointParameters};

/// The default depths of the stack, in frames.
pub const DEPTHS: [u32; 5] = [1, 10, 100, 1000, 5000];
/// The part of a stack that changes between samples, in thousandths.
const CHANGED: [u32; 7] = [0, 1, 10, 100, 250, 500, 999];
/// Samples per second in the cost part. `None` means as many as possible.
const RATES: [Option<u32>; 2] = [None, Some(1000)];
const THREADS: [u32; 7] = [1, 2, 4, 8, 16, 32, 64];
const TARGETS: [u32; 5] = [1, 2, 4, 8, 16];
/// The depth of stacks while another parameter is varied.
const MIDDLE: u32 = 100;
/// The depth for the part `change`. It is below 1024, the number of frames that CPython's cache holds of a stack.
const CHANGED_DEPTH: u32 = 1000;
/// The depth of stacks in the part `threads`.
const THREAD_DEPTH: u32 = 20;
/// Minimum time per unit of weight. Less gives no useful intervals.
const LEAST: Duration = Duration::from_millis(600);

/// The parts, depths and time that the user selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BenchRequest {
    /// The parts. An empty list means all.
    pub parts: Vec<BenchPart>,
    /// The depths. An empty list means [`DEPTHS`].
    pub depths: Vec<u32>,
    /// The time for all points of all builds.
    pub budget: Duration,
}

/// The points measured on each build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BenchPlan {
    /// The points, each with its share of the time.
    pub points: Vec<(PointParameters, Duration)>,
    /// The points that do not fit into the budget.
    pub left_out: Vec<PointParameters>,
}

/// Divides the budget between `builds` builds and their points. If it is too short, points are left out, the last ones
/// first. Points of requested parts and of the part `speed-up` are always measured.
#[must_use]
pub fn plan(wishes: &BenchRequest, builds: usize) -> BenchPlan {
    let builds = u32::try_from(builds.max(1)).unwrap_or(u32::MAX);
    let time = wishes.budget / builds;
    let mut points: Vec<PointParameters> = Vec::new();
    for part in BenchPart::ALL {
        if wishes.parts.is_empty() || wishes.parts.contains(&part) {
            points.extend(places(part, &wishes.depths));
        }
    }
    let asked = |place: &PointParameters| wishes.parts.contains(&place.part) || place.part == BenchPart::SpeedUp;
    let (mut weight, mut fits, mut left_out) = (0, Vec::new(), Vec::new());
    for place in points {
        let more = weight + place.weight();
        if asked(&place) || LEAST * more <= time {
            weight = more;
            fits.push(place);
        } else {
            left_out.push(place);
        }
    }
    let points = fits.into_iter().map(|place| (place, time * place.weight() / weight.max(1))).collect();
    BenchPlan { points, left_out }
}

fn places(part: BenchPart, depths: &[u32]) -> Vec<PointParameters> {
    let wished = |otherwise: u32| depths.iter().copied().max().map_or(otherwise, |depth| depth.min(otherwise));
    match part {
        BenchPart::SpeedUp => {
            let mut all = if depths.is_empty() { DEPTHS.to_vec() } else { depths.to_vec() };
            all.sort_unstable();
            all.dedup();
            all.into_iter().map(|depth| PointParameters::still(part, depth)).collect()
        }
        BenchPart::Change => {
            let depth = wished(CHANGED_DEPTH);
            let mut changed: Vec<u32> =
                CHANGED.iter().map(|part| (depth * part).div_ceil(1000).min(depth - 1)).collect();
            changed.dedup();
            changed
                .into_iter()
                .map(|changed| PointParameters { changed, ..PointParameters::still(part, depth) })
                .collect()
        }
        BenchPart::Cost => {
            RATES.map(|rate| PointParameters { rate, ..PointParameters::still(part, wished(MIDDLE)) }).into()
        }
        BenchPart::Threads => THREADS
            .map(|threads| PointParameters { threads, ..PointParameters::still(part, wished(THREAD_DEPTH)) })
            .into(),
        BenchPart::Targets => {
            TARGETS.map(|targets| PointParameters { targets, ..PointParameters::still(part, wished(MIDDLE)) }).into()
        }
    }
}

impl PointParameters {
    /// The point's share of the time, in units of a simple point.
    fn weight(&self) -> u32 {
        match self.part {
            BenchPart::SpeedUp | BenchPart::Change | BenchPart::Threads | BenchPart::Targets => 1,
            BenchPart::Cost => 5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(parts: &[BenchPart], depths: &[u32], seconds: u64) -> BenchRequest {
        BenchRequest { parts: parts.to_vec(), depths: depths.to_vec(), budget: Duration::from_secs(seconds) }
    }

    #[test]
    fn the_whole_budget_is_shared_among_the_points() {
        let plan = plan(&wishes(&[], &[], 600), 4);
        assert!(plan.left_out.is_empty());
        let total: Duration = plan.points.iter().map(|(_, share)| *share).sum();
        assert!(total <= Duration::from_secs(150) && total > Duration::from_secs(149), "{total:?}");
        for part in BenchPart::ALL {
            assert!(plan.points.iter().any(|(place, _)| place.part == part), "{part:?}");
        }
    }

    #[test]
    fn the_last_points_are_left_out_first_but_never_requested_ones() {
        let short = plan(&wishes(&[], &[10], 3), 2);
        assert_eq!(short.points.first().unwrap().0, PointParameters::still(BenchPart::SpeedUp, 10));
        assert!(short.left_out.iter().any(|place| place.part == BenchPart::Targets));
        assert!(short.points.len() < 4);
        let asked = plan(&wishes(&[BenchPart::Targets], &[], 1), 1);
        assert_eq!(asked.points.len(), TARGETS.len());
        assert!(asked.left_out.is_empty());
    }

    #[test]
    fn changed_frames_never_exceed_the_depth() {
        for depth in [1, 2, 10, 1000, 5000] {
            let changed = places(BenchPart::Change, &[depth]);
            assert_eq!(changed.first().unwrap().changed, 0);
            assert!(changed.iter().all(|place| place.changed < place.depth && place.depth <= CHANGED_DEPTH));
            assert!(changed.windows(2).all(|pair| pair[0].changed < pair[1].changed), "{changed:?}");
        }
    }
}
