//! Code objects of several interpreters that come to stand at the same address.
//!
//! CPython's unwinder has one cache of decoded code objects for all interpreters, by address. The generation that
//! empties it (`code_object_generation`) is counted by each interpreter for itself. If one interpreter frees a code
//! object, and another one makes its own at that address, the unwinder names the new frames after the old code.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use framewalk::frame::Frame;
use framewalk::memory::Address;
use framewalk::sample::ThreadSample;

/// More addresses than this are not remembered. What is not remembered excuses nothing.
const MOST_ADDRESSES: usize = 1 << 16;

/// A function as frames name it, and the interpreter whose code it is.
type OwnedFunction = (Address, Arc<str>, Arc<str>);

/// The code of a stopped thread's Python frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ThreadCode {
    /// The address of the thread's interpreter.
    pub(super) interpreter: Address,
    /// The addresses of the code objects, leaf first.
    pub(super) codes: Vec<Address>,
}

/// The functions that each address of a code object was seen with.
#[derive(Debug, Default)]
pub(super) struct SharedCode(HashMap<Address, BTreeSet<OwnedFunction>>);

impl SharedCode {
    /// Remembers the functions of all threads at this stop.
    pub(super) fn learn(&mut self, threads: &[ThreadCode], truth: &[ThreadSample]) {
        for (thread, sample) in threads.iter().zip(truth) {
            let Ok(stack) = &sample.outcome else { continue };
            if stack.len() != thread.codes.len() {
                continue;
            }
            for (&code, frame) in thread.codes.iter().zip(stack) {
                if self.0.len() < MOST_ADDRESSES || self.0.contains_key(&code) {
                    self.0.entry(code).or_default().insert(owned(thread.interpreter, frame));
                }
            }
        }
    }

    /// Whether `seen` is `truth` except for frames that are named after other code, which another interpreter had at
    /// the address of the frame's own code.
    pub(super) fn explains(&self, thread: &ThreadCode, seen: &[Frame], truth: &[Frame]) -> bool {
        let is_of_another = |code: &Address, frame: &Frame| {
            let functions = self.0.get(code).into_iter().flatten();
            functions
                .filter(|(interpreter, ..)| *interpreter != thread.interpreter)
                .any(|(_, function, file)| (function, file) == (&frame.function, &frame.file))
        };
        let fits = |((seen, truth), code): ((&Frame, &Frame), &Address)| {
            seen == truth || (&seen.function, &seen.file) != (&truth.function, &truth.file) && is_of_another(code, seen)
        };
        let is_aligned = seen.len() == truth.len() && truth.len() == thread.codes.len();
        is_aligned && seen.iter().zip(truth).zip(&thread.codes).all(fits)
    }
}

fn owned(interpreter: Address, frame: &Frame) -> OwnedFunction {
    (interpreter, frame.function.clone(), frame.file.clone())
}

#[cfg(test)]
mod tests {
    use framewalk::frame::Location;
    use framewalk::sample::{Lookup, Provenance};

    use super::*;

    const MAIN: Address = 0x10;
    const SUB: Address = 0x20;

    fn stack(frames: &[(&str, i32)]) -> Vec<Frame> {
        let frame = |&(file, line): &(&str, i32)| Frame {
            function: "<module>".into(),
            file: file.into(),
            location: Location { line: Some(line), ..Location::default() },
        };
        frames.iter().map(frame).collect()
    }

    fn thread(interpreter: Address, codes: &[Address]) -> ThreadCode {
        ThreadCode { interpreter, codes: codes.to_vec() }
    }

    /// What a thread of an interpreter had at a stop: code objects, and frames by file and line.
    type Stop<'a> = (Address, &'a [Address], &'a [(&'a str, i32)]);

    fn learnt(stops: &[Stop<'_>]) -> SharedCode {
        let mut shared = SharedCode::default();
        for (interpreter, codes, frames) in stops {
            let provenance = Provenance { lookup: Lookup::Uncached, from_cache: 0 };
            let outcome = Ok(stack(frames).into());
            let truth = [ThreadSample { native_thread_id: 1, outcome, provenance }];
            shared.learn(&[thread(*interpreter, codes)], &truth);
        }
        shared
    }

    #[test]
    fn only_code_that_another_interpreter_had_at_that_address_explains_a_wrong_name() {
        let (now, truth) = (thread(SUB, &[0x7000, 0x8000]), stack(&[("<subi>", 66), ("<script>", 13)]));
        let seen = stack(&[("<main>", 64), ("<script>", 13)]);
        let sub: Stop<'_> = (SUB, &[0x7000, 0x8000], &[("<subi>", 66), ("<script>", 13)]);
        assert!(learnt(&[(MAIN, &[0x7000], &[("<main>", 60)]), sub]).explains(&now, &seen, &truth));
        // The code of the main interpreter was elsewhere, had another name, or was the same interpreter's.
        for before in [
            (MAIN, &[0x7100][..], &[("<main>", 60)][..]),
            (MAIN, &[0x7000], &[("<other>", 60)]),
            (SUB, &[0x7000], &[("<main>", 60)]),
            // Its frames are not known, because the chain has others.
            (MAIN, &[0x7000, 0x7100], &[("<main>", 60)]),
        ] {
            assert!(!learnt(&[before, sub]).explains(&now, &seen, &truth), "{before:?}");
        }
        assert!(!SharedCode::default().explains(&now, &seen, &truth));
    }

    #[test]
    fn every_other_difference_of_the_stack_stays_unexplained() {
        let shared = learnt(&[(MAIN, &[0x7000], &[("<main>", 60)])]);
        let (now, truth) = (thread(SUB, &[0x7000, 0x8000]), stack(&[("<subi>", 66), ("<script>", 13)]));
        for wrong in [
            &[("<main>", 64), ("<script>", 14)][..],
            &[("<main>", 64), ("<main>", 60)],
            &[("<subi>", 64), ("<script>", 13)],
            &[("<main>", 64)],
            &[("<main>", 64), ("<script>", 13), ("<script>", 1)],
        ] {
            assert!(!shared.explains(&now, &stack(wrong), &truth), "{wrong:?}");
        }
    }
}
