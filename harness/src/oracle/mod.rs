//! What judges samples.

pub mod attribution;
pub mod differential;
pub mod distribution;
pub mod hits;
pub mod protocol;
pub mod statistics;
