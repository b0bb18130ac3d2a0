//! The arguments of the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ColorChoice, Parser, Subcommand};
use clap_complete::Shell;
use model::run::document::Defaults;
use model::workload::Family;

use crate::cli::bench_arguments::Bench;
use crate::cli::check_arguments::Check;
use crate::cli::compare::Compare;
use crate::cli::emit_unittest::EmitUnittest;
use crate::cli::exit;
use crate::cli::findings::FindingsArguments;
use crate::cli::merge::Merge;
use crate::cli::mutants_arguments::Mutants;
use crate::cli::profile_arguments::ProfileArguments;
use crate::cli::prove_arguments::Prove;
use crate::cli::report_arguments::{Report, Reports};
use crate::cli::shared_arguments::{BuildSource, Format, Jit, Judging, Size};
use crate::cli::stepped_arguments::{Conform, Explain, Explore, Reproducer, Shrink};
#[cfg(target_arch = "x86_64")]
use crate::cli::triage_arguments::Triage;
use crate::cli::values::{budget, families, seed};

/// Tests whether CPython's remote-profiling frame cache tells the truth.
///
/// The default verb, `check`, runs generated programs on real interpreters, samples them with and without the frame
/// cache, and judges every stack against the stacks that the programs can have.
#[derive(Clone, Debug, Parser)]
#[command(name = "framediff", version, long_version = env!("FRAMEDIFF_VERSION"), args_conflicts_with_subcommands = true, after_long_help = exit::HELP)]
pub struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    check: Check,
    /// When output is coloured: auto is on a terminal, unless NO_COLOR is set, and with CLICOLOR_FORCE=1 everywhere
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = "Run")]
    pub color: ColorChoice,
}

impl Cli {
    /// The verb; `check` if none is given.
    #[must_use]
    pub fn verb(self) -> Verb {
        self.verb.unwrap_or_else(|| Verb::Check(Box::new(self.check)))
    }

    /// Has the run of `check` report that a file gave these defaults.
    pub(super) fn note_defaults(&mut self, defaults: Defaults) {
        let check = match &mut self.verb {
            Some(Verb::Check(check)) => check,
            _ => &mut self.check,
        };
        check.defaults = Some(defaults);
    }
}

/// The subcommands. Without one, `check` runs.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Test the frame cache of the builds under test (the default)
    #[command(after_long_help = exit::HELP)]
    Check(Box<Check>),
    /// List the builds that would be tested
    #[command(after_long_help = exit::HELP)]
    Builds(Builds),
    /// Compare walkers on a Python process that is already running
    #[command(after_long_help = exit::HELP)]
    Attach(Attach),
    /// Record the memory of a stopped target in a file, with its true stacks
    #[command(after_long_help = exit::HELP)]
    Snapshot(SnapshotArguments),
    /// Replay recorded targets with every walker, and run saved cases again
    #[command(after_long_help = exit::HELP)]
    Replay(Replay),
    /// Render saved documents again, one or many
    #[command(after_long_help = exit::HELP)]
    Report(Report),
    /// Interleave a real target and a real walker store by store, in search of a schedule with a wrong stack
    #[command(after_long_help = exit::HELP)]
    Explore(Box<Explore>),
    /// Reduce the schedule and the workload of a case
    #[command(after_long_help = exit::HELP)]
    Shrink(Shrink),
    /// Show what happens in a case, access by access and store by store, and why the stack is wrong
    #[command(after_long_help = exit::HELP)]
    Explain(Explain),
    /// Write a case as one Python file that needs only the CPython under test
    #[command(after_long_help = exit::HELP)]
    Reproducer(Reproducer),
    /// Search every interleaving of a simulated interpreter and a cached walker for a stack that never existed
    #[command(after_long_help = exit::HELP)]
    Prove(Box<Prove>),
    /// Compare the simulated interpreter with real ones, store by store, on random programs and schedules
    Conform(Box<Conform>),
    /// Test the harness itself: build interpreters with known faults, and see which of them `check` kills
    #[command(after_long_help = exit::HELP)]
    Mutants(Mutants),
    /// Merge the JSON reports of the shards of one run, and judge them as one
    #[command(after_long_help = exit::HELP)]
    Merge(Merge),
    /// Show which failures are new, still there or gone between two JSON reports
    #[command(after_long_help = exit::HELP)]
    Compare(Compare),
    /// Sum up what a night of runs found, and write an issue for each new failure
    #[cfg(target_arch = "x86_64")]
    #[command(after_long_help = exit::HELP)]
    Triage(Triage),
    /// Write a unittest file for CPython's own tree that needs only the standard library
    #[command(after_long_help = exit::HELP)]
    EmitUnittest(EmitUnittest),
    /// Measure what the frame cache gains, and what sampling costs the target
    #[command(after_long_help = exit::HELP)]
    Bench(Box<Bench>),
    /// Judge what comes out of CPython's shipped profiler, `python -m profiling.sampling`
    Profile(Box<ProfileArguments>),
    /// Run the reproducers of known faults: which of them does a build have?
    #[command(after_long_help = exit::HELP)]
    Findings(FindingsArguments),
    /// Print the completions for a shell
    Completions(Completions),
    /// Print the man page, or write those of all verbs
    Man(Man),
}

