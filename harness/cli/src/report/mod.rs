//! Events and the reports that consume them.
//!
//! A run is a stream of [`Event`](model::run::event::Event)s. [`Summary`](model::run::summary::Summary) folds them, without clock or terminal, into tallies,
//! distinct violations and a [`Judgement`](model::run::verdict::Judgement). [`progress`] shows how far the run is, and [`stream`] records the
//! events. The result of a run is a [`Document`](model::run::document::Document); [`human`], [`junit`], [`github`], [`markdown`] and [`html`]
//! render it and other documents that were [`saved`]. Each explanation has one source: [`group`](model::run::group) finds the probable
//! cause of violations, [`words`](model::run::words) says what broke, and [`conclusion`] says what the verdict means.

mod changes;
pub mod compare;
pub mod conclusion;
pub mod explain;
pub mod github;
pub mod history;
pub mod html;
pub mod human;
#[cfg(target_arch = "x86_64")]
pub mod issue;
pub mod json;
pub mod junit;
pub mod markdown;
pub mod mutants;
pub mod next_step;
pub mod night;
pub mod output;
pub mod progress;
mod python;
pub mod reproducer;
pub mod saved;
pub mod searched;
pub mod searches;
pub mod shell;
pub mod stream;
mod table;
pub mod text;
pub mod unittest_file;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod render_tests;
