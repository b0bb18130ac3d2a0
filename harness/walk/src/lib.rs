#![doc = include_str!("../README.md")]

mod before;
pub mod cache;
pub mod cached;
pub mod chain;
pub mod chunks;
pub mod code;
mod cycle;
pub mod frame;
pub mod layout;
pub mod location_table;
pub mod memory;
pub mod miss;
pub mod printable;
pub mod python_text;
pub mod raw_frame;
pub mod reference;
pub mod rejection;
mod roster;
pub mod sample;
pub mod shared;
mod site;
pub mod spec;
pub mod stack;
pub mod thread_state;
pub mod uncached;
pub mod walker;
pub mod weakening;
