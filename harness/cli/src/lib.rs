//! Differential testing of CPython's remote-profiling frame cache.
//!
//! CPython 3.15 helps a profiler in another process to cache a thread's stack: two fields of `PyThreadState`
//! (`last_profiled_frame` and `last_profiled_frame_seq`) show which cached frames are still valid. This library has
//! walkers that use such a cache, and everything needed to find out whether the stacks that they return ever existed.
//!
//! Walkers only need a [`RemoteMemory`](framewalk::memory::RemoteMemory), so an array of bytes is enough. This example reads a recorded target:
//! a release build of 3.15.2, stopped inside a recursion.
//!
//! ```
//! use framewalk::memory::RemoteMemory;
//! use framewalk::sample::Lookup;
//! use sim::snapshot::Snapshot;
//! use framewalk::miss::MissReason;
//! use framewalk::reference::ReferenceWalker;
//! use framewalk::thread_state::thread_states;
//! use framewalk::walker::Walker;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! const BYTES: &[u8] =
//!     include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../corpus/snapshots/release-recursion.snapshot"));
//!
//! let snapshot = Snapshot::from_bytes(BYTES)?;
//! let site = snapshot.site()?;
//! let mut memory = snapshot.stops[0].image.clone();
//!
//! let mut walker = ReferenceWalker::new(site)?;
//! walker.attach(&mut memory)?;
//!
//! // There is no anchor yet, so the first sample reads the whole stack and caches it.
//! let first = walker.sample(&mut memory)?.threads.remove(0);
//! assert_eq!(first.provenance.lookup, Lookup::Miss(MissReason::AnchorNull));
//! let second = walker.sample(&mut memory)?.threads.remove(0);
//! assert_eq!(second.provenance.lookup, Lookup::FullHit);
//! assert_eq!(first.outcome, second.outcome);
//!
//! let stack = second.outcome?;
//! assert_eq!(stack.last().map(|frame| &*frame.function), Some("<module>"));
//! assert_eq!(second.provenance.from_cache, stack.len() - 1, "all but the leaf");
//!
//! // The sequence counted a frame whose return the walker did not see, so the entry is no longer trusted.
//! let thread = thread_states(&mut memory, &site.layout, site.runtime)?[0];
//! let sequence = thread.address + site.cache()?.sequence;
//! memory.write(sequence, &(thread.sequence + 1).to_le_bytes())?;
//! let third = walker.sample(&mut memory)?.threads.remove(0);
//! assert_eq!(third.provenance.lookup, Lookup::Miss(MissReason::SequenceMismatch));
//! # Ok(())
//! # }
//! ```
//!
//! This crate has the command line and the writers of reports. The other crates are `framewalk` (the walkers), `model`
//! (what counts as right, and the vocabulary of a run), `sim` (the simulated interpreter and its searches), `process`
//! (real interpreters), `lanes` (how target and walker are interleaved) and `lab` (tests of framediff itself). The
//! [`guide`] says how they fit together and how to extend them.

pub mod cli;
pub mod guide;
#[cfg(test)]
mod guide_of_findings;
pub mod report;
