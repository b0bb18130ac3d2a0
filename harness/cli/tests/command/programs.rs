//! `check --program`: users' own programs, and what happens with programs that cannot be judged.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use framediff::cli::exit;
use framewalk::sample::WalkerKind;
use model::lane::Lane;
use tempfile::TempDir;

use crate::common;
use crate::common::command::{Outcome, Running, framediff, outcome};
use crate::common::target::Watched;

/// The deadline for a run on a loaded machine.
const TIME: Duration = Duration::from_secs(120);

/// A program whose stack shows where it is, and which passes a gate in every round.
const GOOD: &str = "\
import sys
from framediff_gate import gate, run
assert sys.argv[1:] == ['one', 'two words'], sys.argv
assert __name__ == '__main__'
print('not for the harness' * 100)
def leaf(n):
    gate()
    return n
def a(n):
    leaf(n)
def b(n):
    return [leaf(k) for k in range(n)]
def body():
    a(1)
    b(2)
    max([1, 2], key=leaf)
run(body)
";

/// A function that is sampled between its calls, on another line each time. It notices the arguments that it gets.
const CALLS: &str = "\
import sys
assert sys.argv[1:] == ['one', 'two words'], sys.argv
def leaf():
    pass
def f():
    leaf()
    leaf()
    leaf()
while True:
    f()
";

fn program(folder: &TempDir, name: &str, source: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, source).unwrap();
    path
}

fn check(file: &Path, more: &[&str]) -> Outcome {
    check_within("60s", file, more)
}

fn check_within(budget: &str, file: &Path, more: &[&str]) -> Outcome {
    let python = common::release().python;
    let mut command = framediff(["check", "--jit", "off", "--seed", "7", "--budget", budget, "--python"]);
    command.arg(python).arg("--program").arg(file).args(more);
    Running::start(command).ends_within(TIME)
}

#[test]
fn a_program_is_judged_at_its_gates_at_moments_and_at_stores() {
    let folder = tempfile::tempdir().unwrap();
    let good = program(&folder, "good.py", GOOD);
    let outcome = check(&good, &["--stops", "30", "--format", "json", "--", "one", "two words"]);
    assert_eq!(outcome.code, Some(i32::from(exit::PASS)), "{outcome:?}");
    let document = outcome.document();
    let cells: Vec<_> = document.cells.iter().map(|report| (report.cell.lane, report.cell.family.as_str())).collect();
    assert_eq!(cells, [(Lane::Stopped, "program good.py one two words")]);
    for walker in [WalkerKind::OwnCached, WalkerKind::OwnReference, WalkerKind::CpythonCached] {
        let tally = &document.cells[0].tallies[&walker];
        assert!(tally.accepted() >= 60 && tally.full_hits > 0, "{walker}: {tally:?}");
    }
}

#[test]
fn the_gate_module_is_provided_unless_the_program_has_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let source = "from gate import MODE, gate, run\ndef body():\n  gate()\nrun(body)\n";
    let file = program(&folder, "plain.py", source);
    let more = ["--stops", "20", "--walker", "own-cached"];
    assert_eq!(check(&file, &more).code, Some(i32::from(exit::PASS)));
    program(&folder, "gate.py", "raise SystemExit('my own gate')\n");
    let outcome = check(&file, &more);
    assert_eq!(outcome.code, Some(i32::from(exit::INCONCLUSIVE)));
    assert!(outcome.stdout.contains("my own gate"), "{outcome:?}");
}

