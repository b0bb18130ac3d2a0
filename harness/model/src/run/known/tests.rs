//! Tests of the known failures.

use std::fs;

use super::*;
use crate::invariants::{Death, Violation};
use crate::run::fixtures;
use crate::workload::Family;

const ONE: &str = r#"
    [[failure]]
    id = "a"
    fingerprint = "live/cpython-cached/cache-worse/stale-full-hit"
    seen_in = ["3.15.0", "3.15.2"]
    link = "https://example.org/1"
    note = "n"
"#;

const BOUNDS: &str = r#"
    families = ["alternating", "generators"]
    most = 20
"#;

#[test]
fn an_entry_of_schedules_excuses_its_families_up_to_its_share() {
    let name = "stepped/cpython-cached/spliced/full-hit/function/between-samples";
    let text = ONE.replace("live/cpython-cached/cache-worse/stale-full-hit", name);
    assert_eq!(KnownFailures::parse(&text), Err(KnownError::Unbounded("a".into())));
    let list = KnownFailures::parse(&(text + BOUNDS)).unwrap();
    let known = |family| list.find_stepped(&name.parse().unwrap(), "3.15.2", family);
    assert!(known(Family::Generators).is_some() && known(Family::Recursion).is_none());
    let known = known(Family::Alternating).unwrap().entry;
    for (failed, schedules, exceeded) in [
        (0, 0, false),
        (0, 1000, false),
        (20, 1000, false),
        (60, 1000, true),
        (1, 2, false),
        (2, 2, true),
        (283, 469, true),
    ] {
        assert_eq!(known.exceeded_by(failed, schedules).is_some(), exceeded, "{failed} of {schedules}");
    }
}

#[test]
fn the_kept_list_covers_the_live_splices_of_released_versions_and_supposes_them_of_others() {
    let kept = KnownFailures::kept().unwrap();
    for cause in ["stale-partial-hit", "stale-full-hit", "stored-torn-walk-served-again", "torn-read"] {
        let mut finding = fixtures::cache_worse(cause);
        for (version, confirmation) in [
            ("3.15.0", Confirmation::Seen),
            ("3.15.1", Confirmation::Seen),
            ("3.15.2", Confirmation::Seen),
            ("3.15.0rc2", Confirmation::NotConfirmed),
            ("3.15.2+", Confirmation::NotConfirmed),
            ("3.15.3", Confirmation::NotConfirmed),
            ("3.16.0a2", Confirmation::NotConfirmed),
        ] {
            finding.version = version.into();
            let known = kept.find(&finding).map(|known| known.confirmation);
            assert_eq!(known, Some(confirmation), "{cause} in {version}");
            // With another protocol it is another failure.
            let other = Finding { frame_cache: "anchor only".into(), ..finding.clone() };
            let known = kept.find(&other).map(|known| known.confirmation);
            assert_eq!(known, Some(Confirmation::Seen).filter(|seen| *seen == confirmation), "{cause} in {version}");
        }
    }
    assert_eq!(kept.find(&fixtures::cache_worse("of-no-known-cause")), None);
    assert_eq!(kept.find(&fixtures::finding()), None);
    assert!(kept.iter().all(|known| known.link.starts_with("https://") && !known.note.is_empty()));
}

#[test]
fn a_rate_is_excused_as_far_as_it_was_seen_with_its_family() {
    let kept = KnownFailures::kept().unwrap();
    let known = |family: &str, cached_at_least| {
        let cause = "stale-full-hit".to_owned();
        let violation = Violation::CacheWorse { cause, cached_at_least, uncached_at_most: 0.0001 };
        kept.find(&Finding { violation, cause: None, family: family.into(), ..fixtures::finding() }).is_some()
    };
    for family in Family::ALL.iter().map(|family| family.name()).chain(["attached"]) {
        assert!(known(family, 0.005) && !known(family, 0.3), "{family}");
    }
    assert!(!kept.is_bounded(&Finding {
        violation: Violation::MoreThanReleased { what: "torn-read".into(), at_least: 0.5, most: 0.1 },
        ..fixtures::finding()
    }));
}

