//! Tests every kind of bad input, with scripts that answer like interpreters.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use framewalk::layout::{COOKIE, LayoutError};
use object::write::Object;
use object::{Architecture, BinaryFormat, Endianness, SectionKind};
use tempfile::TempDir;

use super::order::OrderError;
use super::*;

#[path = "../../../cli/tests/common/executable.rs"]
mod executable;

/// A folder for the programs of a test.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Writes a shell script.
    fn script(&self, name: &str, body: &str) -> PathBuf {
        let path = self.0.path().join(name);
        executable::write_executable(&path, format!("#!/bin/sh\n{body}\n").as_bytes());
        path
    }

    /// Writes an ELF file with this `.PyRuntime` section, or without one.
    fn image(&self, section: Option<&[u8]>) -> PathBuf {
        let mut elf = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
        if let Some(bytes) = section {
            let id = elf.add_section(Vec::new(), b".PyRuntime".to_vec(), SectionKind::Data);
            elf.append_section_data(id, bytes, 8);
        }
        let path = self.0.path().join("libpython");
        fs::write(&path, elf.write().unwrap()).unwrap();
        path
    }

    /// Writes a program that answers the probe like an interpreter of this version with this image.
    fn python(&self, implementation: &str, version: u32, free_threaded: bool, image: &Path) -> PathBuf {
        let answer = serde_json::json!({
            "implementation": implementation, "hexversion": version, "executable": "/somewhere/python",
            "debug": false, "free_threaded": free_threaded, "jit_available": false, "mapped": [image],
        });
        self.script("python", &format!("cat <<'END'\n{answer}\nEND"))
    }
}

/// The start of a version's `_PyRuntime`: cookie, version, free-threading flag, and zeros instead of offsets.
fn runtime(version: u64, free_threaded: u64) -> Vec<u8> {
    let words = [u64::from_le_bytes(COOKIE), version, free_threaded];
    words.iter().chain([0; 200].iter()).flat_map(|word| word.to_le_bytes()).collect()
}

fn refusal(path: &Path) -> BuildError {
    let error = probe(path).unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    error
}

#[test]
fn a_missing_file_is_distinguished_from_one_that_cannot_run() {
    let folder = Folder::new();
    assert!(matches!(refusal(&folder.0.path().join("python")), BuildError::NotFound { .. }));
    let plain = folder.0.path().join("plain");
    fs::write(&plain, "print(1)").unwrap();
    assert!(matches!(refusal(&plain), BuildError::Start { .. }));
}

#[test]
fn similar_paths_are_suggested() {
    let folder = Folder::new();
    let error = refusal(folder.0.path());
    assert!(matches!(error, BuildError::Folder { inside: None, .. }), "{error}");
    let built = folder.script("python.exe", "exit 1");
    for path in [folder.0.path().to_owned(), folder.0.path().join("python")] {
        let error = refusal(&path).to_string();
        assert!(error.contains(&format!("did you mean {}?", built.display())), "{error}");
    }
}

#[test]
fn an_interpreter_that_cannot_find_its_library_gets_the_next_step() {
    let folder = Folder::new();
    for (words, step) in [
        (
            "Could not find platform independent libraries <prefix>\nModuleNotFoundError: No module named 'encodings'",
            "pybuilddir.txt",
        ),
        ("FATAL: ThreadSanitizer: unexpected memory mapping 0x5a0000000000-0x5a0000001000", "setarch -R"),
    ] {
        let script = format!("cat >&2 <<'END'\n{words}\nEND\nexit 1");
        let error = refusal(&folder.script("python", &script)).to_string();
        assert!(error.contains(step) && error.contains(words.lines().next().unwrap()), "{error}");
    }
}

#[test]
fn sanitizers_are_part_of_the_kind_and_have_notes() {
    let folder = Folder::new();
    let answer = serde_json::json!({
        "implementation": "cpython", "hexversion": 0x030f_02f0, "executable": "/somewhere/python", "debug": true,
        "free_threaded": false, "jit_available": false, "mapped": [folder.image(Some(&runtime(0x030f_02f0, 0)))],
        "options": "--with-pydebug --with-address-sanitizer -fsanitize=undefined",
    });
    let build = probe(&folder.script("python", &format!("cat <<'END'\n{answer}\nEND"))).unwrap();
    assert_eq!(build.kind(), "debug ASan+UBSan");
    let notes = select::of_sanitizers(&build);
    assert!(
        notes.len() == 2 && notes[0].contains("3.15.2 debug ASan+UBSan") && notes[0].contains("detect_leaks=0"),
        "{notes:?}"
    );
}

#[test]
fn programs_that_are_not_python_are_reported_with_their_output() {
    let folder = Folder::new();
    let says = |path: &Path| match refusal(path) {
        BuildError::NotPython { evidence, .. } => evidence,
        other => panic!("{other}"),
    };
    assert_eq!(says(Path::new("/bin/true")), "it printed nothing");
    assert_eq!(says(&folder.script("garbage", "echo one; echo two")), "it answered: one");
    assert_eq!(
        says(&folder.script("fails", "echo 'no such version' >&2; exit 127")),
        "it ended with exit status: 127: no such version"
    );
    let traceback = "printf 'Traceback (most recent call last):\\n  File x\\nImportError: no json\\n' >&2; exit 1";
    assert!(says(&folder.script("broken", traceback)).ends_with("ImportError: no json"));
    assert!(says(&folder.script("endless", "exec yes")).ends_with(": y"));
}

