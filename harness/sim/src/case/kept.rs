//! The schedules that `check` runs in its stepped lane. They are stored as data, together with the behaviour of
//! released builds on them.
//!
//! Released interpreters fail many schedules. So `corpus/schedules.json`, written by `examples/keep_schedules.rs`, has
//! two parts:
//! - Schedules on which *every* tried build returned only stacks that its thread had. They were chosen by seed. A build
//!   that fails one of them does something that no released build did.
//! - Every failure, with its shape, that these builds have in *all* schedules within the bounds of [`DRAWN`]. So a
//!   schedule drawn from these bounds cannot show anything on them that is not in the list, whatever the seed.
//!
//! For all these schedules it also has the highest cost of a sample in accesses to its target's memory.

use std::collections::{BTreeMap, BTreeSet};

use model::schedule::cast::ProfilerScript;
use model::schedule::cost::Costs;
use model::schedule::fingerprint::SteppedFingerprint;
use model::schedule::trace::Trace;
use model::schedule::{AccessKind, BadSchedule, Schedule};
use model::workload::Family;
use serde::{Deserialize, Serialize};

use super::stepped::{SteppedCase, WorkloadIdentity};

/// The file as it was at compile time.
const KEPT: &str = include_str!("../../corpus/schedules.json");

/// The `format` field of the file.
pub const FORMAT: &str = "framediff-schedules";
/// The format version that is read and written.
pub const VERSION: u64 = 2;

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptSchedules {
    /// Always [`FORMAT`], by which the file is recognised.
    pub format: String,
    /// The version of the format, [`VERSION`].
    pub version: u64,
    /// The builds that were tried.
    pub builds: Vec<String>,
    /// The programs with their schedules.
    pub programs: Vec<KeptProgram>,
}

/// A program with its schedules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptProgram {
    /// Identity of the program.
    pub workload: WorkloadIdentity,
    /// Number of steps in each of its rounds while the anchor is NULL. A different number means that another
    /// interpreter or run mode pushes and pops other frames (`-X perf` has a shim frame at each call). Nothing in this
    /// file then applies.
    pub steps: usize,
    /// Every failure of these builds on the program within the bounds of [`DRAWN`].
    pub seen: BTreeSet<SteppedFingerprint>,
    /// The highest costs of samples of these builds on the program, within the bounds of [`DRAWN`] and on its
    /// schedules.
    pub costs: Costs,
    /// Its schedules, by cast.
    pub sets: Vec<KeptSet>,
}

/// The schedules of one cast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptSet {
    /// Which actor takes each sample.
    pub cast: ProfilerScript,
    /// How many samples the walkers take.
    pub samples: u32,
    /// The schedules, by the accesses that led up to their last move.
    pub schedules: BTreeMap<Trace, Schedules>,
}

/// Several schedules. Their text form is separated by spaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Schedules(pub Vec<Schedule>);

impl TryFrom<String> for Schedules {
    type Error = BadSchedule;

    fn try_from(text: String) -> Result<Self, BadSchedule> {
        text.split_whitespace().map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl From<Schedules> for String {
    fn from(schedules: Schedules) -> Self {
        schedules.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }
}

/// Where the target moves inside a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moving {
    /// Nowhere: it moves only between samples.
    AtRest,
    /// Before accesses of these kinds.
    Before(&'static [AccessKind]),
    /// Before any access of the walker.
    Everywhere,
}

/// Limits for drawn schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// The cast in text form.
    pub cast: &'static str,
    /// Where the target moves inside a sample.
    pub moving: Moving,
    /// How many samples the walkers take.
    pub samples: u32,
    /// Most moves of the target.
    pub moves: u32,
    /// Most steps of one move.
    pub steps: u32,
}

/// The bounds from which schedules are drawn, in turn. All schedules within them were run on the builds in the list.
/// Changing a bound requires a new list.
pub const DRAWN: [Drawn; 3] = [
    Drawn { cast: "a", moving: Moving::Everywhere, samples: 2, moves: 2, steps: 8 },
    Drawn { cast: "a+b", moving: Moving::AtRest, samples: 4, moves: 3, steps: 8 },
    Drawn { cast: "a+make-b.b+a", moving: Moving::AtRest, samples: 3, moves: 3, steps: 8 },
];

impl Drawn {
    /// Which actor takes each sample.
    #[must_use]
    pub fn cast(&self) -> ProfilerScript {
        self.cast.parse().unwrap_or_default()
    }

