//! The target and the walkers of these tests.

use std::collections::BTreeSet;

use framewalk::cached::CachedWalker;
use framewalk::layout::{
    CacheLayout, CodeLayout, FrameLayout, FrameOwners, InterpreterLayout, Layout, ThreadLayout, VersionHex,
};
use framewalk::memory::RemoteMemory;
use framewalk::memory::image::Image;
use framewalk::reference::ReferenceWalker;
use framewalk::sample::{Lookup, Provenance, ThreadSample};
use framewalk::walker::{Site, Walker};
use framewalk::weakening::Weakening;

pub(crate) const RUNTIME: u64 = 0x1_0000;
pub(crate) const INTERPRETER: u64 = 0x2_0000;
pub(crate) const THREAD: u64 = 0x3_0000;
pub(crate) const CHUNK: u64 = 0x10_0000;
pub(crate) const CHUNK_SIZE: usize = 16 << 10;
pub(crate) const BASE: u64 = 0x20_0000;
pub(crate) const SHIM: u64 = 0x20_1000;
pub(crate) const CODES: u64 = 0x30_0000;

pub(crate) fn layout() -> Layout {
    Layout {
        version: VersionHex(0x030f_02f0),
        free_threaded: false,
        finalizing: 0,
        interpreters_head: 8,
        interpreter: InterpreterLayout {
            id: 16,
            next: 0,
            threads_head: 8,
            code_object_generation: Some(24),
            running: None,
        },
        thread: ThreadLayout {
            size: 128,
            next: 8,
            interpreter: 16,
            current_frame: 24,
            native_thread_id: 56,
            datastack_chunk: 64,
            cache: Some(CacheLayout { base_frame: 32, anchor: 40, sequence: 48 }),
            status: None,
        },
        frame: FrameLayout {
            size: 88,
            previous: 8,
            executable: 0,
            instr_ptr: 56,
            owner: 74,
            tag_mask: 3,
            owners: FrameOwners::NEWEST,
        },
        generator: None,
        per_thread: None,
        code: CodeLayout {
            size: 128,
            filename: 48,
            qualname: 24,
            linetable: 32,
            first_line: 40,
            flags: 44,
            code_adaptive: 64,
            bytes_size: 16,
            bytes_data: 32,
            text_state: 32,
            text_length: 16,
            ascii_data: 40,
            compact_data: 56,
            text_kind_bit: 2,
        },
    }
}

/// A small hand-made interpreter. Frames are pushed on one chunk, and popping one moves the anchor as CPython does.
#[derive(Clone)]
pub(crate) struct Target {
    pub image: Image,
    pub frames: Vec<u64>,
    pub codes: u64,
}

impl Target {
    pub(crate) fn new() -> Self {
        let mut image = Image::default();
        image.map(RUNTIME, vec![0; 64]);
        image.map(INTERPRETER, vec![0; 64]);
        image.map(THREAD, vec![0; 128]);
        image.map(CHUNK, vec![0; CHUNK_SIZE]);
        image.map(BASE, vec![0; 88]);
        image.map(SHIM, vec![0; 88]);
        let mut target = Self { image, frames: vec![BASE], codes: 0 };
        target.put(RUNTIME + 8, INTERPRETER);
        target.put(INTERPRETER + 8, THREAD);
        target.put(THREAD + 16, INTERPRETER);
        target.put(THREAD + 24, BASE);
        target.put(THREAD + 32, BASE);
        target.put(THREAD + 56, 77);
        target.put(THREAD + 64, CHUNK);
        target.put(CHUNK + 8, CHUNK_SIZE as u64);
        for shim in [BASE, SHIM] {
            target.image.write(shim + 74, &[3]).unwrap();
        }
        target
    }

    pub(crate) fn put(&mut self, address: u64, word: u64) {
        self.image.write(address, &word.to_le_bytes()).unwrap();
    }

    pub(crate) fn get(&mut self, address: u64) -> u64 {
        self.image.read_u64(address).unwrap()
    }

