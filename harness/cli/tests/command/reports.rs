//! Tests the reports of a run: in files, on GitHub, and from saved documents.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use framediff::cli::exit;
use framediff::cli::exit::Ending;
use framediff::report::stream;
use framediff::report::stream::RecordedRun;
use model::run::document::Document;
use model::run::verdict::Verdict;
use model::workload::grammar::WORKLOAD_FILE;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use quick_junit::{Report, TestCaseStatus};

use crate::common;
use crate::common::command::{Running, children, framediff, outcome};

const TIME: Duration = Duration::from_secs(30);
const KINDS: [(&str, &str); 5] =
    [("json", "r.json"), ("json-lines", "r.jsonl"), ("junit", "r.xml"), ("html", "r.html"), ("markdown", "r.md")];

/// A short check of the release build that writes every report into `folder`.
fn check(folder: &Path, more: &[&str]) -> Command {
    let mut command = framediff(["check", "--lane", "stopped", "--family", "alternating", "--seed", "1"]);
    command.arg("--python").arg(common::release().python).args(more);
    for (kind, name) in KINDS {
        command.arg("--report").arg(format!("{kind}={}", folder.join("new/folder").join(name).display()));
    }
    command
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join("new/folder").join(name)).unwrap()
}

/// The document of the run whose events are in `folder`.
fn recorded(folder: &Path) -> Document {
    match stream::read(read(folder, "r.jsonl").as_bytes()).unwrap() {
        RecordedRun::Check(summary) => Document::from(&*summary),
        RecordedRun::Items(results) => panic!("no run of check: {results:?}"),
    }
}

#[test]
fn a_search_is_reported_in_every_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = framediff(["prove", "--samples", "1", "--workload", "generator", "--workload", "alternating"]);
    command.args(["--weaken", "torn-walk-stored", "--reads", "segments"]);
    for (kind, name) in KINDS {
        command.arg("--report").arg(format!("{kind}={}", folder.path().join("new/folder").join(name).display()));
    }
    let run = Running::start(command).ends_within(TIME);
    assert_eq!(run.stderr, "");
    let RecordedRun::Items(results) = stream::read(read(folder.path(), "r.jsonl").as_bytes()).unwrap() else {
        panic!("no items")
    };
    assert_eq!((results.verb.as_str(), results.items.len(), results.interrupted), ("prove", 2, false));
    let verdict = results.verdict();
    assert_eq!(run.code, Some(i32::from(Ending::Judged(verdict).code())), "{run:?}");
    let printed: String = results.items.iter().map(|item| item.text.as_str()).collect();
    assert_eq!(run.stdout, printed);
    let junit = Report::deserialize_from_str(&read(folder.path(), "r.xml")).unwrap();
    assert_eq!((junit.tests, junit.failures + junit.errors > 0), (2, verdict != Verdict::Pass), "{junit:?}");
    for name in ["r.html", "r.md"] {
        let text = read(folder.path(), name);
        assert!(text.contains(&format!("framediff: {verdict}")) && text.contains("alternating"), "{name}: {text}");
    }
    for (name, format) in [("r.json", "html"), ("r.jsonl", "html"), ("r.jsonl", "json")] {
        let file = folder.path().join("new/folder").join(name);
        let again = outcome(["report", file.to_str().unwrap(), "--format", format], TIME);
        assert_eq!(again.stdout, read(folder.path(), &format!("r.{format}")), "{name}");
    }
}

#[test]
fn a_failing_run_is_reported_in_every_file() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--budget", "3s", "--frame-size", "equal:8", "--weaken", "leaf-reused-on-full-hit", "--format", "json"];
    let run = Running::start(check(folder.path(), &more)).ends_within(TIME);
    assert_eq!((run.code, run.stderr.as_str()), (Some(i32::from(exit::VIOLATION)), ""), "{run:?}");
    assert_eq!(read(folder.path(), "r.json"), run.stdout);
    let document = run.document();
    assert_eq!(recorded(folder.path()), document);
    let junit = Report::deserialize_from_str(&read(folder.path(), "r.xml")).unwrap();
    let cases = junit.test_suites.iter().flat_map(|suite| &suite.test_cases);
    let failed: Vec<_> = cases.filter(|case| matches!(case.status, TestCaseStatus::NonSuccess { .. })).collect();
    assert!(failed.iter().any(|case| case.name.starts_with("alternating, seed 1 ")), "{failed:?}");
    assert!(document.groups[0].fails && document.groups[0].headline.contains("--weaken"), "{:?}", document.groups);
    let of_line =
        document.violations.iter().find(|one| one.fingerprint.as_str() == "stopped/own-cached/disagreement/line");
    // The leaf's reported line and its true line are different source lines of the same function.
    let [seen, possible] = of_line.unwrap().first.source.as_slice() else { panic!("{of_line:?}") };
    assert!(seen.function == possible.function && seen.line != possible.line, "{of_line:?}");
    let fingerprint = "stopped/own-cached/disagreement/line";
    for name in ["r.html", "r.md"] {
        let text = read(folder.path(), name);
        assert!(text.contains(fingerprint) && text.contains(&document.violations[0].first.replay), "{name}: {text}");
    }
    // The saved files give the same page and the same document again.
    for (name, format) in [("r.json", "html"), ("r.jsonl", "html"), ("r.jsonl", "json")] {
        let file = folder.path().join("new/folder").join(name);
        let again = outcome(["report", file.to_str().unwrap(), "--format", format], TIME);
        assert_eq!(again.code, Some(i32::from(exit::PASS)), "{again:?}");
        let written = read(folder.path(), &format!("r.{format}"));
        assert_eq!(again.stdout, written, "{name}");
    }
    let saved = folder.path().join("new/folder/r.json");
    let page = folder.path().join("pages/night.html");
    let mut report = framediff(["report", "--format", "html", "-o"]);
    let case = fs::read_dir("../../corpus/cases/stepped").unwrap().next().unwrap().unwrap().path();
    report.arg(&page).args([&saved, &case]);
    let outcome = Running::start(report).ends_within(TIME);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), ""), "{outcome:?}");
    assert!(fs::read_to_string(page).unwrap().contains("2 reports on this page"));
}

