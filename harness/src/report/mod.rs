//! Events and the reports that consume them.
//!
//! A run is a stream of [`event::Event`]s. [`summary::Summary`] folds them, without clock or terminal, into tallies,
//! distinct violations and a [`verdict::Judgement`]; [`human`] and [`json`] print that, and [`progress`] shows the way
//! there.

pub mod cell;
pub mod columns;
pub mod compare;
pub mod event;
pub mod explain;
pub mod finding;
pub mod human;
pub mod json;
pub mod known;
pub mod line;
pub mod load;
pub mod merge;
pub mod part;
pub mod progress;
mod python;
pub mod reproducer;
pub mod summary;
mod table;
pub mod tally;
pub mod text;
pub mod unittest_file;
pub mod verdict;

#[cfg(test)]
mod compare_tests;
#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod render_tests;
#[cfg(test)]
mod summary_tests;
