//! Tests the command as users and scripts see it: exit codes, output, and what is left behind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use framediff::cli::exit;
use framewalk::sample::WalkerKind;
use framewalk::weakening::Weakening;
use model::run::cell::CellOutcome;
use model::run::document::Document;
use model::workload::grammar::WORKLOAD_FILE;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use object::read::{Object as _, ObjectSection};
use object::write::Object;
use object::{Architecture, BinaryFormat, Endianness, SectionKind};
use tempfile::TempDir;

use crate::common;
use crate::common::command::{Outcome, Process, REFUSAL, Running, assert_build_refused, children, framediff, state};
use crate::common::target::{Watched, script};

/// `check` of the release build in the stopped lane, with one family.
fn stopped(budget: &str, more: &[&str]) -> Command {
    let mut command = framediff(["check", "--lane", "stopped", "--family", "alternating", "--budget", budget]);
    command.arg("--python").arg(common::release().python).args(more);
    command
}

/// A program that answers the probe like a CPython of this version, with an image like the release build's.
fn answers_as(folder: &TempDir, version: u32, free_threaded: bool) -> PathBuf {
    let original = fs::read(common::release().image).unwrap();
    let original = object::File::parse(&*original).unwrap();
    let mut section = original.section_by_name(".PyRuntime").unwrap().data().unwrap().to_vec();
    // After the cookie, the section holds the version and the free-threaded word.
    section[8..16].copy_from_slice(&u64::from(version).to_le_bytes());
    section[16..24].copy_from_slice(&u64::from(free_threaded).to_le_bytes());
    let mut elf = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
    let id = elf.add_section(Vec::new(), b".PyRuntime".to_vec(), SectionKind::Data);
    elf.append_section_data(id, &section, 8);
    let image = folder.path().join("libpython");
    fs::write(&image, elf.write().unwrap()).unwrap();
    let answer = serde_json::json!({
        "implementation": "cpython", "hexversion": version, "executable": "/somewhere/python",
        "debug": false, "free_threaded": free_threaded, "jit_available": false, "mapped": [image],
    });
    script(folder.path(), "python", &format!("cat <<'END'\n{answer}\nEND"))
}

/// A CPython between 3.2 and 3.12 that is installed here.
fn old_python() -> Option<PathBuf> {
    let minors = (2..=12).map(|minor| format!("python3.{minor}"));
    let paths = std::iter::once("python3".to_owned()).chain(minors).flat_map(|name| which::which_all(name).unwrap());
    let is_old = |path: &PathBuf| {
        let script = "import sys; sys.exit(sys.version_info >= (3, 13) or sys.implementation.name != 'cpython')";
        Command::new(path).args(["-I", "-c", script]).output().is_ok_and(|output| output.status.success())
    };
    paths.into_iter().find(is_old)
}

#[test]
fn a_cpython_before_3_13_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let supported = "every version since 3.13 is supported";
    assert_build_refused(&answers_as(&folder, 0x030c_0af0, false), &["CPython 3.12.10", supported]);
    // If the machine has an old CPython of its own, it answers the probe itself.
    if let Some(python) = old_python() {
        assert_build_refused(&python, &["CPython 3.", supported]);
    }
}

#[test]
fn a_prerelease_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert_build_refused(
        &answers_as(&folder, 0x030f_00b3, false),
        &["3.15.0b3 is unknown: it is a pre-release", "--layout-header"],
    );
}

#[test]
fn a_free_threaded_build_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert_build_refused(
        &answers_as(&folder, 0x030f_02f0, true),
        &["3.15.2 is a free-threaded build", "use a build with the GIL"],
    );
}

/// Makes a command from a replay line.
fn replayed(line: &str) -> Command {
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[..2], ["framediff", "check"], "{line}");
    framediff(&words[1..])
}

