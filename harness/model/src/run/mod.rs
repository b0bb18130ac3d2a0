//! The vocabulary of a run: the plan, the events, and the results.
//!
//! A run is a stream of [`event::Event`]s about [`cell`]s. [`summary::Summary`] folds the events into tallies, distinct
//! violations and a [`verdict::Judgement`]. It uses neither a clock nor a terminal. A [`document::Document`] holds the
//! result.

pub mod baseline;
pub mod bounds;
pub mod cell;
pub mod cell_report;
pub mod change;
pub mod comparison;
pub mod configuration;
pub mod distinct;
pub mod document;
pub mod event;
pub mod excess;
pub mod finding;
pub mod group;
pub mod item;
pub mod known;
pub mod line;
pub mod merge;
pub mod observed;
pub mod part;
pub mod phases;
pub mod profiles;
pub mod results;
pub mod schedules;
pub mod summary;
pub mod verdict;
pub mod version;
pub mod words;

#[cfg(any(test, feature = "fixtures"))]
#[allow(missing_docs, clippy::unwrap_used, reason = "test data: each name says what it is")]
pub mod fixtures;
#[cfg(test)]
mod summary_tests;