    pub(crate) fn text(&mut self, address: u64, text: &str) {
        let mut object = vec![0; 40];
        object[16..24].copy_from_slice(&(text.len() as u64).to_le_bytes());
        object[32..36].copy_from_slice(&(1_u32 << 2 | 1 << 5 | 1 << 6).to_le_bytes());
        object.extend_from_slice(text.as_bytes());
        self.image.map(address, object);
    }

    /// A code object of sixteen code units. Unit n is on line n.
    pub(crate) fn code(&mut self, name: &str) -> u64 {
        let code = CODES + self.codes * 0x1000;
        self.codes += 1;
        self.image.map(code, vec![0; 128]);
        self.put(code + 16, 16);
        self.put(code + 48, code + 0x100);
        self.put(code + 24, code + 0x200);
        self.put(code + 32, code + 0x300);
        self.text(code + 0x100, "workload.py");
        self.text(code + 0x200, name);
        let table: Vec<u8> = (0..16_u8).flat_map(|unit| [0xe8, if unit == 0 { 0 } else { 2 }]).collect();
        let mut object = vec![0; 32];
        object[16..24].copy_from_slice(&(table.len() as u64).to_le_bytes());
        object.extend(table);
        self.image.map(code + 0x300, object);
        code
    }

    pub(crate) fn top(&self) -> u64 {
        *self.frames.last().unwrap()
    }

    pub(crate) fn push_at(&mut self, address: u64, code: u64, owner: u8) {
        let caller = self.top();
        self.put(address, code | 1);
        self.put(address + 8, caller);
        self.image.write(address + 74, &[owner]).unwrap();
        self.frames.push(address);
        self.put(THREAD + 24, address);
        if owner != 3 {
            self.line(1);
        }
    }

    pub(crate) fn push(&mut self, code: u64) {
        let next = self.frames.iter().filter(|&&frame| frame < BASE).max().map_or(CHUNK + 24, |top| top + 128);
        self.push_at(next, code, 0);
    }

    pub(crate) fn line(&mut self, line: u64) {
        let top = self.top();
        let code = self.get(top) & !3;
        self.put(top + 56, code + 64 + 2 * line);
    }

    pub(crate) fn pop(&mut self) {
        let frame = self.frames.pop().unwrap();
        let parent = self.top();
        self.put(THREAD + 24, parent);
        if self.get(frame + 74) & 0xff != 3 && self.get(THREAD + 40) == frame {
            let sequence = self.get(THREAD + 48);
            self.put(THREAD + 40, parent);
            self.put(THREAD + 48, sequence + 1);
        }
    }
}

pub(crate) fn site() -> Site {
    Site { layout: layout(), runtime: RUNTIME }
}

pub(crate) fn sample(walker: &mut dyn Walker, target: &mut Target) -> ThreadSample {
    let mut sample = walker.sample(&mut target.image).unwrap();
    assert_eq!(sample.threads.len(), 1);
    sample.threads.remove(0)
}

pub(crate) fn names(sample: &ThreadSample) -> Vec<String> {
    let stack = sample.outcome.as_ref().unwrap();
    stack.iter().map(|frame| format!("{}:{}", frame.function, frame.location.line.unwrap())).collect()
}

pub(crate) fn cached(weakenings: &[Weakening]) -> CachedWalker {
    CachedWalker::new(site(), weakenings.iter().copied().collect::<BTreeSet<_>>()).unwrap()
}

pub(crate) fn cached_walkers() -> [Box<dyn Walker>; 2] {
    [Box::new(cached(&[])), Box::new(ReferenceWalker::new(site()).unwrap())]
}

pub(crate) fn provenance(lookup: Lookup, from_cache: usize) -> Provenance {
    Provenance { lookup, from_cache }
}

/// A target with frames of these functions, leaf last.
pub(crate) fn target(functions: &[&str]) -> Target {
    let mut target = Target::new();
    for name in functions {
        let code = target.code(name);
        target.push(code);
    }
    target
}
