//! The report as Markdown, for GitHub's step summary or for the text of an issue.

use std::fmt::Write;

use framewalk::printable::clean;
use model::run::document::Document;
use model::run::profiles::{HEADER, ProgramProfiles, figures, figures_of_stopped};

use crate::report::saved::{Content, Saved, overall};
use crate::report::text::{Look, plural};
use crate::report::{conclusion, human, table};

/// GitHub's limit for the summary of a step, in bytes.
pub const STEP_SUMMARY: usize = 1 << 20;
/// Bytes reserved for the sentence that says how much was left out.
const RESERVE: usize = 200;
const WIDTH: u16 = 100;

/// The report in at most `limit` bytes. If something does not fit, the text says so.
#[must_use]
pub fn render(all: &[Saved], limit: usize) -> String {
    let mut out = Bounded { text: String::new(), limit: limit.saturating_sub(RESERVE), left_out: 0 };
    out.push(&format!("## framediff: {}\n\n", overall(all)));
    for one in all {
        if all.len() > 1 {
            out.push(&format!("### {}: {}\n\n", inline(&one.name), one.report().verdict()));
        }
        out.push(&format!("{}\n\n", inline(&one.report().in_short())));
        match &one.content {
            Content::Check(document) => check(&mut out, document),
            Content::Mutants(_)
            | Content::Bench(_)
            | Content::Searches(_)
            | Content::Results(_)
            | Content::Comparison(_)
            | Content::Explanation(_)
            | Content::Case(_) => {
                out.push(&folded("the whole report", &one.report().human(Look { width: WIDTH, colour: false })))
            }
        }
    }
    let Bounded { mut text, left_out, .. } = out;
    if left_out > 0 {
        let _ = writeln!(text, "\nleft out because of the size limit ({limit} bytes): {}.", plural(left_out, "part"));
    }
    text.truncate(text.floor_char_boundary(limit));
    text
}

/// A text that accepts whole parts only, until it is full.
struct Bounded {
    text: String,
    limit: usize,
    left_out: usize,
}

impl Bounded {
    fn push(&mut self, part: &str) {
        if self.text.len() + part.len() <= self.limit {
            self.text.push_str(part);
        } else {
            self.left_out += 1;
        }
    }
}

fn check(out: &mut Bounded, document: &Document) {
    let grounds = conclusion::grounds(document);
    out.push(&grounds.iter().map(|ground| format!("- {}\n", inline(ground))).collect::<String>());
    out.push(&human::origins(document).iter().map(|line| format!("- {}\n", inline(line))).collect::<String>());
    for group in document.grouped() {
        let mut text = String::new();
        human::group_in_full(&mut text, document, &group, WIDTH);
        out.push(&folded(&group.headline, &text));
    }
    if let Some(baseline) = &document.baseline {
        let text = human::changes(document, baseline, WIDTH);
        out.push(&folded(&format!("against the base {}", baseline.base), &text));
    }
    let mut rows = String::from("\n| build, lane |");
    for title in table::HEADER {
        let _ = write!(rows, " {title} |");
    }
    rows.push_str("\n| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |\n");
    for line in &document.table {
        let figures = table::figures(line).join(" | ");
        let place = inline(&format!("{}, {}", line.row, line.lane));
        let _ = writeln!(rows, "| {place} | {} | {figures} | {} |", line.walker, line.verdict.name());
    }
    let legend = if document.table.is_empty() { String::new() } else { table::legend(&document.table) };
    out.push(&format!("{rows}\n{legend}\n\n"));
    for program in &document.profiles {
        out.push(&profile(program));
    }
    for (place, families) in human::not_run_by_reason(document) {
        out.push(&format!("- not run: {}: {}\n", inline(&place), inline(&families.join(", "))));
    }
    for advice in &document.judgement.advice {
        out.push(&format!("- {}: {}\n", advice.name(), inline(&advice.to_string())));
    }
}

