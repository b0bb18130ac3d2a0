//! An interpreter that was linked with a sanitizer, made here: libpython of Debian's debug build in a program of gcc's.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::command::outcome;
use framediff::target::build::{Sanitizer, probe};

const PATIENCE: Duration = Duration::from_secs(240);

/// An interpreter with ASan in `folder`; nothing, with a word about it, where gcc or its runtime is missing.
fn with_address_sanitizer(folder: &Path) -> Option<PathBuf> {
    // `usr/bin/python3.15-dbg`, which starts the interpreter with the C library that was fetched with it.
    let debug = common::debug().python;
    let usr = debug.parent()?.parent()?;
    let libraries = usr.join("lib/x86_64-linux-gnu");
    let (source, program) = (folder.join("main.c"), folder.join("python-elf"));
    let text = "int Py_BytesMain(int, char **); int main(int c, char **v) { return Py_BytesMain(c, v); }\n";
    std::fs::write(&source, text).unwrap();
    // The library needs a newer C library than the machine may have.
    let switches = ["-fsanitize=address", "-static-libasan", "-Wl,--allow-shlib-undefined", "-o"];
    let mut gcc = Command::new("gcc");
    gcc.args(switches).arg(&program).arg(&source).arg(libraries.join("libpython3.15d.so.1.0"));
    let told = match gcc.output() {
        Ok(output) if output.status.success() => String::new(),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    if !told.is_empty() {
        eprintln!("not tested: gcc makes no program with ASan here: {told}");
        return None;
    }
    let python = folder.join("python");
    let script = format!(
        "#!/bin/sh\nexec '{}' --argv0 '{}' --library-path '{}' '{}' \"$@\"\n",
        usr.join("lib64/ld-linux-x86-64.so.2").display(),
        debug.display(),
        libraries.display(),
        program.display()
    );
    common::executable::write_executable(&python, script.as_bytes());
    Some(python)
}

#[test]
fn a_build_with_asan_is_recognised_and_its_frame_cache_checked() {
    let folder = tempfile::tempdir().unwrap();
    let Some(python) = with_address_sanitizer(folder.path()) else { return };
    let build = probe(&python).unwrap();
    assert_eq!(build.sanitizers.iter().copied().collect::<Vec<_>>(), [Sanitizer::Address]);
    assert_eq!(build.kind(), "debug ASan");
    let fixed =
        ["check", "--jit", "off", "--lane", "stopped", "--family", "recursion", "--seed", "1", "--format", "json"];
    let ran = outcome([&fixed[..], &["--budget", "10s", "--python", python.to_str().unwrap()]].concat(), PATIENCE);
    assert!(ran.stderr.contains("detect_leaks=0"), "{ran:?}");
    let document = ran.document();
    assert_eq!(document.builds[0].flavour, "debug ASan");
    assert!(document.judgement.failures.is_empty(), "{:?}", document.judgement);
    assert!(document.table.iter().all(|line| line.tally.accepted() > 0), "{:?}", document.table);
}

#[test]
fn a_stock_build_has_no_sanitizer() {
    assert!(common::release().sanitizers.is_empty() && common::debug().sanitizers.is_empty());
}
