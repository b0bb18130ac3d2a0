//! Shows the progress of a run on a terminal. Prints nothing into a pipe.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Duration;

use framewalk::printable::clean;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use model::run::cell::CellId;
use model::run::event::{Consumer, Event};
use model::run::finding::Fingerprint;
use model::run::known::KnownFailures;
use model::run::verdict::Verdict;

use crate::report::text::{plural, short};

/// How often the bar is redrawn while no event arrives.
const REDRAW: Duration = Duration::from_millis(250);
const TEMPLATE: &str = "{spent} [{bar:20}] {wide_msg}";
const ITEMS: &str = "{elapsed} [{bar:20}] {pos}/{len} {wide_msg}";

/// A progress bar on standard error: time spent of the budget, samples, kinds of failure, and the cells that run now.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    state: State,
}

/// What the bar shows. One bug is seen many times, so kinds of failure are counted instead of failures. Known kinds
/// are counted separately.
#[derive(Debug, Default)]
struct State {
    known: KnownFailures,
    planned: usize,
    finished: usize,
    samples: u64,
    new_kinds: BTreeSet<Fingerprint>,
    known_kinds: BTreeSet<Fingerprint>,
    running: BTreeSet<CellId>,
    /// What a run that judges items does now.
    working: Option<String>,
    items_failed: usize,
}

impl Progress {
    /// A bar if standard error is a terminal, nothing otherwise.
    #[must_use]
    pub fn on_stderr(known: KnownFailures) -> Self {
        let bar =
            std::io::stderr().is_terminal().then(|| ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()));
        Self { bar, state: State { known, ..State::default() } }
    }

    /// Runs `print` while the bar is not drawn, so that its output does not mix with the bar.
    pub fn suspend<R>(&self, print: impl FnOnce() -> R) -> R {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    fn start_items(&self) {
        let Some(bar) = &self.bar else { return };
        let style = ProgressStyle::with_template(ITEMS).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        bar.reset_elapsed();
        bar.enable_steady_tick(REDRAW);
    }

    fn start(&self, budget: Duration) {
        let Some(bar) = &self.bar else { return };
        let spent = move |state: &ProgressState, out: &mut dyn Write| {
            let _ = write!(out, "{}s/{}s", state.elapsed().as_secs(), budget.as_secs_f64());
        };
        // The template is a constant: a mistake in it must show as a plain bar and not abort the run.
        let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> ").with_key("spent", spent));
        bar.set_length(milliseconds(budget));
        bar.reset_elapsed();
        bar.enable_steady_tick(REDRAW);
    }
}

impl Consumer for Progress {
    fn event(&mut self, event: &Event) {
        match event {
            Event::RunStarted { budget, .. } => self.start(*budget),
            Event::ItemsStarted { .. } => self.start_items(),
            _ => {}
        }
        self.state.event(event);
        let Some(bar) = &self.bar else { return };
        match event {
            Event::RunFinished { .. } => bar.finish_and_clear(),
            Event::Working { done, of, .. } => {
                bar.set_length(*of);
                bar.set_position(*done);
                bar.set_message(self.state.message());
            }
            Event::ItemsStarted { .. } | Event::ItemFinished(_) => bar.set_message(self.state.message()),
            _ => {
                bar.set_position(milliseconds(bar.elapsed()));
                bar.set_message(self.state.message());
            }
        }
    }
}

impl Drop for Progress {
    /// Removes the bar when a run ends early.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl State {
    fn event(&mut self, event: &Event) {
        match event {
            Event::RunStarted { plan, .. } => self.planned = plan.len(),
            Event::CellStarted { cell } => {
                self.running.insert(cell.clone());
            }
            Event::Samples { tally, .. } => self.samples += tally.samples,
            Event::Violation(finding) => {
                let is_known = self.known.find(finding).is_some();
                let kinds = if is_known { &mut self.known_kinds } else { &mut self.new_kinds };
                kinds.insert(finding.fingerprint());
            }
            Event::CellFinished { cell, .. } => {
                self.running.remove(cell);
                self.finished += 1;
            }
            Event::ItemFinished(item) => self.items_failed += usize::from(item.verdict == Verdict::Fail),
            Event::ItemsStarted { verb } => self.working = Some(verb.clone()),
            Event::Working { doing, .. } => self.working = Some(doing.clone()),
            Event::Spent { .. }
            | Event::Schedules { .. }
            | Event::Profile { .. }
            | Event::Unconfirmed { .. }
            | Event::RunFinished { .. } => {}
        }
    }

    fn message(&self) -> String {
        if let Some(working) = &self.working {
            let failed = if self.items_failed > 0 { format!(", {} failed", self.items_failed) } else { String::new() };
            return format!("{}{failed}", clean(working));
        }
        let new = plural(self.new_kinds.len(), "new kind");
        let mut message =
            format!("{}/{} cells, {} samples, {new} of failure", self.finished, self.planned, short(self.samples));
        if !self.known_kinds.is_empty() {
            let _ = write!(message, ", {} known", self.known_kinds.len());
        }
        let mut running = self.running.iter();
        if let Some(cell) = running.next() {
            let _ = write!(message, "; {}, {}, {}", clean(&cell.row), cell.lane, clean(&cell.family));
        }
        match running.count() {
            0 => {}
            more => {
                let _ = write!(message, " and {more} more");
            }
        }
        message
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use model::lane::Lane;
    use model::run::cell::CellOutcome;
    use model::run::fixtures::{cache_worse, cell, finding, run, runs, started};

    use super::*;

    #[test]
    fn the_message_follows_the_events() {
        let cells = [Lane::Stopped, Lane::Live].map(cell);
        let mut state = State { known: KnownFailures::kept().unwrap(), ..State::default() };
        state.event(&started(&cells));
        assert_eq!(state.message(), "0/2 cells, 0 samples, 0 new kinds of failure");
        for cell in &cells {
            state.event(&Event::CellStarted { cell: cell.clone() });
        }
        for finding in [finding(), finding(), cache_worse("stale-full-hit")] {
            state.event(&Event::Violation(Box::new(finding)));
        }
        state.event(&runs(&cells[0])[1]);
        assert_eq!(
            state.message(),
            "0/2 cells, 20k samples, 1 new kind of failure, 1 known; 3.15.2 release JIT, stopped, alternating and 1 more"
        );
        for cell in &cells {
            state.event(&Event::CellFinished { cell: cell.clone(), outcome: CellOutcome::Ran });
        }
        assert_eq!(state.message(), "2/2 cells, 20k samples, 1 new kind of failure, 1 known");
    }

    #[test]
    fn the_bar_is_gone_when_the_run_is_over() {
        let bar = ProgressBar::hidden();
        let mut progress = Progress { bar: Some(bar.clone()), state: State::default() };
        for event in run(vec![]) {
            progress.event(&event);
        }
        assert!(bar.is_finished());
        assert_eq!(bar.length(), Some(60_000));
    }

    #[test]
    fn the_template_is_well_formed() {
        assert!([TEMPLATE, ITEMS].into_iter().all(|template| ProgressStyle::with_template(template).is_ok()));
    }
}
