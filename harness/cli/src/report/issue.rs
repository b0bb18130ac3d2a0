//! The text of an issue about one failure, for a tracker.

use std::fmt::Write;

use framewalk::printable::clean;
use lanes::bundle::about::About;
use lanes::bundle::{Bundle, name};
use model::invariants::Violation;
use model::run::words::meaning;

use crate::report::night::NightFailure;

/// A failure with everything that is known of it.
#[derive(Clone, Copy, Debug)]
pub struct NightIssue<'a> {
    /// The fingerprint.
    pub fingerprint: &'a str,
    /// What the night's reports say of it.
    pub failure: &'a NightFailure,
    /// Its bundle, if there is one.
    pub bundle: Option<&'a Bundle>,
    /// The violation, if the bundle has one that is not a schedule.
    pub violation: Option<&'a Violation>,
    /// The case that replays it, as small as it could be made.
    pub case: Option<&'a str>,
    /// The text of a Python file that shows it, or why no such file could be made.
    pub reproducer: Result<&'a str, &'a str>,
}

impl NightIssue<'_> {
    /// The issue in Markdown.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { fingerprint, failure, bundle, violation, case, reproducer } = self;
        let mut out = format!("# {}\n\n", clean(&failure.what));
        if let Some(violation) = violation {
            let _ = writeln!(out, "{}\n", meaning(violation));
        }
        let _ = writeln!(out, "Seen {} times, first on CPython {}.\n", failure.count, clean(&failure.build));
        if let Some(About { interpreter, machine, .. }) = bundle.map(|bundle| &bundle.about) {
            let version = interpreter.sys_version.as_deref().unwrap_or("unknown");
            let _ = writeln!(out, "- `sys.version`: {}", clean(version));
            let _ = writeln!(out, "- Linux {}, {}\n", clean(&machine.kernel), clean(&machine.processor));
        }
        if let Some(log) = bundle.and_then(|bundle| bundle.text(name::LOG)) {
            out.push_str("## What was seen\n\n");
            fenced(&mut out, "text", &log);
        }
        out.push_str("## How to see it\n\n");
        match reproducer {
            Ok(text) => {
                out.push_str(
                    "This file needs nothing but the affected CPython. It exits with 1 if it sees the failure.\n\n",
                );
                fenced(&mut out, "python", text);
            }
            Err(why) => {
                let _ = writeln!(out, "No file shows it alone: {}.\n", clean(why));
            }
        }
        out.push_str("With framediff:\n\n");
        let replay = case.map_or_else(|| failure.replay.clone(), |case| format!("framediff replay {case}"));
        fenced(&mut out, "sh", &replay);
        let _ = writeln!(out, "Fingerprint: `{}`", clean(fingerprint));
        out
    }
}

/// A block of code. Its fence is longer than any in the text, so that the text cannot end it.
fn fenced(out: &mut String, language: &str, text: &str) {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let _ = writeln!(out, "{fence}{language}");
    for line in text.lines() {
        let _ = writeln!(out, "{}", clean(line));
    }
    let _ = writeln!(out, "{fence}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issue_has_the_reproducer_or_says_why_there_is_none() {
        let failure = NightFailure {
            what: "cpython-cached returns stacks that mix two branches".into(),
            known: None,
            count: 3,
            build: "3.15.2 release".into(),
            replay: "framediff check --seed 7".into(),
        };
        let issue = NightIssue {
            fingerprint: "stopped/cpython-cached/mixed-branches",
            failure: &failure,
            bundle: None,
            violation: None,
            case: None,
            reproducer: Ok("print('```')\n"),
        };
        let text = issue.text();
        assert!(text.starts_with("# cpython-cached returns stacks that mix two branches\n"), "{text}");
        assert!(text.contains("````python\nprint('```')\n````"), "the fence is longer than the text's: {text}");
        assert!(text.contains("framediff check --seed 7"), "{text}");
        let text =
            NightIssue { reproducer: Err("the target moves during a sample"), case: Some("framediff@2@x"), ..issue }
                .text();
        assert!(text.contains("No file shows it alone: the target moves during a sample."), "{text}");
        assert!(text.contains("framediff replay framediff@2@x"), "{text}");
    }
}
