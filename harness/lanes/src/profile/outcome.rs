//! The findings of one build, and its table.

use std::fmt::Write as _;

use framewalk::printable::{excerpt, last_words};
use model::run::verdict::Verdict;
use process::profiling::ProfilingError;
use process::python_run::PythonRun;

use super::Sampling;
use super::judge::JudgedStacks;
use super::parse::{FrameTotal, Printed, ProfiledFrame};

/// A larger share of impossible stacks fails in the default mode, too: then most of the output is wrong. The share of one
/// run depends on how the periods of profiler and program meet. 3.15.2 showed up to 8 % in runs of 2 s, so a bound near
/// what was seen would fail by chance.
pub(super) const ABSURD: f64 = 0.5;

/// With fewer samples of the program, a run proves nothing.
const FEWEST: u64 = 100;

/// The issue of impossible stacks in the default mode, and the versions on which they were seen.
const KNOWN: (&str, [&str; 3]) = ("gh-151613", ["3.15.0", "3.15.1", "3.15.2"]);

/// Something that was found about the profiler. A pass is a remark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    verdict: Verdict,
    what: String,
}

impl Finding {
    pub(super) fn new(verdict: Verdict, what: String) -> Self {
        Self { verdict, what }
    }
}

/// A run of the profiler whose stacks were judged.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SampledRun {
    pub(super) name: &'static str,
    pub(super) sampling: Sampling,
    pub(super) printed: Printed,
    pub(super) judged: JudgedStacks,
}

impl SampledRun {
    /// What is wrong with the run, of a build with this version. `yields`: generators of the program yield.
    pub(super) fn findings(&self, version: &str, yields: bool) -> Vec<Finding> {
        let (name, judged) = (self.name, &self.judged);
        let mut findings = Vec::new();
        let mut add = |verdict, what: String| findings.push(Finding::new(verdict, format!("{name}: {what}")));
        let stacks = judged.samples() + judged.starting;
        if stacks > self.printed.samples {
            add(
                Verdict::Fail,
                format!("the output has {stacks} stacks, but {} samples were taken", self.printed.samples),
            );
        }
        if judged.samples() < FEWEST {
            let all = judged.samples();
            add(Verdict::Inconclusive, format!("only {all} samples of the program; give a longer --seconds"));
        }
        let Some(example) = &judged.example else { return findings };
        let percent = judged.share() * 100.0;
        let seen = format!("{percent:.2} % of the stacks are impossible, as {example}");
        let (issue, versions) = KNOWN;
        match self.sampling {
            _ if judged.share() > ABSURD => {
                add(Verdict::Fail, format!("{seen}; more than {} % are excused nowhere", ABSURD * 100.0));
            }
            Sampling::Blocking if yields => {
                add(Verdict::Pass, format!("known, gh-151436, a yield looks at the anchor before it moves: {seen}"))
            }
            Sampling::Blocking => add(Verdict::Fail, format!("{seen}; the target stood still, so there may be none")),
            Sampling::Default if versions.contains(&version) => add(Verdict::Pass, format!("known, {issue}: {seen}")),
            Sampling::Default => {
                let what = format!("{seen}; known from {} ({issue}), not confirmed on {version}", versions.join(", "));
                add(Verdict::Inconclusive, what);
            }
        }
        findings
    }
}

/// What came out of the profiler of one build.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProfileOutcome {
    pub(super) runs: Vec<SampledRun>,
    pub(super) findings: Vec<Finding>,
    /// What the profiler printed when it made the recording.
    pub(super) recorded: Option<Printed>,
    /// How many formats of the recording were compared.
    pub(super) formats: usize,
    /// How many damaged recordings were replayed.
    pub(super) damages: usize,
}

