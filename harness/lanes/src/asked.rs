//! The threads of a stopped target that CPython's unwinder lists when it is made with a configuration.

use framewalk::memory::Address;
use model::run::configuration::{AskedThreads, Configuration, ProfilingMode};

use crate::agreement::Standing;

/// What an unwinder is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    pub(super) configuration: Configuration,
    /// The state of the main thread of the interpreter that was the newest one when the unwinder was made, if it could
    /// be read. An unwinder that is asked for the main thread reads this address once.
    pub(super) main: Option<Address>,
}

/// The threads of a sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AskedList {
    /// Their places in the target's list.
    pub(super) indices: Vec<usize>,
    /// Whether the unwinder was asked for the active thread and returned another one. On 3.15.2, it goes on through the
    /// list if the active thread does not match the mode.
    pub(super) is_inactive: bool,
}

impl Asked {
    /// The threads that an unwinder lists, of those with these states and from the place `first` on. `ids` are those of
    /// its sample. They decide about a thread of which it is unknown whether it matches the mode.
    pub(super) fn list(self, standings: &[Standing], first: usize, ids: &[u64]) -> AskedList {
        let all = standings.iter().enumerate().skip(first);
        let list = |indices| AskedList { indices, is_inactive: false };
        match self.configuration.threads {
            AskedThreads::All => list(self.matching(all, ids)),
            AskedThreads::Main => list(self.matching(all.filter(|(_, one)| Some(one.state) == self.main), ids)),
            AskedThreads::Active => {
                let is_active = |(_, one): &(usize, &Standing)| one.is_active();
                let asked = list(self.matching(all.clone().filter(is_active), ids));
                let next = all.skip_while(|one| !is_active(one)).skip(1);
                let next = if asked.indices.is_empty() { self.matching(next, ids) } else { Vec::new() };
                match next.first() {
                    Some(&next) if standings.get(next).is_some_and(|one| ids == [one.native_thread_id]) => {
                        AskedList { indices: vec![next], is_inactive: true }
                    }
                    _ => asked,
                }
            }
        }
    }

    fn matching<'a>(self, of: impl Iterator<Item = (usize, &'a Standing)>, ids: &[u64]) -> Vec<usize> {
        let mut listed = Vec::new();
        for (index, standing) in of {
            let is_next = ids.get(listed.len()) == Some(&standing.native_thread_id);
            if self.matches(standing).unwrap_or(is_next) {
                listed.push(index);
            }
        }
        listed
    }

    /// Whether a thread matches the mode, or the mode does not matter. `None` if that is unknown.
    fn matches(self, standing: &Standing) -> Option<bool> {
        if !self.configuration.filters() {
            return Some(true);
        }
        match self.configuration.mode {
            ProfilingMode::Wall | ProfilingMode::All => Some(true),
            // It is stopped.
            ProfilingMode::Cpu => Some(false),
            ProfilingMode::Gil => Some(standing.status?.has_gil()),
            ProfilingMode::Exception => standing.status?.has_exception(),
        }
    }
}

#[cfg(test)]
mod tests {
    use model::schedule::fingerprint::LeafKind;

    use super::*;
    use crate::status::Status;

    fn standing(id: u64, is_active: bool, flags: u64, unknown: u64) -> Standing {
        Standing {
            state: id * 0x100,
            native_thread_id: id,
            owner: 0x10,
            interpreter: Some(0),
            leaf: LeafKind::Function,
            links: 3,
            status: Some(Status { flags, unknown }),
            holder: Some(if is_active { id * 0x100 } else { 0x999 }),
            is_anchored: false,
            markers: Vec::new(),
            opcodes: Vec::new(),
        }
    }

    #[test]
    fn the_configuration_decides_which_threads_are_listed() {
        const GIL: u64 = 1;
        const EXCEPTION: u64 = 16;
        let threads = [
            standing(7, false, EXCEPTION, 0),
            standing(8, true, GIL, 0),
            standing(9, false, 0, 0),
            standing(5, false, EXCEPTION, 0),
            standing(6, false, 0, EXCEPTION),
        ];
        let list = |text: &str, ids: &[u64]| {
            let asked = Asked { configuration: text.parse().unwrap(), main: Some(0x500) };
            let list = asked.list(&threads, 0, ids);
            let ids: Vec<u64> = list.indices.iter().map(|&index| threads[index].native_thread_id).collect();
            (ids, list.is_inactive)
        };
        let all: &[u64] = &[7, 8, 9, 5, 6];
        for (text, ids, expected) in [
            ("threads=all", all, all),
            ("threads=main", &[5][..], &[5][..]),
            ("threads=active", &[8], &[8]),
            ("threads=all,mode=gil", &[8], &[8]),
            ("threads=main,mode=gil", &[], &[]),
            ("threads=all,mode=cpu", all, &[]),
            ("threads=all,mode=cpu,no-skip", all, all),
            ("threads=all,mode=all", all, all),
            ("threads=all,mode=exception", &[7, 5], &[7, 5]),
            ("threads=all,mode=exception", &[7, 5, 6], &[7, 5, 6]),
            ("threads=active,mode=exception", &[], &[]),
            // Some other thread is no thread that the unwinder goes on to.
            ("threads=active,mode=exception", &[7], &[]),
        ] {
            assert_eq!(list(text, ids), (expected.to_vec(), false), "{text} {ids:?}");
        }
        assert_eq!(list("threads=active,mode=exception", &[5]), (vec![5], true));
    }
}
