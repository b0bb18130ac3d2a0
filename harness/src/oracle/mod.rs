//! What judges samples.

pub mod statistics;
