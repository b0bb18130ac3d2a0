//! Tests interpreters with a sanitizer, made by linking the libpython of Debian's debug build into a program built by
//! gcc.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use process::build::{Sanitizer, probe};

use crate::common;
use crate::common::command::outcome;
use crate::common::loader::write_loader_script;

const PATIENCE: Duration = Duration::from_secs(240);

/// Builds an interpreter with a sanitizer in `folder`. `word` is gcc's name of the sanitizer.
fn with_sanitizer(folder: &Path, word: &str, runtime: &str) -> PathBuf {
    // `usr/bin/python3.15-dbg`, which starts the interpreter with the C library that was fetched with it.
    let debug = common::debug().python;
    let usr = debug.parent().unwrap().parent().unwrap();
    let libraries = usr.join("lib/x86_64-linux-gnu");
    let (source, program) = (folder.join("main.c"), folder.join("python-elf"));
    // The addition can overflow, which gives the undefined-behaviour sanitizer something to check.
    let text =
        "int Py_BytesMain(int, char **); int main(int c, char **v) { return Py_BytesMain(c, v) + (c + 1 < 0); }\n";
    std::fs::write(&source, text).unwrap();
    let mut gcc = Command::new("gcc");
    gcc.arg(format!("-fsanitize={word}")).arg(format!("-static-lib{runtime}"));
    // The library may need a newer C library than the machine has.
    gcc.args(["-Wl,--allow-shlib-undefined", "-o"]).arg(&program).arg(&source);
    let output = gcc.arg(libraries.join("libpython3.15d.so.1.0")).output();
    let output = output.unwrap_or_else(|error| panic!("gcc does not start ({error}): install it"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "gcc makes no such program; are its sanitizers' runtimes installed? {told}");
    let python = folder.join("python");
    write_loader_script(&python, usr, &debug, &program);
    python
}

/// Checks that the build is recognised, and runs `check` on it. Returns standard error.
fn is_recognised_and_checked(word: &str, runtime: &str, sanitizer: Sanitizer) -> String {
    let folder = tempfile::tempdir().unwrap();
    let python = with_sanitizer(folder.path(), word, runtime);
    let build = probe(&python).unwrap();
    let flavour = format!("debug {}", sanitizer.name());
    assert_eq!((build.sanitizers.iter().copied().collect(), build.kind()), (vec![sanitizer], flavour.clone()));
    let fixed =
        ["check", "--jit", "off", "--lane", "stopped", "--family", "recursion", "--seed", "1", "--format", "json"];
    let ran = outcome([&fixed[..], &["--budget", "10s", "--python", python.to_str().unwrap()]].concat(), PATIENCE);
    let document = ran.document();
    assert_eq!(document.builds[0].flavour, flavour);
    assert!(document.judgement.failures.is_empty(), "{:?}", document.judgement);
    assert!(document.table.iter().all(|line| line.tally.accepted() > 0), "{:?}", document.table);
    ran.stderr
}

#[test]
fn a_build_with_asan_is_recognised_and_its_frame_cache_checked() {
    let told = is_recognised_and_checked("address", "asan", Sanitizer::Address);
    assert!(told.contains("detect_leaks=0"), "{told}");
}

#[test]
fn a_build_with_ubsan_is_recognised_and_its_frame_cache_checked() {
    is_recognised_and_checked("undefined", "ubsan", Sanitizer::Undefined);
}

#[test]
fn a_build_with_tsan_is_recognised_and_its_frame_cache_checked() {
    is_recognised_and_checked("thread", "tsan", Sanitizer::Thread);
}

#[test]
fn a_stock_build_has_no_sanitizer() {
    assert!(common::release().sanitizers.is_empty() && common::debug().sanitizers.is_empty());
}