#[test]
fn a_fault_is_found_and_its_bundle_runs_the_program_again() {
    let folder = tempfile::tempdir().unwrap();
    let good = program(&folder, "good one.py", CALLS);
    let bundles = folder.path().join("bundles");
    let fault = ["--stops", "120", "--weaken", "leaf-reused-on-full-hit", "--bundles", bundles.to_str().unwrap()];
    let outcome = check(&good, &[&fault[..], &["--", "one", "two words"]].concat());
    assert_eq!(outcome.code, Some(i32::from(exit::VIOLATION)), "{outcome:?}");
    for words in ["stopped/own-cached/disagreement/", "program-good-one-py-", "-- one 'two words'", "good one.py'"] {
        assert!(outcome.stdout.contains(words), "{words}: {outcome:?}");
    }
    let bundles = fs::read_dir(&bundles).unwrap().map(|entry| entry.unwrap().path());
    let bundle = bundles.into_iter().find(|path| path.to_str().unwrap().contains("disagreement")).unwrap();
    fs::remove_file(good).unwrap();
    let mut command = framediff(["replay", "--python"]);
    command.arg(common::release().python).arg(&bundle);
    let again = Running::start(command).ends_within(TIME);
    assert_eq!(again.code, Some(i32::from(exit::VIOLATION)), "{again:?}");
    assert!(again.stdout.contains("seen again"), "{again:?}");
}

#[test]
fn programs_that_cannot_be_judged_are_inconclusive_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    for (name, source, words) in [
        ("ends_at_once.py", "pass\n", &["ended by itself (exited with status 0)", "framediff_gate.run"][..]),
        ("usage.py", "import sys\nsys.exit('usage: usage.py FILE')\n", &["status 1", "usage.py FILE", "after --"]),
        ("no_python.py", "def (:\n", &["SyntaxError", "this interpreter cannot compile it"]),
        ("killed.py", "import os\nfor n in range(9999):\n  str(n)\nos.abort()\n", &["killed by SIGABRT"]),
        ("input.py", "input()\n", &["EOFError", "gets no input"]),
        ("removes_itself.py", "import os\nos.unlink(__file__)\n", &["can't open file", "did the program remove it?"]),
        (
            "is_traced.py",
            "import ctypes\nctypes.CDLL(None).ptrace(0, 0, 0, 0)\nwhile True: pass\n",
            &["traced by another process", "--lane live"],
        ),
        (
            "replaces.py",
            "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'while True: pass'])\n",
            &["execve"],
        ),
    ] {
        let outcome = check(&program(&folder, name, source), &["--stops", "10", "--walker", "own-cached"]);
        assert_eq!(outcome.code, Some(i32::from(exit::INCONCLUSIVE)), "{name}: {outcome:?}");
        let said = outcome.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        for word in words {
            assert!(said.contains(word), "{name}: {word:?} is not in {said}");
        }
    }
}

#[test]
fn a_gate_that_is_never_reached_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let source = "from framediff_gate import gate\ndef f(n):\n  return n\nwhile True:\n  f(1)\n";
    let outcome = check(&program(&folder, "no_gate.py", source), &["--stops", "20", "--walker", "own-cached"]);
    assert_eq!(outcome.code, Some(i32::from(exit::INCONCLUSIVE)), "{outcome:?}");
    let said = outcome.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("reached none"), "{said}");
}

#[test]
fn child_processes_of_a_program_end_with_it_and_its_output_is_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("children");
    // The program prints the word that the harness uses for its own messages.
    // One child is of its process group. The other has a group of its own and an ended parent.
    let source = format!(
        "import os\ndef left(child):\n  with open({told:?}, 'a') as file:\n    file.write(str(child) + '\\n')\nchild = \
         os.fork()\nif not child:\n  while True: pass\nleft(child)\nchild = os.fork()\nif not child:\n  os.setsid()\n  child = \
         os.fork()\n  if not child:\n    while True: pass\n  left(child)\n  os._exit(0)\nos.waitpid(child, 0)\ndef f():\n  \
         print('framdiff' * 1000)\nwhile True:\n  f()\n"
    );
    let outcome = check(&program(&folder, "forks.py", &source), &["--stops", "60", "--walker", "own-cached"]);
    assert_eq!(outcome.code, Some(i32::from(exit::PASS)), "{outcome:?}");
    let children = fs::read_to_string(&told).unwrap();
    assert!(children.lines().count() >= 2, "{children}");
    for pid in children.lines() {
        let pid = pid.parse().unwrap();
        // A process that has already ended has no entry in /proc to watch.
        let is_there = Path::new(&format!("/proc/{pid}")).exists();
        assert!(!is_there || Watched::new(pid).ends_before(Instant::now() + Duration::from_secs(5)));
    }
}

