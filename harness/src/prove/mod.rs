pub mod explore;
pub mod found;
pub mod graph;
pub mod search;
pub mod set;
pub mod space;
pub mod trace;
pub mod walk;
