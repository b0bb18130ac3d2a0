//! What the verbs do.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use framewalk::sample::WalkerKind;
use lanes::attach;
use lanes::cell::Sought;
use lanes::check::plan::Wishes;
use lanes::check::run::{Options, grace, run};
use model::jit_mode::JitMode;
use model::lane::Lane;
use model::run::document;
use model::run::known::KnownFailures;
use model::run::summary::{Rules, Summary};
use model::workload::user_program::UserProgram;
use process::build::{Listed, Row, Terminal, cache_folder, fetch, listing, select, without_unwinder};
use process::deadline::interrupt;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::cli::arguments::{Attach, Builds, Check, Cli, Format, Jit, Judging, Verb};
use crate::cli::reports::Reporting;
use crate::cli::values::check_jobs_by_default;
use crate::cli::{bench, bundles, compare, emit_unittest, exit, folder, merge, prove, replay, report, snapshots};
#[cfg(target_arch = "x86_64")]
use crate::cli::{cases, conform, explore, mutants};

/// Set by Ctrl-C and by a polite request to end.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

pub(super) type Failure = Box<dyn std::error::Error>;

/// Carries out the command line.
#[must_use]
pub fn run_command(cli: Cli) -> ExitCode {
    let installed = ctrlc::set_handler(|| {
        let again = INTERRUPTED.swap(true, Ordering::Relaxed);
        // After the flag: who wakes up looks at it.
        interrupt();
        if again {
            // The second request: every child dies with this process.
            std::process::exit(i32::from(exit::INTERRUPTED));
        }
    });
    let result = installed.map_err(Failure::from).and_then(|()| match cli.verb() {
        Verb::Check(arguments) => check(&arguments),
        Verb::Builds(arguments) => builds(&arguments),
        Verb::Attach(arguments) => attach_to(&arguments),
        Verb::Snapshot(arguments) => snapshots::record(&arguments, &INTERRUPTED),
        Verb::Report(arguments) => report::report(&arguments),
        Verb::Replay(arguments) => snapshots::replay(&arguments, &INTERRUPTED),
        #[cfg(target_arch = "x86_64")]
        Verb::Explore(arguments) => explore::explore(&arguments, &INTERRUPTED),
        #[cfg(target_arch = "x86_64")]
        Verb::Shrink(arguments) => cases::shrink(&arguments, &INTERRUPTED),
        #[cfg(target_arch = "x86_64")]
        Verb::Explain(arguments) => cases::explain(&arguments, &INTERRUPTED),
        #[cfg(target_arch = "x86_64")]
        Verb::Reproducer(arguments) => cases::reproducer(&arguments, &INTERRUPTED),
        #[cfg(target_arch = "x86_64")]
        Verb::Conform(arguments) => conform::conform(&arguments, &INTERRUPTED),
        #[cfg(target_arch = "x86_64")]
        Verb::Mutants(arguments) => mutants::run(&arguments, &INTERRUPTED),
        #[cfg(not(target_arch = "x86_64"))]
        Verb::Mutants(_) => Err("machine code of x86-64 alone is understood".into()),
        #[cfg(not(target_arch = "x86_64"))]
        Verb::Conform(_) | Verb::Explore(_) | Verb::Shrink(_) | Verb::Explain(_) | Verb::Reproducer(_) => {
            Err("the stepped lane needs a machine of x86-64".into())
        }
        Verb::Bench(arguments) => bench::bench(&arguments, &INTERRUPTED),
        Verb::Prove(arguments) => prove::prove(&arguments, &INTERRUPTED),
        Verb::Merge(arguments) => merge::merge(&arguments),
        Verb::Compare(arguments) => compare::compare(&arguments),
        Verb::EmitUnittest(arguments) => emit_unittest::emit(&arguments),
    });
    match result {
        Ok(code) => code.into(),
        Err(_) if INTERRUPTED.load(Ordering::Relaxed) => exit::INTERRUPTED.into(),
        Err(error) => {
            tell(&format!("framediff: {error}"));
            exit::USAGE.into()
        }
    }
}

/// To stderr; a closed one is no reason to fail.
pub(super) fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Who closed the pipe has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// The known failures of a file, or else those that come with this program.
pub(super) fn known_failures(path: Option<&Path>) -> Result<KnownFailures, Failure> {
    Ok(match path {
        Some(path) => KnownFailures::load(path)?,
        None => KnownFailures::kept()?,
    })
}

fn rules(judging: &Judging) -> Result<Rules, Failure> {
    let known = known_failures(judging.known.as_deref())?;
    Ok(Rules { known, strict: judging.strict, confidence: judging.confidence, sought: None })
}

fn check(arguments: &Check) -> Result<u8, Failure> {
    Ok(run_check(arguments)?.code)
}

/// What a run of `check` came to.
pub(super) struct Checked {
    /// The exit code.
    pub(super) code: u8,
    /// What happened.
    pub(super) summary: Summary,
}

/// The program of the user's that `check` is to run, if any.
fn user_program(arguments: &Check) -> Result<Option<UserProgram>, Failure> {
    let Some(file) = &arguments.program else { return Ok(None) };
    if let Some(lane) = arguments.selection.lane.iter().find(|&&lane| lane != Lane::Stopped) {
        return Err(format!("--program runs in the stopped lane alone, and --lane asks for {lane}").into());
    }
    Ok(Some(UserProgram::load(file, arguments.arguments.clone())?))
}

