//! Tests of how the reports look.

use framewalk::sample::WalkerKind;
use model::lane::Lane;
use model::oracle::cause::Cause;
use model::oracle::tally::Tally;
use model::run::cell::{CellId, CellOutcome, NotRun};
use model::run::document::Document;
use model::run::event::Event;
use model::run::finding::{Finding, Possible};
use model::run::fixtures::{ROW, cache_worse, cell, few, finding, frame, run, summary, unconfirmed, with_tally};
use model::run::verdict::Verdict;

use crate::report::text::Look;
use crate::report::{human, json};

/// A run that has at least one of everything that a report can show.
fn everything() -> Vec<Event> {
    let mut tally = Tally { samples: 1_000, rejected: [("moved".into(), 3)].into(), ..Tally::default() };
    tally.count_impossible(Cause::StalePartialHit);
    let unrun = CellId { family: "recursion".into(), ..cell(Lane::Live) };
    run(vec![
        Event::Samples { cell: cell(Lane::Live), walker: WalkerKind::CpythonCached, tally },
        Event::Violation(Box::new(finding())),
        Event::Violation(Box::new(cache_worse("stale-partial-hit"))),
        unconfirmed(),
        Event::CellFinished { cell: unrun, outcome: CellOutcome::NotRun(NotRun::BudgetSpent) },
    ])
}

fn plain(events: &[Event]) -> String {
    human::render(&Document::from(&summary(events, false)), Look::plain())
}

#[test]
fn the_proof_of_a_layout_is_in_every_report_for_people() {
    let mut document = Document::from(&summary(&run(Vec::new()), false));
    document.builds[0].layout = Some("order from DWARF, 41 words proved".to_owned());
    let text = human::render(&document, Look { width: 80, colour: false });
    assert!(text.contains("3.15.2 release JIT: order from DWARF, 41 words proved"), "{text}");
}

#[test]
fn a_pipe_gets_plain_text_in_eighty_columns() {
    let text = plain(&everything());
    for line in text.lines() {
        assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
        let may_be_long = line.trim_start().starts_with("replay") || line.contains("https://");
        assert!(may_be_long || line.len() <= 80, "{} columns: {line}", line.len());
        assert_eq!(line.trim_end(), line);
    }
}

#[test]
fn colours_are_only_for_terminals_and_change_nothing_else() {
    let coloured =
        human::render(&Document::from(&summary(&everything(), false)), Look { colour: true, ..Look::plain() });
    assert!(coloured.contains('\u{1b}'));
    let stripped: String = coloured.split('\u{1b}').enumerate().fold(String::new(), |text, (index, part)| {
        text + if index == 0 { part } else { part.split_once('m').map_or(part, |(_, rest)| rest) }
    });
    let trimmed: Vec<&str> = stripped.lines().map(str::trim_end).collect();
    assert_eq!(trimmed.join("\n"), plain(&everything()).trim_end());
}