/// Arguments of `completions`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Completions {
    /// The shell. For bash, this goes to ~/.local/share/bash-completion/completions/framediff
    pub shell: Shell,
}

/// Arguments of `man`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Man {
    /// Write framediff.1, and a page for each verb, to this folder [default: framediff.1 to standard output]
    #[arg(short, long, value_name = "DIR", help_heading = "Run")]
    pub output: Option<PathBuf>,
}

/// Arguments of `builds`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Builds {
    /// The builds under test.
    #[command(flatten)]
    pub source: BuildSource,
    /// Fetch what `check` would fetch if there were no other build
    #[arg(long, help_heading = "Builds")]
    pub fetch: bool,
    /// How the list is printed
    #[arg(long, value_name = "FORMAT", default_value = "human", help_heading = "Run")]
    pub format: Format,
}

/// Arguments of `attach`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Attach {
    /// The process to sample
    #[arg(value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub pid: i32,
    /// How long to sample it
    #[arg(long, visible_alias = "seconds", value_name = "TIME", default_value = "10s", value_parser = budget, help_heading = "Run")]
    pub budget: Duration,
    /// The header with the order of its offsets: pycore_debug_offsets.h of its source
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub layout_header: Option<PathBuf>,
    /// Read a free-threaded build, too. No such build was ever tested; what comes out is no verdict about CPython
    #[arg(long, help_heading = "Run")]
    pub experimental_free_threaded: bool,
    /// Allow writes to the process's anchors, which cached walkers need. Without it, only uncached walkers run
    #[arg(long, help_heading = "Run")]
    pub write: bool,
    /// How the result is judged.
    #[command(flatten)]
    pub judging: Judging,
    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "human", help_heading = "Run")]
    pub format: Format,
    /// Where else it is reported.
    #[command(flatten)]
    pub reports: Reports,
}

/// Arguments of `snapshot`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct SnapshotArguments {
    /// The CPython to record
    #[arg(long, value_name = "PATH", help_heading = "Builds")]
    pub python: PathBuf,
    /// Record this run mode [default: off, where there is a JIT]
    #[arg(long, value_name = "MODE", help_heading = "Builds")]
    pub jit: Option<Jit>,
    /// The family of the workload
    #[arg(long, value_name = "NAME", value_parser = families(), help_heading = "Selection")]
    pub family: Family,
    /// The seed of the workload, decimal or 0x...
    #[arg(long, value_name = "N", value_parser = seed, default_value = "1", help_heading = "Selection")]
    pub seed: u64,
    /// How the workload looks.
    #[command(flatten)]
    pub size: Size,
    /// Number of stops to record
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u32).range(1..=64), help_heading = "Run")]
    pub stops: u32,
    /// The file to write; it must not exist
    #[arg(short, long, value_name = "FILE", help_heading = "Run")]
    pub output: PathBuf,
}