    /// The accesses before which the target stands still.
    #[must_use]
    pub fn still(&self) -> BTreeSet<AccessKind> {
        let moves = |kind: &AccessKind| match self.moving {
            Moving::AtRest => false,
            Moving::Before(kinds) => kinds.contains(kind),
            Moving::Everywhere => true,
        };
        AccessKind::ALL.into_iter().filter(|kind| !moves(kind)).collect()
    }
}

impl KeptSchedules {
    /// Parses the content of the file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let kept: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if kept.format == FORMAT && kept.version == VERSION {
            Ok(kept)
        } else {
            Err(format!("this is not a list of schedules of version {VERSION}"))
        }
    }

    /// The schedules in the repository.
    ///
    /// # Errors
    /// As [`KeptSchedules::parse`]. A test ensures that the file can be parsed.
    pub fn kept() -> Result<Self, String> {
        Self::parse(KEPT)
    }

    /// Whether a case has a kept schedule, which no released build fails. It must have the moves of the kept schedule
    /// up to the sample that failed.
    #[must_use]
    pub fn promises(&self, case: &SteppedCase) -> bool {
        let is_of = |kept: KeptSchedule<'_>| {
            let until = kept.schedule.moves.iter().filter(|one| one.at.sample < case.samples);
            *kept.cast == case.cast && kept.samples >= case.samples && until.eq(case.schedule.moves.iter())
        };
        let program = self.programs.iter().find(|program| program.workload == case.workload);
        !case.tearing && !case.loads && program.is_some_and(|program| program.schedules().any(is_of))
    }

    /// The kept program of a family.
    #[must_use]
    pub fn program(&self, family: Family) -> Option<&KeptProgram> {
        self.programs.iter().find(|program| program.workload.family == family)
    }
}

/// A kept schedule with everything needed to run and judge it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSchedule<'a> {
    /// Which actor takes each sample.
    pub cast: &'a ProfilerScript,
    /// How many samples the walkers take.
    pub samples: u32,
    /// The accesses up to the last move, as recorded on the tried builds.
    pub trace: &'a Trace,
    /// Where the target moves.
    pub schedule: &'a Schedule,
}

/// The accesses before which the target stands still while a kept schedule runs. If the schedule moves only between
/// samples, the target stands still before all accesses, so the schedule stays the same for any order of reads.
#[must_use]
pub fn still(schedule: &Schedule) -> BTreeSet<AccessKind> {
    if schedule.moves_inside_samples() { BTreeSet::new() } else { AccessKind::ALL.into() }
}

impl KeptProgram {
    /// All schedules of the program.
    pub fn schedules(&self) -> impl Iterator<Item = KeptSchedule<'_>> {
        self.sets.iter().flat_map(|KeptSet { cast, samples, schedules }| {
            schedules.iter().flat_map(move |(trace, all)| {
                all.0.iter().map(move |schedule| KeptSchedule { cast, samples: *samples, trace, schedule })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use framewalk::sample::WalkerKind;
    use model::run::configuration::Configuration;
    use model::run::known::KnownFailures;
    use model::schedule::cost::Counted;
    use model::schedule::fingerprint::CacheAnswer;

    use super::*;
    use crate::case::stepped::BuildIdentity;

    #[test]
    fn the_kept_list_is_readable_and_its_programs_can_be_made() {
        let kept = KeptSchedules::kept().unwrap();
        assert!(kept.builds.len() >= 4, "{:?}", kept.builds);
        for program in &kept.programs {
            program.workload.generate().unwrap();
            assert_eq!(kept.program(program.workload.family), Some(program), "one program for each family");
            let casts: BTreeSet<&ProfilerScript> = program.sets.iter().map(|set| &set.cast).collect();
            assert!(casts.len() > 1 && casts.contains(&ProfilerScript::default()), "{casts:?}");
        }
        let known = KnownFailures::kept().unwrap();
        for KeptProgram { workload, seen, costs, .. } in &kept.programs {
            assert!(!seen.is_empty());
            // A drawn schedule can show this failure, so it must be excused.
            for fingerprint in seen {
                assert!(
                    known.find_stepped(fingerprint, "3.15.2", workload.family).is_some(),
                    "{workload:?} {fingerprint}"
                );
            }
            for answer in [CacheAnswer::FullHit, CacheAnswer::PartialHit, CacheAnswer::Miss] {
                assert!(costs.later.contains_key(&answer), "{workload:?} {answer:?}");
            }
            assert_eq!(costs.later[&CacheAnswer::FullHit][&Counted::ChunkReads], 0, "{workload:?}");
        }
        let other = KEPT.replacen("\"version\": 2", "\"version\": 1", 1);
        assert!(KeptSchedules::parse(&other).is_err());
    }

    #[test]
    fn a_failure_of_a_kept_schedule_is_recognised_by_its_moves() {
        let kept = KeptSchedules::kept().unwrap();
        let program = kept.programs.first().unwrap();
        let two =
            |one: &KeptSchedule<'_>| one.samples > 1 && one.schedule.moves.last().is_some_and(|one| one.at.sample > 0);
        let one = program.schedules().find(two).unwrap();
        let mut case = SteppedCase {
            build: BuildIdentity { version: "3.15.2".into(), debug: false, jit: false },
            workload: program.workload.clone(),
            walker: WalkerKind::CpythonCached,
            weakenings: BTreeSet::new(),
            configuration: Configuration::default(),
            cast: one.cast.clone(),
            samples: one.samples,
            tearing: false,
            loads: false,
            schedule: one.schedule.clone(),
            fingerprint: program.seen.first().unwrap().clone(),
        };
        assert!(kept.promises(&case));
        // The failure came before the schedule's last moves.
        case.samples = 1;
        case.schedule.moves.retain(|one| one.at.sample == 0);
        assert!(kept.promises(&case));
        case.schedule = "0.0:77".parse().unwrap();
        assert!(!kept.promises(&case));
    }

    #[test]
    fn all_bounds_have_a_cast() {
        for drawn in DRAWN {
            assert_eq!(drawn.cast.parse::<ProfilerScript>(), Ok(drawn.cast()));
        }
    }
}
