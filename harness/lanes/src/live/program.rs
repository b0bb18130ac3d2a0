//! The live lane with a user's program: what `attach` does, on a process that is launched for it.
//!
//! The program has no grammar. The reference walker teaches what it can show, and the others are judged by that. There
//! is one launch: a program that ends before the cell does was not compared for long enough.

use model::run::cell::{CellOutcome, Inconclusive};
use model::workload::user_program::UserProgram;
use process::program::Program;
use process::target::{ChildEnd, Ended};

use super::attached::{Process, compare_walkers};
use crate::cell::{Cell, CellError};
use crate::drivers::UnwinderPool;
use crate::recorder::CellRecorder;
use crate::session::Session;
use crate::user_program::advice;

/// Runs the cell to its deadline.
pub(super) fn run(
    cell: &Cell<'_>,
    program: &UserProgram,
    recorder: &mut CellRecorder<'_>,
    drivers: &mut UnwinderPool,
) -> CellOutcome {
    recorder.runs_file(&program.text(), &program.file_name());
    let mut session = match start(cell, program) {
        Ok(session) => session,
        Err(cut) => return cut.into(),
    };
    let outcome = match Program::of(session.target.pid()) {
        Ok(now) => {
            let process = Process { site: session.site, program: &now, can_write: true };
            compare_walkers(cell, recorder, drivers, session.memory.clone(), &process)
        }
        Err(error) => CellError::SetUp(error.to_string()).into(),
    };
    match session.target.ended() {
        Some(ended) => CellOutcome::Inconclusive(inconclusive(&ended, program)),
        None => outcome,
    }
}

fn start(cell: &Cell<'_>, program: &UserProgram) -> Result<Session, CellError> {
    let mut session = Session::launch_program(cell, program, false)?;
    session.target.start(cell.patience())?;
    Ok(session)
}

/// Why a program that ended before its cell proves nothing.
fn inconclusive(ended: &Ended, program: &UserProgram) -> Inconclusive {
    if ended.end == ChildEnd::Exited(0) {
        return Inconclusive::NothingCompared(format!(
            "the program ended by itself ({}) before the samples were taken: have it run for longer, or for ever, as \
             framediff_gate.run does, or give a shorter --budget",
            ended.end
        ));
    }
    Inconclusive::TargetEnded(format!("{ended}{}", advice(ended, program)))
}