#[test]
fn every_family_has_bounds_and_owes_hits() {
    let kept = KnownFailures::kept().unwrap();
    // The live lane does not run the others.
    for family in Family::ALL.into_iter().filter(|family| family.spec().not_live().is_none()) {
        let judged = BoundJudgement { family: family.name(), walker: WalkerKind::CpythonCached, version: "3.15.2" };
        assert!(kept.live().least(judged).is_some_and(|least| least > 0.01), "{family}");
    }
    // A user's list without bounds has the bounds of the repository's list.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("known.toml");
    fs::write(&path, ONE).unwrap();
    assert_eq!(KnownFailures::load(&path).unwrap().live(), kept.live());
}

#[test]
fn of_unwinders_that_die_only_what_a_debug_build_does_to_garbage_text_is_known() {
    let kept = KnownFailures::kept().unwrap();
    let died = |lane, walker, signal: &str, function: &str, version: &str| {
        let (end, failed_in) = (Death::Signal(signal.into()), Some(function.to_owned()));
        let violation = Violation::UnwinderDied { end, failed_in, words: String::new() };
        let version = version.to_owned();
        let finding = Finding { violation, cause: None, lane, walker, version, ..fixtures::finding() };
        kept.find(&finding).map(|known| (known.entry.by_chance, known.confirmation))
    };
    const CHECK: &str = "_PyUnicode_CheckConsistency";
    for walker in [WalkerKind::CpythonCached, WalkerKind::CpythonUncached] {
        let known = died(Lane::Live, walker, "SIGABRT", CHECK, "3.15.2");
        assert_eq!(known, Some((true, Confirmation::Seen)), "{walker}");
        let later = died(Lane::Live, walker, "SIGABRT", CHECK, "3.15.3");
        assert_eq!(later, Some((true, Confirmation::NotConfirmed)));
        assert_eq!(died(Lane::Stopped, walker, "SIGABRT", CHECK, "3.15.2"), None);
        assert_eq!(died(Lane::Live, walker, "SIGSEGV", "", "3.15.2"), None);
        assert_eq!(died(Lane::Live, walker, "SIGABRT", "_Py_Dealloc", "3.15.2"), None);
    }
}

#[test]
fn an_entry_without_a_shape_stands_for_every_shape_inside_samples() {
    let list = |fingerprint: &str| {
        let text = ONE.replace("live/cpython-cached/cache-worse/stale-full-hit", fingerprint);
        KnownFailures::parse(&(text + BOUNDS)).unwrap()
    };
    let seen = "stepped/cpython-cached/spliced/full-hit/function/read-chunk..write-anchor";
    let known =
        |entry: &str, version| list(entry).find_stepped(&seen.parse().unwrap(), version, Family::Alternating).is_some();
    assert!(known(seen, "3.15.2"));
    assert!(known("stepped/cpython-cached/spliced/full-hit/function", "3.15.2"));
    assert!(known("stepped/cpython-cached/spliced/full-hit/function", "3.15.3"));
    let seen: SteppedFingerprint = "stepped/cpython-cached/spliced/full-hit/function/between-samples".parse().unwrap();
    let at_rest = |entry: &str| list(entry).find_stepped(&seen, "3.15.2", Family::Alternating).is_some();
    assert!(at_rest("stepped/cpython-cached/spliced/full-hit/function/between-samples"));
    assert!(!at_rest("stepped/cpython-cached/spliced/full-hit/function"));
    for other in [
        "stepped/cpython-cached/spliced/full-hit",
        "stepped/cpython-cached/spliced/full-hit/func",
        "stepped/cpython-cached/spliced/full-hit/function/read-chunk",
        "stepped/own-cached/spliced/full-hit/function",
    ] {
        assert!(!known(other, "3.15.2"), "{other}");
    }
}

