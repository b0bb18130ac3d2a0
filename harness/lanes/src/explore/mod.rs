//! What is done with the stepped lane's rig: searching schedules, replaying, shrinking and explaining cases.
//!
//! [`search`] runs what a scheduler says on one rig, [`parallel`] on several; [`failures`] keeps what was found, each kind by
//! its simplest schedule. [`replay`] and [`shrink`] start from a [`SteppedCase`](sim::case::stepped).

pub mod canonical;
pub mod failures;
pub mod gates;
pub mod parallel;
pub mod place;
pub mod replay;
pub mod scope;
pub mod search;
pub mod shrink;
