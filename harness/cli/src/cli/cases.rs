//! The verbs for a case of the stepped lane: `replay`, `explain`, `shrink` and `reproducer`.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use framewalk::printable::{clean, last_words};
use lanes::bundle::about::InterpreterIdentity;
use lanes::bundle::{Bundle, name};
use lanes::explore::gates::from_gate_to_gate;
use lanes::explore::place::{NoSuchBuild, identity};
use lanes::explore::replay::{ReplayResult, Replayed, run};
use lanes::explore::search::Until;
use lanes::explore::shrink::{Budget, shrink as shrunk};
use lanes::stepped::RigPlan;
use model::run::known::{Confirmation, KnownFailures, KnownMatch};
use process::build::SelectError;
use sim::case::file::SteppedFile;
use sim::case::kept::KeptSchedules;
use sim::case::line::is_line;
use sim::case::stepped::{SteppedCase, WorkloadIdentity};

use crate::cli::bundled;
use crate::cli::exit::Ending;
use crate::cli::explanation::{Ready, explanation};
use crate::cli::output::{Failure, print, tell, write};
use crate::cli::replay_command::quote;
use crate::cli::shared_arguments::{BuildSource, Format};
use crate::cli::stepped_arguments::{Explain, OneCase, Reproducer, Shrink};
use crate::report::reproducer::{Duty, is_deterministic, reproducer as python_file};
use crate::report::text::Look;

/// The name of a case that was given as a line instead of a file.
pub(super) const ON_A_LINE: &str = "case";

/// Reads a case from a line, a file or a bundle.
fn read(text: &str) -> Result<SteppedFile, Failure> {
    if let Some(bundle) = open_bundle(text)? {
        let other = "this bundle contains no case of the stepped lane; open it with `framediff replay` or `explain`";
        return Ok(bundled::case(Path::new(text), &bundle)?.ok_or(other)?);
    }
    if is_line(text) {
        let case = text.parse().map_err(|error| format!("this case cannot be used: {error}"))?;
        return Ok(SteppedFile { note: String::new(), case });
    }
    Ok(SteppedFile::load(Path::new(text))?)
}

/// The bundle at a path, if there is one.
fn open_bundle(text: &str) -> Result<Option<Bundle>, Failure> {
    let path = Path::new(text);
    Ok(if !is_line(text) && bundled::starts_as_bundle(path) { Some(Bundle::load(path)?) } else { None })
}

/// Replays a case several times, each time in new processes.
pub(super) fn replay(
    file: &SteppedFile,
    name: &str,
    image: Option<&InterpreterIdentity>,
    source: &BuildSource,
    times: u32,
    interrupted: &'static AtomicBool,
) -> Result<Ending, Failure> {
    let case = &file.case;
    let ready = match Ready::new(case, source, interrupted) {
        Ok(ready) => ready,
        Err(error) if is_without_build(&*error) && !interrupted.load(Ordering::Relaxed) => {
            tell(&format!("framediff: {error}"));
            print(&elsewhere(name, case))?;
            return Ok(Ending::INCONCLUSIVE);
        }
        Err(error) => return Err(error),
    };
    // A case by itself does not identify the file of its interpreter.
    let own = image.map_or_else(|| identity(&ready.row) == case.build, |image| image.is_image(&ready.row));
    let mut replayed = Replayed::default();
    for _ in 0..times {
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
        replayed.runs.push(run(&ready.plan, &ready.workload, case)?.1);
    }
    let known = KnownFailures::kept()?;
    // If released builds pass a schedule, no known failure excuses it.
    let excusable = case.weakenings.is_empty() && !KeptSchedules::kept()?.promises(case);
    let known = known
        .find_stepped(&case.fingerprint, &identity(&ready.row).version, case.workload.family)
        .filter(|_| excusable);
    let others = replayed.runs.iter().any(|run| matches!(run, ReplayResult::Other(_)));
    let all = replayed.runs.len();
    let ending = match replayed.same() {
        _ if (all as u64) < u64::from(times) => Ending::Interrupted,
        0 if !others && !replayed.is_judged() => Ending::INCONCLUSIVE,
        // A different interpreter that does not fail, or fails in a known way, says nothing about the case's own
        // build.
        0 if !others && !own => Ending::INCONCLUSIVE,
        same if known.is_some() && same == all && !own => Ending::INCONCLUSIVE,
        0 if !others => Ending::PASS,
        same if known.is_some() && same == all => Ending::PASS,
        _ => Ending::FAIL,
    };
    let verdict = match ending {
        Ending::INCONCLUSIVE if !own => format!("inconclusive: {OTHER_BUILD}: {}", standing(&replayed)),
        Ending::FAIL if !own => format!("fail: {}", standing(&replayed)),
        ending => ending.name().to_owned(),
    };
    let mut text = format!("{name}: {} on CPython {}", case.fingerprint, identity(&ready.row));
    if !file.note.is_empty() {
        let _ = write!(text, ": {}", clean(&file.note));
    }
    let known = known.map(|KnownMatch { entry, confirmation }| {
        let confirmed = match confirmation {
            Confirmation::Seen => "",
            Confirmation::NotConfirmed => ", not confirmed for this version",
        };
        format!(", known{confirmed}: {} ({})", entry.id, entry.link)
    });
    let known = known.unwrap_or_default();
    let _ = writeln!(text, "\n  {replayed}{known}\n  {verdict}");
    if !own {
        text.push_str(&elsewhere(name, case));
    }
    print(&text)?;
    Ok(ending)
}

