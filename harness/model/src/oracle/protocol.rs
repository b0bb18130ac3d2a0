//! Checks the interpreter's side of the protocol on a stopped target (clause 6).

use std::collections::HashMap;

use framewalk::memory::Address;
use framewalk::thread_state::ThreadState;

use crate::invariants::Violation;

/// Where an anchor points that is not a frame of the stopped thread's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffChain {
    /// Into the thread's C stack, which holds only shim frames. A shim frame leaves the stack without moving the
    /// anchor.
    CStack,
    /// At the frame of a generator that is not running.
    SuspendedGenerator,
    /// At the frame that is just returning. The interpreter moves the current frame to the parent first, and the anchor
    /// a few instructions later.
    Leaving,
    /// At any other address.
    Elsewhere,
}

/// Where a thread was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Between updates: at a gate, or right after a store to the current frame.
    Rest,
    /// At any instruction. One of the two stores of an update may be done and the other not. If a profiler sets the
    /// anchor during a yield, the yield does not notice (see [`Violation::AnchorOnSuspendedGenerator`]). From there on,
    /// the sequence cannot be checked.
    Anywhere,
}

/// Follows the cache's fields in a target's thread states from stop to stop.
#[derive(Debug, Default)]
pub struct ProtocolWatch {
    last: HashMap<Address, Seen>,
}

#[derive(Clone, Debug)]
struct Seen {
    native_thread_id: u64,
    anchor: Address,
    sequence: u64,
    /// The chain from the anchor to the base frame. Empty if the anchor was not in the chain.
    below: Vec<Address>,
}

impl Seen {
    /// While the anchor's frame lives, so do its callers, and none of them changes. After `n` updates the anchor must
    /// be its `n`th caller, and the sequence must have grown by `n`.
    fn counted(&self, thread: &ThreadState) -> Result<(), Violation> {
        let moves = thread.sequence.wrapping_sub(self.sequence);
        let caller = usize::try_from(moves).ok().and_then(|moves| self.below.get(moves));
        if self.below.is_empty() || caller == Some(&thread.anchor) {
            return Ok(());
        }
        Err(Violation::AnchorMiscounted {
            before: self.anchor,
            anchor: thread.anchor,
            counted: moves,
            left: self.below.iter().position(|&caller| caller == thread.anchor),
        })
    }
}

impl ProtocolWatch {
    /// Checks a thread of a stopped target. `chain` has the addresses of all its frames, including shim frames and the
    /// base frame. `place` classifies an anchor that is not in the chain.
    pub fn look(
        &mut self,
        thread: &ThreadState,
        chain: &[Address],
        at: At,
        place: impl FnOnce(Address) -> OffChain,
    ) -> Vec<Violation> {
        let mut broken = Vec::new();
        if let Some(seen) = self.last.get(&thread.address)
            && seen.native_thread_id == thread.native_thread_id
        {
            if thread.sequence < seen.sequence {
                broken.push(Violation::SequenceDecreased { before: seen.sequence, after: thread.sequence });
            }
            // If a profiler clears the anchor during an update, the interpreter still has to finish that update.
            let wrote = thread.anchor != 0 || thread.sequence != seen.sequence;
            if at == At::Rest && seen.anchor == 0 && wrote {
                broken.push(Violation::WrittenWhileNull {
                    anchor: thread.anchor,
                    before: seen.sequence,
                    after: thread.sequence,
                });
            }
            if at == At::Rest {
                broken.extend(seen.counted(thread).err());
            }
        }
        if thread.anchor != 0 && !chain.contains(&thread.anchor) {
            match place(thread.anchor) {
                OffChain::Leaving => {}
                OffChain::CStack => broken.push(Violation::AnchorOnDeadShim { anchor: thread.anchor }),
                OffChain::SuspendedGenerator => {
                    broken.push(Violation::AnchorOnSuspendedGenerator { anchor: thread.anchor });
                }
                OffChain::Elsewhere => broken.push(Violation::AnchorOffChain { anchor: thread.anchor }),
            }
        }
        self.leave(thread, chain);
        broken
    }

    /// Forgets the thread state if anchor and sequence are zero, as in a new thread state at the same address. Do not
    /// call this for a program that starts no threads later: there, cleared fields are a violation.
    pub fn forget_if_new(&mut self, thread: &ThreadState) {
        if thread.anchor == 0 && thread.sequence == 0 {
            self.last.remove(&thread.address);
        }
    }