#[test]
fn a_program_that_does_not_answer_is_killed_at_the_deadline() {
    let folder = Folder::new();
    let hangs = folder.script("hangs", "sleep 1000");
    let start = Instant::now();
    let error = probe::probe_within(&hangs, &BuildOptions::default(), Duration::from_millis(200)).unwrap_err();
    assert!(matches!(error, BuildError::Deadline { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn other_implementations_are_refused() {
    let folder = Folder::new();
    let path = folder.python("pypy", 0x030b_0df0, false, Path::new("/bin/true"));
    assert!(matches!(refusal(&path), BuildError::NotCPython { implementation, .. } if implementation == "pypy"));
}

#[test]
fn versions_before_3_13_are_refused() {
    let folder = Folder::new();
    let path = folder.python("cpython", 0x030c_0af0, false, &folder.image(Some(&[0; 64])));
    let error = refusal(&path);
    assert!(matches!(error, BuildError::TooOld { .. }) && error.to_string().contains("3.12.10"), "{error}");
}

#[test]
fn an_image_without_the_section_is_refused() {
    let folder = Folder::new();
    let path = folder.python("cpython", 0x030f_02f0, false, &folder.image(None));
    let error = refusal(&path);
    assert!(
        matches!(error, BuildError::NoRuntimeSection { .. }) && error.to_string().contains(".PyRuntime"),
        "{error}"
    );
}

fn is_order(refusal: &LayoutRefusal, is_expected: &dyn Fn(&OrderError) -> bool) -> bool {
    matches!(refusal, LayoutRefusal::Order(error) if is_expected(error))
}

#[test]
fn a_prerelease_is_described_but_not_tested() {
    let folder = Folder::new();
    let path = folder.python("cpython", 0x030f_00b1, false, &folder.image(Some(&runtime(0x030f_00b1, 0))));
    let build = probe(&path).unwrap();
    assert_eq!((build.version.to_string().as_str(), build.frame_cache()), ("3.15.0b1", CacheFields::AnchorOnly));
    let error = build.usable().unwrap_err();
    assert!(
        matches!(&error, BuildError::Layout { source, .. } if is_order(source, &|it| matches!(it, OrderError::Nowhere { .. }))),
        "{error}"
    );
    let (cache, options) = (Folder::new(), BuildOptions::default());
    let error = select(std::slice::from_ref(&path), &options, cache.0.path(), &mut Silent).unwrap_err();
    assert!(matches!(error, SelectError::Build(_)), "{error}");
    let [listed] = &listing(&[path], &options, cache.0.path())[..1] else { panic!("one is given") };
    assert_eq!((listed.origin, listed.kind.clone()), (Origin::Given, Some("release".to_owned())));
    assert!(listed.refused.as_ref().is_some_and(|reason| reason.contains("--layout-header")), "{listed:?}");
}

#[test]
fn an_order_that_is_not_proved_is_refused() {
    let folder = Folder::new();
    let path = folder.python("cpython", 0x0310_00f0, false, &folder.image(Some(&runtime(0x0310_00f0, 0))));
    let header = folder.0.path().join("header.h");
    let options = BuildOptions { header: Some(header.clone()), ..BuildOptions::default() };
    let refused = || probe_with(&path, &options).unwrap().layout.unwrap_err();
    assert!(is_order(&refused(), &|it| matches!(it, OrderError::Unreadable { .. })), "{}", refused());
    std::fs::write(&header, "typedef struct _Py_DebugOffsets { char cookie[8]; uint64_t version, x; } z;").unwrap();
    assert!(is_order(&refused(), &|it| matches!(it, OrderError::Header { .. })), "{}", refused());
    let words = "char cookie[8]; uint64_t version; uint64_t free_threaded; struct { uint64_t size; } thread_state;";
    std::fs::write(&header, format!("struct _Py_DebugOffsets {{ {words} }};")).unwrap();
    assert!(matches!(refused(), LayoutRefusal::Unfit { source: LayoutError::NoWord(_), .. }), "{}", refused());
}

#[test]
fn a_foreign_section_is_refused() {
    let folder = Folder::new();
    let path = folder.python("cpython", 0x030f_02f0, false, &folder.image(Some(b"something else")));
    let error = probe(&path).unwrap().usable().unwrap_err();
    assert!(
        matches!(&error, BuildError::Layout { source, .. } if **source == LayoutRefusal::Table(LayoutError::NoCookie)),
        "{error}"
    );
}

/// A build that needs no files.
fn build(python: &str, debug: bool, free_threaded: bool, jit_available: bool) -> Arc<Build> {
    let layout = Err(LayoutError::NoCookie.into());
    let (python, version) = (PathBuf::from(python), VersionHex(0x030f_02f0));
    let (executable, image) = (python.clone(), python.clone());
    let sanitizers = BTreeSet::new();
    let (is_development, layout_header, arguments) = (false, None, Vec::new());
    Arc::new(Build {
        python,
        executable,
        image,
        version,
        is_development,
        layout_header,
        arguments,
        debug,
        free_threaded,
        jit_available,
        sanitizers,
        layout,
    })
}

#[test]
fn row_names_have_version_kind_and_run_mode() {
    let builds = [build("/a", false, false, true), build("/b", true, false, false), build("/c", false, true, false)];
    let names: Vec<_> = rows(&builds).into_iter().map(|row| row.name).collect();
    assert_eq!(names, ["3.15.2 release", "3.15.2 release JIT", "3.15.2 debug", "3.15.2 free-threaded"]);
}

#[test]
fn rows_of_similar_builds_are_distinguished_by_path() {
    let rows = rows(&[build("/a", false, false, true), build("/b", false, false, false)]);
    let names: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["3.15.2 release (/a)", "3.15.2 release (/a) JIT", "3.15.2 release (/b)"]);
    assert_eq!(rows[1].jit.variable(), ("PYTHON_JIT", Some("1")));
    assert_eq!(rows[2].jit.variable(), ("PYTHON_JIT", None));
}
