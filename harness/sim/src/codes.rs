//! The code objects of a program: at which address each is, and which of them take turns at one.

use framewalk::layout::release_3_15_2::LAYOUT;
use framewalk::memory::Address;
use smallvec::SmallVec;

use crate::map::{CODES, STRIDE, Word, put};
use crate::program::{FunctionId, LINES, Program};

const FILE: &str = "workload.py";
/// `CO_GENERATOR` (`cpython/code.h`).
const CO_GENERATOR: u64 = 0x20;
/// Where the name, the file name and the location table are, from the code object on.
const FILE_NAME: u64 = 0x200;
const NAME: u64 = 0x300;
const TABLE: u64 = 0x600;
/// After that the names of other functions that take turns at the address.
const OTHER_NAMES: usize = 0x800;

/// The words of a code object that change.
#[derive(Clone, Copy, Debug)]
pub struct CodeWords {
    /// `co_qualname`.
    pub name: Word,
    /// `co_flags`, if the functions that take turns differ in them.
    pub flags: Option<Word>,
}

/// What is in these words while a function's code object is there.
#[derive(Clone, Copy, Debug)]
pub struct CodeContent {
    /// The address of the name.
    pub name: Address,
    /// The flags.
    pub flags: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Codes {
    /// The number of the address of each function's code object.
    places: SmallVec<[u8; 8]>,
    /// By that number: whose code objects can be there.
    functions: Vec<SmallVec<[FunctionId; 4]>>,
    /// By the same number, if functions take turns.
    words: Vec<Option<CodeWords>>,
    /// By function.
    contents: SmallVec<[CodeContent; 8]>,
}

/// A code object with all that it points to.
pub(super) struct CodeObject {
    pub(super) address: Address,
    pub(super) bytes: Vec<u8>,
    /// Whether others take turns with it.
    pub(super) takes_turns: bool,
    /// What it points to as its name.
    pub(super) name: Address,
    /// Its flags, if others have different ones.
    pub(super) flags: Option<u64>,
}

impl Codes {
    /// The code objects of a program. Only where code objects are freed can two be at one address.
    pub(super) fn new(program: &Program) -> Self {
        let frees = program.frees_code();
        let mut codes = Self {
            places: SmallVec::new(),
            functions: Vec::with_capacity(program.functions.len()),
            words: Vec::new(),
            contents: SmallVec::new(),
        };
        for (id, function) in (0..=FunctionId::MAX).zip(&program.functions) {
            let place = function.place.filter(|_| frees).unwrap_or(id);
            codes.places.push(place);
            let place = usize::from(place);
            if codes.functions.len() <= place {
                codes.functions.resize(place + 1, SmallVec::new());
            }
            let there = &mut codes.functions[place];
            // The offset of the name follows from the names that are there already.
            let name = match there.first() {
                None => NAME,
                Some(_) => there.iter().skip(1).fold(OTHER_NAMES, |offset, &other| {
                    offset + program.functions.get(usize::from(other)).map_or(0, |other| text_size(&other.name))
                }) as u64,
            };
            there.push(id);
            let flags = if program.is_generator(id) { CO_GENERATOR } else { 0 };
            codes.contents.push(CodeContent { name: address(place) + name, flags });
        }
        if frees {
            codes.words.resize(codes.functions.len(), None);
        }
        codes
    }

    /// How many addresses there are, used or not.
    pub(super) fn places(&self) -> usize {
        self.functions.len()
    }

    pub(super) fn set_words(&mut self, place: usize, words: CodeWords) {
        if let Some(there) = self.words.get_mut(place) {
            *there = Some(words);
        }
    }

