//! A violation with everything needed to understand and replay it.

use std::fmt;

use framewalk::frame::Frame;
use framewalk::sample::WalkerKind;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::invariants::{Difference, Violation};
use crate::lane::Lane;
use crate::oracle::cause::Cause;
use crate::run::configuration::Configuration;
use crate::schedule::fingerprint::SteppedFingerprint;
use crate::workload::grammar::Illegal;
use crate::workload::prologue::is_gate;
use crate::workload::user_program::is_user_program;

/// What would have been right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Possible {
    /// Exactly this stack, leaf first: another walker's, or the target's own account.
    Stack(Vec<Frame>),
    /// A set of stacks, described in words.
    Text(String),
}

/// One violation with its evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Name of the row.
    pub row: String,
    /// The interpreter's exact version.
    pub version: String,
    /// The interpreter's arguments, for example `-X perf`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// The kind of frame cache that it has, as in [`Row`](crate::run::cell::Row). Older documents do not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub frame_cache: String,
    /// The lane in which it was found.
    pub lane: Lane,
    /// The family of the workload, or the name of the user's program.
    pub family: String,
    /// The walker that took the sample.
    pub walker: WalkerKind,
    /// The options of CPython's unwinder. Those of another walker are the default ones.
    #[serde(default, skip_serializing_if = "Configuration::is_default")]
    pub configuration: Configuration,
    /// The broken clause with its evidence.
    pub violation: Violation,
    /// The cause, if it is known.
    pub cause: Option<Cause>,
    /// The stack, leaf first; empty if the violation is not about a stack.
    pub seen: Vec<Frame>,
    /// What would have been right.
    pub possible: Option<Possible>,
    /// For a clause about anchor and sequence: the stack when they were last read, leaf first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Frame>,
    /// The program's source lines at the frames at fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source: Vec<SourceLine>,
    /// The value of `--seed` that generates this workload again.
    pub seed: u64,
    /// The command that replays it.
    pub replay: String,
    /// How often it was seen. The rest of the finding describes one example.
    pub count: u64,
}

/// A source line of the target's program that a frame is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceLine {
    /// `co_qualname` of the frame.
    pub function: String,
    /// The line's number in the program, from 1.
    pub line: u32,
    /// Its text, without indentation.
    pub text: String,
}

impl Finding {
    /// The source lines at the frames at fault in `program`, whose file is named `file_name`. The frame at fault is the
    /// one that the violation points at, or else the leaf. It is looked up in the stack that was seen and in the right
    /// one. Of the stack in `before`, the leaf, which has left the stack since, and its caller are used.
    #[must_use]
    pub fn lines_at_fault(&self, program: &str, file_name: &str) -> Vec<SourceLine> {
        let at = self.offending().unwrap_or(0);
        let possible = match &self.possible {
            Some(Possible::Stack(frames)) => frames.get(at),
            Some(Possible::Text(_)) | None => None,
        };
        let mut lines: Vec<SourceLine> = Vec::new();
        for frame in [self.seen.get(at), possible, self.before.first(), self.before.get(1)].into_iter().flatten() {
            let line = line_of(frame, program, file_name);
            lines.extend(line.filter(|line| !lines.contains(line)));
        }
        lines
    }

