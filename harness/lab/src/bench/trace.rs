//! What CPython's walkers ask of a target's memory: their driver is traced, in a process of its own, and never while
//! something is measured.

use framewalk::sample::WalkerKind;
#[cfg(target_arch = "x86_64")]
pub(super) use lanes::stepped::accesses::{Asked, Listener};
use process::build::Row;

use crate::bench::Failure;
use crate::bench::claim::Claim;
use crate::bench::meter::Accesses;
use crate::bench::stand::{PATIENCE, Stand};

/// The traced drivers of a build, each started when it is first needed.
#[derive(Default)]
pub(super) struct Tracers {
    #[cfg(target_arch = "x86_64")]
    started: Vec<(WalkerKind, Listener)>,
    /// Why nothing is traced any more.
    pub(super) trouble: Option<String>,
}

impl Tracers {
    /// What a sample of `kind` asks of the target once its caches are full; `step` comes before each sample. None if it
    /// cannot be traced, or if the samples are not what is claimed: what they ask is then of no interest.
    pub(super) fn accesses(
        &mut self,
        row: &Row,
        kind: WalkerKind,
        stand: &mut Stand,
        claim: Claim,
        step: &mut dyn FnMut(&mut Stand) -> Result<(), Failure>,
    ) -> Option<Accesses> {
        if self.trouble.is_some() {
            return None;
        }
        match self.traced(row, kind, stand, claim, step) {
            Ok(accesses) => accesses,
            Err(error) => {
                // Not being allowed to trace is no reason not to measure.
                self.trouble = Some(error.to_string());
                None
            }
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn traced(
        &mut self,
        _: &Row,
        _: WalkerKind,
        _: &mut Stand,
        _: Claim,
        _: &mut dyn FnMut(&mut Stand) -> Result<(), Failure>,
    ) -> Result<Option<Accesses>, Failure> {
        Err("tracing needs a machine of x86-64".into())
    }

    #[cfg(target_arch = "x86_64")]
    fn traced(
        &mut self,
        row: &Row,
        kind: WalkerKind,
        stand: &mut Stand,
        claim: Claim,
        step: &mut dyn FnMut(&mut Stand) -> Result<(), Failure>,
    ) -> Result<Option<Accesses>, Failure> {
        let index = match self.started.iter().position(|(started, _)| *started == kind) {
            Some(index) => index,
            None => {
                self.started.push((kind, Listener::start(&row.build.python, kind, PATIENCE)?));
                self.started.len() - 1
            }
        };
        let Some((_, listener)) = self.started.get_mut(index) else { return Ok(None) };
        let pid = stand.target.pid();
        listener.open(pid)?;
        listener.sample(pid)?;
        step(stand)?;
        listener.sample(pid)?;
        step(stand)?;
        let (sample, asked) = listener.sample(pid)?;
        if !claim.is_seen_by(&sample) {
            return Ok(None);
        }
        let mut accesses = Accesses::default();
        for one in asked {
            match one {
                Asked::Read(parts) => accesses.read(parts),
                Asked::Write(_) => accesses.wrote(),
            }
        }
        Ok(Some(accesses))
    }
}
