//! Events and the reports that consume them.
//!
//! A run is a stream of [`event::Event`]s. [`summary::Summary`] folds them, without clock or terminal, into tallies,
//! distinct violations and a [`verdict::Judgement`].

pub mod cell;
pub mod event;
pub mod finding;
pub mod known;
pub mod summary;
pub mod tally;
pub mod verdict;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod summary_tests;
