//! Telling that a list comes back to where it was.

use crate::memory::Address;

/// Brent's algorithm over the addresses of a list: a cycle is told before it was gone around three times, and nothing
/// is kept but one address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cycle {
    landmark: Address,
    met: usize,
    next_landmark: usize,
}

impl Cycle {
    pub(super) fn new() -> Self {
        Self { landmark: 0, met: 0, next_landmark: 1 }
    }

    /// Whether `address`, the next one and not NULL, was met before.
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
