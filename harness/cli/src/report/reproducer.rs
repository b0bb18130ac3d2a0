//! Writes a failure of the stepped lane as one Python file that needs nothing but the affected CPython.
//!
//! If the target does not move during any sample, only from gate to gate between samples, the file repeats the same
//! steps and is deterministic. Otherwise only this project's rig can reproduce the moves. The file then lets target
//! and unwinder run freely and looks for a stack that the program can never have.

use std::time::Duration;

use framewalk::printable::clean;
use framewalk::sample::WalkerKind;
use model::invariants::SampleFault;
use model::run::configuration::{AskedThreads, Configuration};
use model::schedule::Point;
use model::schedule::cast::SampleTurn;
use model::schedule::fingerprint::CacheAnswer;
use model::workload::{Mode, generate};
use sim::case::file::SteppedFile;
use sim::case::stepped::{BadStepped, SteppedCase, WorkloadIdentity};
use thiserror::Error;

use crate::report::python::{boolean, contexts, functions, list, program, string};

/// The Python code around the data.
const TEMPLATE: &str = include_str!("../../pyscripts/reproducer.py");

/// Why no such file can be written for a case.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoReproducer {
    /// The fault is in a walker of this project, not in CPython's unwinder.
    #[error(
        "the fault is in {walker}{lacking}, not in CPython's unwinder: only `framediff replay` can show it",
        lacking = if *weakened { " without one of its checks" } else { "" }
    )]
    OwnWalker {
        /// The walker at fault.
        walker: WalkerKind,
        /// Whether the walker runs with some of its checks left out.
        weakened: bool,
    },
    /// The stack is legal at another time; only the rig knows that it was wrong during the sample.
    #[error(
        "the program can have this stack at another time: the stack is wrong only because of where the target was, \
         which only `framediff replay` can show"
    )]
    Legal,
    /// The walker returned no stack, so there is nothing to compare with the program.
    #[error("the walker returned no stack, and a reproducer file compares stacks: only `framediff replay` can show it")]
    Rejected,
    /// The case needs several unwinders, or one that is made anew, and a target that moves during samples.
    #[error(
        "the case needs several unwinders, or a newly created one, and a target that moves during their samples: only \
         `framediff replay` can show it"
    )]
    Cast,
    /// The program cannot be generated again.
    #[error(transparent)]
    Case(#[from] BadStepped),
}

/// How long the file runs, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duty {
    /// The time limit if target and unwinder run freely.
    pub limit: Duration,
    /// How long it took to see the fault, if that was measured.
    pub measured: Option<Duration>,
    /// Gates that the target passes before a schedule begins, as in the rig.
    pub warm_up: usize,
}

/// Whether the file for this case takes the same steps every time.
#[must_use]
pub fn is_deterministic(case: &SteppedCase) -> bool {
    case.workload.mode == Mode::GatedRounds && !case.schedule.moves_inside_samples()
}

/// The text of the Python file that reproduces a case. `answers` are those that the cache must give, a sample each; if
/// there are none, only stacks are judged.
///
/// # Errors
/// See [`NoReproducer`].
pub fn reproducer(file: &SteppedFile, answers: &[CacheAnswer], duty: Duty) -> Result<String, NoReproducer> {
    let case = &file.case;
    let protocol_is_cpythons = case.walker.is_cpythons() || case.walker.has_cpythons_protocol();
    if !protocol_is_cpythons || !case.weakenings.is_empty() {
        return Err(NoReproducer::OwnWalker { walker: case.walker, weakened: !case.weakenings.is_empty() });
    }
    let deterministic = is_deterministic(case);
    if case.fingerprint.fault == SampleFault::Rejected {
        return Err(NoReproducer::Rejected);
    }
    if !deterministic && case.fingerprint.fault == SampleFault::Stale {
        return Err(NoReproducer::Legal);
    }
    if !deterministic && !case.cast.is_alone() {
        return Err(NoReproducer::Cast);
    }
    let stepped = case.workload.generate()?;
    let workload =
        if deterministic { stepped } else { generate(stepped.family, Mode::Free, &stepped.parameters, stepped.seed) };
    let gates = deterministic.then(|| {
        let gates = (0..case.samples).map(|sample| case.schedule.steps(Point { sample, access: 0, word: 0 }));
        list(gates.map(|gates| gates.to_string()))
    });
    let answer = match case.fingerprint.answer {
        CacheAnswer::FullHit | CacheAnswer::PartialHit | CacheAnswer::Miss if case.walker.is_cached() => {
            string(case.fingerprint.answer.name())
        }
        _ => "None".to_owned(),
    };
    let mut text = TEMPLATE.to_owned();
    for (name, value) in [
        ("TITLE", title(case, answers)),
        ("ABOUT", about(deterministic, duty)),
        ("ORIGIN", origin(file, answers)),
        ("GATES", gates.unwrap_or_else(|| "None".to_owned())),
        ("AT_START", list(case.cast.at_start().iter().map(|actor| string(&actor.to_string())))),
        ("TURNS", list((0..case.samples).filter(|_| deterministic).map(|sample| turn(&case.cast.turn(sample))))),
        ("WARM_UP", duty.warm_up.to_string()),
        ("LIMIT", duty.limit.as_secs().max(1).to_string()),
        ("CACHE", boolean(case.walker.is_cached()).to_owned()),
        ("OPTIONS", options(case.configuration)),
        ("ANSWER", answer),
        (
            "ANSWERS",
            if answers.is_empty() {
                "None".to_owned()
            } else {
                list(answers.iter().map(|answer| string(answer.name())))
            },
        ),
        ("JIT", if case.build.jit { "True" } else { "None" }.to_owned()),
        ("VERSION", string(&case.build.version)),
        ("EXPECTED", string(&expected(deterministic, duty))),
        ("FUNCTIONS", functions(&workload.grammar)),
        ("CONTEXTS", contexts(&workload.grammar)),
        // Last, because the program's text must not be searched for placeholders.
        ("PROGRAM", program(&workload.source)),
    ] {
        text = text.replacen(&format!("@@{name}@@"), &value, 1);
    }
    Ok(text)
}

