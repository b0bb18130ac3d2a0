//! Prints what released builds did in searches of schedules, as the bounds of the entries of `corpus/known-failures.toml`:
//! `schedule_bounds REPORT...`, where each report is that of `framediff explore --format json` on a released build. The
//! families of kept schedules and of `corpus/cases/stepped` are added to those of the reports. What was seen on one program
//! with generators counts as seen on all of them: a yield is a yield. What a move inside a sample does depends on no program.
//!
//! `most` is twice the largest share of the schedules of one search that failed so, and [`FEWEST`] at least.
#![allow(clippy::unwrap_used, reason = "a tool of this repository: what is wrong ends it")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use framediff::report::saved::{Content, Saved};
use framediff::report::searches::SearchEnd;
use model::run::known::{KnownFailure, KnownFailures};
use model::schedule::fingerprint::SteppedFingerprint;
use model::workload::Family;
use model::workload::family::FamilyThreads;
use sim::case::file::SteppedFile;
use sim::case::kept::KeptSchedules;

/// Of 1000 schedules: what no search showed was found in one that was larger.
const FEWEST: u64 = 5;
/// The release that the entries are about.
const VERSION: &str = "3.15.2";

fn main() {
    let known = KnownFailures::kept().unwrap();
    let with_yields = || Family::ALL.into_iter().filter(|family| family.spec().yields).map(Family::name);
    let entry = |fingerprint: &SteppedFingerprint| match known.describing(fingerprint, VERSION) {
        Some(known) => known.entry.id.clone(),
        None => format!("(no entry) {fingerprint}"),
    };
    let mut bounds: BTreeMap<String, (BTreeSet<&str>, u64)> = BTreeMap::new();
    for program in KeptSchedules::kept().unwrap().programs {
        for fingerprint in &program.seen {
            bounds.entry(entry(fingerprint)).or_default().0.insert(program.workload.family.name());
        }
    }
    for path in std::fs::read_dir("corpus/cases/stepped").unwrap() {
        let case = SteppedFile::load(&path.unwrap().path()).unwrap().case;
        bounds.entry(entry(&case.fingerprint)).or_default().0.insert(case.workload.family.name());
    }
    for path in std::env::args().skip(1) {
        let Content::Searches(document) = Saved::load(Path::new(&path), &known).unwrap().content else { continue };
        for search in document.searches.iter().filter(|search| search.ended == SearchEnd::Everything) {
            let family = Family::ALL.into_iter().find(|family| family.name() == search.family).unwrap();
            let mut failed: BTreeMap<String, u64> = BTreeMap::new();
            for failure in &search.failures {
                *failed.entry(entry(&failure.fingerprint.parse().unwrap())).or_default() += failure.schedules;
            }
            for (id, failed) in failed {
                let (families, most) = bounds.entry(id).or_default();
                families.insert(family.name());
                *most = (2000 * failed).div_ceil(search.schedules).max(*most);
            }
        }
    }
    for (id, (mut families, most)) in bounds {
        let entry = known.iter().find(|known| known.id == id);
        let moves_inside = |entry: &&KnownFailure| entry.fingerprint.as_str().parse::<SteppedFingerprint>().is_err();
        if entry.filter(moves_inside).is_some() {
            let stepped = Family::ALL.into_iter().filter(|family| family.spec().threads == FamilyThreads::Main);
            families.extend(stepped.map(Family::name));
        } else if with_yields().any(|family| families.contains(family)) {
            families.extend(with_yields());
        }
        println!("{id}\nfamilies = {families:?}\nmost = {}", most.max(FEWEST));
    }
}
