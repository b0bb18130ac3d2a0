//! How many cases a second each fuzz target checks, on the start of a fixed pseudo-random stream.
//!
//! This measures the check alone, without coverage counters and without decoding the case from bytes. A fuzzer is
//! slower.

use std::error::Error;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use sim::fuzzing::{CheckOutcome, TARGETS};

const CASES: usize = 2048;

fn main() -> Result<(), Box<dyn Error>> {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .without_plots()
        .configure_from_args();
    let mut group = criterion.benchmark_group("fuzz");
    group.throughput(Throughput::Elements(CASES as u64));
    for target in TARGETS {
        let cases = target.random_cases(CASES)?;
        let accepted = cases.iter().filter(|case| case.check() == CheckOutcome::Accepted).count();
        println!("{}: {accepted} of {CASES} cases are accepted", target.name());
        // One iteration runs the whole stream, because its cases differ greatly in size.
        group.bench_function(target.name(), |bencher| {
            bencher.iter(|| cases.iter().for_each(|case| _ = black_box(case.check())));
        });
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}