fn turn(turn: &SampleTurn) -> String {
    let before: String = turn.before.iter().map(|one| string(&one.to_string()) + ", ").collect();
    format!("(({}), {})", before.trim_end(), string(&turn.by.to_string()))
}

/// What the unwinder does wrong, as the end of a sentence.
#[must_use]
pub fn deed(case: &SteppedCase, answers: &[CacheAnswer]) -> &'static str {
    if answers.is_empty() { case.fingerprint.fault.deed() } else { "uses its cache otherwise than it should" }
}

/// The options of `RemoteUnwinder` as arguments of a Python call.
fn options(configuration: Configuration) -> String {
    let Configuration { gc, native, opcodes, mode, threads, skip, statistics: _ } = configuration;
    let flags = [
        ("all_threads", threads == AskedThreads::All),
        ("only_active_thread", threads == AskedThreads::Active),
        ("native", native),
        ("gc", gc),
        ("opcodes", opcodes),
        ("skip_non_matching_threads", skip),
    ];
    let flags = flags.map(|(name, value)| format!("{name}={}", boolean(value)));
    format!("{}, mode={}", flags.join(", "), mode.number())
}

fn title(case: &SteppedCase, answers: &[CacheAnswer]) -> String {
    let what = deed(case, answers);
    let cache = if case.walker.is_cached() { "(cache_frames=True)" } else { "(cache_frames=False)" };
    let others = if case.cast.actors() > 1 { " when another one exists" } else { "" };
    format!("CPython's RemoteUnwinder{cache} {what}{others}: a reproducer.")
}

fn about(deterministic: bool, duty: Duty) -> String {
    let mut text = String::from(
        "It starts a generated program in a subprocess, samples it, and compares every stack with those that the \
         program can have. ",
    );
    text.push_str(if deterministic {
        "The program moves only between samples, never during one, so every run is the same."
    } else {
        "The fault occurs only if the program moves during a sample, so program and unwinder run freely until it is \
         seen."
    });
    text.push(' ');
    let expected = expected(deterministic, duty);
    text.push_str(&expected.replacen("expected", "Expected", 1));
    text.push('.');
    wrapped(&text)
}

fn expected(deterministic: bool, duty: Duty) -> String {
    let limit = duty.limit.as_secs().max(1);
    match (deterministic, duty.measured) {
        (true, _) => "expected time: a second or two".to_owned(),
        (false, Some(measured)) => {
            let measured = measured.as_secs_f64();
            format!("expected time: {measured:.1} s on the machine where it was written; it gives up after {limit} s")
        }
        (false, None) => format!("expected time: unknown; it gives up after {limit} s"),
    }
}

fn origin(file: &SteppedFile, answers: &[CacheAnswer]) -> String {
    let case = &file.case;
    let mut text = if answers.is_empty() {
        // Never wrapped, because the line is meant to be copied.
        format!("Made for CPython {} by framediff from the case\n  {case}\n", case.build)
    } else {
        let WorkloadIdentity { family, seed, .. } = &case.workload;
        wrapped(&format!(
            "Made for CPython {} by framediff, with its program {family} of seed {seed}. The answers that the cache must \
             give are those of the build that it was compared with.",
            case.build
        )) + "\n"
    };
    if !file.note.trim().is_empty() {
        text.push_str(&wrapped(&clean(&file.note)));
    }
    // The text goes into a docstring.
    text.trim_end().replace('\\', "\\\\").replace('"', "'")
}

fn wrapped(text: &str) -> String {
    let mut out = String::new();
    crate::report::text::paragraph(&mut out, "", text, 100);
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_has_each_placeholder_once() {
        for name in [
            "TITLE",
            "ABOUT",
            "ORIGIN",
            "GATES",
            "AT_START",
            "TURNS",
            "WARM_UP",
            "LIMIT",
            "CACHE",
            "ANSWER",
            "ANSWERS",
            "JIT",
            "VERSION",
            "PROGRAM",
            "FUNCTIONS",
            "CONTEXTS",
            "EXPECTED",
        ] {
            assert_eq!(TEMPLATE.matches(&format!("@@{name}@@")).count(), 1, "{name}");
        }
        assert_eq!(TEMPLATE.matches("@@").count(), 2 * 17, "and no other");
    }
}
