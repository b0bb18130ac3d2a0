//! The uses of the stepped lane's rig: searching schedules, and replaying, shrinking and explaining cases.
//!
//! [`search`] runs the schedules of a scheduler on one rig, [`parallel`] on several. [`failures`] keeps the simplest
//! schedule of each kind of failure. [`replay`] and [`shrink`] start from a [`SteppedCase`](sim::case::stepped).

pub mod against_base;
pub mod canonical;
pub mod failures;
pub mod gates;
pub mod parallel;
pub mod place;
pub mod replay;
pub mod scope;
pub mod search;
pub mod shrink;
