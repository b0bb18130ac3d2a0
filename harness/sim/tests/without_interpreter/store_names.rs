//! Tests of naming, with accesses made by hand.
#![allow(clippy::panic, reason = "tests")]

use framewalk::layout::GeneratorLayout;
use framewalk::layout::release_3_15_2::LAYOUT;
use framewalk::memory::Address;

use crate::stores::recorder::{Link, Offsets, StoreRecorder, WordKind};
use crate::stores::{Code, FrameName, Store};

const THREAD: Address = 0x1000;
const MAIN: Address = 0x2000;
const LEAF: Address = 0x2100;
const SHIM: Address = 0x9000;
const CODE: [u64; 2] = [0x5000, 0x5100];

fn recorder() -> StoreRecorder {
    let generator = GeneratorLayout { frame: 72, state: 67 };
    let Some(cache) = LAYOUT.thread.cache else { panic!("no cache") };
    let offsets = Offsets { thread: LAYOUT.thread, cache, frame: LAYOUT.frame, generator };
    StoreRecorder::new(offsets, THREAD, 7, 0x1_0000, vec![link(MAIN, "main", CODE[0])])
}

fn link(address: Address, function: &str, executable: u64) -> Link {
    let kind = if address == SHIM { WordKind::Shim } else { WordKind::Stack };
    Link { address, kind, executable, function: function.into() }
}

impl StoreRecorder {
    fn word(&mut self, address: Address, value: u64) {
        self.stored(address, &value.to_le_bytes());
    }
}

#[test]
fn stores_before_a_frame_is_known_get_its_name() {
    let mut recorder = recorder();
    recorder.word(LEAF + LAYOUT.frame.previous, MAIN);
    recorder.word(LEAF, CODE[1] | 1);
    recorder.stored(LEAF + LAYOUT.frame.owner - 2, &[0, 0, 0, 0]);
    recorder.word(LEAF + LAYOUT.frame.instr_ptr, 1);
    recorder.word(THREAD + LAYOUT.thread.current_frame, LEAF);
    recorder.chain(vec![link(LEAF, "leaf", CODE[1] | 1), link(MAIN, "main", CODE[0])]);
    recorder.word(LEAF + LAYOUT.frame.instr_ptr, 2);
    let (leaf, main) = (FrameName::stack("leaf"), FrameName::stack("main"));
    let expected = [
        Store::Previous(leaf.clone(), main),
        Store::Executable(leaf.clone(), Code::Function),
        Store::Owner(leaf.clone(), 0),
        Store::Instruction(leaf.clone()),
        Store::CurrentFrame(leaf),
    ];
    assert_eq!(recorder.finish(), expected, "the current frame's own instructions are not told");
}

#[test]
fn one_address_can_hold_several_frames_in_succession() {
    let mut recorder = recorder();
    for (function, code) in ["first", "second"].into_iter().zip([0x5100, 0x5200]) {
        recorder.word(LEAF, code);
        recorder.word(THREAD + LAYOUT.thread.current_frame, LEAF);
        recorder.chain(vec![link(LEAF, function, code), link(MAIN, "main", CODE[0])]);
        recorder.word(THREAD + LAYOUT.thread.current_frame, MAIN);
        recorder.chain(vec![link(MAIN, "main", CODE[0])]);
        recorder.word(LEAF, 1);
    }
    // A third frame never gets onto the chain. Its name comes from its code.
    recorder.word(LEAF, 0x5100);
    let named: Vec<_> = recorder.finish().into_iter().filter_map(|store| store.frame().cloned()).collect();
    assert_eq!(named, ["first", "first", "second", "second", "first"].map(FrameName::stack));
}

#[test]
fn shim_memory_belongs_to_no_frame_before_and_after() {
    let mut recorder = recorder();
    recorder.word(SHIM, 0x77);
    recorder.word(SHIM + LAYOUT.frame.previous, 0x77);
    recorder.word(SHIM, 0x3);
    recorder.word(SHIM + LAYOUT.frame.previous, MAIN);
    recorder.word(THREAD + LAYOUT.thread.current_frame, LEAF);
    recorder.chain(vec![link(LEAF, "leaf", CODE[1]), link(SHIM, "", 3), link(MAIN, "main", CODE[0])]);
    recorder.word(THREAD + LAYOUT.thread.current_frame, MAIN);
    recorder.chain(vec![link(MAIN, "main", CODE[0])]);
    recorder.word(SHIM + LAYOUT.frame.previous, 0x77);
    let stores = recorder.finish();
    let shim = Store::Previous(FrameName::shim("main"), FrameName::stack("main"));
    assert_eq!(stores.iter().filter(|store| store.frame().is_some()).collect::<Vec<_>>(), [&shim]);
}

#[test]
fn stores_to_anchor_sequence_and_chunks_show_the_new_value() {
    let mut recorder = recorder();
    let Some(cache) = LAYOUT.thread.cache else { panic!("no cache") };
    recorder.loaded(THREAD + cache.anchor - 8, 16);
    recorder.loaded(THREAD + cache.sequence, 8);
    recorder.word(THREAD + cache.sequence, 8);
    recorder.word(THREAD + cache.sequence, 8);
    recorder.word(THREAD + cache.anchor, MAIN);
    recorder.word(THREAD + cache.anchor, 0xdead_beef);
    recorder.word(THREAD + cache.anchor, 0);
    for chunk in [0x2_0000, 0x1_0000] {
        recorder.word(THREAD + LAYOUT.thread.datastack_chunk, chunk);
    }
    let expected = [
        Store::AnchorLoaded,
        Store::SequenceIncremented,
        Store::Sequence(8),
        Store::Anchor(FrameName::stack("main")),
        Store::Anchor(FrameName::Elsewhere),
        Store::Anchor(FrameName::Null),
        Store::Chunk(1),
        Store::Chunk(0),
    ];
    assert_eq!(recorder.finish(), expected);
}
