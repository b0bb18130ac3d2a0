//! What comes out of CPython's shipped profiler at the end, `python -m profiling.sampling`, judged by the grammar of the
//! program that it profiled.
//!
//! Everything below the output file is CPython's: the unwinder, its cache, the loop that samples, the collectors, the
//! binary format and its reader. A stack in the file that the program cannot have is one that users see.

mod judge;
mod outcome;
mod parse;

use std::path::Path;
use std::time::Duration;

use model::run::verdict::Verdict;
use model::workload::{Family, Mode, Overrides, Parameters, Workload, generate};
use process::build::BuildVariant;
use process::profiling::{ProfilingError, ShippedProfiler};
use process::python_run::PythonRun;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use self::judge::JudgedStacks;
pub use self::outcome::ProfileOutcome;
use self::outcome::{Finding, SampledRun};
use self::parse::{FrameTotals, Unreadable, collapsed, difference, json_lines, printed, tables, totals};

/// How long the profiler may take beyond the time for which it samples.
const PATIENCE: Duration = Duration::from_secs(60);

/// The sampling rate, as on the command line.
const RATE: &str = "10khz";

/// What is profiled, and how.
#[derive(Debug)]
pub struct ProfilePlan<'a> {
    /// The build whose profiler runs. Its program runs on the same build.
    pub variant: &'a BuildVariant,
    /// The family of the program.
    pub family: Family,
    /// The seed of the program.
    pub seed: u64,
    /// What the seed does not decide.
    pub overrides: Overrides,
    /// How long each run samples, in seconds.
    pub seconds: u64,
    /// An empty folder.
    pub folder: &'a Path,
}

/// How the profiler samples. Both are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sampling {
    /// The target runs while its stack is read.
    Default,
    /// The target is stopped for each sample.
    Blocking,
}

impl Sampling {
    fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Blocking => "--blocking",
        }
    }
}

/// Whether the profiler can be judged on programs of this family: they have one thread, and fit into its limits.
#[must_use]
pub fn is_profiled(family: Family) -> bool {
    let spec = family.spec();
    spec.threads == model::workload::family::FamilyThreads::Main && !spec.exceeds_limits
}

/// Profiles the program in every configuration, and judges what comes out. `doing` is called before each step.
///
/// # Errors
/// The profiler cannot be used here, it hangs, or the run is over.
pub fn profile(plan: &ProfilePlan<'_>, doing: &mut dyn FnMut(&str)) -> Result<ProfileOutcome, ProfilingError> {
    let mut random = ChaCha8Rng::seed_from_u64(plan.seed);
    let parameters = Parameters::draw(plan.family, &mut random).overridden(plan.family, plan.overrides);
    let workload = generate(plan.family, Mode::Free, &parameters, plan.seed);
    let profiler = ShippedProfiler::new(plan.variant, plan.folder, &workload.source)?;
    let mut session = Profiling { plan, workload, profiler, outcome: ProfileOutcome::default() };
    for sampling in [Sampling::Blocking, Sampling::Default] {
        doing(sampling.name());
        session.sample(sampling)?;
    }
    doing("--binary");
    if session.record()? {
        doing("replay");
        session.replay()?;
        doing("replay of a damaged file");
        session.damaged()?;
    }
    Ok(session.outcome)
}

/// A program being profiled.
struct Profiling<'a> {
    plan: &'a ProfilePlan<'a>,
    workload: Workload,
    profiler: ShippedProfiler<'a>,
    outcome: ProfileOutcome,
}

