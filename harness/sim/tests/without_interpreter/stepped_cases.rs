//! Tests cases of the stepped lane, in files and on one line, and texts that are not cases.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::Path;

use framewalk::sample::WalkerKind;
use framewalk::weakening::Weakening;
use model::run::configuration::Configuration;
use model::schedule::cast::ProfilerScript;
use model::workload::{Family, FrameSize, Mode, Names, Parameters, generate};
use serde_json::{Value, json};
use sim::case::error::CaseError;
use sim::case::file::{AnyCaseFile, CaseFile, SteppedFile};
use sim::case::line::is_line;
use sim::case::stepped::{BuildIdentity, SourceDigest, SteppedCase, WorkloadIdentity};

fn case() -> SteppedCase {
    let parameters =
        Parameters { depth: 3, width: 2, frame_size: FrameSize::Unequal(9), speed: 4, names: Names::Latin1 };
    SteppedCase {
        build: BuildIdentity { version: "3.15.2".into(), debug: false, jit: true },
        workload: WorkloadIdentity::of(&generate(Family::Alternating, Mode::Rounds, &parameters, 7)),
        walker: WalkerKind::OwnCached,
        weakenings: [Weakening::ChunksNotCopied, Weakening::LeafReusedOnFullHit].into(),
        configuration: Configuration::default(),
        cast: ProfilerScript::default(),
        samples: 3,
        tearing: true,
        loads: false,
        schedule: "0.3:12,1.0:4,1.5/2:1".parse().unwrap(),
        fingerprint: "stepped/own-cached/spliced/full-hit/function/read-chunk..write-anchor".parse().unwrap(),
    }
}

fn file() -> SteppedFile {
    SteppedFile { note: "a \"note\"\n€".into(), case: case() }
}

fn parse(text: &str) -> Result<SteppedFile, CaseError> {
    match AnyCaseFile::parse(text.as_bytes())? {
        AnyCaseFile::Stepped(file) => Ok(file),
        other => panic!("{other:?}"),
    }
}

/// The file with one part changed. `null` leaves the part out.
fn with(path: &[&str], value: &Value) -> String {
    let mut text: Value = serde_json::from_str(&file().text().unwrap()).unwrap();
    let (name, parents) = path.split_last().unwrap();
    let mut place = &mut text;
    for parent in parents {
        place = &mut place[parent];
    }
    let fields = place.as_object_mut().unwrap();
    if value.is_null() {
        fields.remove(*name).unwrap();
    } else {
        fields.insert((*name).into(), value.clone());
    }
    text.to_string()
}

#[test]
fn a_saved_case_loads_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = file().save(&folder.path().join("not/there/yet")).unwrap();
    assert_eq!(SteppedFile::load(&path).unwrap(), file());
    assert!(matches!(AnyCaseFile::load(&path).unwrap(), AnyCaseFile::Stepped(loaded) if loaded == file()));
    assert_eq!(fs::read_to_string(&path).unwrap(), file().text().unwrap());
    assert_eq!(file().save(path.parent().unwrap()).unwrap(), path, "the content is the name");
}

/// Committed files and issues contain such texts, so every later version must be able to read them.
#[test]
fn the_texts_are_stable() {
    let line = case().to_string();
    let source = case().workload.source;
    assert_eq!(
        line,
        format!(
            "framediff@2@3.15.2,release,jit@alternating,rounds,7,3,2,unequal:9,4,latin1,{source}\
             @own-cached,leaf-reused-on-full-hit,chunks-not-copied@3,torn@0.3:12,1.0:4,1.5/2:1\
             @stepped/own-cached/spliced/full-hit/function/read-chunk..write-anchor"
        )
    );
    assert!(is_line(&line) && !is_line("framediff.json"));
    let text: Value = serde_json::from_str(&file().text().unwrap()).unwrap();
    assert_eq!(
        text,
        json!({
            "format": "framediff-case", "version": 2, "kind": "stepped", "note": "a \"note\"\n€",
            "case": {
                "build": {"version": "3.15.2", "debug": false, "jit": true},
                "workload": {
                    "family": "alternating", "mode": "rounds", "seed": 7,
                    "parameters": {"depth": 3, "width": 2, "frame_size": {"unequal": 9}, "speed": 4, "names": "latin1"},
                    "source": source.to_string(),
                },
                "walker": "own-cached", "weakenings": ["leaf-reused-on-full-hit", "chunks-not-copied"],
                "samples": 3, "tearing": true, "schedule": "0.3:12,1.0:4,1.5/2:1",
                "fingerprint": "stepped/own-cached/spliced/full-hit/function/read-chunk..write-anchor",
            },
        })
    );
}

