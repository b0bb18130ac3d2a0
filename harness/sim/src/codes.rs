//! The code objects of a program: their addresses, and which of them take turns at one address.

use framewalk::layout::release_3_15_2::LAYOUT;
use framewalk::memory::Address;
use smallvec::SmallVec;

use crate::addresses::{CODES, STRIDE, Word, put};
use crate::program::{LINES, SimFunctionId, SimProgram};

const FILE: &str = "workload.py";
/// `CO_GENERATOR` (`cpython/code.h`).
const CO_GENERATOR: u64 = 0x20;
/// Offsets of file name, name and location table from the code object.
const FILE_NAME: u64 = 0x200;
const NAME: u64 = 0x300;
const TABLE: u64 = 0x600;
/// Offset of the names of the other functions that take turns at the address.
const OTHER_NAMES: usize = 0x800;

/// The changing words of a code object.
#[derive(Clone, Copy, Debug)]
pub struct CodeWords {
    /// The word that holds `co_qualname`.
    pub name: Word,
    /// `co_flags`, if the functions that take turns differ in it.
    pub flags: Option<Word>,
}

/// The values of these words while a function's code object exists.
#[derive(Clone, Copy, Debug)]
pub struct CodeContent {
    /// Address of the name.
    pub name: Address,
    /// The value of `co_flags`, as in `cpython/code.h`.
    pub flags: u64,
}

/// The code objects of a program.
#[derive(Debug)]
pub struct Codes {
    /// The number of the address of each function's code object.
    places: SmallVec<[u8; 8]>,
    /// The functions whose code objects share an address, by its number.
    functions: Vec<SmallVec<[SimFunctionId; 4]>>,
    /// The changing words, by the same number. `None` if no functions take turns there.
    words: Vec<Option<CodeWords>>,
    /// The values of these words, by function.
    contents: SmallVec<[CodeContent; 8]>,
}

/// A code object with everything that it points to.
pub(super) struct CodeObject {
    pub(super) address: Address,
    pub(super) bytes: Vec<u8>,
    /// Whether other functions take turns with it.
    pub(super) takes_turns: bool,
    /// Address of its name.
    pub(super) name: Address,
    /// Its flags, if the functions that take turns differ in them.
    pub(super) flags: Option<u64>,
}

impl Codes {
    /// Assigns addresses to the code objects of a program. Two can share one only in programs that free code objects.
    pub(super) fn new(program: &SimProgram) -> Self {
        let frees = program.frees_code();
        let mut codes = Self {
            places: SmallVec::new(),
            functions: Vec::with_capacity(program.functions.len()),
            words: Vec::new(),
            contents: SmallVec::new(),
        };
        for (id, function) in (0..=SimFunctionId::MAX).zip(&program.functions) {
            let place = function.place.filter(|_| frees).unwrap_or(id);
            codes.places.push(place);
            let place = usize::from(place);
            if codes.functions.len() <= place {
                codes.functions.resize(place + 1, SmallVec::new());
            }
            let there = &mut codes.functions[place];
            // The names already at this address determine the offset of this one.
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

    /// Number of addresses, used or not.
    pub(super) fn places(&self) -> usize {
        self.functions.len()
    }

    pub(super) fn set_words(&mut self, place: usize, words: CodeWords) {
        if let Some(there) = self.words.get_mut(place) {
            *there = Some(words);
        }
    }

    /// The first code object at an address, in which every code unit is a line, and the names of the others.
    pub(super) fn object(&self, program: &SimProgram, place: usize) -> Option<CodeObject> {
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
        // Kind 13 (line without columns), one code unit, line delta 1.
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

    /// For each address at which functions take turns, the function whose code object is there first, by the number of
    /// the address.
    pub(super) fn first(&self) -> impl Iterator<Item = Option<SimFunctionId>> {
        self.words.iter().zip(&self.functions).map(|(words, there)| words.and_then(|_| there.first().copied()))
    }

    /// The number of the address of a function's code object.
    #[must_use]
    pub fn place(&self, function: SimFunctionId) -> usize {
        self.places.get(usize::from(function)).copied().unwrap_or(function).into()
    }

    /// The changing words of a function's code object.
    #[must_use]
    pub fn words(&self, function: SimFunctionId) -> Option<CodeWords> {
        self.words.get(self.place(function)).copied().flatten()
    }

    /// The values of these words for a function's code object.
    #[must_use]
    pub fn content(&self, function: SimFunctionId) -> Option<CodeContent> {
        self.contents.get(usize::from(function)).copied()
    }

    /// The function whose code object has this value in [`CodeWords::name`].
    #[must_use]
    pub fn named(&self, place: usize, name: Address) -> Option<SimFunctionId> {
        let mut there = self.functions.get(place)?.iter().copied();
        there.find(|&function| self.content(function).is_some_and(|content| content.name == name))
    }

    /// Address of a function's code object.
    #[must_use]
    pub fn address(&self, function: SimFunctionId) -> Address {
        address(self.place(function))
    }

    /// The tagged reference to a function's code object in a frame.
    #[must_use]
    pub fn executable(&self, function: SimFunctionId) -> u64 {
        self.address(function) | 1
    }

    /// The function whose code a frame runs. `get` returns the words.
    #[must_use]
    pub fn function_of(&self, executable: u64, get: impl Fn(Word) -> u64) -> Option<SimFunctionId> {
        let offset = (executable & !LAYOUT.frame.tag_mask).checked_sub(CODES)?;
        let place = usize::try_from(offset / STRIDE).ok()?;
        match self.words.get(place).copied().flatten() {
            Some(words) => self.named(place, get(words.name)),
            None => self.functions.get(place)?.first().copied(),
        }
    }

    /// The instruction pointer for a line of a function (from 1 to [`LINES`]).
    #[must_use]
    pub fn instruction(&self, function: SimFunctionId, line: u8) -> Address {
        self.address(function) + LAYOUT.code.code_adaptive + 2 * u64::from(line.clamp(1, LINES) - 1)
    }

    /// The line of an instruction in a function.
    #[must_use]
    pub fn line_of(&self, function: SimFunctionId, instruction: Address) -> Option<u8> {
        let unit = instruction.checked_sub(self.address(function) + LAYOUT.code.code_adaptive)? / 2;
        u8::try_from(unit + 1).ok().filter(|line| *line <= LINES)
    }
}

fn address(place: usize) -> Address {
    CODES + STRIDE * place as u64
}

/// Size of a text object in bytes, rounded up to a word.
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