/// The replay does not use up its budget, and only this failure decides its exit code.
#[test]
fn a_replay_command_reproduces_its_failure() {
    let document = weakened(3, &[Weakening::LeafReusedOnFullHit]);
    let violation = document.violations.iter().find(|violation| violation.known.is_none()).unwrap();
    let line = &violation.first.replay;
    assert!(line.contains(&format!("--until {}", violation.fingerprint)), "{line}");
    let begun = Instant::now();
    let shown = Running::start(replayed(line)).ends_within(REFUSAL);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!(shown.code, Some(i32::from(exit::VIOLATION)), "{shown:?}");
    assert!(shown.stdout.contains(violation.fingerprint.as_str()), "{shown:?}");

    // The same failure, now listed as known.
    let known = tempfile::NamedTempFile::new().unwrap();
    fs::write(known.path(), known_failure(violation.fingerprint.as_str())).unwrap();
    let mut command = replayed(line);
    command.args(["--known", known.path().to_str().unwrap(), "--format", "json"]);
    let shown = Running::start(command).ends_within(REFUSAL);
    assert_eq!(shown.code, Some(i32::from(exit::PASS)), "{shown:?}");
    assert!(
        shown.document().violations.iter().any(|one| one.fingerprint == violation.fingerprint && one.known.is_some())
    );

    // A different failure does not end the run. Without the failure that is looked for, the run does not pass.
    let mut command = stopped("2s", &["--seed", "3", "--jit", "off", "--until", violation.fingerprint.as_str()]);
    command.args(["--walker", "own-cached"]);
    let not_shown = Running::start(command).ends_within(REFUSAL);
    assert_eq!(not_shown.code, Some(i32::from(exit::INCONCLUSIVE)), "{not_shown:?}");
    assert!(not_shown.stdout.contains("not seen again"), "{not_shown:?}");
}

fn known_failure(fingerprint: &str) -> String {
    format!(
        "[[failure]]\nid = \"it\"\nfingerprint = \"{fingerprint}\"\nversions = \">=3.15.0\"\n\
         link = \"https://github.com/python/cpython/issues/1\"\nnote = \"a test\"\n"
    )
}

/// A hard-linked copy of the fetched build, whose unwinder module was changed by `change`.
fn build_without_unwinder(change: impl Fn(&Path)) -> (TempDir, PathBuf) {
    let python = &common::fetched()[0];
    let root = python.ancestors().nth(3).unwrap();
    // In a folder next to the original, because hard links cannot cross file systems.
    let folder = tempfile::Builder::new().prefix(".test-").tempdir_in(root.parent().unwrap()).unwrap();
    let copy = folder.path().join("copy");
    let copied = Command::new("cp").arg("-al").arg(root).arg(&copy).status().unwrap();
    assert!(copied.success());
    let modules = copy.join("usr/lib/python3.15/lib-dynload");
    for entry in fs::read_dir(&modules).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with("_remote_debugging") {
            fs::remove_file(entry.path()).unwrap();
            change(&entry.path());
        }
    }
    let python = copy.join(python.strip_prefix(root).unwrap());
    (folder, python)
}

#[test]
fn a_build_without_an_importable_unwinder_is_named_and_own_walkers_run() {
    for (words, change) in [
        ("ModuleNotFoundError", (|_: &Path| ()) as fn(&Path)),
        ("ImportError: ", |path| fs::write(path, "garbage").unwrap()),
    ] {
        let (_folder, python) = build_without_unwinder(change);
        let mut command = framediff(["check", "--family", "alternating", "--budget", "6s", "--seed", "1", "--python"]);
        command.arg(&python).args(["--jit", "off", "--format", "json"]);
        let outcome = Running::start(command).ends_within(REFUSAL);
        assert_eq!(outcome.code, Some(i32::from(exit::INCONCLUSIVE)), "{outcome:?}");
        let document = outcome.document();
        for cell in document.cells.iter().filter(|cell| cell.cell.family == "alternating") {
            assert_eq!(cell.outcome, CellOutcome::Ran, "{cell:?}");
            assert_eq!(cell.tallies.len(), 3, "{cell:?}");
        }
        let missing: Vec<String> = document.not_run.iter().map(|cell| cell.why.to_string()).collect();
        assert_eq!(missing.len(), 3, "one for each lane: {missing:?}");
        for why in missing {
            assert!(why.contains(python.to_str().unwrap()) && why.contains(words), "{why}");
        }
    }
}