    /// Identifies the bug: the clause, the interpreter's arguments, the options of the unwinder that change what it
    /// reads, and the program if it is a user's.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let program = is_user_program(&self.family).then(|| program_part(&self.family));
        let parts = std::iter::once(self.clause().0).chain(part(&self.arguments.join(" ")));
        let options = self.configuration.fingerprint().filter(|_| self.violation.is_about_content());
        let parts = parts.chain(options).chain(program);
        Fingerprint(parts.collect::<Vec<_>>().join("/"))
    }

    /// The fingerprint without arguments, options and program. Known failures are matched by it, because they can occur
    /// with any of them.
    #[must_use]
    pub fn clause(&self) -> Fingerprint {
        if let Violation::Existence { fingerprint, kept, .. } = &self.violation {
            let kept = if *kept { KEPT_SCHEDULE } else { "" };
            return Fingerprint(format!("{fingerprint}{kept}"));
        }
        let mut parts: Vec<String> =
            [self.lane.name(), self.walker.name(), self.violation.name()].map(str::to_owned).into();
        if let Violation::CacheWorse { cause, .. } = &self.violation {
            parts.push(cause.clone());
        } else if let Violation::MoreThanReleased { what, .. } | Violation::LessThanReleased { what, .. } =
            &self.violation
        {
            parts.extend(part(what));
        } else if let Some(cause) = self.cause {
            parts.push(cause.name().to_owned());
        }
        match &self.violation {
            Violation::Agreement { difference, .. } | Violation::Account { difference } => {
                parts.push(difference.name().to_owned());
            }
            Violation::RejectedWhileStopped { rejection } => parts.push(rejection.name().to_owned()),
            Violation::Told { field, .. } => parts.push(field.name().to_owned()),
            Violation::Cost { answer, fault } => parts.extend([answer.name().to_owned(), fault.name()]),
            Violation::UnwinderDied { end, failed_in, .. } => {
                parts.extend([part(&end.name()), failed_in.as_deref().and_then(part)].into_iter().flatten());
            }
            _ => {}
        }
        Fingerprint(parts.join("/"))
    }

    /// The index in [`Finding::seen`] of the frame that the violation points at.
    #[must_use]
    pub fn offending(&self) -> Option<usize> {
        match &self.violation {
            Violation::Legality { illegal } => match illegal {
                Illegal::ForeignFrame { index }
                | Illegal::MixedBranches { index }
                | Illegal::WrongLine { index }
                | Illegal::WrongPosition { index } => Some(*index),
                Illegal::CutShort => self.seen.len().checked_sub(1),
                Illegal::Empty => None,
            },
            Violation::Existence { index, .. } => *index,
            Violation::Agreement { difference, .. } | Violation::Account { difference } => match difference {
                Difference::Function { index }
                | Difference::OtherInterpretersCode { index }
                | Difference::Line { index }
                | Difference::Column { index } => Some(*index),
                Difference::Length => None,
            },
            _ => None,
        }
    }
}

/// The suffix of a fingerprint whose schedule no released build fails.
const KEPT_SCHEDULE: &str = "/kept-schedule";

/// `name` as a part of a fingerprint: lower-case letters, with dashes between words. Digits are left out, because in a
/// function's name they may be a line number or the number of a clone made by the compiler.
fn part(name: &str) -> Option<String> {
    let letters = name.chars().map(|c| if c.is_ascii_alphabetic() { c.to_ascii_lowercase() } else { ' ' });
    let part = letters.collect::<String>().split_whitespace().collect::<Vec<_>>().join("-");
    (!part.is_empty()).then_some(part)
}

/// A user's program and its arguments as a part of a fingerprint. A digest is added if letters alone do not identify
/// it.
fn program_part(name: &str) -> String {
    let words = part(name).unwrap_or_default();
    let told = |byte: u8| byte.is_ascii_lowercase() || b" ._-".contains(&byte);
    if name.bytes().all(told) && name.bytes().filter(|&byte| byte == b' ').count() == 1 {
        return words;
    }
    // Letters only: a fingerprint has no digits.
    let letter = |digit: u8| char::from(b'a' + char::from(digit).to_digit(16).unwrap_or(0) as u8);
    let digest: String = crate::digest::of_bytes(name.as_bytes()).bytes().take(8).map(letter).collect();
    format!("{words}-{digest}")
}

fn line_of(frame: &Frame, program: &str, file_name: &str) -> Option<SourceLine> {
    let is_program = frame.file.rsplit('/').next() == Some(file_name);
    let line = frame.location.line.filter(|_| is_program).and_then(|line| u32::try_from(line).ok())?;
    let text = program.lines().nth(usize::try_from(line).ok()?.checked_sub(1)?)?.trim();
    // The text of a gate is long, and not part of the program proper.
    let text = if is_gate(text) { "(a gate: it reports where it is, and waits)" } else { text };
    Some(SourceLine { function: frame.function.to_string(), line, text: text.to_owned() })
}

/// Identifies a bug: two violations with the same fingerprint are the same bug. It reads
/// `lane/walker/clause[/cause][/difference]`.
///
/// It contains nothing that changes between runs: no seed, no address, no index, no rate. It can therefore be written
/// into a file of known failures.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(String);

/// A text that cannot be a fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?} is not a fingerprint of the form lane/walker/clause[/cause][/difference]: {why}")]
pub struct BadFingerprint {
    text: String,
    why: &'static str,
}

