//! Progress reports of a fetch.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};

/// Receives the steps of a fetch, and can interrupt it.
pub trait FetchProgress {
    /// Begins a step and ends the previous one.
    fn step(&mut self, text: &str);

    /// Reports how many of the step's bytes are done. Not called if the total is unknown.
    fn bytes(&mut self, done: u64, total: u64);

    /// Ends the last step.
    fn finish(&mut self) {}

    /// Whether the user wants to stop. Called often.
    fn interrupted(&self) -> bool {
        false
    }
}

/// Ignores all progress, for callers without a terminal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl FetchProgress for Silent {
    fn step(&mut self, _: &str) {}
    fn bytes(&mut self, _: u64, _: u64) {}
}

/// Reports on stderr: a progress bar on a terminal, otherwise a few plain lines.
#[derive(Debug)]
pub struct Terminal<F> {
    bar: Option<ProgressBar>,
    interrupted: F,
    quarter: u64,
}

impl<F: Fn() -> bool> Terminal<F> {
    /// A reporter. `interrupted` returns whether the user wants to stop.
    pub fn new(interrupted: F) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| ProgressBar::no_length().with_style(spinner()));
        Self { bar, interrupted, quarter: 0 }
    }
}

/// The style for steps of unknown length.
fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// The style for steps of known length.
fn bar() -> ProgressStyle {
    ProgressStyle::with_template("{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Ignores a closed stderr, which is no reason to stop a fetch.
fn line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

impl<F: Fn() -> bool> FetchProgress for Terminal<F> {
    fn step(&mut self, text: &str) {
        self.quarter = 0;
        match &self.bar {
            Some(bar) => {
                bar.set_style(spinner());
                bar.set_message(text.to_owned());
                bar.tick();
            }
            None => line(text),
        }
    }

    fn bytes(&mut self, done: u64, total: u64) {
        match &self.bar {
            Some(bar_) => {
                if bar_.length() != Some(total) {
                    bar_.set_length(total);
                    bar_.set_style(bar());
                }
                bar_.set_position(done);
            }
            None => {
                let quarter = (done * 4).checked_div(total).unwrap_or(0);
                if quarter > self.quarter {
                    self.quarter = quarter;
                    line(&format!("  {} %: {} of {} MB", quarter * 25, done / 1_000_000, total / 1_000_000));
                }
            }
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn interrupted(&self) -> bool {
        (self.interrupted)()
    }
}
