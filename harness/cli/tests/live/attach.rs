//! `framediff attach` on processes that run, end, change, multiply, or are not Python.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use framediff::cli::exit;
use framewalk::layout::Layout;
use framewalk::sample::WalkerKind;
use framewalk::thread_state::thread_states;
use model::run::cell::{CellOutcome, Inconclusive};
use process::memory::ProcessMemory;
use process::runtime::runtime_address;
use process::target::Target;

use crate::common;
use crate::common::command::{Outcome, REFUSAL, Running, framediff, outcome, state, with_nothing_fetched};
use crate::common::target::{Watched, soon};

/// A budget of three seconds, plus the time that a run may take on top of it.
const THREE_SECONDS_AND_TEN: Duration = Duration::from_secs(13);

/// A program that prints its process id, calls functions all the time, and obeys commands of one byte. It lets any
/// process of its user read it, where the kernel allows that, and ends with its input.
const PROGRAM: &str = "
import ctypes, os, select, sys
prctl = ctypes.CDLL(None).prctl
prctl(0x59616d61, ctypes.c_ulong(-1), 0, 0, 0)
if not DUMPABLE: prctl(4, 0, 0, 0, 0)
def leaf(n): return sum(range(n))
def one(n): return leaf(n) + two(n - 1) if n else 0
def two(n): return one(n - 1) + leaf(n) if n else 0
def say(word): os.write(1, f'{word} {os.getpid()}\\n'.encode())
say('ready')
while True:
    one(12); two(9)
    if select.select([0], [], [], 0)[0]:
        match os.read(0, 1):
            case b'e': os._exit(7)
            case b'x': os.execv('/bin/sh', ['sh', '-c', 'echo exec $$; read end'])
            case b'r': os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
            case b'f': say('child' if os.fork() == 0 else 'parent')
            case b'': os._exit(0)
";