/// Cases without a cast keep version 2, so that older versions of framediff can read every case that they can run.
#[test]
fn cases_with_a_cast_have_format_version_3() {
    let case = SteppedCase {
        configuration: "gc,native,threads=main".parse().unwrap(),
        cast: "a+make-b.b+a".parse().unwrap(),
        fingerprint: "stepped/own-cached/old-and-new/spliced/full-hit/function/between-samples".parse().unwrap(),
        ..case()
    };
    let line = case.to_string();
    assert!(line.starts_with("framediff@3@3.15.2") && line.contains("@a+make-b.b+a@3,torn@"), "{line}");
    assert!(line.contains("@own-cached+gc+native+threads=main,"), "{line}");
    assert_eq!(line.parse(), Ok(case.clone()));
    let file = SteppedFile { note: String::new(), case };
    let text = file.text().unwrap();
    assert!(text.contains("\"version\": 3") && text.contains("\"cast\": \"a+make-b.b+a\""), "{text}");
    assert_eq!(parse(&text).unwrap(), file);
    let error = parse(&text.replace("\"version\": 3", "\"version\": 2")).unwrap_err().to_string();
    assert!(error.contains("a field of a later version"), "{error}");
}

#[test]
fn a_case_round_trips_through_a_line_and_a_shell() {
    let plain = SteppedCase {
        build: BuildIdentity { version: "3.15.0b4+".into(), debug: true, jit: false },
        walker: WalkerKind::CpythonCached,
        weakenings: [].into(),
        tearing: false,
        loads: false,
        schedule: "-".parse().unwrap(),
        fingerprint: "stepped/cpython-cached/stale/miss/shim/still".parse().unwrap(),
        ..case()
    };
    for case in [case(), plain] {
        let line = case.to_string();
        assert_eq!(line.parse(), Ok(case));
        assert!(line.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"@,.:/+-".contains(&byte)), "{line}");
    }
}

#[test]
fn every_family_regenerates_its_program() {
    for family in Family::ALL {
        for mode in Mode::ALL {
            let parameters = case().workload.parameters.within_bounds(family);
            let workload = generate(family, mode, &parameters, 11);
            let identity = WorkloadIdentity::of(&workload);
            assert_eq!(identity.generate(), Ok(workload), "{family}");
        }
    }
    let changed = WorkloadIdentity { source: SourceDigest(1), ..case().workload };
    let error = changed.generate().unwrap_err().to_string();
    assert!(error.contains("another program by now") && error.contains("0000000000000001"), "{error}");
}

