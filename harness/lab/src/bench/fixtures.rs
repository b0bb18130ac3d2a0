//! Benchmark documents with invented numbers, for tests.

use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::bench::document::{
    BYSTANDER, BenchDocument, BenchPart, BenchPoint, BenchedBuild, Breakdown, KIND, Launches, LeftOut, Lookups, NOBODY,
    PointParameters, Series, VERSION,
};
use crate::bench::machine::Machine;

/// Blocks of about `time`, with a random factor per launch and noise that is never negative, as on real machines.
pub(super) fn blocks(time: f64, launches: usize, blocks: usize, seed: u64) -> Launches {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut launch = || {
        let place = random.random_range(0.97..1.03);
        let mut block = || time * place * (1.0 + random.random_range(0.0..0.1_f64).powi(2) * 5.0);
        // Eighths survive the conversion to decimal text and back exactly.
        (0..blocks).map(|_| (block() * 8.0).round() / 8.0).collect()
    };
    (0..launches).map(|_| launch()).collect()
}

fn series(contender: &str, time: f64, seed: u64) -> Series {
    let breakdown = Breakdown {
        system_calls: 5,
        writes: 1,
        segments: 8,
        bytes: 2048,
        bare: blocks(time / 2.0, 5, 8, seed + 100),
        decoding: blocks(time / 4.0, 5, 8, seed + 200),
        results: Vec::new(),
    };
    Series {
        contender: contender.to_owned(),
        blocks: blocks(time, 5, 8, seed),
        samples: 4000,
        lookups: Lookups { full: 4000, ..Lookups::default() },
        breakdown: Some(breakdown),
        refused: None,
    }
}

fn point(place: PointParameters, series: Vec<Series>) -> BenchPoint {
    BenchPoint { build: BUILD.to_owned(), place, yardstick: blocks(1000.0, 5, 8, 7), series }
}

/// A name with characters that need escaping in markup.
pub(super) const BUILD: &str = "3.15.2 <release> & co";

/// A run in which a cache gains a factor of eight, CPython's walkers cannot walk the deepest stack, and some points had
/// no time. The cached walker's time is multiplied by `slower`.
pub fn document(slower: f64, seed: u64) -> BenchDocument {
    let deep = |depth: u32| {
        let time = f64::from(depth) * 100.0;
        let mut all = vec![series("own-uncached", time, seed), series("own-cached", time / 8.0 * slower, seed + 1)];
        if depth == 10 {
            all.push(series("cpython-uncached", time * 2.0, seed + 2));
            all.push(series("cpython-cached", time, seed + 3));
        } else {
            let refused = |contender: &str| Series {
                blocks: Vec::new(),
                samples: 0,
                lookups: Lookups::default(),
                breakdown: None,
                refused: Some("Too many stack frames".into()),
                ..series(contender, 1.0, 0)
            };
            all.extend([refused("cpython-uncached"), refused("cpython-cached")]);
        }
        point(PointParameters::still(BenchPart::SpeedUp, depth), all)
    };
    let cost = vec![series(NOBODY, 2e7, seed), series(BYSTANDER, 2.2e7, seed), series("own-cached", 3e7, seed + 1)];
    let threads = PointParameters { threads: 64, ..PointParameters::still(BenchPart::Threads, 20) };
    let mut some = series("own-cached", 64e3, seed);
    some.lookups = Lookups { full: 2000, misses: 2000, ..Lookups::default() };
    BenchDocument {
        kind: KIND.to_owned(),
        version: VERSION,
        framediff: "0.1.0".into(),
        optimised: true,
        machine: Machine { cpu: "A CPU".into(), cores: 2, kernel: "Linux 6.1".into() },
        seed,
        budget: Duration::from_secs(60),
        interrupted: false,
        peak_bytes: Some(32 << 20),
        builds: vec![BenchedBuild {
            name: BUILD.into(),
            version: "3.15.2".into(),
            flavour: "release".into(),
            jit: false,
        }],
        points: vec![
            deep(10),
            deep(5000),
            point(
                PointParameters { changed: 5, ..PointParameters::still(BenchPart::Change, 10) },
                vec![series("own-uncached", 1000.0, seed), series("own-cached", 500.0, seed + 1)],
            ),
            point(PointParameters { rate: Some(1000), ..PointParameters::still(BenchPart::Cost, 100) }, cost),
            point(threads, vec![series("own-uncached", 128e3, seed), some]),
        ],
        notes: vec!["a note".into()],
        left_out: vec![LeftOut {
            build: BUILD.into(),
            place: PointParameters { targets: 16, ..PointParameters::still(BenchPart::Targets, 100) },
            why: "no time".into(),
        }],
    }
}