    /// Records the fields before the target runs on. A walker may have written them since the check.
    pub fn leave(&mut self, thread: &ThreadState, chain: &[Address]) {
        let anchor = chain.iter().position(|&frame| frame == thread.anchor);
        let seen = Seen {
            native_thread_id: thread.native_thread_id,
            anchor: thread.anchor,
            sequence: thread.sequence,
            below: anchor.and_then(|anchor| chain.get(anchor..)).unwrap_or_default().to_vec(),
        };
        self.last.insert(thread.address, seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(anchor: Address, sequence: u64) -> ThreadState {
        ThreadState { native_thread_id: 5, anchor, sequence, ..ThreadState::unknown(0x1000) }
    }

    #[test]
    fn a_reinitialised_thread_state_is_a_new_one() {
        let mut watch = ProtocolWatch::default();
        let mut look = |anchor, sequence, may_be_new| {
            let thread = thread(anchor, sequence);
            if may_be_new {
                watch.forget_if_new(&thread);
            }
            watch.look(&thread, &[0x30, 0x20, 0x10], At::Rest, |_| OffChain::Elsewhere).len()
        };
        assert_eq!(look(0x30, 7, true), 0);
        assert_eq!(look(0, 0, true), 0);
        assert_eq!(look(0x30, 7, false) + look(0, 0, false), 3);
        // Only a thread state with both fields zero can be new.
        assert!(look(0x30, 7, true) > 0 && look(0, 7, true) > 0);
    }

    fn looks(threads: &[ThreadState]) -> Vec<&'static str> {
        looks_at(At::Rest, threads)
    }

    fn looks_at(at: At, threads: &[ThreadState]) -> Vec<&'static str> {
        let mut watch = ProtocolWatch::default();
        let chain = [0x30, 0x20, 0x10];
        threads
            .iter()
            .flat_map(|thread| {
                let place = |anchor| match anchor {
                    0x50 => OffChain::Leaving,
                    0x60 => OffChain::SuspendedGenerator,
                    ..0x1000 => OffChain::Elsewhere,
                    _ => OffChain::CStack,
                };
                watch.look(thread, &chain, at, place)
            })
            .map(|violation| violation.name())
            .collect()
    }

    #[test]
    fn allowed_behaviour_of_the_interpreter_is_no_violation() {
        assert!(looks(&[thread(0, 7), thread(0, 7)]).is_empty());
        assert!(looks(&[thread(0x30, 7), thread(0x20, 8), thread(0x20, 8)]).is_empty());
        assert!(looks(&[thread(0x30, 7), thread(0x10, 9)]).is_empty());
        assert!(looks(&[thread(0x50, 7), thread(0x30, 8)]).is_empty());
    }

    #[test]
    fn each_broken_rule_is_named() {
        assert_eq!(looks(&[thread(0x30, 7), thread(0x30, 6)]), ["sequence-decreased", "anchor-miscounted"]);
        assert_eq!(looks(&[thread(0, 7), thread(0, 8)]), ["written-while-null"]);
        assert_eq!(looks(&[thread(0, 7), thread(0x20, 7)]), ["written-while-null"]);
        assert_eq!(looks(&[thread(0x40, 7)]), ["anchor-off-chain"]);
        assert_eq!(looks(&[thread(0x60, 7)]), ["anchor-on-suspended-generator"]);
        assert_eq!(looks(&[thread(0x7fff_0000, 7)]), ["anchor-on-dead-shim"]);
    }

    #[test]
    fn every_frame_that_leaves_while_it_is_the_anchor_counts_once() {
        let miscounted = ["anchor-miscounted"];
        // Not counted, counted twice, and counted although the anchor did not move.
        assert_eq!(looks(&[thread(0x30, 7), thread(0x20, 7)]), miscounted);
        assert_eq!(looks(&[thread(0x30, 7), thread(0x20, 9)]), miscounted);
        assert_eq!(looks(&[thread(0x30, 7), thread(0x30, 8)]), miscounted);
        // A caller skipped; more moves than callers; moved back up; cleared.
        assert_eq!(looks(&[thread(0x30, 7), thread(0x10, 8)]), miscounted);
        assert_eq!(looks(&[thread(0x30, 7), thread(0x10, 10)]), miscounted);
        assert_eq!(looks(&[thread(0x20, 7), thread(0x30, 7)]), miscounted);
        assert_eq!(looks(&[thread(0x30, 7), thread(0, 8)]), miscounted);
    }

    #[test]
    fn the_count_is_not_judged_in_the_middle_of_an_update() {
        for half in [thread(0x20, 7), thread(0x30, 8)] {
            assert!(looks_at(At::Anywhere, &[thread(0x30, 7), half]).is_empty());
        }
    }

    #[test]
    fn a_reused_thread_state_starts_over() {
        let other = ThreadState { native_thread_id: 6, ..thread(0, 0) };
        assert!(looks(&[thread(0x30, 7), other]).is_empty());
    }

    #[test]
    fn writes_of_a_walker_are_not_attributed_to_the_interpreter() {
        let mut watch = ProtocolWatch::default();
        watch.look(&thread(0, 7), &[], At::Rest, |_| OffChain::Elsewhere);
        watch.leave(&thread(0x30, 7), &[0x30, 0x20]);
        assert!(watch.look(&thread(0x20, 8), &[0x20], At::Rest, |_| OffChain::Elsewhere).is_empty());
    }
}