#[test]
fn a_schedule_is_excused_by_what_released_builds_were_seen_to_do_alone() {
    let kept_list = KnownFailures::kept().unwrap();
    let text = "stepped/cpython-cached/spliced/full-hit/function/read-frame..write-anchor";
    let known = |kept, seen| {
        let fingerprint = text.parse().unwrap();
        let violation = Violation::Existence { fingerprint, case: String::new(), index: None, kept, seen };
        let finding = Finding { lane: Lane::Stepped, violation, cause: None, ..fixtures::finding() };
        let ends = if kept { "/kept-schedule" } else { "" };
        assert_eq!(finding.fingerprint().as_str(), format!("{text}{ends}"));
        kept_list.find(&finding).is_some()
    };
    assert!(known(false, true));
    // First case: no released build fails in this shape. The others: all released builds pass this schedule.
    assert!(!known(false, false) && !known(true, true) && !known(true, false));
}

#[test]
fn what_one_unwinder_gets_wrong_is_known_in_company_only_if_the_target_moved_meanwhile() {
    let text = ONE
        .replace("live/cpython-cached/cache-worse/stale-full-hit", "stepped/cpython-cached/spliced/full-hit/function");
    let list = KnownFailures::parse(&(text + BOUNDS)).unwrap();
    let known =
        |fingerprint: &str| list.find_stepped(&fingerprint.parse().unwrap(), "3.15.2", Family::Alternating).is_some();
    assert!(known(
        "stepped/cpython-cached/alternating/spliced/full-hit/function/read-chunk..read-frame+between-samples"
    ));
    assert!(known("stepped/cpython-cached/died/spliced/full-hit/function/inside-read-chunk"));
    assert!(!known("stepped/cpython-cached/alternating/spliced/full-hit/function/between-samples"));
    assert!(!known("stepped/cpython-cached/alternating/spliced/full-hit/function/still"));
    assert!(!known("stepped/cpython-cached/alternating/spliced/partial-hit/function/read-chunk..read-frame"));
}

#[test]
fn a_failure_that_is_gone_since_a_version_is_new_from_there_on() {
    let list = KnownFailures::parse(&format!("{ONE}gone_since = \"3.16.0a3\"\n")).unwrap();
    let known = |version| list.iter().next().unwrap().applies_to(version, true);
    assert_eq!(known("3.15.9"), Some(Confirmation::NotConfirmed));
    assert_eq!(known("3.16.0a2+"), Some(Confirmation::NotConfirmed));
    assert_eq!((known("3.16.0a3"), known("3.16.0")), (None, None));
    assert_eq!(list.iter().next().unwrap().versions(), "seen in 3.15.0, 3.15.2, gone since 3.16.0a3");
}

#[test]
fn entries_of_older_files_and_documents_are_read() {
    let older = ONE.replace("seen_in = [\"3.15.0\", \"3.15.2\"]", "versions = \">=3.15.0, <=3.15.2\"");
    let list = KnownFailures::parse(&older).unwrap();
    assert_eq!(list, KnownFailures::parse(ONE).unwrap());
    let entry = list.iter().next().unwrap();
    let json = serde_json::to_value(entry).unwrap();
    assert_eq!(json["versions"], ">=3.15.0, <=3.15.2");
    assert_eq!(serde_json::from_value::<KnownFailure>(json).unwrap(), *entry);
}

#[test]
fn lists_that_cannot_work_are_refused() {
    assert_eq!(KnownFailures::parse(ONE).unwrap().iter().count(), 1);
    assert_eq!(KnownFailures::parse("").unwrap().iter().count(), 0);
    assert_eq!(KnownFailures::parse(&ONE.repeat(2)), Err(KnownError::SameId("a".into())));
    for (from, to, why) in [
        ("live/", "alive/", "no such lane"),
        ("3.15.2", "3.15.x", "not a version of CPython"),
        ("[\"3.15.0\", \"3.15.2\"]", "[]", "on which versions it was seen"),
        ("link", "lnik", "lnik"),
        ("note = \"n\"", "", "note"),
        ("[[failure]]", "[[failures]]", "failures"),
    ] {
        let error = KnownFailures::parse(&ONE.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn errors_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("known.toml");
    for content in [None, Some("failure = 1"), Some("\0")] {
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        let error = KnownFailures::load(&path).unwrap_err().to_string();
        assert!(error.contains("known.toml"), "{error}");
    }
    fs::write(&path, ONE).unwrap();
    assert_eq!(KnownFailures::load(&path).unwrap().failure, KnownFailures::parse(ONE).unwrap().failure);
}