impl Profiling<'_> {
    /// Runs the profiler. Returns `None`, with a finding, if it did not end as it should.
    fn run(&mut self, name: &str, arguments: &[&str]) -> Result<Option<PythonRun>, ProfilingError> {
        let run = self.profiler.run(arguments, PATIENCE + Duration::from_secs(self.plan.seconds))?;
        let why = outcome::wrong_end(&run)?;
        Ok(self.unless(name, why).then_some(run))
    }

    /// Adds the finding, if any. Returns whether nothing was found.
    fn unless(&mut self, name: &str, found: Option<(Verdict, String)>) -> bool {
        let is_right = found.is_none();
        self.outcome.findings.extend(found.map(|(verdict, what)| Finding::new(verdict, format!("{name}: {what}"))));
        is_right
    }

    /// The value, or a finding that it cannot be read.
    fn read<T>(&mut self, name: &str, read: Result<T, Unreadable>) -> Option<T> {
        let error = read.as_ref().err().map(|error| (Verdict::Fail, error.to_string()));
        self.unless(name, error);
        read.ok()
    }

    /// A file that the profiler says it wrote, or a finding that it did not.
    fn written(&mut self, name: &str, file: &str) -> Option<String> {
        let text = self.profiler.file(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let error = text.as_ref().err().map(|error| (Verdict::Fail, format!("it ended well, but {error}")));
        self.unless(name, error);
        text.ok()
    }

    /// One run with collapsed stacks.
    fn sample(&mut self, sampling: Sampling) -> Result<(), ProfilingError> {
        const FILE: &str = "stacks.txt";
        let seconds = self.plan.seconds.to_string();
        let mut arguments = vec!["run", "--collapsed", "-r", RATE, "-d", &seconds, "-o", FILE];
        arguments.extend((sampling == Sampling::Blocking).then_some("--blocking"));
        arguments.push(model::workload::grammar::WORKLOAD_FILE);
        let name = sampling.name();
        let Some(run) = self.run(name, &arguments)? else { return Ok(()) };
        let Some(printed) = self.read(name, printed(&run.stdout)) else { return Ok(()) };
        let Some(text) = self.written(name, FILE) else { return Ok(()) };
        let Some(stacks) = self.read(name, collapsed(&text)) else { return Ok(()) };
        self.add(SampledRun { name, sampling, printed, judged: JudgedStacks::new(&self.workload, &stacks) });
        Ok(())
    }

    fn add(&mut self, run: SampledRun) {
        let version = self.plan.variant.build.full_version();
        self.outcome.findings.extend(run.findings(&version, self.plan.family.spec().yields));
        self.outcome.runs.push(run);
    }

    /// Makes a binary recording. Returns whether there is one.
    fn record(&mut self) -> Result<bool, ProfilingError> {
        let seconds = self.plan.seconds.to_string();
        let program = model::workload::grammar::WORKLOAD_FILE;
        let arguments = ["run", "--binary", "-r", RATE, "-d", &seconds, "-o", RECORDING, program];
        let Some(run) = self.run("--binary", &arguments)? else { return Ok(false) };
        let Some(printed) = self.read("--binary", printed(&run.stdout)) else { return Ok(false) };
        self.outcome.recorded = Some(printed);
        Ok(true)
    }

    /// Replays the recording in several formats, which must say the same.
    fn replay(&mut self) -> Result<(), ProfilingError> {
        let mut first: Option<FrameTotals> = None;
        for format in Format::ALL {
            let (name, file) = (format.name(), format.file());
            let Some(run) = self.run(name, &["replay", format.option(), "-o", file, RECORDING])? else { continue };
            let totals = match format {
                Format::Collapsed => self.written(name, file).and_then(|text| self.replayed(&text, &run)),
                Format::JsonLines => self.written(name, file).and_then(|text| self.read(name, json_lines(&text))),
                Format::Pstats => {
                    let read = self.profiler.tables(file, PATIENCE)?;
                    let why = outcome::wrong_end(&read)?;
                    if self.unless(name, why) { self.read(name, tables(&read.stdout)) } else { None }
                }
            };
            let Some(totals) = totals else { continue };
            let differs = first.as_ref().and_then(|first| difference(first, &totals));
            let found = differs.map(|(frame, one, other)| {
                let what = outcome::disagreement(&frame, one, other);
                (Verdict::Fail, what)
            });
            self.unless(name, found);
            self.outcome.formats += 1;
            first.get_or_insert(totals);
        }
        Ok(())
    }

    /// The replayed stacks are judged like those of any other run.
    fn replayed(&mut self, text: &str, run: &PythonRun) -> Option<FrameTotals> {
        let name = Format::Collapsed.name();
        let stacks = self.read(name, collapsed(text))?;
        let count: u64 = stacks.iter().map(|(_, count)| count).sum();
        let replayed = format!("Replayed {count} samples");
        let found = (!run.stdout.contains(&replayed))
            .then(|| (Verdict::Fail, format!("it does not print `{replayed}`, which is what its stacks add up to")));
        self.unless(name, found);
        if let Some(printed) = self.outcome.recorded {
            let judged = JudgedStacks::new(&self.workload, &stacks);
            self.add(SampledRun { name, sampling: Sampling::Default, printed, judged });
        }
        Some(totals(&stacks))
    }

    /// A damaged recording must be refused with a message and without a traceback.
    fn damaged(&mut self) -> Result<(), ProfilingError> {
        let whole = self.profiler.file(RECORDING)?;
        for (what, bytes) in outcome::damages(&whole) {
            self.profiler.write(DAMAGED, &bytes)?;
            let arguments = ["replay", "--collapsed", "-o", "damaged.txt", DAMAGED];
            let run = self.profiler.run(&arguments, PATIENCE)?;
            self.unless(&format!("replay of a recording {what}"), outcome::wrong_refusal(&run));
            self.outcome.damages += 1;
        }
        Ok(())
    }
}

const RECORDING: &str = "recording.bin";
const DAMAGED: &str = "damaged.bin";

/// The formats in which the recording is replayed.
#[derive(Clone, Copy)]
enum Format {
    Collapsed,
    JsonLines,
    Pstats,
}

impl Format {
    const ALL: [Self; 3] = [Self::Collapsed, Self::JsonLines, Self::Pstats];

    fn option(self) -> &'static str {
        match self {
            Self::Collapsed => "--collapsed",
            Self::JsonLines => "--jsonl",
            Self::Pstats => "--pstats",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Collapsed => "--binary, replayed",
            Self::JsonLines => "replay --jsonl",
            Self::Pstats => "replay --pstats",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::Collapsed => "replayed.txt",
            Self::JsonLines => "replayed.jsonl",
            Self::Pstats => "replayed.pstats",
        }
    }
}
