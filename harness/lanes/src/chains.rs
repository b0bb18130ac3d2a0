//! The chains of a running process, from reads alone.
//!
//! A walk of a running target that does not end at the thread's base frame is usually torn. If two walks return the
//! same chain, and the current frame was the same before, between and after them, the chain was not torn: the target
//! did not move, or came back to exactly the same frames twice. If such a stable chain repeatedly ends elsewhere, its
//! thread has left its base frame behind: an extension switched to another C stack and gave the thread state a chain of
//! its own, as greenlet does. CPython itself always links what runs to the base frame before making it current.

use std::collections::BTreeMap;
use std::time::Instant;

use framewalk::chain::{Chain, DEPTH_LIMIT, End, follow};
use framewalk::memory::{Address, RemoteMemory};
use framewalk::rejection::Rejection;
use framewalk::thread_state::{ThreadState, Window, thread_states};
use framewalk::walker::Site;

use crate::cell::Cell;

/// A stack counts as switched only after this many stable chains that end elsewhere: fewer may be a coincidence in a
/// looping program.
const OFTEN: u64 = 5;
/// At least one stable chain in this many must end elsewhere: fewer may be a coincidence, too.
const RARELY: u64 = 100;

/// The chains of all threads.
#[derive(Debug, Default)]
pub(super) struct Chains {
    threads: BTreeMap<u64, Ends>,
    deepest: usize,
}

/// How often the stable chains of a thread ended at its base frame, and how often elsewhere.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    at_base: u64,
    elsewhere: u64,
}

impl Ends {
    fn are_switched(self) -> bool {
        self.elsewhere >= OFTEN && self.elsewhere * RARELY >= self.at_base + self.elsewhere
    }
}

impl Chains {
    /// Looks at all threads repeatedly until `until`.
    pub(super) fn look_until(&mut self, cell: &Cell<'_>, memory: &mut dyn RemoteMemory, site: Site, until: Instant) {
        while Instant::now() < until && !cell.is_over() {
            // If the thread list changed during the read, the next iteration reads it again.
            let _ = self.look(memory, site);
        }
    }

    fn look(&mut self, memory: &mut dyn RemoteMemory, site: Site) -> Result<(), Rejection> {
        for thread in thread_states(memory, &site.layout, site.runtime)? {
            let ends = self.threads.entry(thread.native_thread_id).or_default();
            let Some(chain) = whole(memory, site, &thread)? else { continue };
            match chain.end {
                End::Base => ends.at_base += 1,
                End::Elsewhere | End::Stopped => ends.elsewhere += 1,
            }
            self.deepest = self.deepest.max(chain.python().count());
        }
        Ok(())
    }

    /// How many threads were seen.
    pub(super) fn threads(&self) -> usize {
        self.threads.len()
    }

    /// The most Python frames seen in a stable chain.
    pub(super) fn deepest(&self) -> usize {
        self.deepest
    }

    /// How many stable chains were seen.
    pub(super) fn looks(&self) -> u64 {
        self.threads.values().map(|ends| ends.at_base + ends.elsewhere).sum()
    }

    /// A description of the threads whose stack was switched; `None` if there are none.
    pub(super) fn switched(&self) -> Option<String> {
        let switched = self.threads.iter().filter(|(_, ends)| ends.are_switched());
        let told: Vec<String> = switched
            .map(|(thread, ends)| {
                let Ends { at_base, elsewhere } = *ends;
                format!(
                    "the chain of thread {thread} does not end at its base frame ({elsewhere} of {} looks): its stack was \
                     switched, as greenlet does; CPython's unwinder rejects such samples",
                    at_base + elsewhere
                )
            })
            .collect();
        if told.is_empty() { None } else { Some(told.join("; ")) }
    }
}

/// The chain of a thread, if two walks and all reads of its current frame agree and the chain is not empty.
fn whole(memory: &mut dyn RemoteMemory, site: Site, thread: &ThreadState) -> Result<Option<Chain>, Rejection> {
    let layout = &site.layout;
    let start = thread.current_frame;
    let window = Window::new(layout);
    let walk = |memory: &mut dyn RemoteMemory| -> Result<Option<Chain>, Rejection> {
        let chain = follow(memory, layout, thread, None, start, None, DEPTH_LIMIT).ok();
        let now = window.read(memory, layout, thread.address)?;
        let same = (now.current_frame, now.base_frame, now.native_thread_id)
            == (start, thread.base_frame, thread.native_thread_id);
        Ok(chain.filter(|_| same))
    };
    let (Some(first), Some(second)) = (walk(memory)?, walk(memory)?) else { return Ok(None) };
    let addresses = |chain: &Chain| chain.links.iter().map(|frame| frame.address).collect::<Vec<Address>>();
    let is_whole = !first.links.is_empty() && addresses(&first) == addresses(&second);
    Ok(Some(second).filter(|_| is_whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(at_base: u64, elsewhere: u64) -> Ends {
        Ends { at_base, elsewhere }
    }

    #[test]
    fn only_many_odd_chains_mean_a_switched_stack() {
        assert!(!ends(0, 0).are_switched() && !ends(0, 4).are_switched() && !ends(10_000, 50).are_switched());
        assert!(ends(0, 5).are_switched() && ends(400, 5).are_switched());
    }

    #[test]
    fn threads_with_switched_stacks_are_named() {
        let mut chains = Chains::default();
        chains.threads.insert(7, ends(9, 0));
        assert_eq!((chains.switched(), chains.threads(), chains.looks()), (None, 1, 9));
        chains.threads.insert(8, ends(1, 9));
        let text = chains.switched().unwrap();
        assert!(text.contains("thread 8 does not end at its base frame (9 of 10 looks)"), "{text}");
        assert!(!text.contains("thread 7"), "{text}");
    }
}