#[test]
fn an_interrupted_run_writes_its_findings_to_every_file() {
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(check(folder.path(), &["--budget", "60s"]));
    let deadline = Instant::now() + TIME;
    // Once a target exists, the first cell has begun.
    while !children(run.pid()).iter().any(|process| process.command_line.contains(WORKLOAD_FILE)) {
        assert!(!run.has_ended() && Instant::now() < deadline);
        std::thread::yield_now();
    }
    let lines = read(folder.path(), "r.jsonl");
    assert!(lines.contains("\"event\":\"run-started\""), "events are there while it runs: {lines}");
    kill(Pid::from_raw(run.pid()), Signal::SIGINT).unwrap();
    let outcome = run.ends_within(TIME);
    assert_eq!(outcome.code, Some(i32::from(exit::INTERRUPTED)), "{outcome:?}");
    let document: Document = serde_json::from_str(&read(folder.path(), "r.json")).unwrap();
    assert!(document.interrupted);
    assert_eq!(recorded(folder.path()), document);
    let junit = Report::deserialize_from_str(&read(folder.path(), "r.xml")).unwrap();
    assert!(junit.errors > 0, "an interrupted run is not green: {junit:?}");
    assert!(read(folder.path(), "r.html").contains("framediff: inconclusive"));
    assert!(read(folder.path(), "r.md").contains("the run was interrupted"));
}

#[test]
fn on_github_a_run_writes_annotations_and_a_summary() {
    let folder = tempfile::tempdir().unwrap();
    let summary = folder.path().join("summary.md");
    fs::write(&summary, "# Before\n").unwrap();
    let weakened = ["--budget", "3s", "--frame-size", "equal:8", "--weaken", "leaf-reused-on-full-hit"];
    let mut command = check(folder.path(), &weakened);
    command.env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", &summary);
    let run = Running::start(command).ends_within(TIME);
    assert_eq!(run.code, Some(i32::from(exit::VIOLATION)), "{run:?}");
    let lines: Vec<&str> = run.stdout.lines().collect();
    // The report itself contains no workflow command.
    let token = lines[0].strip_prefix("::stop-commands::").unwrap();
    let end = lines.iter().position(|line| *line == format!("::{token}::")).unwrap();
    assert!(lines[1..end].iter().any(|line| line.starts_with("verdict: fail")), "{run:?}");
    let annotations = &lines[end + 1..];
    // One fault gives one annotation, however many clauses it breaks.
    let errors: Vec<_> = annotations.iter().filter(|line| line.starts_with("::error ")).collect();
    let [error] = errors.as_slice() else { panic!("{annotations:?}") };
    assert!(
        error.starts_with("::error title=the fault that --weaken put into framediff's own-cached walker%3A"),
        "{error}"
    );
    assert!(error.contains("%0Akind: stopped/own-cached/disagreement/line"), "{error}");
    let text = fs::read_to_string(&summary).unwrap();
    assert!(text.starts_with("# Before\n## framediff: fail\n"), "{text}");
    assert!(text.contains("stopped/own-cached/disagreement/line"));
    let mut unwritable = framediff(["check", "--python", "/no/such/python"]);
    unwritable.env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", folder.path());
    Running::start(unwritable).ends_within(TIME).assert_refused(&["cannot write the step summary"]);
}

#[test]
fn colours_need_a_terminal_and_can_be_switched_off() {
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(check(folder.path(), &["--budget", "1s"])).ends_within(TIME);
    // Output to a pipe has already been checked for escape codes.
    assert!(run.stdout.contains("verdict: "), "{run:?}");
    let file = folder.path().join("new/folder/r.json");
    let on_a_terminal = |variables: &[(&str, &str)]| {
        let line = format!("{} report {}", env!("CARGO_BIN_EXE_framediff"), file.display());
        // `script` runs the command on its own terminal.
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env("TERM", "xterm-256color");
        command.env_remove("NO_COLOR").envs(variables.iter().copied());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("own-cached"), "{text}");
        text
    };
    assert!(on_a_terminal(&[]).contains("\u{1b}["));
    for variables in [[("NO_COLOR", "1")], [("TERM", "dumb")]] {
        let text = on_a_terminal(&variables);
        assert!(!text.contains('\u{1b}'), "{variables:?}: {text:?}");
    }
    let in_a_pipe = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_framediff"));
        command.arg("report").arg(&file).args(arguments).env_remove("NO_COLOR").envs(variables.iter().copied());
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let forced = ("CLICOLOR_FORCE", "1");
    for (arguments, variables, expected) in [
        (["--color", "always"], vec![("NO_COLOR", "1")], true),
        (["--color", "never"], vec![forced], false),
        (["--color", "auto"], vec![forced], true),
        (["--color", "auto"], vec![forced, ("NO_COLOR", "1")], false),
    ] {
        let text = in_a_pipe(&arguments, &variables);
        assert!(text.contains("own-cached"), "{text}");
        assert_eq!(text.contains('\u{1b}'), expected, "{arguments:?} {variables:?}: {text:?}");
    }
}