#[test]
fn a_check_of_one_build_in_the_stopped_lane_passes() {
    let outcome = Running::start(stopped("3s", &["--seed", "1", "--format", "json"])).ends_within(REFUSAL);
    assert_eq!(outcome.code, Some(i32::from(exit::PASS)), "{outcome:?}");
    assert_eq!(outcome.stderr, "");
    let document = outcome.document();
    let mut walkers: Vec<WalkerKind> = document.table.iter().map(|line| line.walker).collect();
    walkers.sort_unstable();
    walkers.dedup();
    assert_eq!(walkers.len(), 5, "{walkers:?}");
    for line in &document.table {
        let tally = &line.tally;
        assert!(tally.samples > 0 && tally.accepted() > 0, "{line:?}");
        assert_eq!((tally.differences, tally.impossible()), (0, 0), "{line:?}");
    }
    assert_eq!(document.seed, 1);
}

/// What is tested must not depend on the speed of the machine.
#[test]
fn a_check_with_a_number_of_stops_passes_only_after_all_of_them() {
    let run = |budget: &str, stops: &str| {
        let command = stopped(budget, &["--jit", "off", "--seed", "1", "--stops", stops, "--format", "json"]);
        Running::start(command).ends_within(Duration::from_secs(240))
    };
    let done = run("10m", "40");
    assert_eq!(done.code, Some(i32::from(exit::PASS)), "{done:?}");
    let document = done.document();
    assert_eq!(document.stops, Some(40));
    for line in document.table.iter().filter(|line| line.walker.is_cached()) {
        // Stops are made at gates, at stores and at arbitrary moments. Further gates are for two walkers that take
        // turns, each of which has a first sample. At an arbitrary moment, a walker may not be asked.
        assert!((80..=161).contains(&line.tally.samples), "{line:?}");
    }
    let late = run("1s", "4000000000");
    assert_eq!(late.code, Some(i32::from(exit::INCONCLUSIVE)), "{late:?}");
    assert!(late.stdout.contains("of 4000000000 stops; give a longer --budget"), "{late:?}");
}

/// The release build with an unwinder that does `deed` before every 40th walk.
fn with_a_bad_unwinder(folder: &TempDir, deed: &str) -> PathBuf {
    const DRIVER: &str = include_str!("../../../../pyscripts/remote_unwinder.py");
    const WALK: &str = "            result = driver.unwinder.get_stack_trace()\n";
    let counted = format!("            if next(WALKS) % 40 == 39:\n                {deed}\n{WALK}");
    let driver = DRIVER.replace("import gc\n", "import gc, itertools, signal\nWALKS = itertools.count()\n");
    assert!(driver.contains(WALK));
    fs::write(folder.path().join("driver.py"), driver.replace(WALK, &counted)).unwrap();
    let (python, folder_path) = (common::release().python, folder.path().display());
    let body = format!(
        "for last; do :; done\ncase $last in */remote_unwinder.py) exec '{0}' -s -P -S -B -u '{folder_path}/driver.py';; esac\nexec '{0}' \"$@\"",
        python.display()
    );
    script(folder.path(), "python3.15", &body)
}

#[test]
fn an_unwinder_that_dies_violates_only_its_own_clause() {
    let folder = tempfile::tempdir().unwrap();
    let python = with_a_bad_unwinder(&folder, "os.abort()");
    for lane in ["stopped", "live"] {
        let mut command =
            framediff(["check", "--family", "alternating", "--seed", "1", "--jit", "off", "--budget", "6s"]);
        command.args(["--walker", "cpython-cached", "--walker", "cpython-uncached", "--format", "json"]);
        command.args(["--lane", lane, "--python"]).arg(&python);
        let outcome = Running::start(command).ends_within(Duration::from_secs(60));
        assert_eq!(outcome.code, Some(i32::from(exit::VIOLATION)), "{outcome:?}");
        let document = outcome.document();
        let of_lane = |walker: &str| format!("{lane}/{walker}/unwinder-died/sigabrt");
        let mut unknown: Vec<&str> = Vec::new();
        for violation in document.violations.iter().filter(|violation| violation.known.is_none()) {
            unknown.push(violation.fingerprint.as_str());
            assert!(violation.count > 2, "a new one takes its place: {violation:?}");
        }
        unknown.sort_unstable();
        assert_eq!(unknown, [of_lane("cpython-cached"), of_lane("cpython-uncached")], "{document:?}");
        assert!(document.cells.iter().all(|cell| cell.outcome == CellOutcome::Ran), "{document:?}");
    }
}

