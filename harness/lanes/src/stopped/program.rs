//! The stopped lane with a user's program.
//!
//! The program has no grammar. What is judged is whether all walkers see the same while the target is stopped, what the
//! cache's fields contain, and what the program reports about itself at its gates. The program guarantees nothing: it
//! may end, wait, replace itself, or never reach a gate. So each cached walker has a target of its own for each kind of
//! stop, and a program that ends is started again a limited number of times. There is a verdict only if each walker
//! looked often enough while the program ran.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use framewalk::frame::Frame;
use framewalk::sample::{Sample, WalkerKind};
use model::invariants::{Difference, Field, Violation};
use model::oracle::differential::{difference, frames_of_account};
use model::run::cell::{CellOutcome, Inconclusive};
use model::run::finding::Possible;
use model::workload::grammar::is_trampoline;
use model::workload::user_program::{Gates, UserProgram};
use process::deadline::Deadline;
use process::gate::{Gate, GateError};
use process::own_stops::OwnAccount;
use process::target::{ChildEnd as ProcessEnd, Ended};

use super::lane::{FEWEST, Lane};
use crate::cell::{Cell, CellError};
use crate::drivers::UnwinderPool;
use crate::recorder::{CellRecorder, Evidence};
use crate::session::Gone;
use crate::stops::Stops;
use crate::user_program::advice;

/// Each walker has to look this often while the program is in its own file. Otherwise there is no verdict.
const FEWEST_LOOKS: u32 = 20;
/// The most launches of a program that ends, for each walker and kind of stop.
const MOST_LAUNCHES: u32 = 10;
/// A program that reaches no gate within this is only stopped elsewhere.
const GATE_PATIENCE: Duration = Duration::from_secs(5);
/// An interpreter that is finalizing usually ends within this.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// Runs the cell to its deadline.
pub(super) fn run(
    cell: &Cell<'_>,
    program: &UserProgram,
    owners: &[Option<WalkerKind>],
    recorder: &mut CellRecorder<'_>,
    drivers: &mut UnwinderPool,
) -> CellOutcome {
    let mut course = Course {
        cell,
        program,
        looks: owners.iter().map(|&owner| (owner, 0)).collect(),
        gates: program.gates(),
        has_imported: false,
        reached_gate: false,
        no_gate: false,
        end: None,
    };
    let kinds =
        Stops::of_program().iter().filter(|&&stops| stops != Stops::Gates || course.gates == Gates::Stops).count();
    let count = u32::try_from(kinds * owners.len()).unwrap_or(u32::MAX);
    let mut index = 0;
    for &stops in Stops::of_program() {
        for &owner in owners {
            if stops == Stops::Gates && !course.may_have_gates() {
                continue;
            }
            let until = cell.part(index, count);
            index += 1;
            if let Err(cut) = course.pass(stops, owner, until, recorder, drivers) {
                return cut.into();
            }
            if let Some(outcome) = cell.ended_early() {
                return outcome;
            }
        }
    }
    course.outcome()
}

/// What is known about the program so far.
struct Course<'a> {
    cell: &'a Cell<'a>,
    program: &'a UserProgram,
    /// The number of looks, by the owner of the anchors.
    looks: BTreeMap<Option<WalkerKind>, u32>,
    /// What the program's text says about gates.
    gates: Gates,
    /// Whether the program was seen to import a module of gates.
    has_imported: bool,
    reached_gate: bool,
    /// Whether the program failed to reach a gate in time.
    no_gate: bool,
    /// The worst end of a target.
    end: Option<End>,
}

/// Why a target is no longer looked at before its time is over.
#[derive(Clone, Debug)]
enum End {
    /// It is alive, but does not reach a point where it can be stopped.
    NotStopped,
    /// It ended without an error.
    Done(Ended),
    /// It is finalizing, and does not end.
    Finalizing,
    /// It ended with an error.
    Failed(Ended),
    /// It replaced itself by another program.
    Replaced,
    /// Another process traces it, or it asked for that.
    Traced,
}

