//! A small interpreter over a memory image. It does to the words that walkers read what CPython does, one store at a
//! time and in CPython's order, and nothing else.
//!
//! A [`program::SimProgram`] defines which functions call which. An [`interpreter::Interpreter`] runs it over the words of
//! a [`map::Map`], which has CPython's structures at their real offsets. Each instruction becomes a list of
//! [`store::SimStore`]s. `harness/cli/tests/stepped/store_order.rs` compares these lists with the stores of a real
//! interpreter that is stepped instruction by instruction.
//!
//! The reader of the image decides how many stores happen between two of its reads: [`scenario`] follows a schedule,
//! [`prove`] tries all of them.

mod addresses;
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