impl ProfileOutcome {
    /// The worst of what was found. A configuration that did not run has a finding.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let ran = if self.runs.is_empty() { Verdict::Inconclusive } else { Verdict::Pass };
        Verdict::worst(self.findings.iter().map(|finding| finding.verdict).chain([ran]))
    }

    /// The result in one line: the first of the worst findings, or what was compared.
    #[must_use]
    pub fn short(&self) -> String {
        let verdict = self.verdict();
        let worst = self.findings.iter().find(|finding| finding.verdict == verdict && verdict != Verdict::Pass);
        worst.map_or_else(|| self.compared(), |finding| finding.what.clone())
    }

    fn compared(&self) -> String {
        let samples: u64 = self.runs.iter().map(|run| run.judged.samples()).sum();
        format!(
            "{samples} stacks judged, {} formats of a recording agree, {} damaged recordings refused",
            self.formats, self.damages
        )
    }

    /// The table, and what was found.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::from(
            "  configuration         samples  us/sample  errors %  start-up  impossible  impossible %  TVD against --blocking\n",
        );
        let blocking = self.runs.iter().find(|run| run.sampling == Sampling::Blocking);
        for run in &self.runs {
            let Printed { samples, rate, errors } = run.printed;
            let judged = &run.judged;
            let other = blocking.filter(|blocking| blocking.name != run.name);
            let distance = other.map_or("-".into(), |other| format!("{:.4}", judged.distance(&other.judged)));
            let micros = if rate > 0.0 { 1e6 / rate } else { 0.0 };
            let _ = writeln!(
                text,
                "  {:<20}  {samples:>7}  {micros:>9.1}  {errors:>8.2}  {:>8}  {:>10}  {:>12.2}  {distance:>22}",
                run.name,
                judged.starting,
                judged.impossible,
                judged.share() * 100.0,
            );
        }
        for finding in &self.findings {
            let _ = match finding.verdict {
                Verdict::Pass => writeln!(text, "  {}", finding.what),
                Verdict::Fail | Verdict::Inconclusive => writeln!(text, "  {}: {}", finding.verdict, finding.what),
            };
        }
        let _ = writeln!(text, "  {}", self.compared());
        text
    }
}

/// What the system refuses, in the words of a traceback: what to do about it is up to the user.
const REFUSALS: [(&str, &str); 5] = [
    (
        "No module named profiling",
        "the build has no profiling.sampling; use 3.15 or later, with its whole standard library",
    ),
    (
        "No module named 'profiling",
        "the build has no profiling.sampling; use 3.15 or later, with its whole standard library",
    ),
    ("No module named '_remote_debugging'", "the build has no _remote_debugging, which its profiler needs"),
    (
        "PermissionError",
        "the profiler may not read another process; allow ptrace (CAP_SYS_PTRACE, or kernel.yama.ptrace_scope=0)",
    ),
    ("[Errno 28]", "there is no space left; free some, or set TMPDIR to another folder"),
];

/// The profiler was too late to meet its own target: `cli.py` waits 5 seconds.
const TOO_LATE: &str = "failed to signal readiness";

const TRACEBACK: &str = "Traceback (most recent call last)";

/// Why a run did not end well.
///
/// # Errors
/// The system, not the profiler, is the reason.
pub(super) fn wrong_end(run: &PythonRun) -> Result<Option<(Verdict, String)>, ProfilingError> {
    let traceback = run.stderr.contains(TRACEBACK);
    if run.status.success() && !traceback {
        return Ok(None);
    }
    if let Some((_, next)) = REFUSALS.iter().find(|(word, _)| run.stderr.contains(word)) {
        return Err(ProfilingError::Refused { said: last_words(&run.stderr), next });
    }
    let verdict = if run.stderr.contains(TOO_LATE) { Verdict::Inconclusive } else { Verdict::Fail };
    let how = if traceback { "with a traceback" } else { "without one" };
    Ok(Some((verdict, format!("it ended with {}, {how}: {}", run.status, last_words(&run.stderr)))))
}

/// What is wrong with how a damaged recording was refused.
pub(super) fn wrong_refusal(run: &PythonRun) -> Option<(Verdict, String)> {
    let words = || last_words(&run.stderr);
    let wrong = if run.stderr.contains(TRACEBACK) {
        format!("it ends with a traceback: {}", words())
    } else if run.status.success() {
        "it is replayed as if it were whole".to_owned()
    } else if run.status.code().is_none() {
        format!("it crashes with {}: {}", run.status, words())
    } else if run.stderr.trim().is_empty() {
        "it is refused without a word".to_owned()
    } else {
        return None;
    };
    Some((Verdict::Fail, wrong))
}

