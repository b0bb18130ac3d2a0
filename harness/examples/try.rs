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
    let make = move |site: Site| -> Box<dyn CachingWalker> {
        match kind.as_str() {
            "reference" => Box::new(ReferenceWalker::new(site).unwrap().weakened(weak.clone()).attempting(1)),
            _ => Box::new(CachedWalker::new(site, weak.clone()).unwrap()),
        }
    };
    let report = search(
        &graph,
        &Options { walker: &make, samples, other_profiler: other, states: 20_000_000_000, interrupted: &|| false },
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
            println!(
                "{:?} {:?}",
                c.wrong,
                graph
                    .stacks()
                    .iter()
                    .enumerate()
                    .filter(|(i, _)| c.possible >> i & 1 == 1)
                    .map(|(_, s)| &s.1)
                    .collect::<Vec<_>>()
            );
            for e in &c.events {
                match e {
                    framediff::prove::trace::Event::Step { before, edge } => {
                        let e = &graph.edges(before)[*edge as usize];
                        println!("  {:?}", e.store)
                    }
                    framediff::prove::trace::Event::Result { index } => {
                        let r = &c.results[*index as usize];
                        println!(
                            "      => {:?} {:?}",
                            r.provenance,
                            r.outcome.as_ref().map(|s| s.iter().map(|f| f.to_string()).collect::<Vec<_>>())
                        )
                    }
                    framediff::prove::trace::Event::Read { word, value } => {
                        println!("      read {:?} = {:x?}", graph.interpreter.map.role(*word).unwrap(), value)
                    }
                    e => println!("      {e:x?}"),
                }
            }
        }
        o => println!("{o:?}"),
    }
}