    /// The code object that is there at first, in which every code unit is a line, and the names of the others.
    pub(super) fn object(&self, program: &Program, place: usize) -> Option<CodeObject> {
        let (&first, others) = self.functions.get(place)?.split_first()?;
        let (code, address) = (LAYOUT.code, address(place));
        let content = self.content(first)?;
        let mut bytes = vec![0; OTHER_NAMES];
        put(&mut bytes, code.flags, content.flags);
        put(&mut bytes, code.bytes_size, u64::from(LINES));
        put(&mut bytes, code.first_line, 1);
        put(&mut bytes, code.filename, address + FILE_NAME);
        put(&mut bytes, code.qualname, content.name);
        put(&mut bytes, code.linetable, address + TABLE);
        text(&mut bytes, FILE_NAME, FILE);
        text(&mut bytes, NAME, &program.functions.get(usize::from(first))?.name);
        // Kind 13: a line and no columns; one code unit; one line on.
        let entries = (0..LINES).flat_map(|line| [0xe8, if line == 0 { 0 } else { 2 }]);
        put(&mut bytes, TABLE + code.bytes_size, u64::from(LINES) * 2);
        for (offset, byte) in (usize::try_from(TABLE + code.bytes_data).unwrap_or(0)..).zip(entries) {
            if let Some(there) = bytes.get_mut(offset) {
                *there = byte;
            }
        }
        for other in others {
            let name = &program.functions.get(usize::from(*other))?.name;
            let offset = bytes.len();
            bytes.resize(offset + text_size(name), 0);
            text(&mut bytes, offset as u64, name);
        }
        let differ = others.iter().any(|&other| self.content(other).is_some_and(|other| other.flags != content.flags));
        Some(CodeObject {
            address,
            bytes,
            takes_turns: !others.is_empty(),
            name: content.name,
            flags: differ.then_some(content.flags),
        })
    }

    /// The functions whose code objects are the first ones at the addresses where functions take turns, by the number of the
    /// address.
    pub(super) fn first(&self) -> impl Iterator<Item = Option<FunctionId>> {
        self.words.iter().zip(&self.functions).map(|(words, there)| words.and_then(|_| there.first().copied()))
    }

    /// The number of the address at which a function's code object is.
    #[must_use]
    pub fn place(&self, function: FunctionId) -> usize {
        self.places.get(usize::from(function)).copied().unwrap_or(function).into()
    }

    /// The words of a function's code object that change.
    #[must_use]
    pub fn words(&self, function: FunctionId) -> Option<CodeWords> {
        self.words.get(self.place(function)).copied().flatten()
    }

    /// What a function's code object has in these words.
    #[must_use]
    pub fn content(&self, function: FunctionId) -> Option<CodeContent> {
        self.contents.get(usize::from(function)).copied()
    }

    /// The function whose code object has this in [`CodeWords::name`].
    #[must_use]
    pub fn named(&self, place: usize, name: Address) -> Option<FunctionId> {
        let mut there = self.functions.get(place)?.iter().copied();
        there.find(|&function| self.content(function).is_some_and(|content| content.name == name))
    }

    /// The address of a function's code object.
    #[must_use]
    pub fn address(&self, function: FunctionId) -> Address {
        address(self.place(function))
    }

    /// The tagged reference to it that a frame holds.
    #[must_use]
    pub fn executable(&self, function: FunctionId) -> u64 {
        self.address(function) | 1
    }

    /// The function whose code a frame holds; `get` gives the words.
    #[must_use]
    pub fn function_of(&self, executable: u64, get: impl Fn(Word) -> u64) -> Option<FunctionId> {
        let offset = (executable & !LAYOUT.frame.tag_mask).checked_sub(CODES)?;
        let place = usize::try_from(offset / STRIDE).ok()?;
        match self.words.get(place).copied().flatten() {
            Some(words) => self.named(place, get(words.name)),
            None => self.functions.get(place)?.first().copied(),
        }
    }

    /// Where a frame's instruction pointer stands on a line (from 1 to [`LINES`]).
    #[must_use]
    pub fn instruction(&self, function: FunctionId, line: u8) -> Address {
        self.address(function) + LAYOUT.code.code_adaptive + 2 * u64::from(line.clamp(1, LINES) - 1)
    }

    /// The line on which an instruction of a function stands.
    #[must_use]
    pub fn line_of(&self, function: FunctionId, instruction: Address) -> Option<u8> {
        let unit = instruction.checked_sub(self.address(function) + LAYOUT.code.code_adaptive)? / 2;
        u8::try_from(unit + 1).ok().filter(|line| *line <= LINES)
    }
}

fn address(place: usize) -> Address {
    CODES + STRIDE * place as u64
}

/// Bytes of a text object, up to the next word.
fn text_size(text: &str) -> usize {
    (usize::try_from(LAYOUT.code.ascii_data).unwrap_or(0) + text.len()).next_multiple_of(8)
}

fn text(bytes: &mut [u8], start: u64, text: &str) {
    let code = LAYOUT.code;
    put(bytes, start + code.text_length, text.len() as u64);
    // Kind 1, compact, ASCII.
    put(bytes, start + code.text_state, 1 << 2 | 1 << 5 | 1 << 6);
    for (offset, &byte) in (usize::try_from(start + code.ascii_data).unwrap_or(0)..).zip(text.as_bytes()) {
        if let Some(there) = bytes.get_mut(offset) {
            *there = byte;
        }
    }
}
