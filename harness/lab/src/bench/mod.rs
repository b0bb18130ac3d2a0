//! Measures the gain from the frame cache and the cost of being sampled, as ratios with intervals, on real
//! interpreters.
//!
//! All contenders of a point are measured in turns on the same target, in an order derived from a seed (`turn`). A
//! point uses several launches of its target. Every sample must match the claim of its point (`claim`). The statistics
//! ([`statistics`]), the comparison with an earlier run ([`baseline`]) and the drawings ([`markdown`], [`svg`]) depend
//! only on the [`document`].

pub mod baseline;
mod claim;
mod cost;
pub mod derived;
pub mod document;
#[cfg(any(test, feature = "fixtures"))]
#[allow(missing_docs, reason = "test data: each name says what it is")]
pub mod fixtures;
pub mod machine;
pub mod markdown;
mod meter;
pub mod plan;
pub mod program;
mod rounds;
pub mod run;
mod stand;
pub mod statistics;
pub mod svg;
mod targets;
mod text;
mod trace;
mod turn;
mod walks;

/// Why something was not measured.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