const OTHER_BUILD: &str = "the case was made on a different interpreter";

/// What the replays of a case on another build say of its failure.
fn standing(replayed: &Replayed) -> &'static str {
    match replayed.same() {
        0 if replayed.failed() > 0 => "another failure on this one",
        0 if replayed.is_judged() => "gone on this one",
        0 => "not comparable with this one",
        _ => "still there on this one",
    }
}

/// Whether the only reason why a case cannot run is that its build is missing here.
fn is_without_build(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<NoSuchBuild>() || matches!(error.downcast_ref(), Some(SelectError::Fetch { .. }))
}

/// The command that replays a case on the machine that has its build.
fn elsewhere(name: &str, case: &SteppedCase) -> String {
    let what = if name == ON_A_LINE { case.to_string() } else { quote(name) };
    format!("  replay     framediff replay {what} --python PATH, with CPython {}\n", clean(&case.build.to_string()))
}

/// Prints why a case fails.
pub(super) fn explain(arguments: &Explain, interrupted: &'static AtomicBool) -> Result<Ending, Failure> {
    let OneCase { case, source } = &arguments.case;
    let bundle = open_bundle(case)?;
    if let Some(bundle) = bundle.as_ref().filter(|bundle| bundle.file(name::CASE).is_none()) {
        return bundled::explain(Path::new(case), bundle);
    }
    let file = read(case)?;
    let (document, again) = match (explanation(&file, source, interrupted), &bundle) {
        (Ok(explained), _) => explained,
        // Without the build, the case cannot run. The bundle still holds what was seen when it was made.
        (Err(error), Some(bundle)) if arguments.format == Format::Human && !interrupted.load(Ordering::Relaxed) => {
            tell(&format!("note: the case did not run here: {error}"));
            return bundled::explained_there(bundle, &file);
        }
        (Err(error), _) => return Err(error),
    };
    match arguments.format {
        Format::Human => {
            print(&(bundle.as_ref().map(bundled::about).unwrap_or_default() + &document.text(Look::of_stdout())))?;
        }
        Format::Json => print(&(serde_json::to_string_pretty(&document)? + "\n"))?,
    }
    Ok(match again {
        ReplayResult::Same | ReplayResult::Other(_) => Ending::FAIL,
        ReplayResult::Passed => Ending::PASS,
        ReplayResult::Misfit(_) | ReplayResult::Rejected(_) => Ending::INCONCLUSIVE,
    })
}

