//! What the frame cache gains, and what being sampled costs: ratios with intervals, on real interpreters.
//!
//! All contenders of a point are measured on the same target, in turns, in an order that a seed decides (`turn`); a
//! point is spread over several launches of its target. Every sample must be what the point claims it is (`claim`). The
//! statistics ([`statistics`]), the comparison with an earlier run ([`baseline`]) and the drawing ([`markdown`], [`svg`])
//! are functions of the [`document`] alone.

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
