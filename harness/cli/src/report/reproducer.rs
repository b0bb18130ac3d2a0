//! Writes a failure of the stepped lane as one Python file that needs nothing but the affected CPython.
//!
//! If the target does not move during any sample, only from gate to gate between samples, the file needs nothing else.
//! If it moves inside a sample, the file has a small stepper, which traces the unwinder and, for moves from store to
//! store, the target. Both take the same steps every time. As a last resort the file lets target and unwinder run freely
//! and looks for a stack that the program can never have.

use std::time::Duration;

use framewalk::printable::clean;
use framewalk::sample::WalkerKind;
use model::invariants::SampleFault;
use model::run::configuration::{AskedThreads, Configuration};
use model::schedule::Point;
use model::schedule::cast::SampleTurn;
use model::schedule::fingerprint::CacheAnswer;
use model::workload::{Mode, Workload, generate};
use sim::case::file::SteppedFile;
use sim::case::stepped::{BadStepped, SteppedCase, WorkloadIdentity};
use thiserror::Error;

use crate::report::python::{boolean, contexts, functions, list, program, string};

/// The Python code around the data.
const TEMPLATE: &str = include_str!("../../pyscripts/reproducer.py");
/// What it takes to move the target inside samples.
const STEPPER: &str = include_str!("../../pyscripts/reproducer_stepper.py");

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
    /// The case needs several unwinders, or one that is made anew, and target and unwinder would run freely.
    #[error(
        "the case needs several unwinders, or a newly created one, which do not run freely: only `framediff replay` can \
         show it"
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

/// How target and unwinder are interleaved in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileMoves {
    /// The target moves from gate to gate, between samples only.
    AtRest,
    /// It moves where the schedule says, also inside samples.
    Stepped,
    /// Both run freely.
    Live,
}

impl FileMoves {
    /// The simplest way to take the same steps every time, if there is one.
    #[must_use]
    pub fn of(case: &SteppedCase) -> Self {
        match case.workload.mode {
            _ if case.tearing => Self::Live,
            Mode::GatedRounds if !case.schedule.moves_inside_samples() => Self::AtRest,
            Mode::GatedRounds | Mode::Rounds | Mode::Gated | Mode::Free => Self::Stepped,
        }
    }

    /// The function of the file that runs.
    fn function(self) -> &'static str {
        match self {
            Self::AtRest => "stepped",
            Self::Stepped => "moving",
            Self::Live => "live",
        }
    }

    /// In words, for a note about a file.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::AtRest => "deterministic",
            Self::Stepped => "deterministic, step by step",
            Self::Live => "target and profiler run freely",
        }
    }
}

/// The text of the Python file that reproduces a case. `answers` are those that the cache must give, a sample each; if
/// there are none, only stacks are judged.
///
/// # Errors
/// See [`NoReproducer`].
pub fn reproducer(
    file: &SteppedFile,
    answers: &[CacheAnswer],
    moves: FileMoves,
    duty: Duty,
) -> Result<String, NoReproducer> {
    let case = &file.case;
    let protocol_is_cpythons = case.walker.is_cpythons() || case.walker.has_cpythons_protocol();
    if !protocol_is_cpythons || !case.weakenings.is_empty() {
        return Err(NoReproducer::OwnWalker { walker: case.walker, weakened: !case.weakenings.is_empty() });
    }
    if case.fingerprint.fault == SampleFault::Rejected {
        return Err(NoReproducer::Rejected);
    }
    let live = moves == FileMoves::Live;
    if live && case.fingerprint.fault == SampleFault::Stale {
        return Err(NoReproducer::Legal);
    }
    if live && !case.cast.is_alone() {
        return Err(NoReproducer::Cast);
    }
    let stepped = case.workload.generate()?;
    let workload = if live { generate(stepped.family, Mode::Free, &stepped.parameters, stepped.seed) } else { stepped };
    let step = match moves {
        FileMoves::AtRest | FileMoves::Live => None,
        FileMoves::Stepped if case.workload.mode == Mode::GatedRounds => Some("gate"),
        FileMoves::Stepped => Some(if case.loads { "load" } else { "store" }),
    };
    Ok(filled(file, answers, &workload, moves, step, duty))
}

/// The modules that a file needs, with a stepper or without.
fn imports(steps: bool) -> String {
    let all = ["ctypes", "json", "os", "signal", "struct", "subprocess", "sys", "tempfile", "time"];
    let of_stepper = ["ctypes", "json", "signal", "struct"];
    let needed = all.iter().filter(|module| steps || !of_stepper.contains(module));
    needed.map(|module| format!("import {module}")).collect::<Vec<_>>().join("\n")
}

