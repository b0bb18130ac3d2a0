//! `snapshot`: records targets in files.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use framewalk::printable::clean;
use lanes::record::{RecordOrder, record as record_target};
use model::jit_mode::JitMode;
use model::workload::Parameters;
use process::build::{probe, rows};
use process::run_folder::RunFolder;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sim::snapshot::Snapshot;
use sim::snapshot::file::can_save;
use sim::snapshot::replay::{ReplayedLook, answer};

use crate::cli::arguments::SnapshotArguments as Arguments;
use crate::cli::exit::Ending;
use crate::cli::output::{Failure, print};
use crate::cli::shared_arguments::Jit;

/// Records a target, then replays the recording.
pub(super) fn record(arguments: &Arguments, interrupted: &AtomicBool) -> Result<Ending, Failure> {
    can_save(&arguments.output)?;
    let build = probe(&arguments.python)?;
    build.usable()?;
    let wanted = |jit: JitMode| (jit == JitMode::On) == (arguments.jit == Some(Jit::On));
    let row = rows(&[Arc::new(build)]).into_iter().find(|row| wanted(row.jit));
    let row = row.ok_or("this build has no JIT: omit --jit on")?;
    // The same workload that `check` generates from this seed.
    let mut random = ChaCha8Rng::seed_from_u64(arguments.seed);
    let parameters = Parameters::draw(arguments.family, &mut random);
    let folder = RunFolder::after_cleaning()?;
    let snapshot = record_target(&RecordOrder {
        row: &row,
        family: arguments.family,
        parameters: parameters.overridden(arguments.family, arguments.size.overrides()),
        seed: arguments.seed,
        stops: arguments.stops,
        folder: folder.path(),
        interrupted,
    })?;
    snapshot.save(&arguments.output)?;
    show(&arguments.output, &snapshot)
}

/// Replays a snapshot with every walker and prints the results.
pub(super) fn show(path: &Path, snapshot: &Snapshot) -> Result<Ending, Failure> {
    let looks = snapshot.replay().map_err(|error| format!("{}: {error}", path.display()))?;
    let meta = &snapshot.meta;
    let mut text = format!(
        "{}: {}, {}, seed {}, {} stops\n",
        path.display(),
        meta.row(),
        meta.family,
        meta.seed,
        snapshot.stops.len()
    );
    let judged = looks.iter().flat_map(|look| &look.sample).flat_map(|sample| &sample.threads);
    let judged = judged.filter(|thread| thread.outcome.is_ok()).count();
    let broken: usize = looks.iter().map(|look| look.broken.len()).sum();
    for look in &looks {
        line(&mut text, look);
    }
    let _ = match broken {
        0 if judged == 0 => writeln!(text, "  inconclusive: no walker returned a stack"),
        0 => writeln!(text, "  pass"),
        1 => writeln!(text, "  1 violation"),
        _ => writeln!(text, "  {broken} violations"),
    };
    print(&text)?;
    Ok(match broken {
        0 if judged == 0 => Ending::INCONCLUSIVE,
        0 => Ending::PASS,
        _ => Ending::FAIL,
    })
}

/// Prints the result of one walker on one image, with its errors.
fn line(text: &mut String, look: &ReplayedLook) {
    let _ = write!(text, "  {} {:<13}", look.stop + 1, look.walker.name());
    match &look.sample {
        Err(rejection) => {
            let _ = write!(text, " {}", clean(&rejection.to_string()));
        }
        Ok(sample) => {
            for thread in &sample.threads {
                let _ = match &thread.outcome {
                    Ok(stack) if look.walker.is_cached() => {
                        let (answer, from_cache) = answer(thread);
                        write!(text, " {} {from_cache}/{}", answer.name(), stack.len())
                    }
                    Ok(stack) => write!(text, " {}", stack.len()),
                    Err(rejection) => write!(text, " {}", rejection.name()),
                };
            }
        }
    }
    text.push_str(if look.anew && look.walker.is_cached() && look.stop > 0 { " (anew)\n" } else { "\n" });
    for broken in &look.broken {
        let thread = broken.native_thread_id.map(|id| format!("thread {id}: ")).unwrap_or_default();
        let _ = writeln!(text, "    violation: {thread}{}", clean(&broken.fault.to_string()));
    }
}
