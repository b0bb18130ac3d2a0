//! Exhaustive search: can a walker ever return a stack that its thread did not have?
//!
//! [`graph`] enumerates everything that a simulated program can do. [`walk`] runs the real walker against all of it at
//! once. [`search`] continues from sample to sample until nothing new is found. [`replay`] turns a counterexample into
//! a scenario.
//!
//! # Why CPython 3.15's protocol splices
//! The anchor is written after the walk and never checked again. Between the read of the current frame and that write,
//! the thread can return and call something else. Another frame is then at the written address: `b2`, where `a2` was
//! walked. Both frames leave the sequence unchanged, because no anchor was set while they were pushed and popped. The
//! next sample finds current frame, anchor, first address and sequence as stored, and appends the callers of `a2` to
//! `b2`. The search finds this history within two samples, even if each read is atomic. Torn reads are another cause.
//!
//! ```text
//! interpreter                                          walker
//!                                                      reads current frame a2@2, anchor NULL, sequence 0
//!                                                      walks a2 < a1 < main
//! current frame: a1@1, main@0, b1@1, b2@2
//!                                                      writes anchor b2@2 (the address it read), stores a2 < a1 < main
//!                                                      next sample: current frame b2@2 = anchor, sequence 0: full hit
//!                                                      returns b2 < a1 < main
//! ```
//!
//! # Why anchoring first is not enough
//! It does not suffice to write the anchor before the walk and check it afterwards. The search found each of the
//! following holes. The [`Weakening`](framewalk::weakening::Weakening) with the same name puts the hole back into the
//! reference walker, and a case under `corpus/cases/cache_state_machine` has its history.
//! - *generator-leaf-anchored*: a yield compares the anchor before it moves the current frame. An anchor written in
//!   between stays on a suspended generator, and vouches for its next caller.
//! - *generator-being-made-anchored*: RETURN_GENERATOR does the same in the frame on the data stack. So the walker must
//!   check the code, not the owner. It must do so between the write and the check of the current frame; otherwise the
//!   checked frame may not be the anchored one.
//! - *shim-leaf-anchored*: a shim frame leaves the stack without any comparison.
//! - *entry-kept-after-failed-attempt*: a failed attempt leaves the anchor on a dead address. Frames then return
//!   uncounted until the sequence fits the old entry again.
//! - *sequence-not-compared-after-anchoring*: the old anchor moved between the first read and the write.
//! - *partial-hit-on-grown-stack*: the current frame returned just before it was anchored. Until another frame occupies
//!   its address, the frames that the entry vouches for leave uncounted. Both the old and the new frame would need an
//!   anchor, but there is only one: a partial hit is safe only if no frame is above the anchor.
//!
//! Also, an entry must not extend below a shim frame: the anchor does not move past one, so only another profiler can
//! have put it further down.
//!
//! # Code objects that are freed
//! A decoded code object is valid until its interpreter frees one: then another can be at the same address. CPython
//! counts each free in the interpreter's `code_object_generation` before it releases the memory. A walker is never
//! wrong if it reads the count before and after it decodes, and keeps one table and one count per interpreter. A walker
//! that does not compare (*code-kept-after-free*) is wrong within two samples. So is one that has a single table and
//! count for all interpreters, as CPython 3.15.2's unwinder has (*generation-of-another-interpreter*):
//!
//! ```text
//! interpreters                                         walker
//!                                                      sample of interpreter 0, whose count is 1: a < main
//! 0: a returns and is freed: count = 2
//! 1: b is made where a was, and called; count = 1
//!                                                      sample of interpreter 1, whose count is 1, too: a < other
//! ```
//!
//! In these programs, the decoded code objects are part of the walker's memory between samples. The programs free only
//! a few code objects, so that the number of states is finite.
//!
//! # Store buffers
//! x86-64 lets a load overtake the stores before it, so a comparison can load the anchor while the store of the current
//! frame is not visible yet (`--memory tso`, [`MemoryOrder`](options::MemoryOrder)). The reference walker is then wrong
//! within one sample: it writes the anchor, finds the current frame unchanged, and the frame leaves uncounted. A fence
//! between that store and the load restores the results below.
//!
//! # What a changed interpreter would allow
//! - If a yield moved the current frame before it compared the anchor, as a return does (`--vary
//!   current-frame-first-on-yield`), generators could be anchored like any frame. The reference walker that accepts
//!   generators is then COMPLETE on `generator`, `generators` and `throw`, for any number of samples, if each read is
//!   atomic.
//! - If a shim frame that leaves the stack compared the anchor, too (`--vary anchor-moved-by-shims`), shim frames could
//!   be anchored: COMPLETE on `entry` in the same way.
//! - Both orders of the two stores of an update are correct (`--vary anchor-before-sequence`): release builds store the
//!   sequence first, debug builds and the JIT's stencils the anchor.

//! # What was searched
//! The reference walker without weakenings. The columns give, by workload, the result if the interpreter may move
//! between any two words (`--reads words`) or only between reads (`--reads segments`). *Any* is COMPLETE for any number
//! of samples.
//!
//! | workload | words: samples, states | segments: samples, states |
//! | --- | --- | --- |
//! | alternating (two chains of 3 levels) | any, 4,532,524,118 | any, 32,661,516 |
//! | generator (under two callers) | any, 413,589,241 | any |
//! | generators | any, 356,566,437 | any |
//! | generator-made | any, 54,374,404 | any |
//! | entry | not finished in 20,000,000,492 | any |
//! | callback (one function, called from C and from Python) | any, 43,311,294 | any |
//! | exceptions | any, 9,675,037,713 | any |
//! | coroutines | any, 1,407,582,849 | any |
//! | throw | any, 499,834,432 | any |
//! | failed-bind | any, 258,510,269 | any |
//! | finalizers | any, 1,369,558,608 | any |
//! | chunks | any, 4,274,174,268 | any |
//! | two-threads | 4, 3,869,803,028 | 4 |
//! | thread-reuse | not finished in 20,000,000,251 | not finished in a minute |
//! | code-reuse (two frees) | any, 7,557,630 | any, 1,090,571 |
//! | code-reuse-interpreters (two frees each) | any, 34,815,886 | any, 18,930,990 |
//!
//! On one core the search handles 17 to 53 million states a second. A state is a state of the interpreter combined with
//! what the walker has read. The walker itself is the bottleneck: it runs once for each different sequence of values
//! that it reads.
//!
//! On a target that moves only between samples (`--reads samples`), CPython's protocol is COMPLETE on all of them.

pub mod element;
pub mod explore;
pub mod found;
pub mod graph;
pub mod memory;
pub mod options;
pub mod replay;
mod scratch;
pub mod search;
pub mod set;
pub mod space;
pub mod trace;
pub mod walk;
