//! Runs a whole benchmark, build by build and point by point.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use framewalk::sample::WalkerKind;
use model::jit_mode::JitMode;
use process::build::BuildVariant;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::bench::document::{
    BenchDocument, BenchPart, BenchPoint, BenchedBuild, KIND, LeftOut, PointParameters, VERSION,
};
use crate::bench::machine::{Machine, peak_bytes};
use crate::bench::plan::BenchPlan;
use crate::bench::rounds::Bench;
use crate::bench::turn::Team;
use crate::bench::{Failure, cost, targets, walks};

/// The options of a run.
pub struct BenchOptions<'a> {
    /// The points to measure on each build.
    pub plan: &'a BenchPlan,
    /// The walkers to measure.
    pub walkers: &'a [WalkerKind],
    /// The time budget of the whole run.
    pub budget: Duration,
    /// The seed for the order of turns.
    pub seed: u64,
    /// The folder for the targets' files.
    pub folder: &'a Path,
    /// Set when the user interrupts the run.
    pub interrupted: &'a AtomicBool,
    /// Called before each point with its number, the number of points, and its description.
    pub progress: &'a dyn Fn(usize, usize, &str),
}

/// Measures everything. Failures are recorded in the document with their reasons.
#[must_use]
pub fn run(options: &BenchOptions<'_>, rows: &[BuildVariant]) -> BenchDocument {
    let mut bench = Bench {
        folder: options.folder,
        interrupted: options.interrupted,
        random: ChaCha8Rng::seed_from_u64(options.seed),
    };
    let (mut points, mut left_out, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    let all = rows.len() * options.plan.points.len();
    for (number, row) in rows.iter().enumerate() {
        let mut leave_out = |place: PointParameters, why: &str| {
            left_out.push(LeftOut { build: row.name.clone(), place, why: why.to_owned() });
        };
        let mut team = Team::new(row, options.walkers);
        for (index, &(place, share)) in options.plan.points.iter().enumerate() {
            if bench.is_interrupted() {
                leave_out(place, "interrupted");
                continue;
            }
            let what = format!("{}, {}", row.name, place);
            (options.progress)(number * options.plan.points.len() + index, all, &what);
            let result = match &mut team {
                Ok(team) => point(&mut bench, row, place, options.walkers, team, share),
                Err(error) => Err(error.to_string().into()),
            };
            match result {
                Ok(point) => points.push(point),
                Err(error) => {
                    leave_out(place, &error.to_string());
                    // The unwinder's process may have failed, so the next point starts a new one.
                    team = Team::new(row, options.walkers);
                }
            }
        }
        if let Some(trouble) = team.ok().and_then(|team| team.tracers.trouble) {
            notes
                .push(format!("{}: the memory accesses of CPython's walkers could not be traced: {trouble}", row.name));
        }
        for &place in &options.plan.left_out {
            leave_out(place, "not enough time: give a longer --budget, or select it with --part");
        }
    }
    BenchDocument {
        kind: KIND.to_owned(),
        version: VERSION,
        framediff: env!("CARGO_PKG_VERSION").to_owned(),
        optimised: !cfg!(debug_assertions),
        machine: Machine::here(),
        seed: options.seed,
        budget: options.budget,
        interrupted: bench.is_interrupted(),
        peak_bytes: peak_bytes(),
        builds: rows.iter().map(build).collect(),
        points,
        notes,
        left_out,
    }
}

fn point(
    bench: &mut Bench<'_>,
    row: &BuildVariant,
    place: PointParameters,
    walkers: &[WalkerKind],
    team: &mut Team,
    share: Duration,
) -> Result<BenchPoint, Failure> {
    match place.part {
        BenchPart::SpeedUp | BenchPart::Change | BenchPart::Threads => {
            walks::point(bench, row, place, walkers, team, share)
        }
        BenchPart::Cost => cost::point(bench, row, place, walkers, team, share),
        BenchPart::Targets => targets::point(bench, row, place, walkers, share),
    }
}

fn build(row: &BuildVariant) -> BenchedBuild {
    BenchedBuild {
        name: row.name.clone(),
        version: row.build.full_version(),
        flavour: row.build.kind(),
        jit: row.jit == JitMode::On,
    }
}
