//! The verbs for a case of the stepped lane: `replay`, `explain` and `shrink`.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use framewalk::printable::clean;
use lanes::bundle::about::InterpreterIdentity;
use lanes::explore::place::{NoSuchBuild, identity};
use lanes::explore::replay::{ReplayResult, Replayed, run};
use lanes::explore::search::Until;
use lanes::explore::shrink::{Budget, ShrinkError, Shrunk, shrink as shrunk};
use lanes::stepped::RigPlan;
use model::run::known::{Confirmation, KnownFailures, KnownMatch};
use process::build::SelectError;
use sim::case::file::SteppedFile;
use sim::case::kept::KeptSchedules;
use sim::case::stepped::{SteppedCase, WorkloadIdentity};

use crate::cli::exit::Ending;
use crate::cli::explanation::{Ready, explanation};
use crate::cli::opened::{Opened, open};
use crate::cli::output::{Failure, print, tell};
use crate::cli::shared_arguments::{BuildSource, Format};
use crate::cli::stepped_arguments::{Explain, OneCase, Shrink};
use crate::cli::{bundled, reproducers};
use crate::report::shell::quote;
use crate::report::text::Look;

/// The name of a case that was given as a line instead of a file.
pub(super) const ON_A_LINE: &str = "case";

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

/// Prints why a case fails. A bundle is explained as it was seen when it was made, on any machine; a case by itself runs
/// again.
pub(super) fn explain(arguments: &Explain, interrupted: &'static AtomicBool) -> Result<Ending, Failure> {
    let OneCase { case, source } = &arguments.case;
    let file = match open(case)? {
        Opened::Cell(bundle, record) => return bundled::explain(case, &bundle, Some(&record)),
        Opened::Case(_, Some(bundle)) if arguments.format == Format::Human => {
            return bundled::explain(case, &bundle, None);
        }
        Opened::Case(file, _) => file,
    };
    let (document, again) = explanation(&file, source, interrupted)?;
    match arguments.format {
        Format::Human => {
            let reproducer = format!("\n  reproducer framediff reproducer {} -o reproducer.py\n", file.case);
            print(&(document.text(Look::of_stdout()) + &reproducer))?;
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
    let file = match open(case)? {
        Opened::Case(file, _) => file,
        cell @ Opened::Cell(..) => reproducers::case_of(&cell, source, arguments.budget, interrupted)?,
    };
    let ready = Ready::new(&file.case, source, interrupted)?;
    let stopped = || interrupted.load(Ordering::Relaxed);
    let until = Until { deadline: Some(Instant::now() + arguments.budget), interrupted: &stopped, first: false };
    let budget = Budget { runs: arguments.runs, workloads: arguments.workloads, until };
    let smaller = smaller(&ready, &file.case, budget)?;
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

/// The smallest case that was found. On another build than its own, a case becomes a case of that build.
///
/// # Errors
/// As [`shrunk`].
pub(super) fn smaller(ready: &Ready, case: &SteppedCase, budget: Budget<'_>) -> Result<Shrunk, ShrinkError> {
    let start = SteppedCase { build: identity(&ready.row), ..case.clone() };
    shrunk(&ready.plan, &start, budget)
}
