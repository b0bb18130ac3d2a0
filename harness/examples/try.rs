use framediff::prove::graph::Graph;
use framediff::prove::search::*;
use framediff::sim::{variation::Variation, workloads};
use framediff::walk::{cached::CachedWalker, reference::ReferenceWalker, walker::*, weakening::Weakening};
use std::collections::BTreeSet;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let w = workloads::find(&args[1]).unwrap();
    let samples: u32 = args[3].parse().unwrap();
    let weak: BTreeSet<Weakening> = args
        .get(4)
        .map(|s| s.split(',').filter(|s| !s.is_empty()).map(|s| s.parse().unwrap()).collect())
        .unwrap_or_default();
    let vary: BTreeSet<Variation> = args
        .get(5)
        .map(|s| s.split(',').filter(|s| !s.is_empty()).map(|s| s.parse().unwrap()).collect())
        .unwrap_or_default();
    let other = args.get(6).is_some();
    let t = std::time::Instant::now();
    let graph = Graph::build((w.make)(), vary).unwrap();
    println!("nodes {} stacks {} in {:?}", graph.len(), graph.stacks().len(), t.elapsed());
    let kind = args[2].clone();
    let weak2 = weak.clone();
    let make = move |site: Site| -> Box<dyn CachingWalker> {
        match kind.as_str() {
            "reference" => Box::new(ReferenceWalker::new(site).unwrap().weakened(weak.clone()).attempting(1)),
            _ => Box::new(CachedWalker::new(site, weak.clone()).unwrap()),
        }
    };
    let report = search(
        &graph,
        &Options {
            walker: &make,
            samples,
            clause: match std::env::var("CLAUSE").as_deref() {
                Ok("spliced") => Clause::Spliced,
                Ok("mixed") => Clause::Mixed,
                _ => Clause::NotThere,
            },
            reads: if std::env::var("SEG").is_ok() { Reads::Segments } else { Reads::Words },
            other_profiler: other,
            states: 20_000_000_000,
            interrupted: &|| false,
        },
    )
    .unwrap();
    println!(
        "{:?} states {} walks {} caches {} {:?}  {:.1}M states/s",
        t.elapsed(),
        report.states,
        report.walks,
        report.caches,
        report.answers,
        report.states as f64 / 1e6 / t.elapsed().as_secs_f64()
    );
    match report.outcome {
        Outcome::Counterexample(c) => {
            let contender = framediff::sim::scenario::Contender {
                kind: if args[2] == "reference" {
                    framediff::sample::WalkerKind::OwnReference
                } else {
                    framediff::sample::WalkerKind::OwnCached
                },
                weakenings: weak2,
            };
            let sc = framediff::prove::replay::scenario(&graph, contender, &c).unwrap();
            let ran = sc.run(true).unwrap();
            println!("{}", framediff::sim::history::render(&ran.interpreter, &ran.notes));
            println!("{:?} replay: {:?}  {}", c.wrong, ran.broken, serde_json::to_string(&sc).unwrap().len());
        }
        o => println!("{o:?}"),
    }
}
