//! Exhaustive search: whether a walker can ever return a stack that was not there.
//!
//! [`graph`] enumerates what a simulated program can do, [`walk`] runs the real walker against all of it at once,
//! [`search`] goes from sample to sample until nothing new comes, and [`replay`] turns what went wrong into a scenario.
//!
//! # Why CPython 3.15's protocol splices
//! The anchor is written after the walk and never looked at again. Between the read of the current frame and that write the
//! thread can return, and call something else, so that another frame stands at the address that is written: `b2` where `a2`
//! was walked. Both frames leave the sequence alone, because no anchor was set while they came and went. The next sample
//! finds current frame, anchor, first address and sequence as stored, and puts the callers of `a2` under `b2`. The search
//! gives this history within two samples, also if each read were one moment; torn reads are another cause.
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
//! # What anchoring first does not mend
//! Writing the anchor before the walk and checking it after is not enough. Each of these was found by the search; the
//! [`Weakening`](framewalk::weakening::Weakening) of that name puts it back into the reference walker, and a case under
//! `corpus/cases/cache_state_machine` has its history.
//! - *generator-leaf-anchored*: a yield compares the anchor before it moves the current frame. An anchor written in between
//!   stays on a generator that is suspended, and vouches for its next caller.
//! - *generator-being-made-anchored*: RETURN_GENERATOR does the same in the frame on the data stack. So the code must be
//!   looked at, not the owner; and between the write and the check of the current frame, else the frame that was looked at
//!   is not the one that was anchored.
//! - *shim-leaf-anchored*: a shim frame leaves without any comparison.
//! - *entry-kept-after-failed-attempt*: a failed attempt leaves the anchor on a dead address; frames return uncounted, and
//!   the sequence comes to fit the old entry.
//! - *sequence-not-compared-after-anchoring*: the old anchor moved between the first read and the write.
//! - *partial-hit-on-grown-stack*: the current frame returned just before it was anchored. Until another frame stands at its
//!   address, the frames that the entry vouches for leave uncounted. There is one anchor, and both the old and the new frame
//!   would need one: a partial hit is safe only if nothing stands above the anchor.
//!
//! Besides, an entry must not reach below a shim frame: there the anchor is left behind, and only another profiler can have
//! put it further down.
//!
//! # Code objects that are freed
//! What a walker learnt of a code object is right until its interpreter frees one: then another can be at the same address.
//! CPython counts each free in the interpreter's `code_object_generation` before it gives the memory back. A walker that
//! reads the count before and after it decodes, and keeps a table and a count for each interpreter, is never wrong; one that
//! does not compare (*code-kept-after-free*) is wrong within two samples, and so is one that has a single table and count
//! for all interpreters, as CPython 3.15.2's unwinder has (*generation-of-another-interpreter*):
//!
//! ```text
//! interpreters                                         walker
//!                                                      sample of interpreter 0, whose count is 1: a < main
//! 0: a returns and is freed: count = 2
//! 1: b is made where a was, and called; count = 1
//!                                                      sample of interpreter 1, whose count is 1, too: a < other
//! ```
//!
//! In these programs what a walker learnt is part of what it remembers between samples; and they free no more than a few
//! code objects, so that their states have an end.
//!
//! # What a changed interpreter would allow
//! - If a yield moved the current frame before it compares the anchor, as a return does (`--vary
//!   current-frame-first-on-yield`), generators could be anchored like any frame: the reference walker without that refusal
//!   is COMPLETE on `generator`, `generators` and `throw`, for any number of samples, if each read is one moment.
//! - If a shim frame that leaves compared the anchor, too (`--vary anchor-moved-by-shims`), shim frames could be anchored:
//!   COMPLETE on `entry` in the same way.
//! - Both orders of the two stores of an update are right (`--vary anchor-before-sequence`): release builds store the
//!   sequence first, debug builds and the JIT's stencils the anchor.

//! # What was searched
//! The reference walker, nothing weakened; by workload, whether the interpreter may move between any two words (`--reads
//! words`) or between reads only (`--reads segments`). *Any* is COMPLETE for any number of samples.
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
//! On one core that is 17 to 53 million states a second, counted as states of the interpreter times what the walker has
//! read. What limits it is the walker itself, run anew for each different sequence of values that it reads.
//!
//! CPython's protocol on a target that moves between samples only (`--reads samples`) is COMPLETE on all of them.

pub mod explore;
pub mod found;
pub mod graph;
pub mod memory;
pub mod replay;
pub mod search;
pub mod set;
pub mod space;
pub mod trace;
pub mod walk;