#[test]
fn an_unwinder_that_does_not_answer_is_a_violation() {
    let folder = tempfile::tempdir().unwrap();
    let python = with_a_bad_unwinder(&folder, "signal.pause()");
    let mut command =
        framediff(["check", "--lane", "stopped", "--family", "alternating", "--seed", "1", "--jit", "off"]);
    command.args(["--budget", "30s", "--walker", "cpython-cached", "--format", "json", "--python"]).arg(python);
    let outcome = Running::start(command).ends_within(Duration::from_secs(120));
    assert_eq!(outcome.code, Some(i32::from(exit::VIOLATION)), "{outcome:?}");
    let found = outcome.document().violations;
    let hung = found.iter().find(|violation| violation.fingerprint.as_str() == "stopped/cpython-cached/unwinder-hung");
    assert!(hung.is_some_and(|hung| hung.rows.len() == 1), "{found:?}");
}

/// File names are compared, and there is more than one way to report a name that is not valid text.
#[test]
fn folders_and_interpreters_with_names_that_are_not_utf8_cause_no_false_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join(std::ffi::OsStr::from_bytes(b"x\xff"));
    fs::create_dir(&odd).unwrap();
    let python = odd.join("python3.15");
    std::os::unix::fs::symlink(common::release().python, &python).unwrap();
    let more = ["--walker", "own-uncached", "--walker", "cpython-cached", "--walker", "cpython-uncached"];
    for lane in ["stopped", "live"] {
        let budget = if lane == "live" { "3s" } else { "60s" };
        let mut command = framediff(["check", "--lane", lane, "--stops", "20", "--seed", "1", "--budget", budget]);
        command.args(more).args(["--family", "alternating", "--family", "threads", "--jit", "off", "--format", "json"]);
        command.arg("--python").arg(&python).env("TMPDIR", &odd);
        let outcome = Running::start(command).ends_within(Duration::from_secs(120));
        let document = outcome.document();
        let unknown: Vec<_> = document.violations.iter().filter(|violation| violation.known.is_none()).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        assert_eq!(outcome.code, Some(i32::from(exit::PASS)), "{outcome:?}");
        let left: Vec<_> = fs::read_dir(&odd).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["python3.15"], "nothing stays behind");
    }
}

#[test]
fn check_prints_the_human_report_by_default() {
    let outcome = Running::start(stopped("1s", &["--seed", "1", "--walker", "own-cached"])).ends_within(REFUSAL);
    assert_eq!(outcome.code, Some(i32::from(exit::PASS)), "{outcome:?}");
    assert_eq!(outcome.stderr, "");
    for word in ["own-cached", "own-uncached", "samples", "pass"] {
        assert!(outcome.stdout.contains(word), "{word}: {}", outcome.stdout);
    }
}

/// The document of a run with weakened checks, which must fail.
fn weakened(seed: u64, weakenings: &[Weakening]) -> Document {
    let seed = seed.to_string();
    // With frames of one size, the branches use the same addresses for every seed.
    let mut command = stopped("3s", &["--format", "json", "--frame-size", "equal:8", "--seed", &seed]);
    for weakening in weakenings {
        command.args(["--weaken", weakening.name()]);
    }
    let outcome: Outcome = Running::start(command).ends_within(REFUSAL);
    assert_eq!(outcome.code, Some(i32::from(exit::VIOLATION)), "{outcome:?}");
    outcome.document()
}

fn assert_found(document: &Document, start: &str) {
    let found: Vec<&str> = document.violations.iter().map(|violation| violation.fingerprint.as_str()).collect();
    assert!(found.iter().any(|fingerprint| fingerprint.starts_with(start)), "{start}: {found:?}");
}

#[test]
fn without_the_sequence_check_branches_are_mixed() {
    for seed in 1..=3 {
        let document = weakened(seed, &[Weakening::NoSequenceCheckOnFullHit, Weakening::NoSequenceCheckOnPartialHit]);
        assert_found(&document, "stopped/own-cached/mixed-branches");
    }
}

#[test]
fn a_leaf_reused_on_a_full_hit_is_a_wrong_line() {
    for seed in 1..=3 {
        assert_found(&weakened(seed, &[Weakening::LeafReusedOnFullHit]), "stopped/own-cached/disagreement/line");
    }
}

/// Polls the children of a run until they satisfy `wanted`.
fn children_when(run: &Running, wanted: impl Fn(&[Process]) -> bool) -> Vec<Process> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let now = children(run.pid());
        if wanted(&now) {
            return now;
        }
        assert!(!run.has_ended() && Instant::now() < deadline, "{now:?}");
        std::thread::yield_now();
    }
}

