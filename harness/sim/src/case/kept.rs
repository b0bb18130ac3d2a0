//! The schedules that `check` runs in its stepped lane: kept as data, with what released builds were seen to do on them.
//!
//! Released interpreters fail many schedules. So two things are kept (`corpus/schedules.json`, written by
//! `examples/keep_schedules.rs`):
//! - schedules on which *every* build that was tried returned only stacks that were there, chosen by seed, so that a build
//!   that fails one of them does what no released build did;
//! - every failure, with its shape, that these builds have in *all* schedules within the bounds that [`DRAWN`] are drawn from.
//!   A drawn schedule can therefore show nothing on them that is not in the list, whatever the seed.
//!
//! And, of all these schedules, the most that a sample asked of its target's memory.

use std::collections::{BTreeMap, BTreeSet};

use model::schedule::cast::Cast;
use model::schedule::cost::Costs;
use model::schedule::fingerprint::SteppedFingerprint;
use model::schedule::trace::Trace;
use model::schedule::{AccessKind, BadSchedule, Schedule};
use model::workload::Family;
use serde::{Deserialize, Serialize};

use super::stepped::{SteppedCase, WorkloadIdentity};

/// The file, as it was when this program was compiled.
const KEPT: &str = include_str!("../../../../corpus/schedules.json");

/// What the file says of itself.
pub const FORMAT: &str = "framediff-schedules";
/// The version of the form that is written and read.
pub const VERSION: u64 = 2;

/// Everything that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptSchedules {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u64,
    /// The builds that were tried.
    pub builds: Vec<String>,
    /// The programs with their schedules.
    pub programs: Vec<KeptProgram>,
}

/// A program and the schedules that are kept for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptProgram {
    /// Which program.
    pub workload: WorkloadIdentity,
    /// How many steps each of its rounds has while the anchor is NULL. Where it has others, another interpreter or run mode
    /// enters and leaves other frames (`-X perf` has a shim frame at each call), and nothing that is kept is about that.
    pub steps: usize,
    /// Every failure of these builds on it within the bounds of [`DRAWN`].
    pub seen: BTreeSet<SteppedFingerprint>,
    /// The most that samples of these builds asked for on it: within the bounds of [`DRAWN`], and on its schedules.
    pub costs: Costs,
    /// Its schedules.
    pub sets: Vec<KeptSet>,
}

/// Schedules of one cast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptSet {
    /// Who takes which sample.
    pub cast: Cast,
    /// How many samples are taken.
    pub samples: u32,
    /// The schedules, by the accesses that led up to their last move.
    pub schedules: BTreeMap<Trace, Schedules>,
}

/// Some schedules; their text is theirs, parted by spaces.
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

/// Where the target moves inside of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moving {
    /// Nowhere.
    AtRest,
    /// Before accesses of these kinds.
    Before(&'static [AccessKind]),
    /// Before every access.
    Everywhere,
}

/// Bounds within which schedules are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// The text of the cast.
    pub cast: &'static str,
    /// Where the target moves besides the beginnings of samples.
    pub moving: Moving,
    /// How many samples are taken.
    pub samples: u32,
    /// How often the target moves at most.
    pub moves: u32,
    /// By how many steps at most at a time.
    pub steps: u32,
}

/// What is drawn, in turn. All schedules within these bounds were run on the builds of the list, so changing one of them
/// takes a new list.
pub const DRAWN: [Drawn; 3] = [
    Drawn { cast: "a", moving: Moving::Everywhere, samples: 2, moves: 2, steps: 8 },
    Drawn { cast: "a+b", moving: Moving::AtRest, samples: 4, moves: 3, steps: 8 },
    Drawn { cast: "a+make-b.b+a", moving: Moving::AtRest, samples: 3, moves: 3, steps: 8 },
];

