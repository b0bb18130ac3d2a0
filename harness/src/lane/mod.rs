//! How target and walkers are interleaved.

mod agreement;
pub mod attach;
pub mod cell;
mod drivers;
pub mod live;
pub mod recorder;
mod session;
pub mod stopped;

pub use drivers::Drivers;
