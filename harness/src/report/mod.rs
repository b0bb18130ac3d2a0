//! Events and the reports that consume them.
//!
//! A run is a stream of [`event::Event`]s. [`summary::Summary`] folds them, without clock or terminal, into tallies,
//! distinct violations and a [`verdict::Judgement`]; [`human`] and [`json`] print that, and [`progress`] shows the way
//! there.

pub mod cell;
pub mod columns;
pub mod event;
pub mod explain;
pub mod finding;
pub mod human;
pub mod json;
pub mod junit;
pub mod known;
pub mod line;
pub mod output;
pub mod progress;
pub mod reproducer;
pub mod stream;
pub mod summary;
mod table;
pub mod tally;
pub mod text;
pub mod verdict;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod render_tests;
#[cfg(test)]
mod summary_tests;