/// Runs `check` and reports it.
pub(super) fn run_check(arguments: &Check) -> Result<Checked, Failure> {
    if let Some(folder) = &arguments.bundles {
        folder::for_results(folder)?;
    }
    let program = user_program(arguments)?.map(Arc::new);
    let mut rules = rules(&arguments.judging)?;
    rules.sought.clone_from(&arguments.until);
    if !arguments.selection.weaken.is_empty() {
        // What a weakened walker gets wrong is its weakening's doing, whatever is known of the protocol.
        rules.known.forget_walker(WalkerKind::OwnCached, Lane::Live);
    }
    let known = rules.known.clone();
    let mut reporting = Reporting::open(&arguments.reports.reports, rules)?;
    let cache = cache_folder(arguments.source.cache.as_deref())?;
    let selection = select(&arguments.source.python, &cache, &mut Terminal::new(interrupted))?;
    for note in &selection.notes {
        tell(&format!("note: {note}"));
    }
    let rows: Vec<Row> = selection
        .rows
        .into_iter()
        .filter(|row| match arguments.jit {
            None => true,
            Some(Jit::On) => row.jit == JitMode::On,
            Some(Jit::Off) => row.jit != JitMode::On,
        })
        .collect();
    if rows.is_empty() {
        return Err("no build has the run mode that --jit asks for".into());
    }
    let selected = &arguments.selection;
    let folder = folder::for_run(&std::env::temp_dir())?;
    let sought = arguments.until.clone().map(Sought::new);
    let replay = |row: &_, cell: &_, failure: &_| replay::command(arguments, row, cell, failure);
    let options = Options {
        wishes: Wishes {
            families: selected.family.clone(),
            program: program.clone(),
            lanes: selected.lane.clone(),
            walkers: selected.walker.clone(),
            weakenings: selected.weaken.iter().copied().collect(),
            without_unwinder: without_unwinder(&rows),
        },
        overrides: arguments.size.overrides(),
        seed: selected.seed.unwrap_or_else(random_seed),
        one_round: selected.seed.is_some() || arguments.stops.is_some() || arguments.schedules.is_some(),
        shard: selected.shard,
        budget: arguments.budget,
        stops: arguments.stops,
        schedules: arguments.schedules,
        jobs: arguments.jobs.map_or_else(check_jobs_by_default, std::num::NonZero::get),
        profiles: arguments.profiles,
        known: &known,
        confidence: arguments.judging.confidence,
        folder: folder.path().to_owned(),
        interrupted: &INTERRUPTED,
        sought: sought.as_ref(),
        replay: &replay,
    };
    run(&options, &rows, &mut reporting);
    if let Some(folder) = &arguments.bundles {
        bundles::of_check(folder, arguments, program.as_deref(), &rows, reporting.summary(), &INTERRUPTED)?;
    }
    let summary = reporting.summary().clone();
    Ok(Checked { code: reporting.finish(arguments.format)?, summary })
}

/// A seed short enough to be typed.
pub(super) fn random_seed() -> u64 {
    use rand::{RngExt, SeedableRng};
    // Different on every run is all that is asked for.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seed = u64::try_from(now.as_nanos() & u128::from(u64::MAX)).unwrap_or(0) ^ u64::from(std::process::id());
    ChaCha8Rng::seed_from_u64(seed).random_range(0..1_000_000_000)
}

fn builds(arguments: &Builds) -> Result<u8, Failure> {
    let cache = cache_folder(arguments.source.cache.as_deref())?;
    if arguments.fetch {
        fetch(&cache, &mut Terminal::new(interrupted))?;
    }
    let listed = listing(&arguments.source.python, &cache);
    match arguments.format {
        Format::Human => print(&table(&listed))?,
        Format::Json => {
            #[derive(Serialize)]
            struct Document<'a> {
                version: u32,
                builds: &'a [Listed],
            }
            print(&(serde_json::to_string_pretty(&Document { version: document::VERSION, builds: &listed })? + "\n"))?;
        }
    }
    if listed.iter().any(|build| build.refused.is_none()) {
        return Ok(exit::PASS);
    }
    tell(
        "no CPython that can be tested is here: name one with --python PATH, or let `framediff builds --fetch` fetch Debian's 3.15",
    );
    Ok(exit::USAGE)
}

fn table(listed: &[Listed]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["path", "version", "kind", "JIT", "frame cache", "not tested because"]);
    for build in listed {
        let jit = build.jit_available.map_or("", |available| if available { "available" } else { "none" });
        let cache = build.frame_cache.map(|cache| cache.to_string()).unwrap_or_default();
        table.add_row([
            build.path.display().to_string(),
            build.version.clone().unwrap_or_default(),
            build.kind.clone().unwrap_or_default(),
            jit.to_owned(),
            cache,
            build.refused.clone().unwrap_or_default(),
        ]);
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
}

fn attach_to(arguments: &Attach) -> Result<u8, Failure> {
    let rules = rules(&arguments.judging)?;
    let known = rules.known.clone();
    let mut reporting = Reporting::open(&arguments.reports.reports, rules)?;
    let cache = cache_folder(None)?;
    let options = attach::Options {
        pid: arguments.pid,
        budget: arguments.budget,
        grace: grace(arguments.budget),
        write: arguments.write,
        known: &known,
        confidence: arguments.judging.confidence,
        cache: &cache,
        interrupted: &INTERRUPTED,
    };
    attach::run(&options, &mut reporting)?;
    reporting.finish(arguments.format)
}