/// Damaged forms of a recording. Each lacks its end, and with it the tables of strings and frames.
pub(super) fn damages(whole: &[u8]) -> [(&'static str, Vec<u8>); 3] {
    let until = |end: usize| whole.get(..end).unwrap_or_default().to_vec();
    [
        ("without any content", Vec::new()),
        ("cut in the middle", until(whole.len() / 2)),
        ("without its last byte", until(whole.len().saturating_sub(1))),
    ]
}

/// What two formats say about one frame.
pub(super) fn disagreement(frame: &ProfiledFrame, one: FrameTotal, other: FrameTotal) -> String {
    let name = excerpt(&format!("{}:{} ({})", frame.function, frame.line, frame.file));
    format!(
        "it does not say the same as the collapsed stacks of this recording: {name} has {} samples as the leaf and {} in \
         all, there {} and {}",
        other.own, other.least, one.own, one.least
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn sampled(sampling: Sampling, legal: u64, impossible: u64) -> SampledRun {
        let printed = Printed { samples: 10_000, rate: 10_000.0, errors: 0.0 };
        let example = (impossible > 0).then(|| "1 x f:1: mixed".to_owned());
        SampledRun {
            name: "x",
            sampling,
            printed,
            judged: JudgedStacks { legal, impossible, example, ..JudgedStacks::default() },
        }
    }

    fn verdict(run: SampledRun, version: &str) -> Verdict {
        let findings = run.findings(version, false);
        ProfileOutcome { runs: vec![run], findings, ..ProfileOutcome::default() }.verdict()
    }

    #[test]
    fn impossible_stacks_are_excused_only_where_they_are_known() {
        use Verdict::{Fail, Inconclusive, Pass};
        for (sampling, legal, impossible, version, expected) in [
            (Sampling::Blocking, 1000, 0, "3.15.2", Pass),
            (Sampling::Blocking, 9999, 1, "3.15.2", Fail),
            (Sampling::Default, 1000, 0, "3.16.0", Pass),
            (Sampling::Default, 9900, 73, "3.15.2", Pass),
            (Sampling::Default, 9900, 73, "3.15.3", Inconclusive),
            (Sampling::Default, 9900, 73, "3.15.2+", Inconclusive),
            (Sampling::Default, 4000, 5000, "3.15.2", Fail),
            (Sampling::Default, 99, 0, "3.15.2", Inconclusive),
            (Sampling::Blocking, 0, 0, "3.15.2", Inconclusive),
            (Sampling::Blocking, 10_001, 0, "3.15.2", Fail),
        ] {
            assert_eq!(
                verdict(sampled(sampling, legal, impossible), version),
                expected,
                "{legal} {impossible} {version}"
            );
        }
        assert_eq!(ProfileOutcome::default().verdict(), Inconclusive, "nothing ran");
    }

    fn ended(code: i32, stderr: &str) -> PythonRun {
        PythonRun { status: ExitStatus::from_raw(code << 8), stdout: String::new(), stderr: stderr.into() }
    }

    #[test]
    fn only_a_quiet_success_is_a_right_end() {
        let verdict = |code, stderr| wrong_end(&ended(code, stderr)).unwrap().map(|(verdict, _)| verdict);
        assert_eq!(verdict(0, "a warning"), None);
        assert_eq!(verdict(1, ""), Some(Verdict::Fail));
        assert_eq!(verdict(0, "Traceback (most recent call last):\nValueError"), Some(Verdict::Fail));
        assert_eq!(verdict(1, "Error: Process failed to signal readiness within timeout"), Some(Verdict::Inconclusive));
        for refused in
            ["x: No module named profiling", "PermissionError: [Errno 1]", "OSError: [Errno 28] No space left"]
        {
            let error = wrong_end(&ended(1, refused)).unwrap_err().to_string();
            assert!(error.contains(refused), "{error}");
        }
    }

    #[test]
    fn a_damaged_recording_must_be_refused_in_words() {
        assert_eq!(wrong_refusal(&ended(1, "Error: Invalid string table offset")), None);
        for (code, stderr) in [(0, ""), (1, ""), (1, "Traceback (most recent call last):\nKeyError: 3")] {
            assert!(wrong_refusal(&ended(code, stderr)).is_some(), "{code} {stderr}");
        }
        let crashed = PythonRun { status: ExitStatus::from_raw(11), ..ended(0, "") };
        assert!(wrong_refusal(&crashed).is_some());
        assert_eq!(damages(&[1, 2, 3, 4]).map(|(_, bytes)| bytes.len()), [0, 2, 3]);
    }
}
