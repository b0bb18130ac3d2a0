//! Tests what the command refuses before it needs an interpreter.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use framewalk::sample::WalkerKind;
use framewalk::weakening::Weakening;
use lanes::check::{SCHEDULES, STOPS};
use process::build::CACHE_VARIABLE;

use crate::common::command::{REFUSAL, Running, assert_build_refused, framediff, outcome};
use crate::common::target::{Cat, script};

#[test]
fn a_path_that_is_not_a_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert_build_refused(&folder.path().join("nothing"), &["there is no such file", "check the path"]);
    let plain = folder.path().join("plain");
    fs::write(&plain, "print(1)").unwrap();
    assert_build_refused(&plain, &["cannot be run", "ermission denied", "name an executable CPython"]);
}

#[test]
fn a_program_that_is_not_python_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert_build_refused(Path::new("/bin/true"), &["does not behave like Python 3", "printed nothing"]);
    let garbage = script(folder.path(), "garbage", r"printf '\033[31mgarbage\n'");
    assert_build_refused(&garbage, &["does not behave like Python 3", "garbage"]);
}

#[test]
fn without_network_and_builds_the_next_step_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("bin")).unwrap();
    // Everything that fetching may run, but no Python.
    for tool in ["apt-get", "apt-config", "dpkg", "dpkg-deb", "gpgv", "sqv", "sh", "tar", "xz", "zstd"] {
        if let Ok(path) = which::which(tool) {
            std::os::unix::fs::symlink(path, at("bin").join(tool)).unwrap();
        }
    }
    assert!(at("bin/apt-get").exists(), "fetching needs apt-get, so does this test");
    let closed = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    fs::write(at("sources.list"), format!("deb {closed}/debian unstable main\n")).unwrap();
    // The machine's own settings are read after this file, so this file must exclude them.
    let settings = format!(
        "Dir::Etc::Parts \"{none}\"; Dir::Etc::Main \"/dev/null\"; Dir::Etc::SourceParts \"{none}\";\n\
         Dir::Etc::SourceList \"{list}\"; Acquire::Retries \"0\";\n\
         Acquire::http::Proxy \"{closed}\"; Acquire::https::Proxy \"{closed}\";\n",
        none = at("none").display(),
        list = at("sources.list").display(),
    );
    fs::write(at("apt.conf"), settings).unwrap();
    let mut command = framediff(["--budget", "1s", "--cache"]);
    command.arg(at("cache")).env("PATH", at("bin")).env("APT_CONFIG", at("apt.conf"));
    command.env("http_proxy", &closed).env("https_proxy", &closed).env_remove(CACHE_VARIABLE);
    let outcome = Running::start(command).ends_within(Duration::from_secs(30));
    let cache = at("cache");
    outcome.assert_refused(&[
        "no CPython 3.15 was given with --python, none is on PATH, installed by uv or pyenv, or in",
        cache.to_str().unwrap(),
        &closed,
        "Check the network and apt's proxy settings, and run again, or pass --python",
    ]);
}

#[test]
fn too_many_jobs_are_refused_and_the_error_names_the_default() {
    let cores = std::thread::available_parallelism().unwrap().get();
    for (verb, by_default) in [("check", cores + cores / 2), ("explore", cores)] {
        let word = format!("the default is {by_default}");
        outcome([verb, "--jobs", "100000"], REFUSAL).assert_refused(&["100000", "at most 8 jobs for each core", &word]);
    }
}

#[test]
fn sizes_above_the_limit_are_refused_and_the_limit_is_named() {
    for (option, value, words) in [
        ("--depth", "1000000000", "1..=1400"),
        ("--width", "100", "2..=8"),
        ("--speed", "4000000000", "0..=1000000"),
        ("--frame-size", "unequal:4000000000", "at most 1000 extra locals"),
    ] {
        for verb in ["check", "explore"] {
            outcome([verb, option, value], REFUSAL).assert_refused(&[option, value, words]);
        }
    }
}

