//! Faults of released CPythons that are ready for an issue. Each is a folder of `corpus/findings`: `finding.toml` says
//! what is known about it, `README.md` explains it, and `reproducer.py` shows it with the standard library alone.
//!
//! A reproducer ends with exit code 1 and the line [`THERE`], 0 and the line [`NOT_THERE`], or 2 and a reason. An error
//! of Python also ends with 1, so the code alone is no answer.

use framewalk::printable::last_words;
use serde::Deserialize;
use strum::IntoStaticStr;
use thiserror::Error;

use crate::run::known::Confirmation;
use crate::run::verdict::Verdict;
use crate::run::version::PythonVersion;

/// Name, `finding.toml`, `README.md` and `reproducer.py` of each folder, in the order of the names.
const FOLDERS: &[(&str, &str, &str, &str)] = &include!(concat!(env!("OUT_DIR"), "/findings.rs"));

/// The last line of a reproducer that saw the fault.
pub const THERE: &str = "the fault is there";
/// The last line of a reproducer that did not see it.
pub const NOT_THERE: &str = "the fault is not there";

/// One folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindingFolder {
    /// The name of the folder.
    pub name: &'static str,
    /// What is known about the fault.
    pub about: AboutFinding,
    /// The explanation, in Markdown.
    pub readme: &'static str,
    /// The Python file.
    pub reproducer: &'static str,
}

/// The content of `finding.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AboutFinding {
    /// The fault in one line.
    pub title: String,
    /// The link to the issue that it belongs to. `None` if there is none yet.
    #[serde(default)]
    pub issue: Option<String>,
    /// What the fault does.
    pub severity: Severity,
    /// The versions on which the reproducer showed the fault.
    pub seen_in: Vec<PythonVersion>,
    /// The first version without it. `None` until somebody has confirmed that it is gone.
    #[serde(default)]
    pub gone_since: Option<PythonVersion>,
    /// What the reproducer takes besides a CPython with the frame cache.
    pub needs: Vec<Need>,
    /// The name of the smallest case of the stepped lane, in `corpus/cases/stepped`.
    #[serde(default)]
    pub case: Option<String>,
}

/// What a fault does, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Severity {
    /// The profiler changes memory of the program that it watches.
    DamagesTheProgram,
    /// The profiler's process ends.
    EndsTheProfiler,
    /// Stacks are returned that the program cannot have.
    WrongStacks,
    /// Frames have the name of another function.
    WrongNames,
    /// Threads or whole samples are missing.
    LostSamples,
    /// Something is not cleaned up.
    LeftBehind,
}

/// What a reproducer takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Need {
    /// It traces the process of the unwinder.
    Ptrace,
    /// It traces the program, and uses the debug registers of x86-64.
    Watchpoints,
    /// The build has `concurrent.interpreters`.
    Subinterpreters,
    /// Only debug builds have the fault.
    DebugBuild,
}

/// What one run of a reproducer answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FindingAnswer {
    /// The fault is there.
    There,
    /// It is not.
    NotThere,
    /// It cannot be tried here, for this reason.
    CannotTry(String),
    /// No answer, for this reason.
    Unclear(String),
}

/// What several runs answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FindingState {
    /// All runs saw the fault.
    StillThere,
    /// No run saw it.
    Gone,
    /// It cannot be tried here, for this reason.
    NotApplicable(String),
    /// The answers differ, or one of them is none. In words.
    Unstable(String),
}

/// A build on which a reproducer ran.
#[derive(Clone, Copy, Debug)]
pub struct TriedBuild<'a> {
    /// Its version, as CPython prints it.
    pub version: &'a str,
    /// Whether its frame cache has the protocol of the versions in `seen_in`.
    pub same_protocol: bool,
    /// Whether it is a debug build.
    pub is_debug: bool,
}

/// Why the folders cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("corpus/findings/{folder}/finding.toml: {why}")]
pub struct BadFinding {
    folder: &'static str,
    why: String,
}

/// Every folder, in the order of the names.
///
/// # Errors
/// A `finding.toml` is malformed, or names no version.
pub fn all() -> Result<Vec<FindingFolder>, BadFinding> {
    let read = |&(name, about, readme, reproducer)| {
        let bad = |why| BadFinding { folder: name, why };
        let about: AboutFinding = toml::from_str(about).map_err(|error| bad(error.to_string()))?;
        if about.seen_in.is_empty() {
            return Err(bad("`seen_in` is empty: name a version on which the reproducer shows the fault".to_owned()));
        }
        Ok(FindingFolder { name, about, readme, reproducer })
    };
    FOLDERS.iter().map(read).collect()
}

