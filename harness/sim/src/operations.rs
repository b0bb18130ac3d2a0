//! The stores of each operation, in the order of CPython 3.15.2.

use framewalk::memory::Address;

use crate::map::{FrameSlot, FrameWords, Map, Word};
use crate::program::SimFunctionId;
use crate::store::SimStore;
use crate::variation::{Variation, Variations};

/// `PyStackRef_NULL`: no object, with the tag bit set.
const NULL_REFERENCE: u64 = 1;

/// Collects the stores of one operation in one thread.
pub(super) struct Operation<'a> {
    map: &'a Map,
    variations: &'a Variations,
    thread: usize,
    stores: Vec<SimStore>,
    leaving: Vec<Address>,
}

impl<'a> Operation<'a> {
    /// Reuses the allocation of `stores`, whose content is dropped.
    pub(super) fn new(map: &'a Map, variations: &'a Variations, thread: usize, mut stores: Vec<SimStore>) -> Self {
        stores.clear();
        Self { map, variations, thread, stores, leaving: Vec::new() }
    }

    /// The collected stores, and the frames that leave the stack in this operation.
    pub(super) fn done(self) -> (Vec<SimStore>, Vec<Address>) {
        (self.stores, self.leaving)
    }

    pub(super) fn word(&mut self, word: Word, value: u64) {
        self.stores.push(SimStore::Word { word, value });
    }

    pub(super) fn current_frame(&mut self, place: FrameSlot) {
        self.word(self.map.thread_words(self.thread).current_frame, self.map.address(place));
    }

    pub(super) fn previous(&mut self, of: FrameSlot, caller: Option<FrameSlot>) {
        if let Some(word) = self.map.previous_word(of) {
            self.word(word, caller.map_or(0, |place| self.map.address(place)));
        }
    }

    pub(super) fn line(&mut self, of: FrameSlot, function: SimFunctionId, line: u8) {
        if let Some(&FrameWords { instruction: word, .. }) = self.map.frame_words(of) {
            self.word(word, self.map.codes().instruction(function, line));
        }
    }

    /// Fills in the fields of a new frame. The slots that its locals cover get null references.
    pub(super) fn initialise(
        &mut self,
        place: FrameSlot,
        function: SimFunctionId,
        caller: Option<FrameSlot>,
        covered: &[FrameSlot],
    ) {
        self.previous(place, caller);
        self.code(place, self.map.codes().executable(function));
        self.line(place, function, 1);
        for &slot in covered {
            if let Some(&words) = self.map.frame_words(slot) {
                for word in [words.code, words.previous, words.instruction] {
                    self.word(word, NULL_REFERENCE);
                }
            }
        }
    }

    /// Initialises the frame cache's fields of a new thread state.
    pub(super) fn fresh_cache(&mut self) {
        let thread = self.thread;
        self.stores.extend([SimStore::Anchor { thread, value: 0 }, SimStore::ResetSequence { thread }]);
    }

    /// Copies the frame of a generator function into its generator.
    pub(super) fn copy_to_generator(&mut self, place: FrameSlot, function: SimFunctionId) {
        self.code(place, self.map.codes().executable(function));
        self.previous(place, None);
        self.line(place, function, 1);
    }

    fn code(&mut self, of: FrameSlot, value: u64) {
        if let Some(&FrameWords { code, .. }) = self.map.frame_words(of) {
            self.word(code, value);
        }
    }

    /// Frees a code object. The interpreter counts it before the memory can be reused.
    pub(super) fn free_code(&mut self, interpreter: usize, freed: u64) {
        if let Some(word) = self.map.code_generation(interpreter) {
            self.word(word, freed.wrapping_add(1));
        }
    }

    /// Creates a function's code object. Stores only the words that differ from `there`.
    pub(super) fn make_code(&mut self, function: SimFunctionId, there: impl Fn(Word) -> u64) {
        let codes = self.map.codes();
        let (Some(words), Some(content)) = (codes.words(function), codes.content(function)) else { return };
        let flags = words.flags.map(|word| (word, content.flags));
        for (word, value) in std::iter::once((words.name, content.name)).chain(flags) {
            if there(word) != value {
                self.word(word, value);
            }
        }
    }

    /// Frees a frame's storage: its reference to the code object is dropped.
    pub(super) fn clear(&mut self, place: FrameSlot) {
        self.code(place, NULL_REFERENCE);
    }

    /// Links a shim frame between C and the new frame `entered`. The shim frame does not become the current one.
    pub(super) fn enter(&mut self, shim: FrameSlot, entered: FrameSlot, caller: FrameSlot) {
        self.previous(entered, Some(shim));
        self.previous(shim, Some(caller));
    }

    /// Clears a suspended generator without resuming it. If its frame is the anchor, the anchor becomes that frame's
    /// `previous`.
    pub(super) fn clear_generator(&mut self, place: FrameSlot) {
        self.leaving.push(self.map.address(place));
        self.advance_to(self.map.address(place), 0);
        self.previous(place, None);
    }

    /// If the anchor is `frame`, moves it to `caller`.
    pub(super) fn advance(&mut self, frame: Address, caller: FrameSlot, fault: Variation) {
        self.leaving.push(frame);
        if self.variations.contains(&fault) {
            return;
        }
        self.advance_to(frame, self.map.address(caller));
    }

    fn advance_to(&mut self, frame: Address, value: Address) {
        let thread = self.thread;
        let anchor = SimStore::Anchor { thread, value };
        let sequence = SimStore::IncrementSequence { thread };
        let both = if self.variations.contains(&Variation::SequenceKept) {
            vec![anchor]
        } else if self.variations.contains(&Variation::AnchorBeforeSequence) {
            vec![anchor, sequence]
        } else {
            vec![sequence, anchor]
        };
        self.stores.push(SimStore::CompareAnchor { thread, frame, skip: both.len() });
        self.stores.extend(both);
    }

    /// A frame leaves the stack by a return or an exception: the current frame is stored first, then the anchor.
    pub(super) fn leave(&mut self, place: FrameSlot, caller: FrameSlot) {
        self.current_frame(caller);
        self.advance(self.map.address(place), caller, Variation::AnchorKeptOnReturn);
    }

    /// A generator's frame leaves the stack by a yield or after a throw: the anchor is stored first, then the current
    /// frame.
    pub(super) fn suspend(&mut self, place: FrameSlot, caller: FrameSlot, fault: Variation) {
        let current_first = self.variations.contains(&Variation::CurrentFrameFirstOnYield);
        if current_first {
            self.current_frame(caller);
        }
        self.advance(self.map.address(place), caller, fault);
        if !current_first {
            self.current_frame(caller);
        }
        self.previous(place, None);
    }

    /// A shim frame leaves the stack. CPython does not update the anchor there.
    pub(super) fn leave_shim(&mut self, shim: FrameSlot, caller: FrameSlot) {
        self.current_frame(caller);
        if self.variations.contains(&Variation::AnchorMovedByShims) {
            self.advance(self.map.address(shim), caller, Variation::AnchorKeptOnReturn);
        }
    }
}
