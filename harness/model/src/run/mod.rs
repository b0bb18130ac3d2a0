//! The words of a run: what is planned, what happened, what is known in the end.
//!
//! A run is a stream of [`event::Event`]s about [`cell`]s. [`summary::Summary`] folds them, without clock or terminal, into
//! tallies, distinct violations and a [`verdict::Judgement`]; a [`document::Document`] holds what is known in the end.

pub mod bounds;
pub mod cell;
pub mod cell_report;
pub mod distinct;
pub mod document;
pub mod event;
pub mod finding;
pub mod group;
pub mod known;
pub mod line;
pub mod merge;
pub mod observed;
pub mod part;
pub mod phases;
pub mod profiles;
pub mod summary;
pub mod verdict;
pub mod version;
pub mod words;

#[cfg(any(test, feature = "fixtures"))]
#[allow(missing_docs, clippy::unwrap_used, reason = "test data: each name says what it is")]
pub mod fixtures;
#[cfg(test)]
mod summary_tests;