impl Severity {
    /// The name in files and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl FindingAnswer {
    /// The answer of a run that ended with this exit code (`None`: a signal) and output.
    #[must_use]
    pub fn of(code: Option<i32>, stdout: &str, stderr: &str) -> Self {
        match (code, stdout.trim_end().lines().next_back().unwrap_or_default()) {
            (Some(1), THERE) => Self::There,
            (Some(0), NOT_THERE) => Self::NotThere,
            (Some(2), _) => Self::CannotTry(last_words(stderr).trim_start_matches("cannot be tried: ").to_owned()),
            (Some(code), _) => Self::Unclear(format!("it ended with {code} and no answer: {}", last_words(stderr))),
            (None, _) => Self::Unclear(format!("a signal ended it: {}", last_words(stderr))),
        }
    }
}

impl FindingState {
    /// What these answers of one reproducer add up to.
    #[must_use]
    pub fn of(answers: &[FindingAnswer]) -> Self {
        let count = |wanted: &FindingAnswer| answers.iter().filter(|answer| *answer == wanted).count();
        let [there, gone] = [FindingAnswer::There, FindingAnswer::NotThere].map(|answer| count(&answer));
        match answers.first() {
            Some(FindingAnswer::There) if there == answers.len() => Self::StillThere,
            Some(FindingAnswer::NotThere) if gone == answers.len() => Self::Gone,
            Some(first @ FindingAnswer::CannotTry(why)) if count(first) == answers.len() => {
                Self::NotApplicable(why.clone())
            }
            None => Self::Unstable("it did not run".to_owned()),
            Some(_) => {
                let why = answers.iter().find_map(|answer| match answer {
                    FindingAnswer::CannotTry(why) | FindingAnswer::Unclear(why) => Some(format!("; {why}")),
                    FindingAnswer::There | FindingAnswer::NotThere => None,
                });
                Self::Unstable(format!("{there} of {} saw it{}", answers.len(), why.unwrap_or_default()))
            }
        }
    }

    /// The word in tables.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::StillThere => "still there",
            Self::Gone => "gone",
            Self::NotApplicable(_) => "not applicable",
            Self::Unstable(_) => "unstable",
        }
    }
}

