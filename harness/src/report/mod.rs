//! Events and the reports that consume them.
//!
//! A run is a stream of [`event::Event`]s. [`summary::Summary`] folds them, without clock or terminal, into tallies,
//! distinct violations and a [`verdict::Judgement`]; [`progress`] shows the way there, and [`stream`] keeps the events. What
//! is known in the end is a [`json::Document`]: [`human`], [`junit`], [`github`], [`markdown`] and [`html`] are made of it, and
//! of other documents that were [`saved`]. What they say in words comes from one place each: [`group`] tells what is probably behind
//! violations, [`words`] what broke, [`conclusion`] what the verdict means.

pub mod bounds;
pub mod cell;
pub mod columns;
pub mod compare;
pub mod conclusion;
pub mod event;
pub mod explain;
pub mod finding;
pub mod github;
pub mod group;
pub mod history;
pub mod html;
pub mod human;
pub mod json;
pub mod junit;
pub mod known;
pub mod line;
pub mod markdown;
pub mod merge;
pub mod output;
pub mod part;
pub mod phases;
pub mod profiles;
pub mod progress;
mod python;
pub mod reproducer;
pub mod saved;
pub mod searches;
pub mod stream;
pub mod summary;
mod table;
pub mod tally;
pub mod text;
pub mod unittest_file;
pub mod verdict;
mod version;
pub mod words;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod render_tests;
#[cfg(test)]
mod summary_tests;
