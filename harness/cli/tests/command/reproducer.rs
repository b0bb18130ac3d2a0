//! Runs reproducers on the real interpreter.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use framediff::report::reproducer::{Duty, FileMoves, NoReproducer, reproducer};
use framewalk::sample::WalkerKind;
use framewalk::weakening::Weakening;
use model::run::configuration::Configuration;
use model::run::known::KnownFailures;
use model::schedule::cast::ProfilerScript;
use model::workload::{Family, FrameSize, Mode, Names, Parameters, generate};
use sim::case::file::SteppedFile;
use sim::case::stepped::{BuildIdentity, SteppedCase, WorkloadIdentity};

use crate::common;

fn file(family: Family, mode: Mode, names: Names, samples: u32, schedule: &str) -> SteppedFile {
    let parameters = Parameters { depth: 3, width: 2, frame_size: FrameSize::Equal(0), speed: 0, names };
    let parameters = parameters.within_bounds(family);
    let case = SteppedCase {
        build: BuildIdentity { version: "3.15.2".into(), debug: false, jit: false },
        workload: WorkloadIdentity::of(&generate(family, mode, &parameters, 7)),
        walker: WalkerKind::CpythonCached,
        weakenings: [].into(),
        configuration: Configuration::default(),
        cast: ProfilerScript::default(),
        samples,
        tearing: false,
        loads: false,
        schedule: schedule.parse().unwrap(),
        fingerprint: "stepped/cpython-cached/spliced/full-hit/function/read-chunk..write-anchor".parse().unwrap(),
    };
    SteppedFile { note: "a \"note\" with a \\ and a €".into(), case }
}

fn duty(seconds: u64) -> Duty {
    Duty { limit: Duration::from_secs(seconds), measured: None, warm_up: 40 }
}

/// Runs the text on the interpreter under test, alone in a folder.
fn run(text: &str) -> (Option<i32>, String, Duration) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("repro.py");
    fs::write(&path, text).unwrap();
    let begun = Instant::now();
    let Output { status, stdout, stderr } =
        Command::new(&common::release().python).args(["-I", "-S"]).arg(&path).output().unwrap();
    let text = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "it leaves nothing behind: {text}");
    (status.code(), text, begun.elapsed())
}

#[test]
fn a_live_reproducer_has_one_of_its_documented_outcomes() {
    // Torn reads alone make the fault visible, within a second on an idle machine.
    let file = file(Family::Alternating, Mode::Rounds, Names::Ascii, 2, "0.2:12");
    let text = reproducer(&file, &[], FileMoves::Live, duty(8)).unwrap();
    assert!(text.contains(&file.case.to_string()), "the case can be copied from it");
    let (code, output, time) = run(&text);
    assert!(output.contains("expected time: unknown; it gives up after 8 s"), "{output}");
    assert!(time < Duration::from_secs(30), "{time:?}");
    match code {
        Some(1) => {
            assert!(output.contains("impossible stack in sample") && output.contains("cache: full-hit"), "{output}");
            // It is chance which clause breaks: the callers of another branch, or a line that calls no such function.
            assert!(output.contains("\n  > "), "the frame at fault is marked: {output}");
        }
        Some(0) => assert!(output.contains("no impossible stack"), "{output}"),
        other => panic!("{other:?}: {output}"),
    }
}

#[test]
fn a_deterministic_reproducer_takes_the_same_steps_every_time() {
    // Every gate of a few rounds, then longer moves. 3.15.2 gets all of them right.
    for (family, names) in [
        (Family::Alternating, Names::Astral),
        (Family::Generators, Names::Ascii),
        (Family::Exceptions, Names::Latin1),
        (Family::Finalizers, Names::Ascii),
        (Family::ThroughC, Names::Wide),
    ] {
        let moves: Vec<String> = (0..60).map(|sample| format!("{sample}.0:{}", 1 + sample % 3)).collect();
        let file = file(family, Mode::GatedRounds, names, 60, &moves.join(","));
        assert_eq!(FileMoves::of(&file.case), FileMoves::AtRest);
        let text = reproducer(&file, &[], FileMoves::AtRest, duty(1)).unwrap();
        let (code, output, _) = run(&text);
        assert_eq!(code, Some(0), "{family}: {output}");
        assert!(output.contains("60 samples, 0 without a stack, no impossible stack"), "{family}: {output}");
        // The same with a program that does not match its grammar.
        let context = text.lines().find(|line| line.starts_with("CONTEXTS = [")).unwrap();
        let wrong = text.replace("return parent is None or lines is None or line in lines", "return parent is None");
        assert_ne!(text, wrong);
        let (code, output, _) = run(&wrong);
        assert_eq!(code, Some(1), "{family}: {context}: {output}");
        assert!(output.contains("impossible stack in sample 0"), "{output}");
        assert_eq!(run(&wrong).1, output, "{family}: every run is the same");
    }
}

#[test]
fn a_stale_stack_is_impossible_where_the_program_waits() {
    let file =
        file(Family::Alternating, Mode::GatedRounds, Names::Ascii, 8, "1.0:1,2.0:1,3.0:1,4.0:1,5.0:2,6.0:1,7.0:1");
    let text = reproducer(&file, &[], FileMoves::AtRest, duty(1)).unwrap();
    assert_eq!(run(&text).0, Some(0));
    // A sampler that returns its previous answer.
    let stale = text.replace(
        "        stacks, growth = samplers[name].sample()\n        rejected += not stacks\n        for stack in stacks:\n            fault = grammar.fault(stack)\n            \
         expected = None",
        "        fresh, growth = samplers[name].sample()\n        stacks = before if sample > 2 else fresh\n        before = fresh\n        \
         for stack in stacks:\n            fault = grammar.fault(stack)\n            expected = None",
    );
    assert_ne!(text, stale);
    let (code, output, _) = run(&stale);
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("the program was somewhere else"), "{output}");
    assert!(output.contains("the program was waiting in, leaf first:"), "{output}");
}