impl Drawn {
    /// Who takes which sample.
    #[must_use]
    pub fn cast(&self) -> Cast {
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
    /// Reads a list.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let kept: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if kept.format == FORMAT && kept.version == VERSION {
            Ok(kept)
        } else {
            Err(format!("this is no list of schedules of version {VERSION}"))
        }
    }

    /// The list that the repository keeps.
    ///
    /// # Errors
    /// As [`KeptSchedules::parse`]; a test keeps it readable.
    pub fn kept() -> Result<Self, String> {
        Self::parse(KEPT)
    }

    /// Whether a case is of a kept schedule, which no released build fails: it has the moves up to the sample that failed.
    #[must_use]
    pub fn promises(&self, case: &SteppedCase) -> bool {
        let is_of = |kept: KeptSchedule<'_>| {
            let until = kept.schedule.moves.iter().filter(|one| one.at.sample < case.samples);
            *kept.cast == case.cast && kept.samples >= case.samples && until.eq(case.schedule.moves.iter())
        };
        let program = self.programs.iter().find(|program| program.workload == case.workload);
        !case.tearing && !case.loads && program.is_some_and(|program| program.schedules().any(is_of))
    }

    /// The program that is kept for a family.
    #[must_use]
    pub fn program(&self, family: Family) -> Option<&KeptProgram> {
        self.programs.iter().find(|program| program.workload.family == family)
    }
}

/// A kept schedule with everything that it takes to run and judge it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSchedule<'a> {
    /// Who takes which sample.
    pub cast: &'a Cast,
    /// How many samples are taken.
    pub samples: u32,
    /// The accesses up to the last move, where it was tried.
    pub trace: &'a Trace,
    /// The moves.
    pub schedule: &'a Schedule,
}

/// The accesses before which the target stands still while a kept schedule runs. Where it moves between samples only, it
/// stands still before all others, so that the schedule is the same one however the walker reads.
#[must_use]
pub fn still(schedule: &Schedule) -> BTreeSet<AccessKind> {
    if schedule.moves_inside_samples() { BTreeSet::new() } else { AccessKind::ALL.into() }
}

impl KeptProgram {
    /// All of its schedules.
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
    use model::run::known::KnownFailures;
    use model::schedule::cost::Counted;
    use model::schedule::fingerprint::Answer;

    use super::*;
    use crate::case::stepped::BuildIdentity;

    #[test]
    fn the_kept_list_is_readable_and_its_programs_can_be_made() {
        let kept = KeptSchedules::kept().unwrap();
        assert!(kept.builds.len() >= 4, "{:?}", kept.builds);
        for program in &kept.programs {
            program.workload.generate().unwrap();
            assert_eq!(kept.program(program.workload.family), Some(program), "one program for each family");
            let casts: BTreeSet<&Cast> = program.sets.iter().map(|set| &set.cast).collect();
            assert!(casts.len() > 1 && casts.contains(&Cast::default()), "{casts:?}");
        }
        let known = KnownFailures::kept().unwrap();
        for KeptProgram { workload, seen, costs, .. } in &kept.programs {
            assert!(!seen.is_empty());
            // What is drawn can show it, so it must be excused.
            for fingerprint in seen {
                assert!(
                    known.find_stepped(fingerprint, "3.15.2", workload.family).is_some(),
                    "{workload:?} {fingerprint}"
                );
            }
            for answer in [Answer::FullHit, Answer::PartialHit, Answer::Miss] {
                assert!(costs.later.contains_key(&answer), "{workload:?} {answer:?}");
            }
            assert_eq!(costs.later[&Answer::FullHit][&Counted::ChunkReads], 0, "{workload:?}");
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
            cast: one.cast.clone(),
            samples: one.samples,
            tearing: false,
            loads: false,
            schedule: one.schedule.clone(),
            fingerprint: program.seen.first().unwrap().clone(),
        };
        assert!(kept.promises(&case));
        // It failed before its last moves.
        case.samples = 1;
        case.schedule.moves.retain(|one| one.at.sample == 0);
        assert!(kept.promises(&case));
        case.schedule = "0.0:77".parse().unwrap();
        assert!(!kept.promises(&case));
    }

    #[test]
    fn all_bounds_have_a_cast() {
        for drawn in DRAWN {
            assert_eq!(drawn.cast.parse::<Cast>(), Ok(drawn.cast()));
        }
    }
}
