//! A build to mutate: the code that reaches its sites, and all its mutants.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::jit_mode::JitMode;
use model::workload::family::FamilyThreads;
use model::workload::{Family, Mode, Parameters, generate};
use process::build::BuildVariant;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::code::Kind;
use super::coverage::{Coverage, CoverageError, CoveragePlan, Operation, Reached, Run, measure};
use super::fault::{Edit, Fault};
use super::image::BinaryImage;

/// Number of programs of each family that are run to measure coverage.
const PROGRAMS: u64 = 4;
/// Number of gates that each program passes.
const GATES: u32 = 60;
/// Number of stops of each program when it runs without gates.
const STOPS: u32 = 2000;
/// How long each program runs before that, so that the JIT compiles it.
const WARM: Duration = Duration::from_millis(150);

/// A program, given by its family and seed.
pub type Seeded = (Family, u64);

/// The coverage of the sites of one build in one run mode.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// Coverage by program, with the anchor set at gates.
    pub at_gates: BTreeMap<Seeded, Coverage>,
    /// Coverage by program, with the anchor set to every frame that is entered.
    pub always: BTreeMap<Seeded, Coverage>,
}

impl Reach {
    /// Runs programs of each family, starting with `seed`. Families with several threads are left out: only one thread
    /// is watched, and it would wait for the others.
    ///
    /// # Errors
    /// See [`CoverageError`].
    pub fn measure(
        image: &BinaryImage,
        row: &BuildVariant,
        seed: u64,
        folder: &Path,
        patience: Duration,
        interrupted: &AtomicBool,
    ) -> Result<Self, CoverageError> {
        let mut reach = Self::default();
        let seeds = (0..PROGRAMS).map(|index| seed.wrapping_add(index));
        let families = Family::ALL.into_iter().filter(|family| family.spec().threads == FamilyThreads::Main);
        let programs: Vec<Seeded> = seeds.flat_map(|seed| families.clone().map(move |family| (family, seed))).collect();
        let warm = if row.jit == JitMode::On { WARM } else { Duration::ZERO };
        for program @ (family, seed) in programs {
            let parameters = Parameters::draw(family, &mut ChaCha8Rng::seed_from_u64(seed));
            for (mode, run) in
                [(Mode::Gated, Run::Gates { gates: GATES }), (Mode::Free, Run::Free { warm, stops: STOPS })]
            {
                if interrupted.load(Ordering::Relaxed) {
                    return Ok(reach);
                }
                let workload = generate(family, mode, &parameters, seed);
                let plan = CoveragePlan {
                    build: &row.build,
                    jit: row.jit.switch(),
                    source: &workload.source,
                    folder,
                    run,
                    patience,
                };
                let coverage = measure(image, &plan)?;
                if mode == Mode::Gated {
                    reach.at_gates.insert(program, coverage);
                } else {
                    reach.always.insert(program, coverage);
                }
            }
        }
        Ok(reach)
    }

    fn coverages(&self) -> impl Iterator<Item = &Coverage> {
        self.at_gates.values().chain(self.always.values())
    }

    /// How often any of `sites` was reached, in all runs.
    #[must_use]
    pub fn total(&self, sites: &[usize]) -> Reached {
        let mut total = Reached::default();
        for coverage in self.coverages() {
            total.add(reached(coverage, sites));
        }
        total
    }

    /// The operations that reach `site`, with their counts.
    #[must_use]
    pub fn operations(&self, site: usize) -> BTreeMap<Operation, Reached> {
        let mut operations: BTreeMap<Operation, Reached> = BTreeMap::new();
        for coverage in self.coverages() {
            for (&(_, operation), &reached) in coverage.iter().filter(|((of, _), _)| *of == site) {
                operations.entry(operation).or_default().add(reached);
            }
        }
        operations
    }
}

fn reached(coverage: &Coverage, sites: &[usize]) -> Reached {
    let mut total = Reached::default();
    for (_, &reached) in coverage.iter().filter(|((site, _), _)| sites.contains(site)) {
        total.add(reached);
    }
    total
}

/// One mutant of an image.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// The fault that its sites have.
    pub fault: Fault,
    /// The indices of the sites with the fault: all that allow it, or one.
    pub sites: Vec<usize>,
    /// Whether the fault is in all sites that allow it.
    pub everywhere: bool,
    /// The edits, or the reason why the mutant cannot be made.
    pub edits: Result<Vec<Edit>, String>,
}

impl Mutant {
    /// The name in command lines and tables.
    #[must_use]
    pub fn name(&self) -> String {
        match (self.everywhere, self.sites.first()) {
            (false, Some(site)) => format!("{}@{site}", self.fault.name()),
            _ => format!("{}@everywhere", self.fault.name()),
        }
    }
}

/// All mutants of `image`: each fault in all sites that allow it, and in each site alone.
#[must_use]
pub fn mutants(image: &BinaryImage) -> Vec<Mutant> {
    let all: Vec<usize> = (0..image.sites().len()).collect();
    let mut mutants = Vec::new();
    for fault in Fault::ALL {
        let possible: Vec<usize> = all.iter().copied().filter(|&site| image.edits(fault, &[site]).is_ok()).collect();
        let edits = if possible.is_empty() {
            Err("no update site allows this fault".into())
        } else {
            image.edits(fault, &possible)
        };
        mutants.push(Mutant { fault, sites: possible, everywhere: true, edits });
    }
    for fault in Fault::ALL {
        for &site in &all {
            let edits = image.edits(fault, &[site]);
            mutants.push(Mutant { fault, sites: vec![site], everywhere: false, edits });
        }
    }
    mutants
}

/// Whether a mutant can have an effect in a run mode. Code that the JIT copies has one only if the JIT is on.
#[must_use]
pub fn shows(image: &BinaryImage, mutant: &Mutant, jit: JitMode) -> bool {
    let compiled = |&site: &usize| image.sites().get(site).is_some_and(|site| site.kind == Kind::Data);
    jit == JitMode::On || !mutant.sites.iter().all(compiled)
}