impl Fingerprint {
    /// The text of the fingerprint.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The lane that it names.
    #[must_use]
    pub fn lane(&self) -> Option<Lane> {
        let name = self.0.split('/').next()?;
        Lane::ALL.into_iter().find(|lane| lane.name() == name)
    }

    /// The name of the walker that it names.
    #[must_use]
    pub fn walker(&self) -> Option<&str> {
        self.0.split('/').nth(1)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = BadFingerprint;

    fn try_from(text: String) -> Result<Self, BadFingerprint> {
        let well_formed = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || b"-.+".contains(&byte))
        };
        let why = if text.split('/').count() < 3 {
            Some("it has fewer than three parts")
        } else if !text.split('/').all(well_formed) {
            Some("a part is empty or contains something other than lower-case letters, dashes, dots and plus signs")
        } else if Fingerprint(text.clone()).lane().is_none() {
            Some("there is no such lane")
        } else if !text.split('/').nth(1).is_some_and(|name| WalkerKind::ALL.iter().any(|walker| walker.name() == name))
        {
            Some("there is no such walker")
        } else {
            None
        };
        match why {
            Some(why) => Err(BadFingerprint { text, why }),
            None => Ok(Self(text)),
        }
    }
}

/// Converts a fingerprint of the stepped lane to the form used in lists of known failures.
impl TryFrom<&SteppedFingerprint> for Fingerprint {
    type Error = BadFingerprint;