impl FindingFolder {
    /// The verdict on a build with this state, and a remark, which may be empty.
    #[must_use]
    pub fn judge(&self, state: &FindingState, build: TriedBuild<'_>) -> (Verdict, String) {
        let AboutFinding { seen_in, gone_since, needs, .. } = &self.about;
        let known = Confirmation::on(seen_in, gone_since.as_ref(), build.version, build.same_protocol);
        let remark = |text: &str| text.to_owned();
        match (state, known) {
            (FindingState::StillThere, Some(Confirmation::Seen)) => (Verdict::Pass, String::new()),
            (FindingState::StillThere, Some(Confirmation::NotConfirmed)) => {
                (Verdict::Pass, remark("known from other versions"))
            }
            (FindingState::StillThere, None) => (Verdict::Fail, remark("it was mended in an earlier version")),
            (FindingState::Gone, Some(Confirmation::Seen)) => {
                (Verdict::Pass, remark("it is known to be in this version: is this another build of it?"))
            }
            (FindingState::Gone, Some(Confirmation::NotConfirmed) | None) => (Verdict::Pass, String::new()),
            (FindingState::NotApplicable(why), _) if needs.contains(&Need::DebugBuild) && !build.is_debug => {
                (Verdict::Pass, why.clone())
            }
            // What could not be tried was not shown.
            (FindingState::NotApplicable(why) | FindingState::Unstable(why), _) => (Verdict::Inconclusive, why.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_has_what_an_issue_needs() {
        let all = all().unwrap();
        assert!(all.len() >= 18, "{}", all.len());
        for FindingFolder { name, about, readme, reproducer } in all {
            assert_eq!(readme.lines().next(), Some(format!("# {}", about.title).as_str()), "{name}");
            for part in
                ["What a user sees.", "Since when.", "What is wrong.", "How bad, how likely.", "Proposed change."]
            {
                assert!(readme.contains(&format!("\n**{part}** ")), "{name}: {part}");
            }
            let docstring = reproducer.split("\"\"\"").nth(1).unwrap();
            assert!(docstring.contains("Expected output on ") && docstring.contains("Exit status: 1 "), "{name}");
            assert!(docstring.contains(&format!("\n  {THERE}\n")), "{name}: the expected output has its last line");
            assert!(!reproducer.contains("time.sleep"), "{name}");
        }
    }

    /// Each file must stand alone in an issue, so what they share is repeated. A change must reach all of them.
    #[test]
    fn what_reproducers_share_is_the_same_in_all() {
        for start in ["def give_up(", "def run(", "def ptrace(", "def allow_any_reader(", "class Sampler:"] {
            let definition = |file: &'static str| -> Option<&'static str> {
                let from = &file[file.find(&format!("\n{start}"))? + 1..];
                from.split("\n\n\n").next()
            };
            let found: Vec<&str> = all().unwrap().iter().filter_map(|folder| definition(folder.reproducer)).collect();
            assert!(found.len() > 5 && found.iter().all(|one| one == &found[0]), "{start} differs: {found:#?}");
        }
    }

    #[test]
    fn an_exit_code_without_its_line_is_no_answer() {
        let traceback = "Traceback\nNameError: x\n";
        assert_eq!(FindingAnswer::of(Some(1), "a\nthe fault is there\n", ""), FindingAnswer::There);
        assert_eq!(FindingAnswer::of(Some(0), "the fault is not there\n", ""), FindingAnswer::NotThere);
        let why = "no ptrace".to_owned();
        assert_eq!(FindingAnswer::of(Some(2), "", "cannot be tried: no ptrace\n"), FindingAnswer::CannotTry(why));
        for (code, stdout) in [(Some(1), ""), (Some(0), ""), (Some(0), "the fault is there"), (Some(9), ""), (None, "")]
        {
            assert!(
                matches!(FindingAnswer::of(code, stdout, traceback), FindingAnswer::Unclear(why) if why.contains("NameError"))
            );
        }
    }

    #[test]
    fn only_equal_answers_are_a_state() {
        use FindingAnswer::{CannotTry, NotThere, There, Unclear};
        let cannot = || CannotTry("w".to_owned());
        for (answers, expected) in [
            (vec![There, There], "still there"),
            (vec![NotThere, NotThere], "gone"),
            (vec![cannot(), cannot()], "not applicable"),
            (vec![There, NotThere], "unstable"),
            (vec![There, cannot()], "unstable"),
            (vec![Unclear("x".to_owned())], "unstable"),
            (vec![], "unstable"),
        ] {
            assert_eq!(FindingState::of(&answers).name(), expected, "{answers:?}");
        }
        let words = FindingState::of(&[There, Unclear("x".to_owned())]);
        assert_eq!(words, FindingState::Unstable("1 of 2 saw it; x".to_owned()));
    }

    #[test]
    fn a_fault_that_comes_back_fails_and_what_was_not_tried_is_no_pass() {
        let folder = |gone: Option<&str>, needs: &[Need]| {
            let version = |text: &str| PythonVersion::try_from(text.to_owned()).unwrap();
            let about = AboutFinding {
                title: String::new(),
                issue: None,
                severity: Severity::WrongStacks,
                seen_in: vec![version("3.15.2")],
                gone_since: gone.map(version),
                needs: needs.to_vec(),
                case: None,
            };
            FindingFolder { name: "f", about, readme: "", reproducer: "" }
        };
        let build = |version| TriedBuild { version, same_protocol: true, is_debug: false };
        let cannot = FindingState::NotApplicable("w".to_owned());
        let plain = folder(Some("3.15.3"), &[]);
        for (state, version, expected) in [
            (&FindingState::StillThere, "3.15.2", Verdict::Pass),
            (&FindingState::StillThere, "3.15.3", Verdict::Fail),
            (&FindingState::Gone, "3.15.2", Verdict::Pass),
            (&FindingState::Gone, "3.15.3", Verdict::Pass),
            (&cannot, "3.15.2", Verdict::Inconclusive),
        ] {
            assert_eq!(plain.judge(state, build(version)).0, expected, "{state:?} {version}");
        }
        assert!(plain.judge(&FindingState::Gone, build("3.15.2")).1.contains("known to be in this version"));
        let unconfirmed = folder(None, &[]).judge(&FindingState::StillThere, build("3.15.3"));
        assert_eq!(unconfirmed, (Verdict::Pass, "known from other versions".to_owned()));
        let debug = folder(None, &[Need::DebugBuild]);
        assert_eq!(debug.judge(&cannot, build("3.15.2")).0, Verdict::Pass);
        let on_debug = TriedBuild { is_debug: true, ..build("3.15.2") };
        assert_eq!(debug.judge(&cannot, on_debug).0, Verdict::Inconclusive);
    }
}
