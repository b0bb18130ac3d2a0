//! Working memory for closing sets.

use crate::prove::element::Member;

/// Marks the end of a member list.
const END: u32 = u32::MAX;

/// The members kept so far, with a list of them per state.
#[derive(Default)]
pub(super) struct Scratch {
    /// Mark of the current set. A list with another mark belongs to an earlier set and counts as empty.
    mark: u32,
    /// By state: the mark, and the first member.
    lists: Vec<(u32, u32)>,
    /// The members, in the order in which they were added.
    pub(super) kept: Vec<Kept>,
}

/// A member, and where it is in its list.
pub(super) struct Kept {
    pub(super) member: Member,
    /// The next member with the same state.
    next: u32,
    /// Whether a later member covers this one.
    pub(super) covered: bool,
}

impl Scratch {
    /// Forgets the members of the set before.
    pub(super) fn begin(&mut self) {
        self.kept.clear();
        self.mark = self.mark.wrapping_add(1);
        if self.mark == 0 {
            self.lists.fill((0, END));
            self.mark = 1;
        }
    }

    /// Keeps a member unless another one covers it. Returns it, so that the caller can set its trace.
    pub(super) fn keep(&mut self, member: Member) -> Option<&mut Member> {
        let state = member.id as usize;
        if state >= self.lists.len() {
            self.lists.resize((state + 1).next_power_of_two(), (0, END));
        }
        let (mark, first) = self.lists[state];
        let first = if mark == self.mark { first } else { END };
        let mut index = first;
        while let Some(there) = self.kept.get(index as usize) {
            if !there.covered && there.member.covers(&member) {
                return None;
            }
            index = there.next;
        }
        let mut index = first;
        while let Some(there) = self.kept.get_mut(index as usize) {
            there.covered |= member.covers(&there.member);
            index = there.next;
        }
        let index = self.kept.len() as u32;
        self.lists[state] = (self.mark, index);
        self.kept.push(Kept { member, next: first, covered: false });
        self.kept.last_mut().map(|kept| &mut kept.member)
    }
}
