//! Which configuration CPython's unwinders have in a cell.

use model::lane::Lane;
use model::run::configuration::{AskedThreads, Configuration, ProfilingMode, covering_array};
use model::workload::Family;
use model::workload::family::FamilyThreads;

/// The families of the cell that takes a configuration which leaves out threads or does not count. They have
/// exceptions, several threads, and callers in C.
const SELECTED: [Family; 4] = [Family::Exceptions, Family::Threads, Family::Alternating, Family::ThroughC];

/// Families with C between frames of Python. With any seed, one of them takes a configuration of the array.
const NATIVE: [Family; 2] = [Family::Exceptions, Family::ThroughC];

/// The configurations of a run of which the user names none: what `profiling.sampling` uses, and a share of the
/// covering array.
#[derive(Clone, Debug)]
pub(super) struct Shares {
    array: Vec<Configuration>,
}

impl Shares {
    pub(super) fn new() -> Self {
        Self { array: covering_array() }
    }

    /// The configuration of a family's cell with programs of this seed. Every other cell of the stopped lane has one of
    /// the array, without what would keep a walker from being judged there: all threads are listed, and the cache's
    /// answers are counted. It depends on nothing else, so a run of this cell alone has the same one.
    pub(super) fn of(&self, lane: Lane, family: Family, seed: u64) -> Configuration {
        let of_profiler = for_family(Configuration::SAMPLING, family);
        let spec = family.spec();
        let index = Family::ALL.iter().position(|&other| other == family).unwrap_or_default() as u64;
        let number = seed.wrapping_add(index);
        match lane {
            // Its schedules are kept for this one.
            Lane::Stepped => Configuration::default(),
            Lane::Live => of_profiler,
            // With more frames than an entry holds, markers decide which of them it holds.
            Lane::Stopped if number.is_multiple_of(2) || spec.exceeds_limits => of_profiler,
            Lane::Stopped => {
                let mut taken = self.at(number / 2);
                taken.statistics = true;
                taken.gc |= spec.collects;
                taken.native |= NATIVE.contains(&family);
                taken.skip &= !taken.filters();
                if taken.threads == AskedThreads::Active {
                    taken.threads = AskedThreads::All;
                }
                for_family(taken, family)
            }
        }
    }

    /// One more cell of the stopped lane: its family and its configuration, which is one of the array that leaves out
    /// threads or does not count.
    pub(super) fn selective(&self, seed: u64) -> Option<(Family, Configuration)> {
        let selective: Vec<Configuration> = self.array.iter().copied().filter(|it| !it.shows_hits()).collect();
        let configuration = *of_number(&selective, seed)?;
        // Only exceptions can be shown in this mode; which thread is active, every family shows.
        let needs_exceptions =
            configuration.mode == ProfilingMode::Exception && configuration.threads != AskedThreads::Active;
        let family =
            if needs_exceptions { Family::Exceptions } else { *of_number(&SELECTED, seed / selective.len() as u64)? };
        Some((family, configuration))
    }

    fn at(&self, number: u64) -> Configuration {
        of_number(&self.array, number).copied().unwrap_or_default()
    }
}

/// The item with that number; after the last one comes the first again. `None` if there are no items.
fn of_number<T>(items: &[T], number: u64) -> Option<&T> {
    let index = number.checked_rem(items.len() as u64)?;
    items.get(usize::try_from(index).ok()?)
}

/// The configuration with which all threads of a family are judged.
fn for_family(configuration: Configuration, family: Family) -> Configuration {
    let has_others = family.spec().threads != FamilyThreads::Main;
    Configuration { threads: if has_others { AskedThreads::All } else { configuration.threads }, ..configuration }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A run has time for one round, and its seed may be any.
    #[test]
    fn every_seed_has_every_option_that_changes_what_is_read() {
        let shares = Shares::new();
        for seed in 0..64 {
            let of = |family| shares.of(Lane::Stopped, family, seed);
            let cells: Vec<Configuration> = Family::ALL.into_iter().map(of).collect();
            assert!(cells.iter().all(|it| it.shows_hits()), "{seed}");
            assert!(of(Family::Collections).gc && NATIVE.into_iter().any(|family| of(family).native), "{seed}");
            let count = |is: fn(&Configuration) -> bool| cells.iter().filter(|it| is(it)).count();
            for (what, least, is) in [
                ("gc", 8, (|it| it.gc) as fn(&Configuration) -> bool),
                ("native", 2, |it| it.native),
                ("opcodes", 2, |it| it.opcodes),
                ("processor", 1, |it| it.mode.looks_at_processor()),
                ("no-skip", 1, |it| !it.skip),
            ] {
                assert!(count(is) >= least, "{what} in {} cells of seed {seed}", count(is));
            }
        }
    }

    #[test]
    fn what_is_not_shared_out_is_taken_by_one_more_cell() {
        let shares = Shares::new();
        let taken: BTreeSet<Configuration> =
            (0..32).filter_map(|seed| shares.selective(seed)).map(|(_, taken)| taken).collect();
        let selective: BTreeSet<Configuration> = covering_array().into_iter().filter(|it| !it.shows_hits()).collect();
        assert_eq!(taken, selective);
        assert!(selective.len() > 5);
    }
}
