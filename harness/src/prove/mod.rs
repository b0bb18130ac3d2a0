pub mod graph;
pub mod search;
pub mod set;
pub mod trace;
pub mod walk;