impl End {
    fn rank(&self) -> u8 {
        match self {
            Self::NotStopped => 0,
            Self::Done(_) => 1,
            Self::Finalizing => 2,
            Self::Failed(_) => 3,
            Self::Replaced => 4,
            Self::Traced => 5,
        }
    }
}

impl Course<'_> {
    /// Whether waiting for gates is worthwhile. A launch may have shown meanwhile that the program imports gates.
    fn may_have_gates(&self) -> bool {
        let has_some = self.gates == Gates::Stops || self.gates == Gates::Unknown && self.has_imported;
        has_some && !self.no_gate
    }

    /// Lets one owner look at one kind of stop until the deadline. Starts a program that ends again.
    fn pass(
        &mut self,
        stops: Stops,
        owner: Option<WalkerKind>,
        until: Instant,
        recorder: &mut CellRecorder<'_>,
        drivers: &mut UnwinderPool,
    ) -> Result<(), CellError> {
        let enough = self.cell.stops.unwrap_or(FEWEST);
        // A program first imports, with a store at every call.
        let mut warms_up = stops != Stops::Gates && stops != Stops::Moments;
        let mut looks = 0;
        for _ in 0..MOST_LAUNCHES {
            let launch = self.launch(stops, owner, until, warms_up, recorder, drivers)?;
            looks += launch.looks;
            *self.looks.entry(owner).or_default() += launch.looks;
            let Some(end) = launch.end else { return Ok(()) };
            let again = matches!(end, End::Done(_)) && (launch.looks > 0 || warms_up);
            if self.end.as_ref().is_none_or(|worst| worst.rank() < end.rank()) {
                self.end = Some(end);
            }
            // A program that ended during the warm-up is looked at from its start.
            warms_up = false;
            if !again || looks >= enough || self.cell.is_over() {
                break;
            }
        }
        Ok(())
    }

    fn launch(
        &mut self,
        stops: Stops,
        owner: Option<WalkerKind>,
        until: Instant,
        warms_up: bool,
        recorder: &mut CellRecorder<'_>,
        drivers: &mut UnwinderPool,
    ) -> Result<Launch, CellError> {
        let mut lane = Lane::new(self.cell, recorder, drivers, stops)?;
        lane.warms_up = warms_up;
        let result = lane.start(recorder).and_then(|()| lane.run(recorder, drivers, owner, 1, until));
        let end = result.as_ref().err().and_then(|cut| lane.end(cut));
        let looks = lane.looks;
        self.has_imported |= lane.session.target.has_gates();
        if stops == Stops::Gates {
            self.reached_gate |= looks > 0;
            self.no_gate |= looks == 0 && matches!(end, Some(End::NotStopped));
        }
        // The target may also end after its last stop.
        let over = end.is_some() || lane.session.target.ended().is_some();
        let closed = lane.close(recorder, drivers);
        match (result, end) {
            // Closing a walker of a process that is gone fails, as expected.
            (Ok(()), _) if over => Ok(Launch { looks, end: None }),
            (Ok(()), _) => closed.map(|()| Launch { looks, end: None }),
            (Err(_), Some(end)) => Ok(Launch { looks, end: Some(end) }),
            (Err(cut), None) => Err(cut),
        }
    }

    fn outcome(self) -> CellOutcome {
        let least = self.looks.values().copied().min().unwrap_or(0);
        let nothing = |why| CellOutcome::Inconclusive(Inconclusive::NothingCompared(why));
        match self.end {
            Some(End::Replaced) => {
                let why = "it replaced itself with another program (execve), which is not walked";
                return CellOutcome::Inconclusive(Inconclusive::TargetEnded(why.to_owned()));
            }
            Some(End::Traced) => {
                return nothing(
                    "the program is traced by another process, or asked to be (PTRACE_TRACEME), so it cannot be stopped \
                     and resumed: give --lane live"
                        .to_owned(),
                );
            }
            Some(End::Failed(ended)) => {
                let why = format!("{ended}{}", advice(&ended, self.program));
                return CellOutcome::Inconclusive(Inconclusive::TargetEnded(why));
            }
            _ if least >= FEWEST_LOOKS => {}
            Some(End::Done(ended)) => {
                return nothing(format!(
                    "the program ended by itself ({}) after {least} stops in its own code, but {FEWEST_LOOKS} are \
                     needed: let it run longer, or forever, like framediff_gate.run",
                    ended.end
                ));
            }
            _ => {
                return nothing(format!(
                    "the program was in its own code at only {least} stops, but {FEWEST_LOOKS} are needed: give a \
                     longer --budget"
                ));
            }
        }
        // The import may be of another module with that name, or be in a string.
        if self.gates == Gates::Stops && self.has_imported && !self.reached_gate {
            return nothing(format!(
                "the program imports the gates, but reached none within {} s: it was only stopped at random moments \
                 and after stores",
                GATE_PATIENCE.as_secs()
            ));
        }
        CellOutcome::Ran
    }
}

