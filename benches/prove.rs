//! States a second in the exhaustive search for the reference walker, on all cores.
//!
//! The limit is the walker itself, which runs again for every distinct sequence of values that it reads. Most runs
//! copy a data-stack chunk of 16 KiB while the target moves on, and are rejected in the end.

mod common;

use std::error::Error;
use std::hint::black_box;

use criterion::Throughput;
use framewalk::sample::WalkerKind;
use framewalk::spec::WalkerSpec;
use sim::prove::graph::Graph;
use sim::prove::options::{MemoryOrder, ProofOptions, Reads, SoughtStack};
use sim::prove::search::search;
use sim::workloads;

const WORKLOADS: [&str; 3] = ["generator", "failed-bind", "two-threads"];

fn main() -> Result<(), Box<dyn Error>> {
    let mut criterion = common::long();
    let walker = WalkerSpec::from(WalkerKind::OwnReference);
    let mut group = criterion.benchmark_group("prove");
    for name in WORKLOADS {
        let workload = workloads::find(name).ok_or("there is no such workload")?;
        let graph = Graph::build((workload.make)(), [].into())?;
        let options = ProofOptions {
            walker: &walker,
            samples: 2,
            sought: SoughtStack::NotThere,
            reads: Reads::Segments,
            memory: MemoryOrder::Sc,
            anchorings: 0,
            states: u64::MAX,
            interrupted: &|| false,
        };
        let report = search(&graph, &options)?;
        group.throughput(Throughput::Elements(report.states));
        group.bench_function(name, |bencher| bencher.iter(|| black_box(search(&graph, &options))));
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}
