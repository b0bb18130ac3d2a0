//! How target and walkers are interleaved.

pub(crate) mod agreement;
pub mod attach;
pub mod cell;
mod chains;
mod drivers;
mod expected;
mod leaf;
pub mod live;
mod owner;
pub mod record;
pub mod recorder;
mod session;
mod status;
#[cfg(target_arch = "x86_64")]
pub mod stepped;
pub mod stopped;
mod stops;
mod truth;

pub use drivers::Drivers;
