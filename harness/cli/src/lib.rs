//! Differential testing of CPython's remote-profiling frame cache.
//!
//! A profiler in another process may keep what it read of a thread's stack, and CPython 3.15 helps it to know what of that
//! is still true (`last_profiled_frame` and `last_profiled_frame_seq` in `PyThreadState`). This library has walkers that do
//! so, and everything that is needed to find out whether what they return was ever there.
//!
//! Walkers are pure over [`memory::RemoteMemory`], so an array of bytes will do. Here it is a recorded target, a release
//! build of 3.15.2 that stands in a recursion:
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
//! // Nobody has written an anchor yet, so the whole stack is read; and then it is known.
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
//! // A sequence that counted a frame which nobody saw leave: what is stored is not believed any more.
//! let thread = thread_states(&mut memory, &site.layout, site.runtime)?[0];
//! let sequence = thread.address + site.cache()?.sequence;
//! memory.write(sequence, &(thread.sequence + 1).to_le_bytes())?;
//! let third = walker.sample(&mut memory)?.threads.remove(0);
//! assert_eq!(third.provenance.lookup, Lookup::Miss(MissReason::SequenceMismatch));
//! # Ok(())
//! # }
//! ```
//!
//! This crate is the command line and the writers of reports. What it stands on has a crate each: `framewalk` (the walkers),
//! `model` (what is right, and the words of a run), `sim` (the simulated interpreter and its searches), `process` (real
//! interpreters), `lanes` (how targets and walkers are interleaved) and `lab` (what tests framediff itself). How they fit
//! together, and how to add to them, is in the [`guide`].

pub mod cli;
pub mod guide;
pub mod report;