/// The result of one launch.
struct Launch {
    looks: u32,
    /// Why the target was over before its time.
    end: Option<End>,
}

impl Lane<'_> {
    /// Lets a user's program run until it stops itself.
    pub(super) fn run_to_own_stop(&mut self) -> Result<Option<Gate>, CellError> {
        let deadline = Deadline::interruptible(GATE_PATIENCE).within(self.cell.limit);
        self.accounts = match self.session.target.next_own_stop(deadline) {
            Ok(accounts) => accounts,
            Err(error @ GateError::Deadline { .. }) => return Err(CellError::NotStopped(error.to_string())),
            Err(error) => return Err(error.into()),
        };
        let of = |account: &OwnAccount| Gate { context: 0, native_thread_id: account.native_thread_id };
        Ok(self.accounts.first().map(of))
    }

    /// Fails if a user's program can no longer be walked.
    pub(super) fn look_for_life(&mut self) -> Result<(), CellError> {
        let is_traced = self.is_traced();
        self.gone = self.vitality.as_ref().and_then(|vitality| vitality.look(&mut self.session, is_traced));
        match self.gone {
            Some(_) => Err(CellError::NotStopped("the launched interpreter no longer exists".to_owned())),
            None => Ok(()),
        }
    }

    /// Fails if a user's program has several threads: a watchpoint stops only one, and the others would go on.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn has_one_thread(&self) -> Result<(), CellError> {
        if self.cell.program.is_none() {
            return Ok(());
        }
        let tasks = fs::read_dir(format!("/proc/{}/task", self.session.target.pid())).map(Iterator::count);
        match tasks {
            Ok(2..) => Err(CellError::NotStopped("the program has several threads".to_owned())),
            _ => Ok(()),
        }
    }

    /// How long an ending target may take.
    fn until_end(&self) -> Deadline {
        Deadline::from(Instant::now() + END_PATIENCE).within(self.cell.limit)
    }

    /// Why the target is over, or why it can no longer be stopped. `None` if something else went wrong.
    fn end(&mut self, cut: &CellError) -> Option<End> {
        #[cfg(target_arch = "x86_64")]
        {
            // The target ends only once it is released.
            self.at_stores = None;
        }
        let ended = match self.gone {
            Some(Gone::Replaced) => return Some(End::Replaced),
            Some(Gone::Traced) => return Some(End::Traced),
            Some(Gone::Finalizing) => match self.session.target.run_to_end(self.until_end()) {
                Some(ended) => Some(ended),
                None => return Some(End::Finalizing),
            },
            // The target may be ending: its memory is gone before the process is.
            None if matches!(cut, CellError::Inconclusive(_)) => self.session.target.run_to_end(self.until_end()),
            None => self.session.target.ended(),
        };
        match ended {
            Some(ended) if ended.end == ProcessEnd::Exited(0) => Some(End::Done(ended)),
            Some(ended) => Some(End::Failed(ended)),
            None => matches!(cut, CellError::NotStopped(_)).then_some(End::NotStopped),
        }
    }

    /// Whether a thread is in the file of the user's program.
    pub(super) fn is_in_program(&self, truth: &Sample) -> bool {
        let Some(program) = self.cell.program else { return false };
        let name = program.file_name();
        let is_own = |frame: &Frame| frame.file.rsplit('/').next() == Some(name.as_str());
        truth.threads.iter().any(|thread| thread.outcome.as_ref().is_ok_and(|stack| stack.iter().any(is_own)))
    }

    /// Compares what the threads of a user's program report about themselves with the walk.
    pub(super) fn judge_accounts(&self, recorder: &mut CellRecorder<'_>, truth: &Sample) {
        for account in &self.accounts {
            let id = u64::from(account.native_thread_id);
            if truth.threads.iter().all(|thread| thread.native_thread_id != id) {
                let ids: Vec<u64> = truth.threads.iter().map(|thread| thread.native_thread_id).collect();
                let (seen, possible) = (format!("{ids:?}"), format!("also {id}, which is at a gate"));
                let violation = Violation::Told { field: Field::Threads, seen, possible };
                recorder.violation(WalkerKind::OwnUncached, violation, Evidence::default());
            }
            let of_thread = truth.threads.iter().filter(|thread| thread.native_thread_id == id);
            let stacks: Vec<Vec<Frame>> = of_thread
                .filter_map(|thread| thread.outcome.as_ref().ok())
                .map(|stack| stack.iter().filter(|frame| !is_trampoline(frame)).cloned().collect())
                .collect();
            // A thread that runs in several interpreters has a state in each, and reports its position in one of them.
            let differences: Option<Vec<_>> = stacks.iter().map(|stack| difference_at_gate(stack, account)).collect();
            let (Some(differences), Some(stack)) = (differences, stacks.first()) else { continue };
            let Some(Wrong { difference, possible }) = differences.into_iter().next() else { continue };
            recorder.difference(WalkerKind::OwnUncached);
            let possible = Some(Possible::Stack(possible));
            let evidence = Evidence { seen: stack, possible, ..Evidence::default() };
            recorder.violation(WalkerKind::OwnUncached, Violation::Account { difference }, evidence);
        }
    }
}