/// Makes a case smaller.
pub(super) fn shrink(arguments: &Shrink, interrupted: &'static AtomicBool) -> Result<Ending, Failure> {
    let OneCase { case, source } = &arguments.case;
    let file = read(case)?;
    let ready = Ready::new(&file.case, source, interrupted)?;
    let stopped = || interrupted.load(Ordering::Relaxed);
    let until = Until { deadline: Some(Instant::now() + arguments.budget), interrupted: &stopped, first: false };
    let budget = Budget { runs: arguments.runs, workloads: arguments.workloads, until };
    // On another build it is another case.
    let start = SteppedCase { build: identity(&ready.row), ..file.case.clone() };
    let smaller = shrunk(&ready.plan, &start, budget)?;
    let small = SteppedFile { note: file.note.clone(), case: smaller.case };
    let mut text = String::new();
    for (name, case) in [("was", &file.case), ("is", &small.case)] {
        let WorkloadIdentity { family, parameters, .. } = &case.workload;
        let _ = writeln!(
            text,
            "{name:>4}  {} in {} samples; {family}, depth {}, width {}, locals {}, speed {}, {} names",
            case.schedule,
            case.samples,
            parameters.depth,
            parameters.width,
            parameters.frame_size,
            parameters.speed,
            parameters.names.name()
        );
    }
    let minimal = if smaller.is_minimal {
        "no single change makes it smaller"
    } else {
        "the budget ended before all smaller cases were tried"
    };
    let _ = writeln!(text, "      {} schedules ran; {minimal}", smaller.runs);
    // The result is replayed once more from scratch before it is reported.
    let again = run(&RigPlan { ..ready.plan.clone() }, &small.case.workload.generate()?, &small.case)?.1;
    let code = if again == ReplayResult::Same { Ending::PASS } else { Ending::INCONCLUSIVE };
    let _ = writeln!(text, "      in fresh processes: {}", Replayed { runs: vec![again] });
    if let Some(folder) = &arguments.output {
        let _ = writeln!(text, "      saved {}", small.save(folder)?.display());
    }
    let _ = writeln!(text, "      framediff replay {}", small.case);
    print(&text)?;
    Ok(if interrupted.load(Ordering::Relaxed) { Ending::Interrupted } else { code })
}

/// Writes a Python file that reproduces the failure.
pub(super) fn reproducer(arguments: &Reproducer, interrupted: &'static AtomicBool) -> Result<Ending, Failure> {
    let OneCase { case, source } = &arguments.case;
    if arguments.output.exists() {
        return Err(format!("{} already exists: name another file", arguments.output.display()).into());
    }
    let mut file = read(case)?;
    let ready = Ready::new(&file.case, source, interrupted)?;
    if !file.case.schedule.moves_inside_samples() && !is_deterministic(&file.case) {
        let stopped = || interrupted.load(Ordering::Relaxed);
        let until = Until { deadline: Some(Instant::now() + arguments.limit), interrupted: &stopped, first: false };
        match from_gate_to_gate(&ready.plan, &file.case, until)? {
            Some(gated) => file.case = gated,
            None => {
                tell("note: the failure was not found with moves from gate to gate, so target and profiler run freely")
            }
        }
    }
    let mut duty = Duty { limit: arguments.limit, measured: None, warm_up: ready.plan.warm_up };
    let text = python_file(&file, duty)?;
    write(&arguments.output, &text)?;
    // The file states how long it takes, so the time is measured.
    let begun = Instant::now();
    let output = Command::new(&ready.row.build.python).arg(&arguments.output).stdin(Stdio::null()).output()?;
    let time = begun.elapsed();
    let seen = match output.status.code() {
        Some(1) => true,
        Some(0) => false,
        _ => {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{} failed to run: {}", arguments.output.display(), last_words(&text)).into());
        }
    };
    if seen && !is_deterministic(&file.case) {
        duty.measured = Some(time);
        write(&arguments.output, &python_file(&file, duty)?)?;
    }
    let kind = if is_deterministic(&file.case) { "deterministic" } else { "target and profiler run freely" };
    let how = if seen { "it showed the failure" } else { "it did not show the failure" };
    print(&format!("{}: {kind}; {how} in {}\n", arguments.output.display(), seconds(time)))?;
    Ok(if seen { Ending::PASS } else { Ending::INCONCLUSIVE })
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