    fn try_from(fingerprint: &SteppedFingerprint) -> Result<Self, BadFingerprint> {
        Self::try_from(fingerprint.to_string())
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use framewalk::rejection::Rejection;

    use super::*;
    use crate::invariants::Death;
    use crate::run::fixtures;
    use crate::workload::grammar::WORKLOAD_FILE;

    fn died(end: Death, failed_in: Option<&str>) -> Violation {
        Violation::UnwinderDied { end, failed_in: failed_in.map(str::to_owned), words: "line 9 of /some/file".into() }
    }

    #[test]
    fn arguments_of_the_interpreter_make_another_bug_that_the_same_entry_describes() {
        let plain = fixtures::finding();
        let perf = Finding { arguments: vec!["-X".into(), "perf".into()], ..plain.clone() };
        assert_eq!(perf.fingerprint().as_str(), format!("{}/x-perf", plain.fingerprint()));
        assert_eq!(perf.clause(), plain.clause());
        assert!(Fingerprint::try_from(perf.fingerprint().as_str().to_owned()).is_ok());
    }

    /// These texts are used in files of known failures: changing one orphans them.
    #[test]
    fn fingerprints_are_stable() {
        let difference = Difference::Line { index: 3 };
        for (violation, cause, expected) in [
            (
                Violation::CacheWorse {
                    cause: "stale-partial-hit".into(),
                    cached_at_least: 0.07,
                    uncached_at_most: 0.001,
                },
                None,
                "live/cpython-cached/cache-worse/stale-partial-hit",
            ),
            (
                Violation::Legality { illegal: Illegal::MixedBranches { index: 1 } },
                Some(Cause::StaleFullHit),
                "live/cpython-cached/mixed-branches/stale-full-hit",
            ),
            (
                Violation::Agreement { other: WalkerKind::OwnUncached, difference },
                None,
                "live/cpython-cached/disagreement/line",
            ),
            (
                Violation::Account { difference },
                Some(Cause::StaleFullHit),
                "live/cpython-cached/account/stale-full-hit/line",
            ),
            (
                Violation::RejectedWhileStopped { rejection: Rejection::NotAtBase { base: 1, last: 2 } },
                None,
                "live/cpython-cached/rejected-while-stopped/not-at-base",
            ),
            (Violation::AnchorLeft { anchor: 8 }, None, "live/cpython-cached/anchor-left"),
            (Violation::AnchorNotCleared { anchor: 8 }, None, "live/cpython-cached/anchor-not-cleared"),
            (
                died(Death::Signal("SIGABRT".into()), Some("_PyUnicode_CheckConsistency")),
                None,
                "live/cpython-cached/unwinder-died/sigabrt/pyunicode-checkconsistency",
            ),
            (
                Violation::MoreThanReleased {
                    what: "raised RuntimeError: Frame at N not found".into(),
                    at_least: 0.2,
                    most: 0.1,
                },
                None,
                "live/cpython-cached/more-than-released/raised-runtimeerror-frame-at-n-not-found",
            ),
            (
                Violation::LessThanReleased { what: "full-hits".into(), at_most: 0.2, least: 0.4 },
                None,
                "live/cpython-cached/less-than-released/full-hits",
            ),
            (died(Death::Status(3), None), None, "live/cpython-cached/unwinder-died/exit"),
            (
                died(Death::Signal("SIGSEGV".into()), Some("list_repr.part.0")),
                None,
                "live/cpython-cached/unwinder-died/sigsegv/list-repr-part",
            ),
            (died(Death::Signal("SIGUSR1".into()), Some("_")), None, "live/cpython-cached/unwinder-died/sigusr"),
            (Violation::UnwinderHung, None, "live/cpython-cached/unwinder-hung"),
        ] {
            let finding = Finding { violation, cause, ..fixtures::finding() };
            assert_eq!(finding.fingerprint().as_str(), expected);
            assert_eq!(Fingerprint::try_from(expected.to_owned()), Ok(finding.fingerprint()));
        }
    }

    #[test]
    fn the_lines_at_fault_belong_to_the_frames_that_differ() {
        let seen = vec![fixtures::frame("leaf", 1), fixtures::frame("f", 2)];
        let possible = vec![fixtures::frame("leaf", 1), fixtures::frame("f", 3)];
        let program = "def f():\n    one()\n    two()\n";
        let mut finding = Finding {
            violation: Violation::Agreement {
                other: WalkerKind::OwnUncached,
                difference: Difference::Line { index: 1 },
            },
            seen,
            possible: Some(Possible::Stack(possible)),
            ..fixtures::finding()
        };
        let lines = |finding: &Finding| {
            let lines = finding.lines_at_fault(program, WORKLOAD_FILE);
            lines.into_iter().map(|line| (line.line, line.text)).collect::<Vec<_>>()
        };
        assert_eq!(lines(&finding), [(2, "one()".to_owned()), (3, "two()".to_owned())]);
        // Frames elsewhere, and lines that the program does not have, are left out.
        finding.seen[1].file = "<frozen runpy>".into();
        finding.possible = Some(Possible::Stack(vec![fixtures::frame("leaf", 1), fixtures::frame("f", 9)]));
        assert_eq!(lines(&finding), []);
        finding.violation = Violation::AnchorOffChain { anchor: 8 };
        (finding.seen, finding.possible) = (Vec::new(), None);
        finding.before = vec![fixtures::frame("f", 3)];
        assert_eq!(lines(&finding), [(3, "two()".to_owned())]);
    }

    #[test]
    fn a_users_program_is_in_the_fingerprint_but_not_in_the_clause() {
        let of = |family: &str| Finding { family: family.into(), ..fixtures::finding() };
        let clause = fixtures::finding().fingerprint();
        let text = |family: &str| of(family).fingerprint().as_str().to_owned();
        assert_eq!(of("program p.py").clause(), clause);
        assert_eq!(text("program freed_code.py"), format!("{clause}/program-freed-code-py"));
        assert_ne!(text("program p.py 2000"), text("program p.py 70000"));
        assert_ne!(text("program p.py"), text("program p.py a"));
        for family in ["program p.py", "program p.py 7 é", "program é"] {
            assert_eq!(Fingerprint::try_from(text(family)), Ok(of(family).fingerprint()));
        }
    }

    #[test]
    fn fingerprints_contain_nothing_that_varies_between_runs() {
        let one = fixtures::finding();
        let mut other = fixtures::finding();
        other.seed += 1;
        other.count += 7;
        other.family = "recursion".into();
        other.row = "3.15.1 debug".into();
        other.seen.clear();
        assert_eq!(one.fingerprint(), other.fingerprint());
    }

    #[test]
    fn a_fingerprint_that_can_never_match_is_refused() {
        for (text, why) in [
            ("", "fewer"),
            ("live/cpython-cached", "fewer"),
            ("alive/cpython-cached/cache-worse", "no such lane"),
            ("live/cpython/cache-worse", "no such walker"),
            ("live/cpython-cached/Cache Worse", "lower-case"),
            ("live/cpython-cached//torn-read", "empty"),
        ] {
            let error = Fingerprint::try_from(text.to_owned()).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
