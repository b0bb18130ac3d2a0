//! The actors that sample a stepped target, and what happens to them between samples.

use framewalk::sample::{Counters, ThreadSample};
use framewalk::walker::Site;
use model::schedule::cast::{Lifecycle, ProfilerId, ProfilerScript};

use super::RigPlan;
use super::conductor::Conductor;
use super::cpython::Cpython;
use super::error::RigError;
use super::own::Own;
use super::place::RunKey;

enum Sampler {
    Own(Box<Own>),
    Cpython(Box<Cpython>),
}

impl Sampler {
    fn start(plan: &RigPlan, site: Site, place: &RunKey) -> Result<Self, RigError> {
        Ok(match Own::new(plan.walker, site, &plan.weakenings)? {
            Some(own) => Self::Own(Box::new(own)),
            None => Self::Cpython(Box::new(Cpython::start(plan, place, plan.deadline())?)),
        })
    }

    /// Starts over: the sampler has seen nothing yet. Sets all anchors to NULL.
    fn open(&mut self, conductor: &Conductor<'_>) -> Result<(), RigError> {
        match self {
            Self::Own(own) => own.open(conductor),
            Self::Cpython(cpython) => cpython.open(conductor),
        }
    }

    /// Leaves the target alone, as CPython's unwinder does when it is dropped.
    fn close(&mut self, conductor: &Conductor<'_>) -> Result<(), RigError> {
        match self {
            // Our own walker forgets everything when it is opened again, and has nothing to clear when it closes.
            Self::Own(_) => Ok(()),
            Self::Cpython(cpython) => cpython.close(conductor),
        }
    }

    fn sample(&mut self, conductor: &mut Conductor<'_>) -> Result<(ThreadSample, Option<Counters>), RigError> {
        match self {
            Self::Own(own) => Ok((own.sample(conductor)?, None)),
            Self::Cpython(cpython) => cpython.sample(conductor),
        }
    }
}

/// A profiler of the cast, in a process of its own.
struct ProfilerProcess {
    /// `None` after a kill, until the actor is needed again.
    sampler: Option<Sampler>,
    is_open: bool,
    /// Whether it has taken no sample since it was opened.
    is_fresh: bool,
}

/// All actors of a rig.
pub(super) struct Actors {
    plan: RigPlan,
    site: Site,
    seats: Vec<ProfilerProcess>,
}

impl Actors {
    /// Starts as many actors as the plan's cast has.
    pub(super) fn start(plan: &RigPlan, site: Site, place: &RunKey) -> Result<Self, RigError> {
        let seat = |_| {
            Ok(ProfilerProcess { sampler: Some(Sampler::start(plan, site, place)?), is_open: false, is_fresh: true })
        };
        let seats = (0..plan.cast.actors()).map(seat).collect::<Result<_, RigError>>()?;
        Ok(Self { plan: plan.clone(), site, seats })
    }

    /// Another cast takes the samples from the next schedule on. New actors start when they are first needed.
    pub(super) fn recast(&mut self, cast: ProfilerScript) {
        while self.seats.len() < cast.actors() {
            self.seats.push(ProfilerProcess { sampler: None, is_open: false, is_fresh: true });
        }
        self.plan.cast = cast;
    }

    /// Begins a schedule. The actors that exist from the start create their unwinders, in order; the others are closed.
    pub(super) fn begin(&mut self, place: &RunKey, conductor: &Conductor<'_>) -> Result<(), RigError> {
        let at_start = self.plan.cast.at_start();
        for (index, seat) in self.seats.iter_mut().enumerate() {
            let opens = at_start.iter().any(|actor| actor.index() == index);
            // An actor that opens drops its old unwinder by itself.
            if seat.is_open && !opens {
                seat.close(conductor)?;
            }
        }
        for actor in at_start {
            self.open(actor, place, conductor)?;
        }
        Ok(())
    }

    /// Does what happens before the sample with this number. Returns the actor that takes it.
    pub(super) fn turn(
        &mut self,
        sample: u32,
        place: &RunKey,
        conductor: &mut Conductor<'_>,
    ) -> Result<ProfilerId, RigError> {
        let turn = self.plan.cast.turn(sample);
        for one in turn.before {
            match one {
                Lifecycle::Make(actor) => self.open(actor, place, conductor)?,
                Lifecycle::Drop(actor) => self.seat(actor)?.close(conductor)?,
                Lifecycle::Kill(actor) => self.seat(actor)?.kill(),
            }
            conductor.happened(one)?;
        }
        if !self.plan.cast.is_alone() {
            conductor.next_is(turn.by);
        }
        Ok(turn.by)
    }

    /// Whether the next sample of this actor is the first of its unwinder.
    pub(super) fn is_fresh(&mut self, by: ProfilerId) -> Result<bool, RigError> {
        Ok(self.seat(by)?.is_fresh)
    }

    /// Takes one sample while the target moves.
    pub(super) fn sample(
        &mut self,
        by: ProfilerId,
        conductor: &mut Conductor<'_>,
    ) -> Result<(ThreadSample, Option<Counters>), RigError> {
        let seat = self.seat(by)?;
        seat.is_fresh = false;
        match &mut seat.sampler {
            Some(sampler) => sampler.sample(conductor),
            None => Err(RigError::NoActor(by)),
        }
    }

    /// The sampler processes that run now.
    pub(super) fn pids(&self) -> Vec<i32> {
        let pid = |seat: &ProfilerProcess| match &seat.sampler {
            Some(Sampler::Cpython(cpython)) => Some(cpython.pid()),
            _ => None,
        };
        self.seats.iter().filter_map(pid).collect()
    }

    /// Whether CPython's unwinders stop only at their accesses. `None` for our own walkers.
    pub(super) fn is_filtered(&self) -> Option<bool> {
        self.seats.iter().find_map(|seat| match &seat.sampler {
            Some(Sampler::Cpython(cpython)) => Some(cpython.is_filtered()),
            _ => None,
        })
    }

    fn seat(&mut self, actor: ProfilerId) -> Result<&mut ProfilerProcess, RigError> {
        self.seats.get_mut(actor.index()).ok_or(RigError::NoActor(actor))
    }

    fn open(&mut self, actor: ProfilerId, place: &RunKey, conductor: &Conductor<'_>) -> Result<(), RigError> {
        let started = match self.seat(actor)?.sampler.take() {
            Some(sampler) => sampler,
            None => Sampler::start(&self.plan, self.site, place)?,
        };
        let seat = self.seat(actor)?;
        (seat.is_open, seat.is_fresh) = (true, true);
        seat.sampler.insert(started).open(conductor)
    }
}

impl ProfilerProcess {
    fn close(&mut self, conductor: &Conductor<'_>) -> Result<(), RigError> {
        self.is_open = false;
        self.sampler.as_mut().map_or(Ok(()), |sampler| sampler.close(conductor))
    }

    /// The process waits for a request, so it does nothing more before it ends.
    fn kill(&mut self) {
        self.is_open = false;
        self.sampler = None;
    }
}
