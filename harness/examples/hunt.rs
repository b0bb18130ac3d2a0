use arbitrary::Unstructured;
use framediff::fuzzing::cache_state_machine::generate;
use framediff::sim::variation::Variation;
use framediff::walk::weakening::Weakening;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
fn main() {
    let secs: f64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let only = std::env::args().nth(2);
    let mut all: Vec<(String, Vec<Weakening>, Vec<Variation>)> = vec![
        ("none".into(), vec![], vec![]),
        ("anchor-before-sequence".into(), vec![], vec![Variation::AnchorBeforeSequence]),
    ];
    for w in Weakening::ALL {
        all.push((w.name().into(), vec![w], vec![]));
    }
    for v in Variation::ALL {
        if v.is_fault() {
            all.push((v.name().into(), vec![], vec![v]));
        }
    }
    for (name, w, v) in all {
        if only.as_ref().is_some_and(|o| *o != name) {
            continue;
        }
        let (w, v) = (w.into_iter().collect(), v.into_iter().collect());
        let mut r = ChaCha8Rng::seed_from_u64(7);
        let t = std::time::Instant::now();
        let (mut n, mut ok) = (0u64, 0u64);
        let mut found = None;
        while t.elapsed().as_secs_f64() < secs {
            for _ in 0..256 {
                let mut bytes = vec![0; 300];
                r.fill_bytes(&mut bytes);
                let case = generate(&mut Unstructured::new(&bytes), &w, &v).unwrap();
                n += 1;
                let ran = case.scenario.run(false).unwrap();
                if ran.samples.iter().any(|j| j.sample.outcome.is_ok()) {
                    ok += 1;
                }
                if let Some(b) = ran.broken {
                    found = Some((b, case));
                    break;
                }
            }
            if found.is_some() {
                break;
            }
        }
        println!(
            "{name:40} {n:8} cases {:6.2} s {:6.0}/s accepted {:3}% {}",
            t.elapsed().as_secs_f64(),
            n as f64 / t.elapsed().as_secs_f64(),
            ok * 100 / n,
            found.as_ref().map_or("NOT FOUND".into(), |f| format!("{:?} {:?}", f.0, f.1.scenario.walker.kind))
        );
        if only.is_some() {
            if let Some((_, c)) = found {
                let ran = c.scenario.run(true).unwrap();
                println!("{}", framediff::sim::history::render(&ran.interpreter, &ran.notes));
            }
        }
    }
}
