//! Records which accesses CPython's walkers make. Their driver is traced in a separate process, never during a
//! measurement.

use framewalk::sample::WalkerKind;
#[cfg(target_arch = "x86_64")]
pub(super) use lanes::stepped::accesses::{Asked, Listener};
use process::build::BuildVariant;

use crate::bench::Failure;
use crate::bench::claim::Claim;
use crate::bench::meter::Accesses;
use crate::bench::stand::{GatedTarget, PATIENCE};

/// The traced drivers of a build. Each is started when it is first needed.
#[derive(Default)]
pub(super) struct Tracers {
    #[cfg(target_arch = "x86_64")]
    started: Vec<(WalkerKind, Listener)>,
    /// If tracing has failed, the reason; then nothing more is traced.
    pub(super) trouble: Option<String>,
}

impl Tracers {
    /// The accesses of one sample by `kind` after its caches are filled. Calls `step` between samples. Returns `None`
    /// if tracing fails or if the sample does not match `claim`.
    pub(super) fn accesses(
        &mut self,
        row: &BuildVariant,
        kind: WalkerKind,
        stand: &mut GatedTarget,
        claim: Claim,
        step: &mut dyn FnMut(&mut GatedTarget) -> Result<(), Failure>,
    ) -> Option<Accesses> {
        if self.trouble.is_some() {
            return None;
        }
        match self.traced(row, kind, stand, claim, step) {
            Ok(accesses) => accesses,
            Err(error) => {
                // Measurements go on without permission to trace.
                self.trouble = Some(error.to_string());
                None
            }
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn traced(
        &mut self,
        _: &BuildVariant,
        _: WalkerKind,
        _: &mut GatedTarget,
        _: Claim,
        _: &mut dyn FnMut(&mut GatedTarget) -> Result<(), Failure>,
    ) -> Result<Option<Accesses>, Failure> {
        Err("tracing needs an x86-64 machine".into())
    }

    #[cfg(target_arch = "x86_64")]
    fn traced(
        &mut self,
        row: &BuildVariant,
        kind: WalkerKind,
        stand: &mut GatedTarget,
        claim: Claim,
        step: &mut dyn FnMut(&mut GatedTarget) -> Result<(), Failure>,
    ) -> Result<Option<Accesses>, Failure> {
        let index = match self.started.iter().position(|(started, _)| *started == kind) {
            Some(index) => index,
            None => {
                self.started.push((kind, Listener::start(&row.build, kind, PATIENCE)?));
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