fn is_target(process: &Process) -> bool {
    process.command_line.contains(WORKLOAD_FILE)
}

/// The children, each with a file descriptor that stays valid when the process id is reused.
fn watch(children: &[Process]) -> Vec<(i32, Watched)> {
    let alive = children.iter().filter(|process| state(process.pid).is_some());
    alive.map(|process| (process.pid, Watched::new(process.pid))).collect()
}

#[test]
fn ctrl_c_ends_the_run_with_its_report_and_leaves_no_process() {
    for (lane, format) in [("live", "json"), ("stopped", "human")] {
        let mut command = framediff(["--budget", "60s", "--lane", lane, "--format", format, "--python"]);
        command.arg(common::release().python);
        let run = Running::start(command);
        children_when(&run, |children| children.iter().any(is_target));
        let pid = Pid::from_raw(run.pid());
        // While the run is stopped, its set of children cannot change.
        kill(pid, Signal::SIGSTOP).unwrap();
        assert!(matches!(waitpid(pid, Some(WaitPidFlag::WUNTRACED)), Ok(WaitStatus::Stopped(..))));
        let watched = watch(&children(run.pid()));
        kill(pid, Signal::SIGINT).unwrap();
        kill(pid, Signal::SIGCONT).unwrap();
        let outcome = run.ends_within(Duration::from_secs(10));
        assert_eq!(outcome.code, Some(i32::from(exit::INTERRUPTED)), "{outcome:?}");
        if format == "json" {
            assert!(outcome.document().interrupted);
        } else {
            assert!(outcome.stdout.contains("nterrupted") && outcome.stdout.contains("own-uncached"), "{outcome:?}");
        }
        for (pid, child) in watched {
            assert!(child.ends_before(Instant::now()), "{lane}: process {pid} is left");
        }
    }
}

#[test]
fn a_killed_run_leaves_no_process_even_if_it_is_stopped() {
    let run = Running::start(stopped("60s", &["--walker", "cpython-cached"]));
    let is_stopped = |process: &Process| process.state == 'T';
    let complete = |children: &[Process]| {
        children.iter().any(|process| is_target(process) && is_stopped(process))
            && children.iter().any(|process| !is_target(process))
    };
    children_when(&run, complete);
    // The run is stopped at a moment when a target is stopped too. It cannot start anything else before it is killed.
    let pid = Pid::from_raw(run.pid());
    let deadline = Instant::now() + Duration::from_secs(30);
    let left = loop {
        kill(pid, Signal::SIGSTOP).unwrap();
        assert!(matches!(waitpid(pid, Some(WaitPidFlag::WUNTRACED)), Ok(WaitStatus::Stopped(..))));
        let now = children(run.pid());
        if complete(&now) {
            break now;
        }
        assert!(Instant::now() < deadline, "{now:?}");
        kill(pid, Signal::SIGCONT).unwrap();
        std::thread::yield_now();
    };
    let watched = watch(&left);
    run.kill();
    let deadline = Instant::now() + Duration::from_secs(10);
    for (pid, child) in watched {
        assert!(child.ends_before(deadline), "process {pid} survived: {left:?}");
    }
}

/// A verdict that depended on luck must not block anything.
#[test]
fn the_same_seed_runs_the_same_schedules() {
    let run = |seed: &str| {
        let python = common::release().python;
        let mut command =
            framediff(["check", "--lane", "stepped", "--family", "alternating", "--jit", "off", "--seed", seed]);
        command.args(["--schedules", "80", "--budget", "2m", "--format", "json", "--python"]).arg(python);
        let outcome = Running::start(command).ends_within(Duration::from_secs(240));
        assert_eq!(outcome.code, Some(i32::from(exit::PASS)), "{outcome:?}");
        let document = outcome.document();
        let [line] = document.table.as_slice() else { panic!("{:?}", document.table) };
        let mut tally = line.tally.clone();
        tally.elapsed = Duration::ZERO;
        assert_eq!((tally.schedules, tally.misfits), (80, 0));
        assert!(tally.full_hits > 0 && tally.partial_hits > 0 && tally.misses() > 0, "{tally:?}");
        tally
    };
    let first = run("1");
    assert_eq!(first, run("1"));
    assert_ne!(first, run("2"));
}
