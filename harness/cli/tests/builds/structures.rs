//! A program that holds CPython's structures, as its headers define them: walkers read those of a free-threaded CPython,
//! of which there is no real one to run, and the order of the offsets is found in debug information of all kinds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use framewalk::layout::{Layout, LayoutError, WordOrder};
use framewalk::uncached::UncachedWalker;
use framewalk::walker::{Site, Walker};
use process::build::order::of_image;
use process::build::{Companion, Silent, cache_folder, fetch_companion};
use process::memory::ProcessMemory;
use process::runtime::runtime_address;

use crate::common;

/// The stack that the structures have, leaf first, by name and line.
const STACK: [(&str, i32); 3] = [("inner", 30), ("main", 20), ("<module>", 10)];

/// Compiles the program with these arguments.
fn compiled(arguments: &[&str], program: &Path) {
    let version = common::release().version;
    let headers = fetch_companion(Companion::Headers, version, &cache_folder(None).unwrap(), &mut Silent).unwrap();
    let mut gcc = Command::new("gcc");
    gcc.arg("-I").arg(headers.join("python3.15")).arg("-I").arg(&headers).args(arguments).arg("-o").arg(program);
    let output = gcc.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/builds/structures.c")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_order_is_in_debug_information_that_describes_types() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("structures");
    let right = WordOrder::of_version(common::release().version).unwrap();
    for (arguments, is_there) in [
        (&["-g"][..], true),
        (&["-g3", "-O2"], true),
        (&["-g", "-flto"], true),
        (&["-g", "-gz"], true),
        (&["-g1"], false),
        (&["-g", "-gsplit-dwarf"], false),
        (&["-g", "-s"], false),
    ] {
        compiled(arguments, &program);
        let found = of_image(&program);
        assert_eq!(found.is_some(), is_there, "{arguments:?}");
        assert!(found.is_none_or(|order| order == right), "{arguments:?}");
    }
}

#[test]
fn the_structures_of_builds_with_and_without_the_gil_are_read() {
    let folder = tempfile::tempdir().unwrap();
    for without_gil in [false, true] {
        let program = folder.path().join(format!("structures-{without_gil}"));
        compiled(if without_gil { &["-DPy_GIL_DISABLED=1"] } else { &[] }, &program);
        let mut child = Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let (mut memory, runtime) = (ProcessMemory::new(pid), runtime_address(pid).unwrap().address);
        let layout = Layout::read(&mut memory, runtime).unwrap();
        assert_eq!(layout.free_threaded, without_gil);
        assert_eq!(layout.walkable().is_err(), without_gil);
        if without_gil {
            let error = UncachedWalker::new(Site { layout, runtime }).err().unwrap().to_string();
            assert_eq!(error, LayoutError::FreeThreaded(layout.version).to_string());
        }
        let mut walker = UncachedWalker::new(Site { layout: layout.with_free_threaded(), runtime }).unwrap();
        let sample = walker.sample(&mut memory).unwrap();
        let stack = sample.threads[0].outcome.as_ref().unwrap();
        let frames: Vec<_> = stack.iter().map(|it| (&*it.function, it.location.line.unwrap())).collect();
        assert_eq!(frames, STACK);
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