/// The kernel ends the children of a killed run; only the guard can find this one.
#[test]
fn a_killed_run_leaves_nothing_that_its_program_started() {
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("child");
    let source = format!(
        "import os\nif not os.fork():\n  os.setsid()\n  if not os.fork():\n    with open({told:?}, 'w') as file:\n      \
         file.write(str(os.getpid()) + '\\n')\n    while True: pass\n  os._exit(0)\nwhile True: pass\n"
    );
    let file = program(&folder, "leaves.py", &source);
    let mut command = framediff(["check", "--walker", "own-cached", "--program"]);
    command.arg(file).arg("--python").arg(common::release().python).env("TMPDIR", folder.path());
    let run = Running::start(command);
    let deadline = Instant::now() + TIME;
    let pid = loop {
        let text = fs::read_to_string(&told).unwrap_or_default();
        if let Some(pid) = text.strip_suffix('\n') {
            break pid.parse().unwrap();
        }
        assert!(Instant::now() < deadline && !run.has_ended());
        std::thread::yield_now();
    };
    let child = Watched::new(pid);
    run.kill();
    assert!(child.ends_before(Instant::now() + TIME), "process {pid} is left");
}

/// A program that makes an interpreter, runs it, and closes it two rounds later. Each of them reaches gates.
const INTERPRETERS: &str = "\
import sys
from concurrent import interpreters
from framediff_gate import gate, run
SOURCE = '''
import sys
sys.path[:0] = PATH
from framediff_gate import gate
def f():
    gate()
'''
others = []
def body():
    gate()
    if len(others) == 2:
        others.pop(0).close()
    other = interpreters.create()
    other.prepare_main(PATH=tuple(sys.path))
    other.exec(SOURCE)
    others.append(other)
    for other in others:
        other.exec('f()')
run(body)
";

#[test]
fn an_unwinder_that_does_not_list_newer_interpreters_is_known_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = program(&folder, "newer.py", INTERPRETERS);
    let outcome = check(&file, &["--stops", "40", "--format", "json"]);
    assert_eq!(outcome.code, Some(i32::from(exit::PASS)), "{outcome:?}");
    let document = outcome.document();
    let seen: Vec<&str> = document.violations.iter().map(|one| one.fingerprint.as_str()).collect();
    for clause in ["told/later-interpreters", "told/ended-interpreter"] {
        assert!(seen.iter().any(|name| name.contains(clause)), "{clause}: {seen:?}");
    }
}

#[test]
fn the_live_lane_learns_what_a_program_can_show() {
    let folder = tempfile::tempdir().unwrap();
    let file = program(&folder, "calls.py", CALLS);
    let outcome = check_within("6s", &file, &["--lane", "live", "--format", "json", "--", "one", "two words"]);
    let document = outcome.document();
    let cells: Vec<_> = document.cells.iter().map(|report| (report.cell.lane, report.cell.family.as_str())).collect();
    assert_eq!(cells, [(Lane::Live, "program calls.py one two words")]);
    for walker in WalkerKind::ALL {
        assert!(document.cells[0].tallies[&walker].accepted() > 0, "{walker}: {outcome:?}");
    }
    let short = program(&folder, "short.py", "for n in range(9999):\n  str(n)\n");
    let outcome = check_within("3s", &short, &["--lane", "live"]);
    assert_eq!(outcome.code, Some(i32::from(exit::INCONCLUSIVE)), "{outcome:?}");
    assert!(outcome.stdout.contains("ended by itself"), "{outcome:?}");
}

#[test]
fn wrong_arguments_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let good = program(&folder, "good.py", GOOD).to_str().unwrap().to_owned();
    let missing = path("missing.py");
    for (arguments, words) in [
        (&["--program", &missing][..], &["cannot read the program", "missing.py"][..]),
        (&["--program", folder.path().to_str().unwrap()], &["not a regular file"]),
        (&["--program", &good, "--lane", "stepped"], &["stopped and live", "selects stepped"]),
        (&["--program", &good, "--family", "deep"], &["--family"]),
        (&["--", "argument"], &["--program"]),
    ] {
        outcome([&["check"], arguments].concat(), TIME).assert_refused(words);
    }
}