#[test]
fn files_that_are_not_stepped_cases_are_refused_with_the_reason() {
    let whole = file().text().unwrap();
    let fuzz = json!({"format": "framediff-case", "version": 1, "target": "text", "note": "", "case": {}}).to_string();
    assert!(matches!(CaseFile::parse(whole.as_bytes()), Err(CaseError::OtherKind)));
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("fuzz.json"), &fuzz).unwrap();
    let error = SteppedFile::load(&folder.path().join("fuzz.json")).unwrap_err().to_string();
    assert!(error.contains("fuzz.json: this case is of another kind"), "{error}");
    for (text, words) in [
        (whole[..whole.len() / 2].to_owned(), "not JSON, or the file was cut short"),
        (with(&["version"], &json!(4)), "version 4, but this framediff reads 1 to 3: use the framediff that saved it"),
        (with(&["kind"], &json!("replayed")), "of kind \"replayed\", but this framediff knows only stepped"),
        (with(&["kind"], &json!(null)), "its kind is missing"),
        (with(&["target"], &json!("text")), "unknown field \"target\""),
        (with(&["case", "cast"], &json!("a+b")), "the cast is alternating, but the fingerprint is of alone"),
        (with(&["case", "cast"], &json!("a+kill-a.a")), "a has no unwinder at its turn"),
        (with(&["case", "walker"], &json!("py-spy")), "unknown variant `py-spy`"),
        (with(&["case", "walker"], &json!("cpython-cached")), "the fingerprint is of own-cached"),
        (
            with(&["case", "weakenings"], &json!(["shim-leaf-anchored"])),
            "`shim-leaf-anchored` does not apply to own-cached",
        ),
        (with(&["case", "weakenings"], &json!(["everything"])), "unknown variant `everything`"),
        (with(&["case", "workload", "family"], &json!("recursive")), "unknown variant `recursive`"),
        (with(&["case", "workload", "seed"], &json!(-1)), "-1"),
        (with(&["case", "workload", "source"], &json!("0x12")), "not 16 hexadecimal digits"),
        (with(&["case", "workload", "parameters", "depth"], &json!(100_000)), "no workload of the family alternating"),
        (with(&["case", "workload", "mode"], &json!("gated")), "its workload is gated, and has no rounds"),
        (with(&["case", "workload", "more"], &json!(1)), "unknown field `more`"),
        (with(&["case", "build", "version"], &json!("3.15.2 (main, ...)")), "is not a version of CPython"),
        (with(&["case", "build"], &json!(null)), "missing field `build`"),
        (with(&["case", "samples"], &json!(0)), "it has 0 samples"),
        (with(&["case", "samples"], &json!(1)), "the move 1.0:4 is in a sample that is not taken"),
        (with(&["case", "samples"], &json!(4_000_000_000_u32)), "1 to 100000 are allowed"),
        (with(&["case", "tearing"], &json!(false)), "1.5/2:1 is inside a read"),
        (with(&["case", "schedule"], &json!("1.0:4,0.3:12")), "the order of their points"),
        (with(&["case", "schedule"], &json!("0.0:4000000000")), "it has 4000000000 steps"),
        (with(&["case", "fingerprint"], &json!("live/own-cached/spliced")), "is no fingerprint of the stepped lane"),
        (with(&["case", "fingerprint"], &json!("\u{1b}[2J".repeat(1000))), "is no fingerprint of the stepped lane"),
    ] {
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.contains(words), "{error:?} lacks {words:?}");
        assert!(error.len() < 1500 && !error.contains(char::is_control), "{error:?}");
    }
    let contradicting = SteppedFile { case: SteppedCase { samples: 0, ..case() }, ..file() };
    assert!(contradicting.text().is_err() && contradicting.save(Path::new("nowhere")).is_err());
}

#[test]
fn lines_that_are_not_stepped_cases_are_refused_with_the_reason() {
    let line = case().to_string();
    let change = |from: &str, to: &str| {
        assert!(line.contains(from), "{from}");
        line.replacen(from, to, 1)
    };
    for (text, words) in [
        (String::new(), "not a case on one line"),
        ("stepped@2@x".into(), "which begins with framediff@3@"),
        (change("framediff@2@", "framediff@4@"), "it has version 4, but this framediff reads 2 to 3"),
        (change("framediff@2@", "framediff@3@"), "it has 7 parts instead of 8"),
        (change("@3,torn@", "@a+b@3,torn@").replace("@2@", "@3@"), "the fingerprint is of alone"),
        (change("@3,torn@", "@b@3,torn@").replace("@2@", "@3@"), "a is missing, but a later letter is used"),
        ("framediff@9".into(), "it has version 9"),
        (line[..line.len() / 2].to_owned(), "it has 4 parts instead of 7"),
        (line[..line.len() - 4].to_owned(), "is no shape"),
        (line.clone() + "@", "it has 8 parts instead of 7"),
        (change(",release", ",fast"), "no kind of build \"fast\"; known are release, debug"),
        (change(",jit@", ",jit,x@"), "is not a build"),
        (change("@own-cached,", "@py-spy,"), "no walker \"py-spy\"; known are own-uncached"),
        (change("chunks-not-copied", "chunks"), "there is no weakening `chunks`"),
        (change("@alternating,", "@recursive,"), "no family of workloads \"recursive\"; known are alternating"),
        (change(",rounds,", ",loose,"), "no mode \"loose\""),
        (change(",rounds,7,", ",rounds,+7,"), "\"+7\" is not a seed"),
        (change(",latin1,", ",runes,"), "no kind of names \"runes\""),
        (change("unequal:9", "odd:9"), "frames are equal:N or unequal:N"),
        (change("@3,torn@", "@three@"), "\"three\" is not a number of samples"),
        (change("@3,torn@", "@3@"), "inside a read"),
        (change("0.3:12", "0.3"), "\"0.3\" is not a move"),
    ] {
        let error = text.parse::<SteppedCase>().unwrap_err().to_string();
        assert!(error.contains(words), "{error:?} lacks {words:?}");
    }
    let hostile = format!("framediff@{}", "\u{1b}[2J".repeat(5000)).parse::<SteppedCase>().unwrap_err().to_string();
    assert!(hostile.len() < 1500 && !hostile.contains(char::is_control), "{hostile:?}");
}
