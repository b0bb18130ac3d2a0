//! Tests an interpreter in a build folder outside its checkout. The folder is put together from Debian's build, in the
//! layout that `mkdir build; cd build; ../configure; make` would leave.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use framediff::cli::exit;
use process::build::{Companion, OrderSource, Silent, fetch_companion, probe};

use crate::common;
use crate::common::command::{Outcome, Running, framediff};
use crate::common::loader::write_loader_script;

const PATIENCE: Duration = Duration::from_secs(240);
/// The folder in which `make` puts extension modules. `pybuilddir.txt` holds its name.
const MODULES: &str = "build/lib.linux-x86_64-3.15";

/// Makes the build folder in a checkout.
fn made_in(checkout: &Path) -> PathBuf {
    // `usr/bin/python3.15`, which starts the interpreter with the C library that was fetched with it.
    let release = common::release().python;
    let usr = release.parent().unwrap().parent().unwrap();
    let library = usr.join("lib/python3.15");
    let build = checkout.join("build");
    let modules = build.join(MODULES);
    fs::create_dir_all(&modules).unwrap();
    fs::create_dir(build.join("Modules")).unwrap();
    fs::write(build.join("Modules/Setup.local"), "").unwrap();
    fs::write(build.join("pybuilddir.txt"), MODULES).unwrap();
    symlink(&library, checkout.join("Lib")).unwrap();
    fs::copy(usr.join("bin/python3.15-elf"), build.join("python-elf")).unwrap();
    let copied = |folder: &Path, wanted: &dyn Fn(&str) -> bool| {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if wanted(&entry.file_name().to_string_lossy()) {
                fs::copy(entry.path(), modules.join(entry.file_name())).unwrap();
            }
        }
    };
    copied(&library.join("lib-dynload"), &|_| true);
    copied(&library, &|name| name.starts_with("_sysconfigdata"));
    let python = build.join("python");
    write_loader_script(&python, usr, &python, &build.join("python-elf"));
    build
}

fn cache() -> PathBuf {
    process::build::cache_folder(None).unwrap()
}

/// Runs `check` the way a core developer would, from within the build folder.
fn checked(build: &Path) -> Outcome {
    let words = ["check", "--python", "./python", "--jit", "off", "--lane", "stopped", "--family", "recursion"];
    let mut command = framediff(words);
    command.args(["--seed", "1", "--stops", "40", "--budget", "3m", "--format", "json"]).current_dir(build);
    Running::start(command).ends_within(PATIENCE)
}

#[test]
fn a_build_folder_next_to_its_checkout_can_be_tested() {
    let checkout = tempfile::tempdir().unwrap();
    let build = made_in(checkout.path());
    let outcome = checked(&build);
    assert_eq!(outcome.code, Some(i32::from(exit::PASS)), "{outcome:?}");
    let document = outcome.document();
    assert!(document.builds[0].python.starts_with(&build), "{:?}", document.builds);
    assert!(document.table.iter().all(|line| line.tally.accepted() > 0), "{:?}", document.table);
}

#[test]
fn the_order_of_the_offsets_is_read_from_the_checkout() {
    let checkout = tempfile::tempdir().unwrap();
    let python = made_in(checkout.path()).join("python");
    let headers = fetch_companion(Companion::Headers, common::release().version, &cache(), &mut Silent).unwrap();
    let internal = checkout.path().join("Include/internal");
    fs::create_dir_all(&internal).unwrap();
    let header = internal.join("pycore_debug_offsets.h");
    let text = fs::read_to_string(headers.join("python3.15/internal/pycore_debug_offsets.h")).unwrap();
    fs::write(&header, &text).unwrap();
    let layout = probe(&python).unwrap().layout.unwrap();
    let OrderSource::Header(found) = &layout.source else { panic!("{layout}") };
    assert_eq!(found.canonicalize().unwrap(), header.canonicalize().unwrap());

    // The checkout was updated, and the interpreter was not built again.
    let word = "        uint64_t current_frame;\n";
    fs::write(&header, text.replace(word, &format!("        uint64_t brand_new;\n{word}"))).unwrap();
    let error = probe(&python).unwrap().usable().unwrap_err().to_string();
    assert!(error.contains("pycore_debug_offsets.h and the built-in table disagree"), "{error}");
    assert!(error.contains("thread_state.brand_new") && error.contains("thread_state.current_frame"), "{error}");
}

#[test]
fn a_build_folder_without_its_checkout_is_refused_and_the_missing_files_are_named() {
    let checkout = tempfile::tempdir().unwrap();
    let build = made_in(checkout.path());
    fs::remove_file(checkout.path().join("Lib")).unwrap();
    checked(&build).assert_refused(&["cannot find its standard library", "the checkout at its old path"]);
}
