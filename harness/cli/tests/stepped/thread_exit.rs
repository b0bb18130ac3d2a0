//! A thread that ends after a sample's reads and before the write of its anchor.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use lanes::stepped::exits::{Exit, Successor, thread_ends};
use model::run::known::KnownFailures;

use crate::common;

fn ends(successor: Successor) -> Exit {
    thread_ends(&common::release(), successor, Duration::from_secs(30)).unwrap_or_else(|error| panic!("{error}"))
}

/// Whether this is a known failure of the interpreter under test.
fn is_known(fingerprint: &str) -> bool {
    let version = common::release().version.to_string();
    let known = KnownFailures::kept().unwrap();
    let entry = known.iter().find(|known| known.fingerprint.as_str() == fingerprint);
    entry.unwrap_or_else(|| panic!("{fingerprint} is not listed")).applies_to(&version, true).is_some()
}

#[test]
fn the_anchor_is_written_to_freed_memory() {
    let exit = ends(Successor::Nothing);
    // The thread existed when it was read, and is gone before the write.
    assert!(exit.sample.threads.iter().any(|thread| thread.native_thread_id == exit.ended.native_thread_id));
    assert!(exit.there.iter().all(|state| state.address != exit.ended.address));
    let is_written = exit.written.is_some() && exit.word.1 == exit.ended.current_frame && exit.word.0 != exit.word.1;
    assert_eq!(is_written, is_known("stepped/cpython-cached/thread-ended/written-to-free-memory"), "{exit:#?}");
}

#[test]
fn the_anchor_is_written_into_reused_memory() {
    let exit = ends(Successor::Bytes);
    assert_eq!(exit.is_damaged, is_known("stepped/cpython-cached/thread-ended/data-damaged"), "{exit:#?}");
}

#[test]
fn a_new_thread_at_the_same_address_gets_the_old_anchor_and_is_walked_correctly() {
    let exit = ends(Successor::Thread);
    let new = exit.there.iter().find(|state| state.address == exit.ended.address);
    let new = new.unwrap_or_else(|| panic!("the memory was not used again: {exit:#?}"));
    assert_ne!(new.native_thread_id, exit.ended.native_thread_id);
    let is_written = exit.written.is_some() && exit.word == (0, exit.ended.current_frame);
    assert_eq!(is_written, is_known("stepped/cpython-cached/thread-ended/written-to-another-thread"), "{exit:#?}");
    let stacks: Vec<String> = exit
        .later
        .iter()
        .map(|(gate, sample)| {
            let id = u64::from(gate.native_thread_id);
            let thread = sample.threads.iter().find(|thread| thread.native_thread_id == id).unwrap();
            let frames = thread.outcome.as_ref().unwrap_or_else(|error| panic!("{error}"));
            frames.iter().map(|frame| &*frame.function).collect::<Vec<_>>().join(" < ")
        })
        .collect();
    assert_eq!(stacks, ["gate < inner < first < follows", "gate < inner < second < follows", "gate < main < <module>"]);
}