/// The stepper with the schedule.
fn stepper(case: &SteppedCase, step: &str) -> String {
    let moves = case.schedule.moves.iter();
    let moves = moves.map(|one| format!("({}, {}): {}", one.at.sample, one.at.access, one.steps));
    let schedule = format!("{{{}}}", moves.collect::<Vec<_>>().join(", "));
    let text = STEPPER.trim_end().replacen("@@SCHEDULE@@", &schedule, 1);
    text.replacen("@@STEP@@", &string(step), 1)
}

fn filled(
    file: &SteppedFile,
    answers: &[CacheAnswer],
    workload: &Workload,
    moves: FileMoves,
    step: Option<&str>,
    duty: Duty,
) -> String {
    let case = &file.case;
    let at_rest = moves == FileMoves::AtRest;
    let gates = at_rest.then(|| {
        let gates = (0..case.samples).map(|sample| case.schedule.steps(Point { sample, access: 0, word: 0 }));
        list(gates.map(|gates| gates.to_string()))
    });
    let entry = "if sys.argv[1:2] == [\"sampler\"]:\n        serve(int(sys.argv[2]))\n    else:\n        main()";
    let answer = match case.fingerprint.answer {
        CacheAnswer::FullHit | CacheAnswer::PartialHit | CacheAnswer::Miss if case.walker.is_cached() => {
            string(case.fingerprint.answer.name())
        }
        _ => "None".to_owned(),
    };
    let mut text = TEMPLATE.to_owned();
    for (name, value) in [
        ("TITLE", title(case, answers)),
        ("IMPORTS", imports(step.is_some())),
        ("ABOUT", about(moves, duty)),
        ("ORIGIN", origin(file, answers)),
        ("GATES", gates.unwrap_or_else(|| "None".to_owned())),
        ("AT_START", list(case.cast.at_start().iter().map(|actor| string(&actor.to_string())))),
        (
            "TURNS",
            list((0..case.samples).filter(|_| moves != FileMoves::Live).map(|sample| turn(&case.cast.turn(sample)))),
        ),
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
        ("EXPECTED", string(&expected(moves, duty))),
        ("STEPPER", step.map(|step| stepper(case, step)).unwrap_or_default()),
        ("RUN", moves.function().to_owned()),
        ("ENTRY", if step.is_some() { entry } else { "main()" }.to_owned()),
        ("FUNCTIONS", functions(&workload.grammar)),
        ("CONTEXTS", contexts(&workload.grammar)),
        // Last, because the program's text must not be searched for placeholders.
        ("PROGRAM", program(&workload.source)),
    ] {
        text = text.replacen(&format!("@@{name}@@"), &value, 1);
    }
    text
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

fn about(moves: FileMoves, duty: Duty) -> String {
    let mut text = String::from(
        "It starts a generated program in a subprocess, samples it, and compares every stack with those that the \
         program can have. ",
    );
    text.push_str(match moves {
        FileMoves::AtRest => "The program moves only between samples, never during one, so every run is the same.",
        FileMoves::Stepped => {
            "The unwinder is traced and stops before each access to the program, and the program goes on step by step, at \
             fixed places. So every run is the same. x86-64 Linux only."
        }
        FileMoves::Live => {
            "The fault occurs only if the program moves during a sample, so program and unwinder run freely until it is \
             seen."
        }
    });
    text.push(' ');
    let expected = expected(moves, duty);
    text.push_str(&expected.replacen("expected", "Expected", 1));
    text.push('.');
    wrapped(&text)
}

fn expected(moves: FileMoves, duty: Duty) -> String {
    let limit = duty.limit.as_secs().max(1);
    match (moves, duty.measured) {
        (FileMoves::AtRest | FileMoves::Stepped, _) => "expected time: a second or two".to_owned(),
        (FileMoves::Live, Some(measured)) => {
            let measured = measured.as_secs_f64();
            format!("expected time: {measured:.1} s on the machine where it was written; it gives up after {limit} s")
        }
        (FileMoves::Live, None) => format!("expected time: unknown; it gives up after {limit} s"),
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
            "IMPORTS",
            "STEPPER",
            "RUN",
            "ENTRY",
            "ABOUT",
            "ORIGIN",
            "GATES",
            "AT_START",
            "TURNS",
            "WARM_UP",
            "LIMIT",
            "CACHE",
            "OPTIONS",
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
        assert_eq!(TEMPLATE.matches("@@").count(), 2 * 22, "and no other");
        assert!(["SCHEDULE", "STEP"].iter().all(|name| STEPPER.matches(&format!("@@{name}@@")).count() == 1));
        assert_eq!(STEPPER.matches("@@").count(), 2 * 2, "and no other");
    }
}
