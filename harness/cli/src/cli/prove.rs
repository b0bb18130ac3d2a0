//! `prove`: searches every interleaving of the simulated interpreter and a walker.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use framewalk::sample::WalkerKind;
use framewalk::spec::WalkerSpec;
use framewalk::walker::Site;
use framewalk::weakening::Weakening;
use model::history::HistoryLine;
use model::invariants::SampleFault;
use model::run::event::{Consumer, Event};
use model::run::item::Item;
use model::run::verdict::Verdict;
use sim::case::file::save;
use sim::fuzzing::cache_state_machine::{TARGET, TestCase};
use sim::history::render;
use sim::prove::graph::{ANY_NUMBER, Graph};
use sim::prove::options::{ProofOptions, Reads};
use sim::prove::replay::scenario;
use sim::prove::search::{Counterexample, ProofReport, SearchOutcome, search};
use sim::truth::TrueChain;
use sim::workloads;
use sim::workloads::SimWorkload;

use crate::cli::exit::Ending;
use crate::cli::output::Failure;
use crate::cli::prove_arguments::{Prove, ProvedWalker};
use crate::cli::reports::Reporting;

/// Searches the interleavings of each workload.
pub(super) fn prove(arguments: &Prove, interrupted: &AtomicBool) -> Result<Ending, Failure> {
    let contender = contender(arguments)?;
    let mut events = Reporting::of_items("prove", &arguments.reports, Some(arguments.format))?;
    let wanted = |workload: &&SimWorkload| arguments.workload.is_empty() || arguments.workload.contains(&workload.name);
    let workloads: Vec<&SimWorkload> = workloads::ALL.iter().filter(wanted).collect();
    for (done, workload) in workloads.iter().enumerate() {
        let of = workloads.len() as u64;
        events.event(&Event::Working { done: done as u64, of, doing: workload.name.to_owned() });
        let item = one(arguments, workload, &contender, interrupted)?;
        events.event(&Event::ItemFinished(Box::new(item)));
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
    }
    events.finish_items(None, interrupted.load(Ordering::Relaxed))
}

fn contender(arguments: &Prove) -> Result<WalkerSpec, Failure> {
    let (kind, lacking): (_, &[Weakening]) = match arguments.walker {
        ProvedWalker::OwnReference => (WalkerKind::OwnReference, &[]),
        ProvedWalker::OwnCached => (WalkerKind::OwnCached, &[]),
        ProvedWalker::AnchorFirst => (WalkerKind::OwnReference, &Weakening::ANCHOR_FIRST),
    };
    for weakening in &arguments.weaken {
        if !weakening.applies_to(kind) {
            return Err(format!("`{weakening}` does not apply to {kind}").into());
        }
    }
    Ok(WalkerSpec { kind, weakenings: lacking.iter().chain(&arguments.weaken).copied().collect() })
}

fn one(
    arguments: &Prove,
    workload: &SimWorkload,
    contender: &WalkerSpec,
    interrupted: &AtomicBool,
) -> Result<Item, Failure> {
    let graph = Graph::build((workload.make)(), arguments.vary.iter().copied().collect())?;
    // A walker that cannot be constructed is reported now, before the workers start.
    contender.build_caching(Site { layout: framewalk::layout::release_3_15_2::LAYOUT, runtime: sim::map::RUNTIME })?;
    let begun = Instant::now();
    let report = search(
        &graph,
        &ProofOptions {
            walker: contender,
            samples: arguments.samples,
            sought: arguments.clause,
            reads: arguments.reads,
            memory: arguments.memory,
            anchorings: arguments.other_profiler.map_or(0, |times| times.unwrap_or(ANY_NUMBER)),
            states: arguments.states,
            interrupted: &|| interrupted.load(Ordering::Relaxed),
        },
    )?;
    let seconds = begun.elapsed().as_secs_f64();
    let mut text = format!("{}: {}, {}\n", workload.name, contender, workload.about);
    let mut history = Vec::new();
    let (verdict, short) = match &report.outcome {
        SearchOutcome::Complete { samples } => complete(&report, *samples),
        SearchOutcome::Counterexample(found) => {
            counterexample(&mut text, &mut history, arguments, &graph, contender, found)?
        }
        SearchOutcome::OutOfStates => {
            (Verdict::Inconclusive, "inconclusive: more states than --states allows".to_owned())
        }
        SearchOutcome::Interrupted => (Verdict::Inconclusive, "interrupted".to_owned()),
    };
    if verdict != Verdict::Fail {
        let _ = writeln!(text, "  {short}");
    }
    let answers = report.answers;
    let _ = writeln!(
        text,
        "  {} states in {} walks ({} full hits, {} partial hits, {} misses, {} rejected), {} states of the \
         interpreter, {} caches; {seconds:.1} s, {:.1} M states/s",
        report.states,
        report.walks,
        answers.full_hits,
        answers.partial_hits,
        answers.misses,
        answers.rejected,
        graph.len(),
        report.caches,
        report.states as f64 / 1e6 / seconds,
    );
    let (name, of) = (workload.name.to_owned(), contender.to_string());
    Ok(Item { name, of, verdict, seconds, short, text, history })
}

fn complete(report: &ProofReport, samples: Option<u32>) -> (Verdict, String) {
    let answers = report.answers;
    if answers.full_hits + answers.partial_hits + answers.misses == 0 {
        return (Verdict::Inconclusive, "vacuous: every walk was rejected".to_owned());
    }
    let samples = samples.map_or("any number of".to_owned(), |samples| samples.to_string());
    (Verdict::Pass, format!("COMPLETE: nothing wrong in {samples} samples"))
}

fn counterexample(
    text: &mut String,
    history: &mut Vec<HistoryLine>,
    arguments: &Prove,
    graph: &Graph,
    contender: &WalkerSpec,
    found: &Counterexample,
) -> Result<(Verdict, String), Failure> {
    let scenario = scenario(graph, contender.clone(), found, arguments.reads == Reads::Samples)?;
    let ran = scenario.run(true)?;
    let broken = ran.broken.ok_or("the counterexample does not replay: this is a fault of framediff itself")?;
    let short = format!("WRONG: {}", broken.describe());
    let _ = writeln!(text, "  {short}");
    *history = sim::history::history(&ran.interpreter, &ran.notes);
    for line in render(&ran.interpreter, &ran.notes).lines() {
        let _ = writeln!(text, "  {line}");
    }
    if SampleFault::NotThere.covers(broken)
        && let Some(last) = ran.samples.last()
    {
        let name = |chain: &TrueChain| {
            let frames = chain.iter().filter_map(|&(function, line)| {
                Some(format!("{}:{line}", graph.interpreter.program.functions.get(usize::from(function))?.name))
            });
            frames.collect::<Vec<_>>().join(" < ")
        };
        for chain in &last.possible {
            let _ = writeln!(text, "  possible: {}", name(chain));
        }
    }
    if let Some(folder) = &arguments.output {
        let case = TestCase { scenario, breaks: Some(broken) };
        let path = save(folder, &TARGET, &contender.to_string(), &case)?;
        let _ = writeln!(text, "  saved: {}", path.display());
    }
    Ok((Verdict::Fail, short))
}
