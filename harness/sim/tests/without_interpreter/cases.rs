//! Tests the committed cases of the fuzz targets, and files that are not cases.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sim::case::error::CaseError;
use sim::case::file::{CaseFile, save};
use sim::case::verdict::CaseVerdict;
use sim::fuzzing::target::FuzzTarget;
use sim::fuzzing::{CheckOutcome, TARGETS, text};

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/cases")
}

#[test]
fn the_committed_cases_hold_and_show_every_outcome() {
    let folders: BTreeSet<PathBuf> = files(&corpus()).into_iter().collect();
    // The cases of the stepped lane have their own test.
    let names = TARGETS.iter().map(|target| target.name()).chain(["stepped"]);
    let expected: BTreeSet<PathBuf> = names.map(|name| corpus().join(name)).collect();
    assert_eq!(folders, expected, "each fuzz target has a folder of cases, the stepped lane has one, and nothing else");
    for target in TARGETS {
        let mut seen = Vec::new();
        for path in files(&corpus().join(target.name())) {
            let file = CaseFile::load(&path).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(file.target.name(), target.name(), "{}", path.display());
            match file.run() {
                CaseVerdict::Failed(message) => panic!("{}: {message}", path.display()),
                verdict => {
                    assert!(file.is_judged(&verdict, &path), "{}: a replay would be inconclusive", path.display());
                    seen.push(verdict);
                }
            }
            // The file must be exactly what `save` writes, so that changes to it can be compared.
            assert_eq!(file.text().unwrap(), fs::read_to_string(&path).unwrap(), "{}", path.display());
        }
        for outcome in [CaseVerdict::Accepted, CaseVerdict::Rejected] {
            assert!(seen.contains(&outcome), "no case of {} is {outcome:?}", target.name());
        }
    }
}

/// A case of the target `text` with one field changed. `null` leaves the field out.
fn with(name: &str, value: Value) -> Vec<u8> {
    let case = json!({"units": {"One": [65]}, "rest": [0, 0, 0]});
    let mut file = json!({"format": "framediff-case", "version": 1, "target": "text", "note": "", "case": case});
    let fields = file.as_object_mut().unwrap();
    match value {
        Value::Null => drop(fields.remove(name)),
        value => drop(fields.insert(name.into(), value)),
    }
    file.to_string().into_bytes()
}

#[test]
fn files_that_are_not_cases_are_refused_with_the_reason() {
    assert_eq!(CaseFile::parse(&with("note", "fine".into())).unwrap().run(), CaseVerdict::Accepted);
    let known: Vec<&str> = TARGETS.iter().map(|target| target.name()).collect();
    let known = known.join(", ");
    let whole = with("note", "".into());
    let bad_case = |case: Value| with("case", case);
    for (bytes, words) in [
        (&b""[..], &["not JSON"][..]),
        (b"\x7fELF\x02\x01\x01", &["not JSON"]),
        (&whole[..whole.len() / 2], &["not JSON, or the file was cut short"]),
        (&"[".repeat(100_000).into_bytes(), &["not JSON", "recursion limit"]),
        (b"[1, 2]", &["JSON, but not a case", "framediff-case"]),
        (&with("format", "framediff-snapshot".into()), &["JSON, but not a case", "framediff-case"]),
        (&with("format", Value::Null), &["JSON, but not a case"]),
        (&with("version", 2.into()), &["damaged", "kind is missing"]),
        (&with("version", 3.into()), &["damaged", "kind is missing"]),
        (&with("version", 4.into()), &["version 4", "reads 1 to 3", "newer"]),
        (&with("version", 0.into()), &["version 0", "reads 1 to 3"]),
        (&with("version", "1".into()), &["damaged", "version is not a number"]),
        (&with("version", Value::Null), &["damaged", "version is missing"]),
        (&with("target", "texts".into()), &["fuzz target \"texts\"", &known]),
        (&with("target", "\u{1b}[2J".repeat(1000).into()), &["fuzz target", "…", &known]),
        (&with("target", 1.into()), &["damaged", "target is not a text"]),
        (&with("note", Value::Null), &["damaged", "note is missing"]),
        (&with("case", Value::Null), &["damaged", "case is missing"]),
        (&with("extra", 1.into()), &["damaged", "unknown field \"extra\""]),
        (&bad_case(json!({"units": {"One": [256]}, "rest": [0, 0, 0]})), &["does not fit", "text", "256", "u8"]),
        (&bad_case(json!({"units": {"Three": []}, "rest": [0, 0, 0]})), &["does not fit", "Three"]),
        (&bad_case(json!({"units": {"One": []}})), &["does not fit", "rest"]),
        (&bad_case(json!({"units": {"One": []}, "rest": [0, 0, 0], "more": 1})), &["does not fit", "more"]),
        (&vec![b' '; (16 << 20) + 1], &["larger than 16 MiB"]),
    ] {
        let error = CaseFile::parse(bytes).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error:?} lacks one of {words:?}");
        assert!(error.len() < 1500 && !error.contains(char::is_control), "{error:?}");
    }
}

#[test]
fn errors_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.json");
    let message = || CaseFile::load(&path).unwrap_err().to_string();
    assert!(message().contains("some.json") && message().contains("No such file"), "{}", message());
    fs::write(&path, with("version", 7.into())).unwrap();
    assert!(message().contains("some.json: this case has version 7"), "{}", message());
    // This file is endless.
    assert!(CaseFile::load(Path::new("/dev/zero")).unwrap_err().to_string().contains("a device"));
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(CaseFile::load(&path),
        Err(CaseError::InFile { error, .. }) if *error == CaseError::TooLarge));
    assert!(CaseFile::load(folder.path()).is_err());
}

#[test]
fn a_saved_case_loads_again() {
    let folder = tempfile::tempdir().unwrap();
    let case = text::TestCase { units: text::Units::Four("a€\"\\\n𠀀".chars().collect()), rest: [1, 2, 3] };
    let folder = folder.path().join("not/there/yet");
    let path = save(&folder, &text::TARGET, "a \"note\"\n€", &case).unwrap();
    assert_eq!(save(&folder, &text::TARGET, "a \"note\"\n€", &case).unwrap(), path, "the content is the name");
    let file = CaseFile::load(&path).unwrap();
    assert_eq!((file.target.name(), file.note.as_str()), ("text", "a \"note\"\n€"));
    assert_eq!(file.case.to_value().unwrap(), serde_json::to_value(&case).unwrap());
    assert_eq!(file.text().unwrap(), fs::read_to_string(&path).unwrap());
    let error = save(&path, &text::TARGET, "", &case).unwrap_err().to_string();
    assert!(error.contains("cannot write") && error.contains(".json"), "{error}");
}

/// A fuzz target with a fault, such as a change to a walker might introduce.
static FAULTY: FuzzTarget<text::TestCase> =
    FuzzTarget { name: "text", check: faulty, least_accepted: 10, judges_refusals: true };

fn faulty(case: &text::TestCase) -> CheckOutcome {
    assert_ne!(case.rest[0], 7, "seven");
    text::check(case)
}

#[test]
fn a_check_that_panics_is_a_failed_case() {
    let case = json!({"units": {"One": []}, "rest": [7, 0, 0]});
    let bound = sim::fuzzing::target::AnyFuzzTarget::decode(&FAULTY, case).unwrap();
    let file = CaseFile { target: &FAULTY, note: String::new(), case: bound };
    let CaseVerdict::Failed(message) = file.run() else { panic!("{:?}", file.run()) };
    assert!(message.contains("cases.rs") && message.contains("seven"), "{message}");
}
