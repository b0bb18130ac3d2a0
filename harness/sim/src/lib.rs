//! A small interpreter over a memory image: it does what CPython does to the words that a walker reads, one store at a
//! time and in CPython's order, and nothing else.
//!
//! A [`program::Program`] says which functions call which; an [`interpreter::Interpreter`] runs it over the words of a
//! [`map::Map`], which has CPython's structures at their real offsets. Each instruction becomes a list of
//! [`store::Store`]s; the lists are compared with what a real interpreter does when it is stepped instruction by
//! instruction (`harness/cli/tests/stepped/store_order.rs`).
//!
//! Whoever reads the image decides how many stores come between two words read: [`scenario`] by a schedule,
//! [`prove`] by trying all of them.

pub mod case;
pub mod codes;
pub mod fuzzing;
pub mod history;
pub mod interpreter;
pub mod layout;
pub mod map;
mod operations;
pub mod program;
pub mod promise;
pub mod prove;
pub mod scenario;
pub mod snapshot;
pub mod store;
pub mod truth;
pub mod variation;
pub mod workloads;
