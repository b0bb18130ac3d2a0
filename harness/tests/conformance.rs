//! The simulated interpreter does what the real one does, store by store and stack by stack.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use framediff::conform::Trial;
use framediff::conform::family::ProgramFamily;
use framediff::lane::stepped::RigPlan;
use framediff::sample::WalkerKind;
use framediff::schedule::random::Bounds;

#[test]
fn trial() {
    let build = if std::env::var_os("D").is_some() { common::debug() } else { common::release() };
    let layout = build.layout.as_ref().unwrap();
    let get = |name: &str, default: &str| std::env::var(name).unwrap_or(default.into());
    let family: ProgramFamily = get("F", "calls").parse().unwrap();
    let walker = match get("W", "own-cached").as_str() {
        "own-uncached" => WalkerKind::OwnUncached,
        "own-reference" => WalkerKind::OwnReference,
        "cpython-cached" => WalkerKind::CpythonCached,
        "cpython-uncached" => WalkerKind::CpythonUncached,
        _ => WalkerKind::OwnCached,
    };
    for seed in get("S", "0..3").split_once("..").map(|(a, b)| a.parse::<u64>().unwrap()..b.parse().unwrap()).unwrap() {
        let trial = Trial {
            family,
            seed,
            schedules: get("N", "50").parse().unwrap(),
            samples: 3,
            bounds: Bounds { moves: 4, steps: 40 },
            variations: <_>::default(),
        };
        let jit = get("J", "off") == "on";
        let plan =
            RigPlan { jit: Some(jit), warm_up: if jit { 6000 } else { 300 }, ..RigPlan::new(&build.python, walker) };
        let start = std::time::Instant::now();
        let conformance = match trial.run(plan, layout) {
            Ok(conformance) => conformance,
            Err(error) => {
                let program = framediff::conform::draw::draw(family, seed);
                println!("{}", framediff::conform::python::translate(&program, &layout.frame, seed).workload.source);
                panic!("{error}");
            }
        };
        println!("{family} {seed} {:?} {:?}", conformance.compared, start.elapsed());
        if let Some(disagreement) = conformance.disagreement {
            println!("{}\n{}\n{}", disagreement.source, disagreement.what, disagreement.histories);
            panic!("disagreement");
        }
    }
}
