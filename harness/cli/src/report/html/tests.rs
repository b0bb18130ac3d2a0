//! Tests of the text of the page.

use model::run::document::Document;
use model::run::event::Event;
use model::run::finding::{Finding, Possible};
use model::run::fixtures::{cache_worse, finding, frame, run, summary};

use super::render;
use crate::report::explain::{self, Explanation};
use crate::report::saved::{Content, ReplayedCase, Saved};

fn check(findings: Vec<Finding>) -> Saved {
    let events = findings.into_iter().map(|finding| Event::Violation(Box::new(finding))).collect();
    let document = Document::from(&summary(&run(events), false));
    Saved { name: "check.json".into(), content: Content::Check(Box::new(document)) }
}

fn has(page: &str, all: &[&str]) {
    for words in all {
        assert!(page.contains(words), "{words:?} is not in {page}");
    }
}

#[test]
fn verdict_matrix_and_violations_are_there() {
    let page = render(&[check(vec![finding(), cache_worse("stale-full-hit")])]);
    has(
        &page,
        &[
            "<h1>framediff: fail</h1>",
            "live/cpython-cached/mixed-branches/stale-partial-hit",
            "a_leaf only under a2",
            "probably the profiler (_remote_debugging): cpython-cached returns stacks that mix two branches",
            "a_leaf, line 14: <code>return gate(3)</code>",
            "1 new kind of failure (and 1 known)",
            "impossible: stacks that the program can never have",
            "framediff check --lane live --family alternating --seed 7",
            "https://github.com/python/cpython/issues/",
            "<td class=\"bad\" title=\"1 program\">fail</td>",
            "<td class=\"good\" title=\"1 program\">pass</td>",
        ],
    );
    has(&render(&[check(vec![cache_worse("stale-full-hit")])]), &["<h1>framediff: pass</h1>", ">known</td>"]);
}

#[test]
fn nothing_is_loaded_and_nothing_is_run() {
    let page = render(&[check(vec![finding()])]);
    for part in ["<script", "<img", "<iframe", "src=", "@import", "url(", "onload", "javascript:"] {
        assert!(!page.contains(part), "{part}");
    }
    let links: Vec<&str> = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(links.iter().all(|to| to.starts_with("https://") || to.starts_with('#') || *to == "data:,"), "{links:?}");
    has(
        &page,
        &["default-src &#39;none&#39;"].map(|policy| if page.contains(policy) { policy } else { "default-src 'none'" }),
    );
}

#[test]
fn what_comes_from_a_target_or_a_file_is_text() {
    let evil = "<script>alert(1)</script>\"'\u{202e}\u{1b}[31m";
    let mut known = check(vec![cache_worse("stale-full-hit")]);
    if let Content::Check(document) = &mut known.content {
        document.builds[0].name = evil.into();
        document.cells[0].cell.family = evil.into();
        let known = document.violations[0].known.as_mut().unwrap();
        known.link = "javascript:alert(1)".into();
        known.note = evil.into();
    }
    known.name = evil.into();
    let seen = vec![frame(evil, 1)];
    let texts = [
        Finding { seen: seen.clone(), row: evil.into(), family: evil.into(), replay: evil.into(), ..finding() },
        Finding { possible: Some(Possible::Stack(seen)), ..finding() },
        Finding { possible: Some(Possible::Text(evil.into())), ..finding() },
    ];
    for one in texts {
        let page = render(&[check(vec![one]), Saved { name: evil.into(), content: check(vec![]).content }]);
        assert!(page.contains("&lt;script&gt;alert(1)") && !page.contains("<script"), "{page}");
        assert!(!page.contains(['\u{202e}', '\u{1b}']));
    }
    let page = render(&[known]);
    assert!(!page.contains("<script") && !page.contains("href=\"javascript"), "{page}");
}

#[test]
fn a_page_of_enormous_names_stays_small() {
    let long = "x".repeat(1 << 20);
    let seen: Vec<_> = (0..5_000).map(|_| frame(&long[..1 << 12], 1)).collect();
    let one = Finding { seen: seen.clone(), possible: Some(Possible::Stack(seen)), family: long, ..finding() };
    let page = render(&[check(vec![one])]);
    assert!(page.len() < 1 << 20, "{} bytes", page.len());
    assert!(page.contains("more characters"));
}

#[test]
fn an_explanation_has_its_picture_and_its_cause() {
    use model::invariants::SampleFault;
    use model::schedule::story::{Story, stack};
    let (seen, possible) = (stack("b_leaf a main"), vec![stack("b_leaf b main"), stack("b main")]);
    let failure = explain::ExplainedFailure { sample: 1, clause: SampleFault::Spliced, seen, possible };
    let document = explain::ExplanationDocument {
        kind: explain::KIND.into(),
        version: explain::VERSION,
        framediff: "0".into(),
        case: "framediff@2@x".into(),
        note: String::new(),
        fingerprint: "stepped/cpython-cached/spliced/full-hit/function/still".into(),
        build: "3.15.2 release".into(),
        explanation: Explanation::of(&Story::late_anchor(), Some(&failure), None),
    };
    let page = render(&[Saved {
        name: "e".into(),
        content: Content::Explanation(ReplayedCase { document: Box::new(document), known: None }),
    }]);
    has(
        &page,
        &[
            "<h1>framediff: fail</h1>",
            "<svg class=\"history\"",
            "the anchor was written at 0.2 for a_leaf",
            "1 other stack that the target had",
            "framediff replay framediff@2@x",
        ],
    );
}

#[test]
fn a_benchmark_has_its_curves_and_its_names_are_text() {
    let mut document = lab::bench::fixtures::document(1.0, 1);
    let page = |document| render(&[Saved { name: "b".into(), content: Content::Bench(Box::new(document)) }]);
    has(&page(document.clone()), &["<h1>framediff: pass</h1>", "<polyline", "Speed-up curves", "own-cached"]);
    let evil = "</text></svg><script>alert(1)</script>";
    document.builds[0].name = evil.into();
    for point in &mut document.points {
        point.build = evil.into();
    }
    let page = page(document);
    assert!(page.contains("<polyline") && page.contains("script&gt;alert(1)") && !page.contains("<script"), "{page}");
}