#[test]
fn the_report_has_every_part() {
    let text = plain(&everything());
    for part in [
        "seed 42, budget 1m",
        "3.15.2 release JIT, stopped\n",
        "3.15.2 release JIT, live\n",
        "cpython-cached: impossible: stale-partial-hit 1; rejected: moved 3;",
        "10k/6000/4000",
        "full/part/miss:",
        "failure 1: probably the profiler (_remote_debugging): cpython-cached returns\n           stacks that mix two branches",
        "violation  live/cpython-cached/mixed-branches/stale-partial-hit\n",
        "the stack mixes branches",
        "3 times",
        "             > a_leaf (workload.py:14)\n               b2 (workload.py:8)\n",
        "possible   a_leaf only under a2; b2 only below b1",
        "source     a_leaf, line 14: return gate(3)\n",
        "replay     framediff check --lane live --family alternating --seed 7\n",
        "known 1: gh-151613: cpython-cached returns impossible stacks, and more of them\n",
        "violation  live/cpython-cached/cache-worse/stale-partial-hit (known)\n",
        "https://github.com/python/cpython/issues/151613",
        "known failures not seen",
        "live-splice-full-hit: 3.15.2 release JIT (20997 stacks)",
        "not run\n",
        "--budget or fewer families: recursion",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    let end = "verdict: fail: 1 new kind of failure (and 1 known); 1 measurement unconfirmed\n\
               - 1 program of the plan did not run\n\
               - as known, 3.15.2 returns wrong stacks\n\
               \n\
               broke      probably the profiler (_remote_debugging): cpython-cached returns\n           \
                          stacks that mix two branches of the program; on 3.15.2\n\
               new        yes: no known failure of CPython 3.15.2 describes it\n\
               show it    framediff check --lane live --family alternating --seed 7\n";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn failures_with_one_cause_share_a_block_and_none_is_lost() {
    let violation = model::invariants::Violation::AnchorMiscounted { before: 8, anchor: 16, counted: 0, left: Some(1) };
    let before = vec![frame("leaf", 3), frame("<module>", 9)];
    let own = Finding {
        walker: WalkerKind::OwnCached,
        cause: None,
        replay: "framediff check --walker own-cached".into(),
        violation,
        before,
        ..finding()
    };
    let cpythons =
        Finding { walker: WalkerKind::CpythonCached, replay: "framediff check --seed 9".into(), ..own.clone() };
    let events = [finding(), own, cpythons, cache_worse("stale-full-hit")].map(|one| Event::Violation(Box::new(one)));
    let text = plain(&run(events.into()));
    for part in [
        "failure 1: probably the interpreter: a frame left the stack and\n           last_profiled_frame_seq did not count it\n",
        "shows as   3 kinds, 9 times in all; the simplest:\n  violation  live/cpython-cached/anchor-miscounted\n",
        "before     when last looked at, 2 frames, leaf first\n               leaf (workload.py:3)\n",
        "also       live/own-cached/anchor-miscounted, 3 times\n             framediff check --walker own-cached\n",
        "also       live/cpython-cached/mixed-branches/stale-partial-hit, 3 times\n             framediff check --lane",
        "verdict: fail: 3 new kinds of failure, probably of one cause (and 1 known)\n",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    assert!(!text.contains("failure 2") && text.contains("known 1"), "{text}");
}

#[test]
fn a_clean_run_shows_only_table_and_verdict() {
    let mut events = run(vec![]);
    events.retain(|event| !matches!(event, Event::Violation(_)));
    let text = plain(&events);
    assert!(!text.contains("violation") && !text.contains("not run"), "{text}");
    assert!(text.ends_with("verdict: pass: nothing wrong in 80000 samples\n"), "{text}");
}

#[test]
fn an_undecided_comparison_shows_its_figures_and_the_next_step() {
    let events = with_tally(Lane::Live, WalkerKind::CpythonCached, &few());
    let text = plain(&events);
    for part in [
        "undecided\n",
        "undecided (without effect on the verdict)\n  3.15.2 release JIT, live, cpython-cached: 0 of 20 stacks \
         impossible,",
        "39.1 %",
        "--budget",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    assert!(text.ends_with("verdict: pass: nothing wrong in 60020 samples; 1 comparison undecided\n"), "{text}");

    let text = json::render(&Document::from(&summary(&events, false))).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (pointer, expected) in [
        ("/verdict", serde_json::json!("pass")),
        ("/doubts", serde_json::json!([])),
        ("/advice/0/reason", "too-few".into()),
        ("/advice/0/walker", "cpython-cached".into()),
        ("/advice/0/cached/samples", 20.into()),
        ("/advice/0/uncached/samples", 20_000.into()),
        ("/advice/0/excess", "39.1 %".into()),
        ("/table/2/verdict", "undecided".into()),
    ] {
        assert_eq!(document.pointer(pointer), Some(&expected), "{pointer} in {text}");
    }
}

#[test]
fn an_excess_that_was_not_confirmed_is_named_with_its_figures() {
    let events = run(vec![unconfirmed()]);
    let text = plain(&events).replace("\n  ", " ");
    for part in [
        "beyond a bound once, but not when measured again (without effect on the verdict) 3.15.2 release JIT, live, \
         cpython-cached, alternating with seed 7: seen and not confirmed in 2 measurements: stale-partial-hit: a share of \
         at least 8.0000 %;",
        "verdict: pass: nothing wrong in 80000 samples; 1 measurement unconfirmed\n",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    let text = json::render(&Document::from(&summary(&events, false))).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let fingerprint = "live/cpython-cached/more-than-released/stale-partial-hit";
    for (pointer, expected) in [
        ("/verdict", serde_json::json!("pass")),
        ("/advice/0/reason", "unconfirmed".into()),
        ("/advice/0/excess/fingerprint", fingerprint.into()),
        ("/cells/1/unconfirmed/0/fingerprint", fingerprint.into()),
    ] {
        assert_eq!(document.pointer(pointer), Some(&expected), "{pointer} in {text}");
    }
}

#[test]
fn deep_stacks_are_shortened_but_keep_the_frame_at_fault() {
    let seen: Vec<_> = (0..1000).map(|index| frame(&format!("f{index}"), 1)).collect();
    let violation = model::invariants::Violation::Agreement {
        other: WalkerKind::OwnUncached,
        difference: model::invariants::Difference::Line { index: 500 },
    };
    let possible = Some(Possible::Stack(seen.clone()));
    let text = plain(&run(vec![Event::Violation(Box::new(Finding { seen, violation, possible, ..finding() }))]));
    assert_eq!(text.matches("> f500 (workload.py:1)").count(), 2, "{text}");
    assert!(text.contains("what own-uncached saw: 1000 frames"));
    assert!(text.contains("... 488 frames left out") && text.contains("... 494 frames left out"), "{text}");
    assert!(text.lines().count() < 100, "{text}");
}

#[test]
fn control_characters_in_names_are_escaped() {
    let seen = vec![frame("\u{1b}]0;owned\u{7}", 1)];
    let text = plain(&run(vec![Event::Violation(Box::new(Finding { seen, ..finding() }))]));
    assert!(!text.contains('\u{1b}') && text.contains(r"\u{1b}]0;owned\u{7}"));
}

#[test]
fn the_document_can_be_read_back() {
    let summary = summary(&everything(), false);
    let text = json::render(&Document::from(&summary)).unwrap();
    let document: Document = serde_json::from_str(&text).unwrap();
    assert_eq!(document, Document::from(&summary));
}

/// Other programs rely on these names.
#[test]
fn the_document_has_the_fields_it_promises() {
    let text = json::render(&Document::from(&summary(&everything(), false))).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (pointer, expected) in [
        ("/version", serde_json::json!(1)),
        ("/seed", 42.into()),
        ("/budget_seconds", 60.0.into()),
        ("/verdict", "fail".into()),
        ("/failures/0/fingerprint", "live/cpython-cached/mixed-branches/stale-partial-hit".into()),
        ("/doubts/0/reason", "not-run".into()),
        ("/builds/0/name", ROW.into()),
        ("/table/0/verdict", "pass".into()),
        ("/table/0/tally/elapsed_seconds", 2.0.into()),
        ("/table/2/tally/impossible/stale-partial-hit", 1.into()),
        ("/violations/0/first/violation/clause", "legality".into()),
        ("/violations/0/first/seen/0/function", "a_leaf".into()),
        ("/violations/0/known", serde_json::Value::Null),
        ("/violations/0/first/source/0/text", "return gate(3)".into()),
        ("/violations/1/known/id", "live-splice-partial-hit".into()),
        ("/groups/0/cause/is", "profiler".into()),
        ("/groups/0/fails", true.into()),
        ("/groups/0/members", serde_json::json!([0])),
        ("/groups/1/cause/link", "https://github.com/python/cpython/issues/151613".into()),
        ("/groups/1/members/0", 1.into()),
        ("/known_not_seen/0/known/id", "live-splice-full-hit".into()),
        ("/not_run/0/why", "budget-spent".into()),
        ("/cells/0/outcome", "ran".into()),
        ("/cells/0/tallies/cpython-cached/misses/sequence-mismatch", 3_999.into()),
    ] {
        assert_eq!(document.pointer(pointer), Some(&expected), "{pointer} in {text}");
    }
    assert_eq!(Document::from(&summary(&everything(), false)).judgement.verdict, Verdict::Fail);
}

#[test]
fn events_can_be_stored_and_read_back() {
    for event in everything() {
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event, "{text}");
    }
}