/// The profiles of a program, folded. They are advice and do not affect the verdict.
fn profile(program: &ProgramProfiles) -> String {
    let title = format!("profiles against the truth: {}, {}", program.row, program.family);
    let mut rows =
        format!("|{}\n|{}\n", HEADER.map(|title| format!(" {title} |")).concat(), " --- |".repeat(HEADER.len()));
    for figures in std::iter::once(figures_of_stopped(program)).chain(program.walkers.iter().map(figures)) {
        let _ = writeln!(rows, "|{}", figures.map(|figure| format!(" {} |", inline(&figure))).concat());
    }
    format!("<details><summary>{}</summary>\n\n{rows}\n</details>\n\n", inline(&title))
}

/// A collapsed section (`<details>`) that holds `text` as a code block.
fn folded(title: &str, text: &str) -> String {
    let fence = "`".repeat(longest_run(text, '`').max(2) + 1);
    format!(
        "<details><summary>{}</summary>\n\n{fence}text\n{}\n{fence}\n\n</details>\n\n",
        inline(title),
        text.trim_end()
    )
}

fn longest_run(text: &str, wanted: char) -> usize {
    let (mut longest, mut run) = (0, 0);
    for c in text.chars() {
        run = if c == wanted { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

/// Escapes foreign text so that nothing in it is Markdown or HTML markup.
fn inline(text: &str) -> String {
    let mut out = String::new();
    for c in clean(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' | '@' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use model::run::event::Event;
    use model::run::finding::Finding;
    use model::run::fixtures::{finding, frame, run, summary};

    use super::*;

    fn saved(findings: Vec<Finding>) -> [Saved; 1] {
        let events = findings.into_iter().map(|finding| Event::Violation(Box::new(finding))).collect();
        let document = Document::from(&summary(&run(events), false));
        [Saved { name: "check".into(), content: Content::Check(Box::new(document)) }]
    }

    #[test]
    fn markdown_has_verdict_violations_and_table() {
        let text = render(&saved(vec![finding()]), STEP_SUMMARY);
        assert!(text.starts_with("## framediff: fail\n"), "{text}");
        for words in [
            "<details><summary>probably the profiler (\\_remote\\_debugging): cpython-cached returns stacks that mix",
            "violation  live/cpython-cached/mixed-branches/stale-partial-hit",
            "1 new kind of failure",
            "full/part/miss: samples with all, some or none",
            "replay     framediff check --lane live --family alternating --seed 7",
            "| 3.15.2 release JIT, live | cpython-cached | 20000 |",
        ] {
            assert!(text.contains(words), "{words:?} is not in {text}");
        }
    }

    #[test]
    fn names_cannot_inject_markup_or_close_a_block() {
        let seen = vec![frame("```\n</details><script>", 1)];
        let row = "<script>|`x`".to_owned();
        let text = render(&saved(vec![Finding { seen, row, ..finding() }]), STEP_SUMMARY);
        let fences: Vec<&str> = text.lines().filter(|line| line.starts_with("````")).collect();
        assert_eq!(fences, ["````text", "````"], "{text}");
        let outside = |text: &str| text.split("````").step_by(2).collect::<String>();
        assert!(!outside(&text).contains("<script"), "{text}");
        assert_eq!(inline("a|b<c>`d`"), r"a\|b&lt;c&gt;\`d\`");
    }

    #[test]
    fn parts_that_do_not_fit_are_left_out_and_named() {
        let many: Vec<Finding> = (0..50)
            .map(|index| Finding {
                cause: None,
                violation: model::invariants::Violation::CacheWorse {
                    cause: format!(
                        "cause-{}",
                        "abcdefghij".chars().cycle().skip(index % 10).take(index + 1).collect::<String>()
                    ),
                    cached_at_least: 0.1,
                    uncached_at_most: 0.0,
                },
                ..finding()
            })
            .collect();
        let saved = saved(many);
        let whole = render(&saved, STEP_SUMMARY);
        assert!(!whole.contains("left out"));
        for limit in [0, 1_000, 5_000, whole.len() - 1] {
            let text = render(&saved, limit);
            assert!(text.len() <= limit, "{} of {limit}", text.len());
            assert!(limit < 1_000 || text.contains("left out because of the size limit"), "{limit}: {text}");
            assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());
        }
    }
}
