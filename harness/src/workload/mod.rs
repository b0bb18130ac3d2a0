//! Generated Python programs and the set of stacks each can legally show.

pub mod grammar;
