//! Cycle detection in linked lists.

use crate::memory::Address;

/// Brent's algorithm over the addresses of a list. It detects a cycle after visiting fewer than three times as many
/// addresses as the list has, and stores only one of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cycle {
    landmark: Address,
    met: usize,
    next_landmark: usize,
}

impl Default for Cycle {
    fn default() -> Self {
        Self { landmark: 0, met: 0, next_landmark: 1 }
    }
}

impl Cycle {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Returns whether `address` closes a cycle. `address` is the next address of the list and must not be NULL.
    #[inline]
    pub(super) fn closes_at(&mut self, address: Address) -> bool {
        if address == self.landmark {
            return true;
        }
        if self.met == self.next_landmark {
            self.landmark = address;
            self.next_landmark *= 2;
        }
        self.met += 1;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cycle_is_detected_early_and_nothing_else() {
        for before in 0..20 {
            for around in 1..20 {
                let mut cycle = Cycle::new();
                let all = before + around;
                let list = (1..=before).chain((before + 1..=all).cycle()).take(1000);
                let told = list.zip(0..).find(|&(address, _)| cycle.closes_at(address)).map(|(_, met)| met);
                assert!(told.is_some_and(|met| (all..3 * all).contains(&met)), "{before}, {around}: {told:?}");
            }
        }
        let mut cycle = Cycle::new();
        assert!(!(1..10_000).any(|address| cycle.closes_at(address)));
    }
}
