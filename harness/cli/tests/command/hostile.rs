//! Nothing that is opened, inherited or shared can harm: sizes, names, pipes, full disks and limits.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use framediff::cli::exit;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

use crate::common::command::{REFUSAL, Running, framediff, outcome};

/// The verbs that read a file, with the arguments before it.
const READERS: [&[&str]; 6] =
    [&["report"], &["merge"], &["replay"], &["explain"], &["bench", "--from"], &["check", "--known"]];

/// Limits a resource of the command, and makes the kernel's signal for it an error.
fn limit(command: &mut Command, resource: libc::__rlimit_resource_t, most: u64) {
    let hook = move || {
        let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
        // SAFETY: `limit` outlives the call.
        let done = unsafe { libc::setrlimit(resource, &raw const limit) };
        // SAFETY: ignoring a signal takes no memory.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: the hook makes two system calls.
    unsafe { command.pre_exec(hook) };
}

/// Every reader on this file, with at most this much memory.
fn refused_by_all(file: &Path, memory: u64, words: &[&str]) {
    for reader in READERS {
        let mut command = framediff(reader);
        command.arg(file);
        limit(&mut command, libc::RLIMIT_AS, memory);
        Running::start(command).ends_within(REFUSAL).assert_refused(words);
    }
}

#[test]
fn what_is_read_is_bounded_before_anything_is_built_from_it() {
    const MEMORY: u64 = 700 << 20;
    let folder = tempfile::tempdir().unwrap();
    let [dense, sparse] = ["dense.json", "sparse"].map(|name| folder.path().join(name));
    fs::write(&dense, format!("{{\"version\":1,\"searches\":[{}0]}}", "[],".repeat(5 << 20))).unwrap();
    refused_by_all(&dense, MEMORY, &["dense.json"]);
    File::create(&sparse).unwrap().set_len(2 << 30).unwrap();
    refused_by_all(&sparse, MEMORY, &["sparse", "larger than"]);
    refused_by_all(Path::new("/dev/zero"), MEMORY, &["/dev/zero", "device", "name a regular file or a pipe"]);
}

#[test]
fn names_and_quotes_in_errors_are_printed_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("\x1b[31mred");
    // What the command prints is checked for control characters wherever it is run.
    refused_by_all(&name, u64::MAX, &["u{1b}[31mred"]);
    fs::write(&name, "a = \"\x1b[2J").unwrap();
    refused_by_all(&name, u64::MAX, &["u{1b}[31mred"]);
    outcome([Path::new("check"), Path::new("--known"), &name], REFUSAL).assert_refused(&["a = \"\\u{1b}[2J"]);
    outcome(["check", "--walker", "\x1b[2J"], REFUSAL).assert_refused(&["possible values"]);
}

#[test]
fn the_first_signal_ends_the_wait_for_the_writer_of_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    for reader in READERS {
        let mut command = framediff(reader);
        command.arg(&pipe);
        let run = Running::start(command);
        let waits = || {
            let threads = fs::read_dir(format!("/proc/{}/task", run.pid())).into_iter().flatten().flatten();
            threads
                .map(|thread| fs::read_to_string(thread.path().join("comm")))
                .any(|name| name.is_ok_and(|name| name == "pipe\n"))
        };
        let begun = Instant::now();
        while !waits() {
            assert!(!run.has_ended() && begun.elapsed() < REFUSAL, "{reader:?} does not wait");
            std::thread::yield_now();
        }
        kill(Pid::from_raw(run.pid()), Signal::SIGINT).unwrap();
        let code = run.ends_within(REFUSAL).code;
        // A verb that takes several files goes on with the next.
        assert!(
            [exit::INTERRUPTED, exit::USAGE].map(|code| Some(i32::from(code))).contains(&code),
            "{reader:?}: {code:?}"
        );
    }
}

#[test]
fn a_full_standard_output_is_an_error() {
    for arguments in [&["--help"][..], &["report", "--help"], &["emit-unittest"]] {
        let mut command = framediff(arguments);
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(i32::from(exit::USAGE)), "{arguments:?}: {errors}");
        assert!(errors.contains("standard output") && errors.contains("No space left"), "{errors}");
    }
}

#[test]
fn a_file_that_does_not_fit_leaves_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("test.py");
    fs::write(&file, "old").unwrap();
    let mut command = framediff(["emit-unittest", "-o"]);
    command.arg(&file);
    limit(&mut command, libc::RLIMIT_FSIZE, 4096);
    Running::start(command).ends_within(REFUSAL).assert_refused(&["cannot write", "test.py"]);
    assert_eq!((fs::read_to_string(&file).unwrap().as_str(), fs::read_dir(&folder).unwrap().count()), ("old", 1));
}

#[test]
fn without_threads_the_limit_is_named() {
    let mut command = framediff(["prove"]);
    // The system refuses such stacks as it refuses threads above its limits.
    command.env("RUST_MIN_STACK", (1_u64 << 46).to_string());
    Running::start(command).ends_within(REFUSAL).assert_refused(&["`ulimit -u`", "pids.max"]);
}