/// A difference between a stack and the program's own account.
struct Wrong {
    difference: Difference,
    possible: Vec<Frame>,
}

/// Compares a stack with the program's own account. The account begins with the caller of the gate; the frame of the
/// gate is the leaf of the stack.
fn difference_at_gate(stack: &[Frame], account: &OwnAccount) -> Option<Wrong> {
    let (gate, callers) = stack.split_at_checked(1).unwrap_or_default();
    let told = frames_of_account(callers, &account.frames);
    let possible = [gate, told.as_slice()].concat();
    difference(stack, &possible).map(|difference| Wrong { difference, possible })
}

#[cfg(test)]
mod tests {
    use framewalk::frame::Location;
    use model::account::AccountFrame;

    use super::*;

    fn frame(function: &str, line: i32) -> Frame {
        Frame {
            function: function.into(),
            file: "/p.py".into(),
            location: Location { line: Some(line), ..Location::default() },
        }
    }

    fn account(frames: &[(&str, i32)]) -> OwnAccount {
        let frame = |&(function, line): &(&str, i32)| AccountFrame {
            function: function.into(),
            file: "/p.py".into(),
            line: Some(line),
            place: None,
        };
        OwnAccount { native_thread_id: 1, frames: frames.iter().map(frame).collect() }
    }

    #[test]
    fn an_account_starts_with_the_caller_of_the_gate() {
        let stack = [frame("gate", 9), frame("f", 2), frame("<module>", 5)];
        let differs = |stack: &[Frame], frames: &[(&str, i32)]| {
            difference_at_gate(stack, &account(frames)).map(|wrong| wrong.difference)
        };
        assert_eq!(differs(&stack, &[("f", 2), ("<module>", 5)]), None);
        assert_eq!(differs(&stack, &[("f", 3), ("<module>", 5)]), Some(Difference::Line { index: 1 }));
        assert_eq!(differs(&stack, &[("<module>", 5)]), Some(Difference::Function { index: 1 }));
        // The frame of the gate itself is missing.
        assert!(differs(stack.get(1..).unwrap(), &[("f", 2), ("<module>", 5)]).is_some());
        assert!(differs(&[], &[("f", 2)]).is_some());
    }
}
