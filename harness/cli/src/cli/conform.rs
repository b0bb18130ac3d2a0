//! `conform`: compares the simulated interpreter with real ones.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use framewalk::sample::WalkerKind;
use lanes::conform::family::ProgramFamily;
use lanes::conform::{Compared, Trial};
use lanes::stepped::RigPlan;
use model::schedule::random::RandomBounds;
use process::build::BuildVariant;

use crate::cli::output::{Failure, print};
use crate::cli::stepped_arguments::Conform;
use crate::cli::{exit, folder, rows};

/// The number of samples in a schedule, and the bounds of its moves.
const SAMPLES: u32 = 3;
const BOUNDS: RandomBounds = RandomBounds { moves: 4, steps: 40 };

/// Compares on each build, until the first disagreement.
pub(super) fn conform(arguments: &Conform, interrupted: &'static AtomicBool) -> Result<u8, Failure> {
    let families = match arguments.family.as_slice() {
        [] => ProgramFamily::ALL.to_vec(),
        names => names.iter().map(|name| name.parse()).collect::<Result<Vec<_>, String>>()?,
    };
    let stopped = || interrupted.load(Ordering::Relaxed);
    let rows = rows::with_cache(&arguments.source, arguments.jit, interrupted)?;
    // This walker finds the chunks through a thread-state page that it read before. How long ago depends on its heap.
    let unmodelled = |row: &&BuildVariant| arguments.walker == WalkerKind::CpythonUncached && row.build.debug;
    if let Some(row) = rows.iter().find(unmodelled) {
        let walker = arguments.walker;
        return Err(format!(
            "{}: what {walker} of a debug build reads is not modelled; use another build or walker",
            row.name
        )
        .into());
    }
    let folder = folder::for_run(&std::env::temp_dir())?;
    let deadline = arguments.budget.map(|budget| Instant::now() + budget);
    for row in &rows {
        let layout = row.build.layout.as_ref().map_err(Clone::clone)?;
        let mut compared = Compared::default();
        for seed in (arguments.seed..).take(usize::try_from(arguments.programs)?) {
            for &family in &families {
                if stopped() {
                    return Ok(exit::INTERRUPTED);
                }
                if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                    print(&format!("{}: inconclusive, the budget is spent: {compared}\n", row.name))?;
                    return Ok(exit::INCONCLUSIVE);
                }
                let schedules = arguments.schedules;
                let variations = <_>::default();
                let trial = Trial {
                    family,
                    seed,
                    schedules,
                    samples: SAMPLES,
                    bounds: BOUNDS,
                    variations,
                    weakenings: BTreeSet::new(),
                };
                let plan = RigPlan {
                    jit: row.jit.switch(),
                    folder: folder.path().to_owned(),
                    ..RigPlan::new(&row.build.python, arguments.walker)
                };
                let conformance = trial.run(plan, layout)?;
                compared.add(&conformance.compared);
                if let Some(disagreement) = conformance.disagreement {
                    let again = format!("--family {family} --seed {seed} --programs 1 --walker {}", arguments.walker);
                    print(&format!("{}: they disagree: {again}\n{disagreement}\n", row.name))?;
                    return Ok(exit::VIOLATION);
                }
            }
        }
        print(&format!("{}: {compared}\n", row.name))?;
    }
    Ok(exit::PASS)
}
