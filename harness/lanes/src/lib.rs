//! The lanes: how target and walkers are interleaved.

pub(crate) mod agreement;
mod asked;
pub mod attach;
pub mod bundle;
pub mod cell;
mod chains;
pub mod check;
#[cfg(target_arch = "x86_64")]
pub mod conform;
pub mod drivers;
mod expected;
#[cfg(target_arch = "x86_64")]
pub mod explore;
pub mod findings;
mod leaf;
mod listing;
pub mod live;
mod opcodes;
mod owner;
pub mod profile;
pub mod record;
pub mod recorder;
mod session;
mod shared_code;
mod status;
#[cfg(target_arch = "x86_64")]
pub mod stepped;
pub mod stopped;
mod stops;
mod truth;
mod user_program;
