//! What judges samples.

pub mod attribution;
pub mod differential;
pub mod protocol;
pub mod statistics;