#[test]
fn a_reproducer_with_two_unwinders_is_deterministic() {
    let parameters = Parameters { depth: 1, width: 2, frame_size: FrameSize::Equal(0), speed: 0, names: Names::Ascii };
    let mut file = file(Family::Alternating, Mode::GatedRounds, Names::Ascii, 3, "0.0:1,1.0:8");
    let workload = generate(Family::Alternating, Mode::GatedRounds, &parameters, 25);
    file.case.workload = WorkloadIdentity::of(&workload);
    file.case.cast = "a+make-b.b+a".parse().unwrap();
    file.case.fingerprint =
        "stepped/cpython-cached/old-and-new/spliced/full-hit/function/between-samples".parse().unwrap();
    let text = reproducer(&file, &[], FileMoves::AtRest, duty(1)).unwrap();
    let version = common::release().version.to_string();
    let known = KnownFailures::kept()
        .unwrap()
        .find_stepped(&file.case.fingerprint, &version, file.case.workload.family)
        .is_some();
    let (code, output, _) = run(&text);
    assert_eq!(code, Some(i32::from(known)), "{output}");
    assert_eq!(output.contains("the program was somewhere else"), known, "{output}");
    assert_eq!(run(&text).1, output, "every run is the same");
    // Without the second unwinder, nothing is wrong.
    file.case.cast = ProfilerScript::default();
    let (code, output, _) = run(&reproducer(&file, &[], FileMoves::AtRest, duty(1)).unwrap());
    assert_eq!(code, Some(0), "{output}");
}

#[test]
fn moves_inside_a_sample_are_the_same_every_time() {
    let version = common::release().version.to_string();
    let spliced = "stepped/cpython-cached/spliced/full-hit/function/read-chunk..read-frame";
    for (mode, depth) in [(Mode::Rounds, 3), (Mode::GatedRounds, 1)] {
        let parameters = Parameters { depth, width: 2, frame_size: FrameSize::Equal(0), speed: 0, names: Names::Ascii };
        let mut file = file(Family::Alternating, mode, Names::Ascii, 2, "0.0:1,0.2:8");
        file.case.workload = WorkloadIdentity::of(&generate(Family::Alternating, mode, &parameters, 25));
        file.case.fingerprint = spliced.parse().unwrap();
        assert_eq!(FileMoves::of(&file.case), FileMoves::Stepped);
        let text = reproducer(&file, &[], FileMoves::Stepped, duty(1)).unwrap();
        let known = KnownFailures::kept().unwrap();
        let known = known.find_stepped(&file.case.fingerprint, &version, Family::Alternating).is_some();
        let (code, output, _) = run(&text);
        assert_eq!(code, Some(i32::from(known)), "{mode:?}: {output}");
        assert_eq!(run(&text).1, output, "{mode:?}: every run is the same");
        // Without the move inside the sample, nothing is wrong.
        file.case.schedule = "0.0:1".parse().unwrap();
        let (code, output, _) = run(&reproducer(&file, &[], FileMoves::Stepped, duty(1)).unwrap());
        assert_eq!(code, Some(0), "{mode:?}: {output}");
    }
}

#[test]
fn a_reproducer_that_cannot_run_says_why() {
    let file = file(Family::Alternating, Mode::Rounds, Names::Ascii, 2, "0.2:12");
    let text = reproducer(&file, &[], FileMoves::Live, duty(1)).unwrap();
    let without = text.replace("from _remote_debugging import", "from _no_such_module import");
    let (code, output, _) = run(&without);
    assert_eq!(code, Some(2), "{output}");
    assert!(output.contains("cannot be tried: this CPython has no RemoteUnwinder"), "{output}");
    let broken = text.replace("PROGRAM = r'''", "PROGRAM = r'''raise SystemExit\n");
    let (code, output, _) = run(&broken);
    assert_eq!(code, Some(2), "{output}");
    assert!(output.contains("the target has ended"), "{output}");
}

#[test]
fn cases_that_no_file_can_reproduce_are_refused_with_the_reason() {
    let file = file(Family::Alternating, Mode::Rounds, Names::Ascii, 2, "0.2:12");
    let with = |change: &dyn Fn(&mut SteppedCase)| {
        let mut changed = file.clone();
        change(&mut changed.case);
        reproducer(&changed, &[], FileMoves::Live, duty(1)).unwrap_err()
    };
    let error = with(&|case| case.walker = WalkerKind::OwnReference).to_string();
    assert!(error.contains("in own-reference, not in CPython's"), "{error}");
    let error = with(&|case| {
        case.walker = WalkerKind::OwnCached;
        case.weakenings = [Weakening::ChunksNotCopied].into();
    });
    assert!(error.to_string().contains("own-cached without one of its checks"), "{error}");
    let stale = "stepped/cpython-cached/stale/full-hit/function/read-chunk..write-anchor";
    assert_eq!(with(&|case| case.fingerprint = stale.parse().unwrap()), NoReproducer::Legal);
    assert_eq!(with(&|case| case.cast = "a+b".parse().unwrap()), NoReproducer::Cast);
    let error = with(&|case| case.workload.source.0 ^= 1).to_string();
    assert!(error.contains("another program by now"), "{error}");
}
