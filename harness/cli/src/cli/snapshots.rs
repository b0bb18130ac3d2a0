//! The verbs that record targets and replay files.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use framewalk::printable::clean;
use lanes::bundle::Bundle;
use lanes::bundle::about::Interpreter;
use lanes::bundle::archive::is_bundle;
use lanes::record::{Order, record as record_target};
use model::jit_mode::JitMode;
use model::workload::Parameters;
use process::build::{probe, rows};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sim::case::file::{AnyCaseFile, CaseFile};
use sim::case::line::is_line;
use sim::case::stepped::SteppedFile;
use sim::case::verdict::Verdict;
use sim::fuzzing::cache_state_machine;
use sim::history::render;
use sim::snapshot::Snapshot;
use sim::snapshot::file::can_save;
use sim::snapshot::replay::{Look, answer};

use crate::cli::arguments::{Jit, Replay, Snapshot as Arguments};
use crate::cli::verbs::{Failure, print, tell};
use crate::cli::{bundles, exit, folder};

/// What a case is called that was given on a line, and in no file.
pub(super) const CASE_ON_A_LINE: &str = "case";

/// What is said of a case that proves nothing.
const UNJUDGED: &str = "inconclusive: the walkers refused everything, and nothing was judged";

/// Records a target and replays what was recorded.
pub(super) fn record(arguments: &Arguments, interrupted: &AtomicBool) -> Result<u8, Failure> {
    can_save(&arguments.output)?;
    let build = probe(&arguments.python)?;
    build.usable()?;
    let wanted = |jit: JitMode| (jit == JitMode::On) == (arguments.jit == Some(Jit::On));
    let row = rows(&[Arc::new(build)]).into_iter().find(|row| wanted(row.jit));
    let row = row.ok_or("this build has no JIT: leave out --jit on")?;
    // As `check` makes the workload of this seed.
    let mut random = ChaCha8Rng::seed_from_u64(arguments.seed);
    let parameters = Parameters::draw(arguments.family, &mut random);
    let folder = folder::for_run(&std::env::temp_dir())?;
    let snapshot = record_target(&Order {
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

/// Replays files, each for itself: one that cannot be used does not keep the others from it.
pub(super) fn replay(arguments: &Replay, interrupted: &'static AtomicBool) -> Result<u8, Failure> {
    let mut code = exit::PASS;
    for path in &arguments.files {
        let one = match replay_file(path, arguments, interrupted) {
            Ok(code) => code,
            Err(error) => {
                tell(&format!("framediff: {error}"));
                exit::USAGE
            }
        };
        code = exit::worse(code, one);
    }
    Ok(code)
}

/// Replays a file of whatever kind. What says of itself that it is another kind is to be told here, by how it starts;
/// what is none of them may still be a damaged snapshot.
fn replay_file(path: &Path, arguments: &Replay, interrupted: &'static AtomicBool) -> Result<u8, Failure> {
    if let Some(line) = path.to_str().filter(|text| is_line(text)) {
        let case = line.parse().map_err(|error| format!("this case cannot be used: {error}"))?;
        return stepped(&SteppedFile { note: String::new(), case }, CASE_ON_A_LINE, None, arguments, interrupted);
    }
    let mut first = [0];
    let text = File::open(path).and_then(|mut file| file.read_exact(&mut first)).is_ok() && first == *b"{";
    if !text {
        if !starts_as_bundle(path) {
            return show(path, &Snapshot::load(path)?);
        }
        let bundle = Bundle::load(path)?;
        return match bundles::case(path, &bundle)? {
            Some(case) => {
                let shown = bundles::show_snapshot(path, &bundle)?;
                let image = Some(&bundle.about.interpreter);
                let code = stepped(&case, &path.display().to_string(), image, arguments, interrupted)?;
                Ok(exit::worse(shown, code))
            }
            None => bundles::replay(path, &bundle, arguments, interrupted),
        };
    }
    match AnyCaseFile::load(path)? {
        AnyCaseFile::Fuzz(file) => replay_case(path, &file),
        AnyCaseFile::Stepped(file) => stepped(&file, &path.display().to_string(), None, arguments, interrupted),
    }
}

/// Whether a file starts as a bundle does.
pub(super) fn starts_as_bundle(path: &Path) -> bool {
    let mut first = [0; 2];
    File::open(path).and_then(|mut file| file.read_exact(&mut first)).is_ok() && is_bundle(&first)
}

#[cfg(target_arch = "x86_64")]
fn stepped(
    file: &SteppedFile,
    name: &str,
    image: Option<&Interpreter>,
    arguments: &Replay,
    interrupted: &'static AtomicBool,
) -> Result<u8, Failure> {
    crate::cli::cases::replay(file, name, image, &arguments.source, arguments.times, interrupted)
}

#[cfg(not(target_arch = "x86_64"))]
fn stepped(
    _: &SteppedFile,
    name: &str,
    _: Option<&Interpreter>,
    _: &Replay,
    _: &'static AtomicBool,
) -> Result<u8, Failure> {
    Err(format!("{name}: the stepped lane needs a machine of x86-64").into())
}

/// Runs a saved case through the check of its fuzz target; one of the simulated interpreter tells its history, too.
fn replay_case(path: &Path, file: &CaseFile) -> Result<u8, Failure> {
    let mut text = format!("{}: {}: {}\n", path.display(), file.target.name(), clean(&file.note));
    if file.target.name() == cache_state_machine::TARGET.name {
        let case: cache_state_machine::TestCase = serde_json::from_value(file.case.to_value()?)?;
        let ran = case.scenario.run(true)?;
        text.push_str(&render(&ran.interpreter, &ran.notes));
        let _ = match (ran.broken, case.breaks) {
            (Some(broken), Some(_)) => writeln!(text, "known to break: {broken}"),
            (Some(broken), None) => writeln!(text, "broken: {broken}"),
            (None, _) => writeln!(text, "nothing is broken"),
        };
    }
    let verdict = file.run();
    let (verdict, code) = match verdict {
        Verdict::Failed(message) => (clean(&message), exit::VIOLATION),
        Verdict::Accepted | Verdict::Rejected if file.is_judged(&verdict, path) => ("pass".to_owned(), exit::PASS),
        Verdict::Accepted | Verdict::Rejected => (UNJUDGED.to_owned(), exit::INCONCLUSIVE),
    };
    print(&(text + "  " + verdict.lines().next().unwrap_or_default() + "\n"))?;
    Ok(code)
}

/// Replays a snapshot and prints what comes out.
pub(super) fn show(path: &Path, snapshot: &Snapshot) -> Result<u8, Failure> {
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
        0 if judged == 0 => writeln!(text, "  inconclusive: no walker gave a stack"),
        0 => writeln!(text, "  pass"),
        1 => writeln!(text, "  1 violation"),
        _ => writeln!(text, "  {broken} violations"),
    };
    print(&text)?;
    Ok(match broken {
        0 if judged == 0 => exit::INCONCLUSIVE,
        0 => exit::PASS,
        _ => exit::VIOLATION,
    })
}

/// One walker on one image, and what it got wrong.
fn line(text: &mut String, look: &Look) {
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