/// Arguments of `replay`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Replay {
    /// Recorded targets, saved cases, bundles, and cases on a line (framediff@...)
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Number of runs of a case of the stepped lane, each in fresh processes
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Run")]
    pub times: u32,
    /// Time limit for a cell of `check` that runs again
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = budget, help_heading = "Run")]
    pub budget: Duration,
    /// Where cases of the stepped lane run.
    #[command(flatten)]
    pub source: BuildSource,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;
    use framewalk::sample::WalkerKind;
    use framewalk::weakening::Weakening;
    use lanes::check::{BUDGET, CONFIDENCE};
    use model::lane::Lane;
    use model::workload::parameters::{MOST_DEEP, MOST_LOCALS, MOST_ROUNDS, MOST_WIDE};
    use model::workload::{FrameSize, Names, Overrides, Parameters};

    use super::*;
    use crate::cli::report_arguments::{ReportFormat, ReportKind};

    const SMALL: Parameters =
        Parameters { depth: 3, width: 2, frame_size: FrameSize::Equal(0), speed: 0, names: Names::Ascii };

    fn parse(line: &str) -> Result<Verb, clap::Error> {
        Cli::try_parse_from(line.split_whitespace()).map(Cli::verb)
    }

    fn check(line: &str) -> Check {
        match parse(line) {
            Ok(Verb::Check(check)) => *check,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_clap_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn check_is_the_default_verb() {
        for (implied, named) in [
            ("framediff", "framediff check"),
            ("framediff --budget 60s", "framediff check --budget 1m"),
            ("framediff --strict --seed 7", "framediff check --seed 0x7 --strict"),
        ] {
            assert_eq!(check(implied), check(named));
        }
        let default = check("framediff");
        assert_eq!((default.budget, default.judging.confidence), (BUDGET, CONFIDENCE));
        assert_eq!((default.format, default.selection, default.size), (Format::Human, <_>::default(), <_>::default()));
    }

    #[test]
    fn selection_options_can_be_repeated() {
        let check = check(
            "framediff check --python /a/python --python b --lane live --lane stopped --walker cpython-cached \
             --family recursion --family generators --weaken leaf-reused-on-full-hit --depth 3 --width 2 --speed 0 --frame-size unequal:9 --names wide --jobs 2 \
             --jit on --cache /c --known k.toml --confidence 0.99 --format json --seed 18446744073709551615",
        );
        assert_eq!(check.source.python, [PathBuf::from("/a/python"), "b".into()]);
        assert_eq!(check.source.cache, Some("/c".into()));
        assert_eq!(check.selection.lane, [Lane::Live, Lane::Stopped]);
        assert_eq!(check.selection.walker, [WalkerKind::CpythonCached]);
        assert_eq!(check.selection.family, [Family::Recursion, Family::Generators]);
        assert_eq!(check.selection.weaken, [Weakening::LeafReusedOnFullHit]);
        assert_eq!(check.selection.seed, Some(u64::MAX));
        let expected = Overrides {
            depth: Some(3),
            width: Some(2),
            speed: Some(0),
            frame_size: Some(FrameSize::Unequal(9)),
            names: Some(Names::Wide),
        };
        assert_eq!(check.size.overrides(), expected);
        assert_eq!((check.jit, check.format), (Some(Jit::On), Format::Json));
    }

    #[test]
    fn program_arguments_follow_the_double_dash() {
        let one = check("framediff check --program p.py --seed 3 -- -v --seed 4");
        assert_eq!(one.program, Some("p.py".into()));
        assert_eq!(
            (one.arguments.as_slice(), one.selection.seed),
            (&["-v", "--seed", "4"].map(String::from)[..], Some(3))
        );
        assert_eq!(check("framediff --program p.py").arguments, [""; 0]);
    }

    #[test]
    fn the_other_verbs_parse() {
        let Ok(Verb::Attach(attach)) = parse("framediff attach 4711 --seconds 30 --write") else { panic!("attach") };
        assert_eq!((attach.pid, attach.budget, attach.write), (4711, Duration::from_secs(30), true));
        let Ok(Verb::Attach(attach)) = parse("framediff attach 1") else { panic!("attach") };
        assert!(!attach.write, "read-only unless told otherwise");
        let Ok(Verb::Builds(builds)) = parse("framediff builds --fetch --cache d --format json") else {
            panic!("builds")
        };
        assert_eq!((builds.fetch, builds.source.cache, builds.format), (true, Some("d".into()), Format::Json));
        let line =
            "framediff snapshot --python p --family through-c --seed 0x10 --jit on --depth 3 --stops 2 -o f.snapshot";
        let Ok(Verb::Snapshot(snapshot)) = parse(line) else { panic!("snapshot") };
        assert_eq!((snapshot.python, snapshot.output), ("p".into(), "f.snapshot".into()));
        assert_eq!((snapshot.family, snapshot.seed, snapshot.stops), (Family::ThroughC, 16, 2));
        assert_eq!((snapshot.jit, snapshot.size.depth), (Some(Jit::On), Some(3)));
        let Ok(Verb::Replay(replay)) = parse("framediff replay a b") else { panic!("replay") };
        assert_eq!((replay.files, replay.times), (vec![PathBuf::from("a"), "b".into()], 10));
        let Ok(Verb::Report(report)) = parse("framediff report a b --format junit -o f") else { panic!("report") };
        assert_eq!((report.files, report.format), (vec!["a".into(), "b".into()], ReportFormat::Junit));
        let Ok(Verb::Attach(attach)) = parse("framediff attach 1 --report html=a --report json-lines=b") else {
            panic!("attach")
        };
        let kinds = attach.reports.reports.iter().map(|one| one.kind).collect::<Vec<_>>();
        assert_eq!(kinds, [ReportKind::Html, ReportKind::JsonLines]);
        let Ok(Verb::Explore(explore)) = parse("framediff explore --family generators --shard 2/3 --tear") else {
            panic!("explore")
        };
        assert_eq!((explore.family, explore.shard.to_string()), (vec![Family::Generators], "2/3".to_owned()));
        assert_eq!((explore.walker, explore.samples, explore.moves), (WalkerKind::CpythonCached, 3, 2));
        let Ok(Verb::Shrink(shrink)) = parse("framediff shrink framediff@2@x --runs 7 -o d") else { panic!("shrink") };
        assert_eq!((shrink.case.case.as_str(), shrink.runs, shrink.output), ("framediff@2@x", 7, Some("d".into())));
        let Ok(Verb::Explain(explain)) = parse("framediff explain c.json --python p") else { panic!("explain") };
        assert_eq!((explain.case.case.as_str(), explain.case.source.python), ("c.json", vec![PathBuf::from("p")]));
        let Ok(Verb::Reproducer(file)) = parse("framediff reproducer c.json -o r.py") else { panic!("reproducer") };
        assert_eq!((file.output, file.limit), ("r.py".into(), Duration::from_secs(60)));
    }

    #[test]
    fn usage_errors_exit_with_the_documented_code() {
        for line in [
            "framediff --budget",
            "framediff --budget 0s",
            "framediff --budget soon",
            "framediff --lane stepping",
            "framediff --walker py-spy",
            "framediff --family recursive",
            "framediff --weaken everything",
            "framediff --frame-size large",
            "framediff --seed -1",
            "framediff --seed 0xg",
            "framediff --confidence 1",
            "framediff --confidence NaN",
            "framediff --jobs 0",
            "framediff --until everything",
            "framediff --until live/nobody/cache-worse",
            "framediff --jobs 1000000",
            "framediff explore --jobs 1000000",
            "framediff --depth 0",
            "framediff --depth 1000000000",
            "framediff --depth 1401",
            "framediff --width 1",
            "framediff --width 9",
            "framediff --speed 1000001",
            "framediff --frame-size 1001",
            "framediff --frame-size unequal:4294967295",
            "framediff explore --depth 1000000000",
            "framediff snapshot --python p --family deep -o f --depth 1000000000",
            "framediff --budget 99999999999h",
            "framediff --jit maybe",
            "framediff --strict builds",
            "framediff snapshot --family deep -o f",
            "framediff snapshot --python p --family deep --stops 0 -o f",
            "framediff snapshot --python p --family deep",
            "framediff replay",
            "framediff report",
            "framediff report --format json-lines f",
            "framediff --report pdf=f",
            "framediff attach 1 --report html",
            "framediff replay --times 0 a",
            "framediff explore --shard 4/3",
            "framediff explore --samples 0",
            "framediff shrink",
            "framediff explain",
            "framediff reproducer c.json",
            "framediff attach",
            "framediff attach 0",
            "framediff attach self",
            "framediff verify",
            "framediff --program p.py --family deep",
            "framediff check --program p.py --depth 3",
            "framediff --program p.py --schedules 3",
            "framediff --program p.py argument",
            "framediff check -- argument",
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), i32::from(exit::USAGE), "{line}");
        }
    }

    #[test]
    fn the_help_says_which_values_are_refused_and_which_are_reduced() {
        let largest =
            [("--depth", MOST_DEEP), ("--width", MOST_WIDE), ("--speed", MOST_ROUNDS), ("--frame-size", MOST_LOCALS)];
        let help = parse("framediff check --help").unwrap_err().to_string();
        for (option, most) in largest {
            let text = help.split_once(&format!("{option} <N>")).unwrap().1;
            let text = text.split_once("\n\n").unwrap().0;
            assert!(text.contains(&most.to_string()), "{option}: {text}");
            let line = &format!("framediff {option} {most}");
            assert!(parse(line).is_ok(), "{line}");
            let error = parse(&format!("framediff {option} {}", most + 1)).unwrap_err().to_string();
            assert!(error.contains(&most.to_string()) && error.contains(option), "{error}");
        }
        for family in Family::ALL {
            let deepest = Parameters { depth: MOST_DEEP, ..SMALL }.within_bounds(family).depth;
            let depths = help.split_once("--depth <N>").unwrap().1.split_once("--width").unwrap().0;
            assert!(depths.contains(&deepest.to_string()), "{family}: {deepest}");
        }
    }

    #[test]
    fn help_and_version_succeed_and_help_lists_the_exit_codes() {
        for verb in [
            "",
            "check",
            "builds",
            "attach",
            "snapshot",
            "replay",
            "report",
            "explore",
            "shrink",
            "explain",
            "reproducer",
        ] {
            let line = &format!("framediff {verb} --help");
            let help = parse(line).unwrap_err();
            assert_eq!((help.kind(), help.exit_code()), (ErrorKind::DisplayHelp, 0));
            assert!(help.to_string().contains(exit::HELP), "{line}");
        }
        assert_eq!(parse("framediff --version").unwrap_err().exit_code(), 0);
    }
}