/// A running Python that is not a child of the command.
struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Program {
    fn start(python: &Path) -> Self {
        Self::start_as(python, true)
    }

    fn start_as(python: &Path, dumpable: bool) -> Self {
        let dumpable = if dumpable { "True" } else { "False" };
        let mut program = Self::run(Command::new(python), &PROGRAM.replace("DUMPABLE", dumpable));
        assert_eq!(program.hear(), ("ready".to_owned(), program.pid()));
        program
    }

    /// Runs another program text, which prints nothing except that it is ready.
    fn start_text(text: &str) -> Self {
        let leave = "import ctypes; ctypes.CDLL(None).prctl(0x59616d61, ctypes.c_ulong(-1), 0, 0, 0)";
        let mut program = Self::run(Command::new(&common::fetched()[0]), &format!("{leave}\n{text}"));
        let mut line = String::new();
        program.stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        program
    }

    fn run(mut command: Command, text: &str) -> Self {
        command.args(["-I", "-c", text]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, stdin, stdout }
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    fn send(&mut self, byte: u8) {
        self.stdin.as_mut().unwrap().write_all(&[byte]).unwrap();
    }

    /// The next word that the program prints, and the process id that it prints with it.
    fn hear(&mut self) -> (String, i32) {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        let (word, pid) = line.trim().split_once(' ').unwrap();
        (word.to_owned(), pid.parse().unwrap())
    }

    /// The anchors of the program's threads.
    fn anchors(&self) -> Vec<u64> {
        let location = runtime_address(self.pid()).unwrap();
        let mut memory = ProcessMemory::new(self.pid());
        let layout = Layout::read(&mut memory, location.address).unwrap();
        let threads = thread_states(&mut memory, &layout, location.address).unwrap();
        assert!(!threads.is_empty());
        threads.iter().map(|thread| thread.anchor).collect()
    }

    /// Waits until a cached walker writes the anchor.
    fn is_walked(&self) {
        let deadline = soon();
        while self.anchors().iter().all(|&anchor| anchor == 0) {
            assert!(Instant::now() < deadline, "no anchor was written");
            std::thread::yield_now();
        }
    }

    fn assert_runs(&self, pid: i32) {
        let state = state(pid);
        assert!(matches!(state, Some('R' | 'S' | 'D')), "process {pid} of {}: {state:?}", self.pid());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // The program ends by itself without its input, unless something stopped it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn attach(pid: i32, more: &[&str]) -> Command {
    let mut command = framediff(["attach", &pid.to_string(), "--format", "json"]);
    command.args(more);
    command
}

/// Asserts that the run was judged. A run that was cut short may be inconclusive.
fn assert_judged(outcome: &Outcome) {
    let judged = [exit::PASS, exit::VIOLATION, exit::INCONCLUSIVE].map(|code| Some(i32::from(code)));
    assert!(judged.contains(&outcome.code), "{outcome:?}");
    assert_eq!(outcome.stderr, "");
    outcome.document();
}

/// Asserts that the run proves nothing, because its target ended.
fn assert_target_ended(outcome: &Outcome, words: &str) {
    if outcome.code == Some(i32::from(exit::USAGE)) {
        return;
    }
    assert_eq!(outcome.code, Some(i32::from(exit::INCONCLUSIVE)), "{outcome:?}");
    let reason = &outcome.document().cells[0].outcome;
    assert!(
        matches!(reason, CellOutcome::Inconclusive(Inconclusive::TargetEnded(why)) if why.contains(words)),
        "{reason:?}"
    );
}

/// Attaches to a new program and sends it `byte`, once immediately and once while a cached walker samples it.
fn in_the_middle_of_a_walk(byte: u8, then: impl Fn(&mut Program, &Outcome) + Sync) {
    std::thread::scope(|scope| {
        for walked in [false, true] {
            let then = &then;
            scope.spawn(move || {
                let mut program = Program::start(&common::release().python);
                let run = Running::start(attach(program.pid(), &["--write", "--budget", "3s"]));
                if walked {
                    program.is_walked();
                }
                program.send(byte);
                let outcome = run.ends_within(THREE_SECONDS_AND_TEN);
                // Before the first sample, framediff may find another program in its place, or none at all.
                if walked || outcome.code != Some(i32::from(exit::USAGE)) {
                    assert_judged(&outcome);
                } else {
                    let pid = program.pid().to_string();
                    outcome.assert_refused(&["process", &pid]);
                }
                then(&mut program, &outcome);
            });
        }
    });
}

#[test]
fn a_process_that_ends_during_a_walk_ends_the_run() {
    in_the_middle_of_a_walk(b'e', |program, outcome| {
        assert_target_ended(outcome, "has ended");
        assert_eq!(program.child.wait().unwrap().code(), Some(7));
    });
}

#[test]
fn a_process_that_executes_another_program_during_a_walk_continues() {
    in_the_middle_of_a_walk(b'x', |program, outcome| {
        assert_target_ended(outcome, "now runs another");
        assert_eq!(program.hear(), ("exec".to_owned(), program.pid()));
        program.assert_runs(program.pid());
    });
}

/// With and without randomised addresses. Without them, the new program has everything at the old addresses.
#[test]
fn a_process_that_executes_the_same_program_again_is_noticed() {
    let python = &common::release().python;
    for fixed in [false, true] {
        let mut command = Command::new(if fixed { Path::new("setarch") } else { python });
        if fixed {
            command.arg("-R").arg(python);
        }
        let mut program = Program::run(command, &PROGRAM.replace("DUMPABLE", "True"));
        assert_eq!(program.hear(), ("ready".to_owned(), program.pid()));
        let before = runtime_address(program.pid()).unwrap();
        let run = Running::start(attach(program.pid(), &["--write", "--budget", "2s"]));
        program.is_walked();
        program.send(b'r');
        assert_eq!(program.hear(), ("ready".to_owned(), program.pid()));
        if fixed {
            assert_eq!(runtime_address(program.pid()).unwrap(), before);
        }
        assert_target_ended(&run.ends_within(THREE_SECONDS_AND_TEN), "replaced its program");
    }
}

/// Why the only cell of the run proves nothing.
fn nothing_compared(outcome: &Outcome) -> String {
    assert_eq!(outcome.code, Some(i32::from(exit::INCONCLUSIVE)), "{outcome:?}");
    let document = outcome.document();
    match &document.cells[0].outcome {
        CellOutcome::Inconclusive(Inconclusive::NothingCompared(why)) => why.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_thread_with_a_switched_stack_is_named() {
    let layout = *common::release().usable().unwrap();
    let offsets = format!("CURRENT_FRAME = {}\nPREVIOUS = {}\n", layout.thread.current_frame, layout.frame.previous);
    let text = include_str!("../../../../pyscripts/processes/switches_stack.py");
    let program = Program::start_text(&format!("{offsets}{text}"));
    for more in [&["--write"][..], &[]] {
        let run = Running::start(attach(program.pid(), &[&["--budget", "2s"], more].concat()));
        let why = nothing_compared(&run.ends_within(THREE_SECONDS_AND_TEN));
        let thread = format!("the chain of thread {} does not end at its base frame", program.pid());
        for words in [&thread, "as greenlet does", "CPython's unwinder rejects such samples"] {
            assert!(why.contains(words), "{why}");
        }
    }
}

#[test]
fn a_walker_that_rejects_most_of_its_samples_compares_nothing() {
    let program = Program::start_text(include_str!("../../../../pyscripts/processes/runs_in_a_generator.py"));
    let run = Running::start(attach(program.pid(), &["--write", "--budget", "2s"]));
    let why = nothing_compared(&run.ends_within(THREE_SECONDS_AND_TEN));
    for words in ["own-reference rejected more than half of its samples", "mostly generator-leaf"] {
        assert!(why.contains(words), "{why}");
    }
}

#[test]
fn a_process_that_forks_during_a_walk_continues_with_its_child() {
    in_the_middle_of_a_walk(b'f', |program, _| {
        let said = [program.hear(), program.hear()];
        let child = said.iter().find(|(word, _)| word == "child").unwrap().1;
        program.assert_runs(program.pid());
        program.assert_runs(child);
        let watched = Watched::new(child);
        drop(program.stdin.take());
        assert_eq!(program.child.wait().unwrap().code(), Some(0));
        assert!(watched.ends_before(soon()));
    });
}

#[test]
fn a_process_that_may_not_be_read_is_refused_and_the_setting_is_named() {
    let is_root = nix::unistd::geteuid().is_root();
    let program = Program::start_as(&common::release().python, is_root);
    let pid = program.pid().to_string();
    let mut words = vec!["cannot read process", pid.as_str(), "CAP_SYS_PTRACE"];
    let folder = tempfile::tempdir().unwrap();
    let outcome = if is_root {
        // Another user cannot enter the folders above the command, nor those of the cache.
        let copy = folder.path().join("framediff");
        common::executable::write_executable(&copy, &std::fs::read(env!("CARGO_BIN_EXE_framediff")).unwrap());
        for path in [folder.path(), &copy] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy).args(["attach", &pid]);
        words.extend(["runs as user 0", "this process as user 65534"]);
        with_nothing_fetched(command, REFUSAL)
    } else {
        with_nothing_fetched(framediff(["attach", &pid]), REFUSAL)
    };
    outcome.assert_refused(&words);
    program.assert_runs(program.pid());
}

/// A run on the program that holds a name that is not valid text.
fn attached_to_garbage_text(python: &Path, budget: &str) -> Outcome {
    const SOURCE: &str = include_str!("../../../../pyscripts/processes/garbage_text.py");
    let mut target = Target::launch(python, None, SOURCE, &std::env::temp_dir(), soon()).unwrap();
    target.start(soon()).unwrap();
    Running::start(attach(target.pid(), &["--write", "--budget", budget])).ends_within(Duration::from_secs(40))
}

#[test]
fn an_unwinder_that_dies_is_a_known_finding_and_the_run_continues() {
    const DIED: &str = "unwinder-died";
    let died = |outcome: &Outcome| -> Vec<_> {
        let violations = outcome.document().violations.into_iter();
        violations.filter(|violation| violation.fingerprint.as_str().contains(DIED)).collect()
    };
    let release = attached_to_garbage_text(&common::fetched()[0], "5s");
    assert_judged(&release);
    assert!(died(&release).is_empty(), "{release:?}");

    let debug = attached_to_garbage_text(&common::fetched()[1], "15s");
    assert_judged(&debug);
    let document = debug.document();
    // On a slow machine the deaths leave too few stacks to compare.
    assert!(
        matches!(
            document.cells[0].outcome,
            CellOutcome::Ran | CellOutcome::Inconclusive(Inconclusive::NothingCompared(_))
        ),
        "{document:?}"
    );
    for walker in [WalkerKind::CpythonCached, WalkerKind::CpythonUncached] {
        let fingerprint = format!("live/{walker}/{DIED}/sigabrt/pyunicode-checkconsistency");
        let found = died(&debug);
        let found = found.iter().find(|violation| violation.fingerprint.as_str() == fingerprint);
        let found = found.unwrap_or_else(|| panic!("{document:?}"));
        assert!(found.known.is_some(), "{found:?}");
        // More than one death means that the unwinder was restarted after it died.
        assert!(found.count > 1, "{found:?}");
        assert!(found.first.violation.to_string().chars().count() < 500, "{found:?}");
        assert!(document.cells[0].tallies[&walker].accepted() > 0, "{document:?}");
    }
}

#[test]
fn without_permission_to_write_nothing_is_written_or_compared() {
    let program = Program::start(&common::release().python);
    let run = Running::start(attach(program.pid(), &["--budget", "2s"]));
    let mut looks = 0_u64;
    while !run.has_ended() {
        assert!(program.anchors().iter().all(|&anchor| anchor == 0));
        looks += 1;
        std::thread::yield_now();
    }
    let outcome = run.ends_within(REFUSAL);
    assert!(looks > 0 && program.anchors().iter().all(|&anchor| anchor == 0));
    assert_eq!(outcome.code, Some(i32::from(exit::INCONCLUSIVE)), "{outcome:?}");
    let document = outcome.document();
    let [cell] = document.cells.as_slice() else { panic!("{document:?}") };
    assert!(
        matches!(&cell.outcome, CellOutcome::Inconclusive(Inconclusive::NothingCompared(why)) if why.contains("--write")),
        "{cell:?}"
    );
    let why = cell.outcome.clone();
    let CellOutcome::Inconclusive(why) = why else { panic!("{why:?}") };
    let why = why.to_string();
    for words in ["own-uncached rejected", "threads seen: 1", "Python frames deep", "base frame"] {
        assert!(why.contains(words), "{why}");
    }
    assert!(cell.tallies[&WalkerKind::OwnUncached].samples > 0, "{cell:?}");
    program.assert_runs(program.pid());
}

#[test]
fn the_report_says_that_comparing_needs_permission_to_write() {
    let program = Program::start(&common::release().python);
    let outcome = outcome(["attach", &program.pid().to_string(), "--budget", "1s"], REFUSAL);
    assert_eq!(outcome.code, Some(i32::from(exit::INCONCLUSIVE)), "{outcome:?}");
    assert!(outcome.stdout.contains("--write"), "{}", outcome.stdout);
    assert!(!outcome.stdout.contains("nothing ran"), "{}", outcome.stdout);
}

#[test]
fn own_cached_walkers_clear_their_anchors() {
    // A fetched interpreter is started by its own loader, so the process does not lead to its `RemoteUnwinder`. With
    // an empty cache folder, nothing else does either.
    let program = Program::start(&common::fetched()[0]);
    let outcome = with_nothing_fetched(attach(program.pid(), &["--write", "--budget", "3s"]), THREE_SECONDS_AND_TEN);
    assert_judged(&outcome);
    let document = outcome.document();
    let [cell] = document.cells.as_slice() else { panic!("{document:?}") };
    let walkers: Vec<WalkerKind> = cell.tallies.keys().copied().collect();
    assert_eq!(walkers, [WalkerKind::OwnUncached, WalkerKind::OwnCached, WalkerKind::OwnReference]);
    assert!(cell.tallies.values().all(|tally| tally.accepted() > 0), "{cell:?}");
    assert!(cell.tallies[&WalkerKind::OwnCached].full_hits > 0, "{cell:?}");
    assert!(program.anchors().iter().all(|&anchor| anchor == 0));
    program.assert_runs(program.pid());
}

#[test]
fn with_permission_to_write_every_walker_of_the_build_is_compared() {
    let program = Program::start(&common::fetched()[0]);
    let run = Running::start(attach(program.pid(), &["--write", "--budget", "3s"]));
    let outcome = run.ends_within(THREE_SECONDS_AND_TEN);
    assert_judged(&outcome);
    let document = outcome.document();
    assert_eq!(document.cells[0].tallies.len(), 5, "{document:?}");
    assert!(document.cells[0].tallies.values().all(|tally| tally.accepted() > 0), "{document:?}");
    program.assert_runs(program.pid());
}
