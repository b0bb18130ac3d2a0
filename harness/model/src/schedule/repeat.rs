//! Runs each schedule twice, to check that the schedule determines everything: both runs must be the same.

use std::fmt;

use super::{AccessKind, Point, RanSchedule, Schedule, Scheduler};

/// The first difference between two runs of one schedule. If there is one, the rig is not deterministic: its failures
/// cannot be replayed, and its verdicts are inconclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDifference {
    /// The schedule, as it took place in the first run.
    pub schedule: Schedule,
    /// Where the runs differ.
    pub place: Place,
}

/// Where two runs differ. The first run's value comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The accesses differ, or one run has no further access.
    Access(Option<(Point, AccessKind)>, Option<(Point, AccessKind)>),
    /// The target moved differently at this point, or the access read or wrote different data.
    Content(Point, AccessKind),
    /// The walker returned a different result for this sample, or none.
    Result(usize),
    /// Different moves took place, although nothing else differs.
    Moves,
}

impl fmt::Display for RunDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "two runs of the schedule {} differ: ", self.schedule)?;
        let access = |access: Option<(Point, AccessKind)>| match access {
            Some((at, kind)) => format!("{kind} at {at}"),
            None => "no further access".to_owned(),
        };
        match self.place {
            Place::Access(first, second) => write!(f, "{} in one, {} in the other", access(first), access(second)),
            Place::Content(at, kind) => {
                write!(f, "at {at} the target moved differently, or {kind} read something else")
            }
            Place::Result(sample) => write!(f, "sample {sample} has a different result"),
            Place::Moves => f.write_str("different moves took place"),
        }
    }
}

/// The first difference between two runs.
#[must_use]
pub fn difference(first: &RanSchedule, second: &RanSchedule) -> Option<Place> {
    for index in 0..first.points.len().max(second.points.len()) {
        let (one, other) = (first.points.get(index).copied(), second.points.get(index).copied());
        let Some((at, kind)) = one.filter(|_| one == other) else { return Some(Place::Access(one, other)) };
        if first.contents.get(index) != second.contents.get(index) {
            return Some(Place::Content(at, kind));
        }
    }
    let results = 0..first.results.len().max(second.results.len());
    match results.into_iter().find(|&sample| first.results.get(sample) != second.results.get(sample)) {
        Some(sample) => Some(Place::Result(sample)),
        None => (first.schedule != second.schedule).then_some(Place::Moves),
    }
}

/// Runs each schedule of another scheduler twice. The second run does not count.
#[derive(Clone, Debug)]
pub struct Repeat<S> {
    inner: S,
    first: Option<RanSchedule>,
    difference: Option<RunDifference>,
    compared: u64,
}

impl<S: Scheduler> Repeat<S> {
    /// Repeats every schedule of `inner`.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self { inner, first: None, difference: None, compared: 0 }
    }

    /// The first difference, if any. No schedule runs after it.
    #[must_use]
    pub fn difference(&self) -> Option<&RunDifference> {
        self.difference.as_ref()
    }

    /// How many schedules ran twice. If it is zero, nothing is proved.
    #[must_use]
    pub fn compared(&self) -> u64 {
        self.compared
    }

    /// The scheduler whose schedules are repeated.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.inner
    }
}

impl<S: Scheduler> Scheduler for Repeat<S> {
    fn begin(&mut self) -> bool {
        self.difference.is_none() && (self.first.is_some() || self.inner.begin())
    }

    fn steps(&mut self, at: Point, kind: AccessKind) -> u32 {
        match &self.first {
            None => self.inner.steps(at, kind),
            Some(first) => first.schedule.steps(at),
        }
    }

    fn end(&mut self, ran: &RanSchedule) {
        let Some(first) = self.first.take() else {
            self.inner.end(ran);
            self.first = Some(ran.clone());
            return;
        };
        self.compared += 1;
        let place = difference(&first, ran);
        self.difference = place.map(|place| RunDifference { schedule: first.schedule, place });
    }

    fn is_counted(&self) -> bool {
        self.first.is_none() && self.inner.is_counted()
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::{Random, RandomBounds};
    use super::super::toy::Toy;
    use super::*;

    fn random() -> Random {
        Random::new(9, 30, RandomBounds { moves: 2, steps: 5 })
    }

    #[test]
    fn every_schedule_runs_twice_and_counts_once() {
        let toy = Toy::new(2);
        let mut repeat = Repeat::new(random());
        let counted = toy.run_all(&mut repeat);
        assert_eq!((repeat.compared(), repeat.difference()), (30, None));
        assert_eq!(counted, toy.run_all(&mut random()));
    }

    #[test]
    fn the_first_difference_is_reported() {
        let change = |change: fn(&mut RanSchedule)| {
            let mut repeat = Repeat::new(random());
            let mut runs = 0;
            while repeat.begin() {
                runs += 1;
                if runs == 8 {
                    // The second run of the fourth schedule takes a different path.
                    let mut other = RanSchedule::default();
                    struct Taken<'a>(&'a mut Repeat<Random>, &'a mut RanSchedule);
                    impl Scheduler for Taken<'_> {
                        fn begin(&mut self) -> bool {
                            true
                        }
                        fn steps(&mut self, at: Point, kind: AccessKind) -> u32 {
                            self.0.steps(at, kind)
                        }
                        fn end(&mut self, ran: &RanSchedule) {
                            *self.1 = ran.clone();
                        }
                    }
                    Toy::new(2).run_one(&mut Taken(&mut repeat, &mut other));
                    change(&mut other);
                    repeat.end(&other);
                } else {
                    Toy::new(2).run_one(&mut repeat);
                }
            }
            assert_eq!((runs, repeat.compared()), (8, 4), "nothing runs after a difference");
            repeat.difference().unwrap().to_string()
        };
        for (text, expected) in [
            (
                change(|ran| ran.contents[1] ^= 1),
                "at 0.1 the target moved differently, or read-chunk read something else",
            ),
            (change(|ran| ran.points.truncate(ran.points.len() - 1)), "in one, no further access in the other"),
            (
                change(|ran| ran.points[0].1 = AccessKind::ReadOther),
                "read-thread-state at 0.0 in one, read-other at 0.0",
            ),
            (change(|ran| ran.results[1] += 1), "sample 1 has a different result"),
            (change(|ran| ran.results.truncate(1)), "sample 1 has a different result"),
            (change(|ran| ran.schedule.moves.clear()), "different moves took place"),
        ] {
            assert!(text.starts_with("two runs of the schedule ") && text.contains(expected), "{text}");
        }
    }
}