#[test]
fn every_weakening_of_the_checked_walker_is_accepted_and_other_names_are_refused() {
    for weakening in Weakening::ALL {
        let arguments = ["check", "--weaken", weakening.name(), "--python", "/no/such/python"];
        let outcome = outcome(arguments, REFUSAL);
        if weakening.applies_to(WalkerKind::OwnCached) {
            // The arguments were accepted, and the first error is about the build.
            outcome.assert_refused(&["/no/such/python", "there is no such file"]);
        } else {
            outcome.assert_refused(&[weakening.name(), "possible values", "leaf-reused-on-full-hit"]);
        }
    }
    let unknown = outcome(["check", "--weaken", "no-such-check"], REFUSAL);
    unknown.assert_refused(&["'no-such-check'", "possible values", "leaf-reused-on-full-hit"]);
}

#[test]
fn unwritable_outputs_are_reported_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    fs::write(&plain, "kept").unwrap();
    let below = plain.join("r.xml");
    let full = |kind: &str| format!("{kind}={}", below.display());
    // The missing build comes later and must not be the reported error.
    for kind in ["json", "json-lines", "junit", "html", "markdown"] {
        let refused = outcome(["check", "--python", "/no/such/python", "--report", &full(kind)], REFUSAL);
        refused.assert_refused(&[below.to_str().unwrap(), "cannot create the folder", plain.to_str().unwrap()]);
        let refused = outcome(["attach", "1", "--report", &full(kind)], REFUSAL);
        refused.assert_refused(&[below.to_str().unwrap(), "cannot create the folder"]);
    }
    let twice = format!("json={}", plain.display());
    let other = format!("html={}/./plain", folder.path().display());
    let refused = outcome(["check", "--python", "/no/such/python", "--report", &twice, "--report", &other], REFUSAL);
    refused.assert_refused(&["two reports cannot both go to", "plain"]);
    // A run that never starts leaves an existing file alone.
    outcome(["check", "--python", "/no/such/python", "--report", &twice], REFUSAL)
        .assert_refused(&["there is no such file"]);
    assert_eq!(fs::read_to_string(&plain).unwrap(), "kept");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_foreign_file_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("foreign.json");
    fs::write(&file, r#"{"kind":"<script>","version":1}"#).unwrap();
    let page = folder.path().join("page.html");
    fs::write(&page, "kept").unwrap();
    let arguments = ["report", file.to_str().unwrap(), "--format", "html", "-o", page.to_str().unwrap()];
    outcome(arguments, REFUSAL).assert_refused(&["cannot use", "foreign.json", "expected the JSON"]);
    assert_eq!(fs::read_to_string(page).unwrap(), "kept");
}

#[test]
fn a_process_that_is_not_python_is_refused() {
    let cat = Cat::start(Path::new("cat"));
    let pid = cat.pid().to_string();
    outcome(["attach", &pid], REFUSAL).assert_refused(&["process", &pid, "does not run CPython 3.13 or later"]);
}

#[test]
fn a_missing_process_is_refused() {
    // The kernel never assigns process ids above its limit.
    let pid = "2147483647";
    outcome(["attach", pid], REFUSAL).assert_refused(&["process 2147483647 has ended"]);
    for pid in ["0", "-1", "99999999999", "python"] {
        outcome(["attach", pid], REFUSAL).assert_refused(&[pid]);
    }
}

#[test]
fn attaching_to_framediff_itself_is_refused() {
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$; exec \"$0\" attach $$", env!("CARGO_BIN_EXE_framediff")]);
    let mut outcome = Running::start(command).ends_within(REFUSAL);
    let pid = outcome.stdout.trim().to_owned();
    outcome.stdout.clear();
    outcome.assert_refused(&["process", &pid, "does not run CPython 3.13 or later"]);
}

#[test]
fn a_damaged_bundle_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.bundle");
    std::fs::write(&path, [0x1f, 0x8b, 8, 0, 0, 0]).unwrap();
    let path = path.to_str().unwrap();
    outcome(["replay", path], REFUSAL).assert_refused(&["cut.bundle is not a complete bundle"]);
    outcome(["explain", path], REFUSAL).assert_refused(&["cut.bundle is not a complete bundle"]);
}

#[test]
fn the_action_uses_the_numbers_of_the_mutant_runs() {
    let action =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.github/actions/check/action.yml"))
            .unwrap();
    for (input, number) in [("stops", STOPS), ("schedules", SCHEDULES)] {
        let (_, rest) = action.split_once(&format!("\n  {input}:\n")).unwrap();
        let default = rest.lines().find_map(|line| line.trim().strip_prefix("default: ")).unwrap();
        assert_eq!(default, format!("\"{number}\""), "{input}");
    }
}
