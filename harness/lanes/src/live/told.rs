//! Judges what an unwinder reports about a running target's threads, besides their frames.

use model::invariants::{Field, Violation};
use model::oracle::markers::{Marker, of_kind};
use model::run::configuration::{AskedThreads, Configuration};
use process::unwinder::{CountedSample, LiveBatch, ToldThread};
use smallvec::SmallVec;

use crate::recorder::{CellRecorder, Evidence};
use crate::status::is_of_main_thread;

/// What is known about a running target's threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownThreads {
    /// The main thread, which is always there.
    pub(super) main: u64,
    /// Whether it is the only thread. Otherwise, other threads come and go.
    pub(super) is_alone: bool,
    /// What the unwinder is asked for.
    pub(super) configuration: Configuration,
}

impl KnownThreads {
    /// Describes a possible list of threads, if this one is impossible.
    fn instead_of(self, ids: &[u64]) -> Option<String> {
        let Self { main, is_alone, configuration } = self;
        let is_once = |id: &u64| ids.iter().filter(|other| *other == id).count() == 1;
        let is_only_main = is_alone || configuration.threads == AskedThreads::Main;
        if configuration.filters() || configuration.threads == AskedThreads::Active {
            let most = if configuration.threads == AskedThreads::Active { 1 } else { usize::MAX };
            let is_possible = ids.iter().all(|id| is_once(id) && (*id == main || !is_only_main)) && ids.len() <= most;
            (!is_possible).then(|| format!("each thread at most once, if {configuration} asks for it"))
        } else if is_only_main {
            (ids != [main]).then(|| format!("[{main}]"))
        } else if !ids.contains(&main) {
            Some(format!("a list that contains the main thread, {main}"))
        } else {
            (!ids.iter().all(is_once)).then(|| "each thread once".to_owned())
        }
    }
}

/// Judges the threads, interpreters, status flags and opcodes that a running target cannot change.
pub(super) fn judge_told(recorder: &mut CellRecorder<'_>, batch: &LiveBatch, threads: KnownThreads) {
    // Where the unwinder raised, it described no thread.
    let raised = |counted: &CountedSample| counted.told.len() < counted.sample.threads.len();
    for CountedSample { sample, told, .. } in batch.samples.iter().filter(|counted| !raised(counted)) {
        let mut wrong = |field, seen: String, possible: String| {
            recorder.violation(sample.walker, Violation::Told { field, seen, possible }, Evidence::default());
        };
        let ids: SmallVec<[u64; 1]> = sample.threads.iter().map(|thread| thread.native_thread_id).collect();
        if let Some(possible) = threads.instead_of(&ids) {
            wrong(Field::Threads, format!("{ids:?}"), possible);
        }
        for (id, ToldThread { interpreter, status, details }) in ids.iter().zip(told) {
            if let Some(id @ 1..) = interpreter {
                wrong(Field::Interpreter, id.to_string(), "0".to_owned());
            }
            let is_main = *id == threads.main || threads.is_alone;
            let Configuration { mode, gc, native, opcodes, .. } = threads.configuration;
            if let Some(status) = status.filter(|&status| is_main && !is_of_main_thread(status, mode)) {
                let mode: &str = mode.into();
                wrong(Field::Status, format!("{status:#x}"), format!("the status of a main thread in mode {mode}"));
            }
            for (marker, field, is_asked) in
                [(Marker::Gc, Field::GcMarkers, gc), (Marker::Native, Field::NativeMarkers, native)]
            {
                if !is_asked && !of_kind(&details.markers, marker).is_empty() {
                    wrong(field, "some".to_owned(), "none, because they were not requested".to_owned());
                }
            }
            if !opcodes && details.has_opcodes() {
                wrong(Field::Opcode, "an opcode".to_owned(), "none, because opcodes were not requested".to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_listed_once_and_the_main_thread_always() {
        let configuration = Configuration::default();
        let alone = KnownThreads { main: 7, is_alone: true, configuration };
        assert_eq!(alone.instead_of(&[7]), None);
        for ids in [&[][..], &[8], &[7, 7], &[8, 7]] {
            assert_eq!(alone.instead_of(ids).as_deref(), Some("[7]"), "{ids:?}");
        }
        let with_others = KnownThreads { main: 7, is_alone: false, configuration };
        for (ids, possible) in [
            (&[7][..], None),
            (&[9, 8, 7], None),
            (&[], Some("a list that contains the main thread, 7")),
            (&[9, 8], Some("a list that contains the main thread, 7")),
            (&[8, 7, 7], Some("each thread once")),
            (&[8, 9, 8, 7], Some("each thread once")),
        ] {
            assert_eq!(with_others.instead_of(ids).as_deref(), possible, "{ids:?}");
        }
        for (text, ids, is_possible) in [
            ("threads=main", &[7][..], true),
            ("threads=main", &[], false),
            ("threads=main", &[7, 8], false),
            ("threads=main,mode=gil", &[], true),
            ("threads=main,mode=gil", &[8], false),
            ("threads=active", &[8], true),
            ("threads=active", &[8, 7], false),
            ("threads=all,mode=cpu", &[8, 9], true),
            ("threads=all,mode=cpu", &[8, 8], false),
            ("threads=all,mode=cpu,no-skip", &[8, 9], false),
        ] {
            let known = KnownThreads { configuration: text.parse().unwrap(), ..with_others };
            assert_eq!(known.instead_of(ids).is_none(), is_possible, "{text} {ids:?}");
        }
    }
}
