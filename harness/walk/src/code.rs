//! Code objects: decodes a raw frame into function, file and position.
//!
//! The address of a code object identifies it only while it lives. Since 3.14 each interpreter counts the code objects
//! that it frees: `PyInterpreterState.code_object_generation` is incremented before the memory is released. So a
//! decoded code object is valid as long as its interpreter's generation is unchanged.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::frame::{Frame, Location};
use crate::layout::Layout;
use crate::location_table::LocationTable;
use crate::memory::{Address, RemoteMemory, Segment};
use crate::python_text;
use crate::raw_frame::RawFrame;
use crate::rejection::Rejection;
use crate::thread_state::{INTERPRETER_LIMIT, word};

/// Longest accepted location table, in bytes.
pub const TABLE_LIMIT: u64 = 1 << 22;
/// Limit for code objects and the objects they point to in one walk, in bytes. A walk that has read more is rejected at
/// its next code object. Real code objects take some hundred bytes each.
pub const WALK_LIMIT: usize = 1 << 24;
/// Most decoded code objects kept. A real program of the workloads' size has far fewer.
const KEPT_LIMIT: usize = 1 << 16;
/// Limit for the kept code objects, in bytes read to decode them.
const KEPT_BYTES: usize = 1 << 25;
/// Longest location table that CPython's unwinder reads, in bytes (`Modules/_remote_debugging`, gh-151022).
const LONG_TABLE: u64 = 1 << 16;
/// Most code objects with longer tables that are remembered.
const LONG_TABLES_NOTED: usize = 64;
/// Size of a code unit in bytes.
const CODE_UNIT: u64 = 2;

/// `CO_GENERATOR`, `CO_COROUTINE` and `CO_ASYNC_GENERATOR` (`cpython/code.h`).
const GENERATOR_FLAGS: u32 = 0x20 | 0x80 | 0x200;

/// Identifies the code objects that an interpreter has between two frees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CodeGeneration {
    /// Address of the interpreter's state.
    pub interpreter: Address,
    /// The interpreter's id, which is never reused, and its `code_object_generation`. `None` before 3.14, and if they
    /// cannot be read.
    pub number: Option<(u64, u64)>,
}

impl CodeGeneration {
    /// The interpreter's address; NULL if its generation could not be read.
    pub(super) fn known_interpreter(&self) -> Address {
        self.number.map_or(0, |_| self.interpreter)
    }

    /// Reads the generation of the interpreter whose state is at `interpreter`. If the reads fail,
    /// [`CodeGeneration::number`] is `None`.
    pub fn read(memory: &mut dyn RemoteMemory, layout: &Layout, interpreter: Address) -> Self {
        let mut read = GenerationBuffer::default();
        let segments = read.segments(layout, interpreter);
        let filled = segments.and_then(|mut segments| memory.read_vectored(&mut segments).ok());
        read.parse(interpreter, filled == Some(2))
    }
}

/// Buffers for the fields of a [`CodeGeneration`].
#[derive(Default)]
pub(super) struct GenerationBuffer {
    id: [u8; 8],
    generation: [u8; 8],
}

impl GenerationBuffer {
    /// The segments that read the fields. `None` if the build has no generations or the interpreter is unknown.
    pub(super) fn segments(&mut self, layout: &Layout, interpreter: Address) -> Option<[Segment<'_>; 2]> {
        let generation = layout.interpreter.code_object_generation.filter(|_| interpreter != 0)?;
        Some([
            Segment { address: interpreter.wrapping_add(layout.interpreter.id), buffer: &mut self.id },
            Segment { address: interpreter.wrapping_add(generation), buffer: &mut self.generation },
        ])
    }

    /// The generation from the buffers. Without a number unless they were `filled`.
    pub(super) fn parse(&self, interpreter: Address, filled: bool) -> CodeGeneration {
        let number = (u64::from_le_bytes(self.id), u64::from_le_bytes(self.generation));
        CodeGeneration { interpreter, number: filled.then_some(number) }
    }
}

#[derive(Clone)]
struct Code {
    is_generator: bool,
    function: Arc<str>,
    file: Arc<str>,
    locations: Arc<LocationTable>,
    /// Number of its code units.
    units: u64,
    /// Frames created so far, by entry of the location table. The last one is for code units without an entry.
    frames: Box<[Option<Arc<Frame>>]>,
    /// See [`Decoder::lines`]. `None` until requested.
    lines: Option<Lines>,
}

/// Lines of a function's instructions. `None` is the line of an artificial instruction.
pub type Lines = Arc<BTreeSet<Option<i32>>>;

/// Decoded code objects of one interpreter, by address.
#[derive(Clone, Default)]
struct Table {
    generation: CodeGeneration,
    known: HashMap<Address, Code, RandomState>,
}

/// Decodes frames. It keeps decoded code objects until their interpreter frees one.
#[derive(Clone)]
pub struct Decoder {
    layout: Layout,
    /// The table of the interpreter whose frames are being decoded.
    table: Table,
    /// The tables of the other interpreters, by address of the interpreter's state.
    others: BTreeMap<Address, Table>,
    /// Whether generations are compared. Off in a weakened decoder.
    forgets: bool,
    /// Whether all interpreters share one table. On in a weakened decoder.
    shared: bool,
    /// Interned function and file names, so that equal frames share them.
    texts: HashSet<Arc<str>>,
    /// Function names of code objects with a long location table. Such a name is not interned, so its address
    /// identifies the code object.
    long_tables: Vec<Arc<str>>,
    /// Addresses decoded since the last [`Decoder::keep`].
    fresh: Vec<Address>,
    /// Bytes read since the last [`Decoder::keep`] or [`Decoder::forget_fresh`].
    read: usize,
    /// Bytes read for all decoded code objects since everything was last dropped, forgotten ones included.
    kept: usize,
}

/// A code object that a decoder knows, with the generation at which it was decoded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KnownCode {
    generation: CodeGeneration,
    address: Address,
    function: Arc<str>,
    is_generator: bool,
}

impl Decoder {
    /// Everything the decoder knows, sorted. Two decoders of one build with the same knowledge return equal lists.
    #[must_use]
    pub fn knowledge(&self) -> Vec<KnownCode> {
        let of = |table: &Table| {
            let generation = table.generation;
            let known = table.known.iter().map(move |(&address, code)| KnownCode {
                generation,
                address,
                function: Arc::clone(&code.function),
                is_generator: code.is_generator,
            });
            known.collect::<Vec<_>>()
        };
        let mut all: Vec<KnownCode> = std::iter::once(&self.table).chain(self.others.values()).flat_map(of).collect();
        all.sort_unstable();
        all
    }

    /// An empty decoder for a build.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            table: Table::default(),
            others: BTreeMap::new(),
            forgets: true,
            shared: false,
            texts: HashSet::new(),
            long_tables: Vec::new(),
            fresh: Vec::new(),
            read: 0,
            kept: 0,
        }
    }

    /// A decoder with a fault: it never forgets, or all interpreters share one table and one generation.
    #[must_use]
    pub(super) fn weakened(self, forgets: bool, shared: bool) -> Self {
        Self { forgets, shared, ..self }
    }

    /// Selects the interpreter and generation for the frames decoded next. Code objects decoded at another generation
    /// of this interpreter are forgotten.
    pub fn enter(&mut self, generation: CodeGeneration) {
        let same_table = self.shared || self.table.generation.interpreter == generation.interpreter;
        if !same_table {
            self.forget_fresh();
            let next = self.others.remove(&generation.interpreter).unwrap_or_default();
            let before = std::mem::replace(&mut self.table, next);
            if self.others.len() < INTERPRETER_LIMIT {
                self.others.insert(before.generation.interpreter, before);
            }
        }
        let before = self.table.generation.number;
        let same = if self.shared {
            before.map(|it| it.1) == generation.number.map(|it| it.1)
        } else {
            before == generation.number
        };
        if self.forgets && !(same && generation.number.is_some()) {
            self.table.known.clear();
            self.fresh.clear();
        }
        self.table.generation = generation;
    }

    /// The generation last passed to [`Decoder::enter`].
    #[must_use]
    pub(super) fn generation(&self) -> CodeGeneration {
        self.table.generation
    }

    /// Whether a code object was decoded since the last [`Decoder::keep`] or [`Decoder::forget_fresh`].
    #[must_use]
    pub(super) fn has_learnt(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Whether frames decoded at `generation` are still valid.
    #[must_use]
    pub(super) fn still_knows(&self, generation: CodeGeneration) -> bool {
        !self.forgets || generation.number.is_some() && generation == self.table.generation
    }

    /// Rejects the decoded frames if the interpreter has freed a code object since [`Decoder::enter`].
    ///
    /// # Errors
    /// [`Rejection::Moved`] if `now` differs from the generation passed to [`Decoder::enter`].
    pub(super) fn check(&self, now: CodeGeneration) -> Result<(), Rejection> {
        if !self.forgets || self.table.generation == now { Ok(()) } else { Err(Rejection::Moved) }
    }

    /// Decodes a frame that runs Python code into function, file and position. Equal frames of one code object share
    /// one allocation.
    ///
    /// # Errors
    /// [`Rejection::BadCode`] if the code object does not decode or the instruction pointer is outside it,
    /// [`Rejection::Unreadable`] if a read fails.
    pub fn frame(&mut self, memory: &mut dyn RemoteMemory, raw: &RawFrame) -> Result<Arc<Frame>, Rejection> {
        let bad = |why: String| Rejection::BadCode { code: raw.code, why };
        let start = self.bytecode(memory, raw)?;
        let code = match self.table.known.get_mut(&raw.code) {
            Some(code) => code,
            None => {
                self.learn(memory, raw.code)?;
                self.table.known.get_mut(&raw.code).ok_or_else(|| bad("lost".into()))?
            }
        };
        let unit = raw
            .instr_ptr
            .checked_sub(start)
            .filter(|offset| offset % CODE_UNIT == 0 && offset / CODE_UNIT < code.units)
            .and_then(|offset| u32::try_from(offset / CODE_UNIT).ok())
            .ok_or_else(|| bad(format!("the instruction pointer {:#x} is outside its bytecode", raw.instr_ptr)))?;
        // A location table can be short or empty. Instructions that it does not cover have no position.
        let (entry, location) = code.locations.entry(unit).unwrap_or((code.locations.entries(), Location::default()));
        let Some(known) = code.frames.get_mut(entry) else { return Err(bad("lost".into())) };
        let new = || Arc::new(Frame { function: code.function.clone(), file: code.file.clone(), location });
        Ok(Arc::clone(known.get_or_insert_with(new)))
    }

    /// Address of the bytecode that a frame runs. In a free-threaded build, each thread can have a copy of its own.
    fn bytecode(&self, memory: &mut dyn RemoteMemory, raw: &RawFrame) -> Result<Address, Rejection> {
        let own = raw.code.wrapping_add(self.layout.code.code_adaptive);
        let Some(per_thread) = self.layout.per_thread.filter(|_| raw.copy != 0) else { return Ok(own) };
        let array = memory.read_u64(raw.code.wrapping_add(per_thread.code_array))?;
        let copies = memory.read_u64(array)?;
        if u64::from(raw.copy) >= copies {
            let why = format!("the frame runs copy {} of its bytecode, but there are {copies}", raw.copy);
            return Err(Rejection::BadCode { code: raw.code, why });
        }
        Ok(memory.read_u64(array.wrapping_add(8 * (1 + u64::from(raw.copy))))?)
    }

    /// Whether the code at `code` belongs to a generator, coroutine or async generator. Its frame leaves the data stack
    /// by RETURN_GENERATOR; the generator's frame leaves the stack by a yield.
    ///
    /// # Errors
    /// As [`Decoder::frame`].
    pub fn is_generator(&mut self, memory: &mut dyn RemoteMemory, code: Address) -> Result<bool, Rejection> {
        self.learn(memory, code)?;
        Ok(self.table.known.get(&code).is_some_and(|code| code.is_generator))
    }

    /// The lines of all instructions of the code at `code`.
    ///
    /// # Errors
    /// As [`Decoder::frame`].
    pub fn lines(&mut self, memory: &mut dyn RemoteMemory, code: Address) -> Result<Lines, Rejection> {
        self.learn(memory, code)?;
        let Some(code) = self.table.known.get_mut(&code) else { return Ok(Lines::default()) };
        let locations = &code.locations;
        Ok(Arc::clone(code.lines.get_or_insert_with(|| Arc::new(locations.lines().collect()))))
    }

    fn learn(&mut self, memory: &mut dyn RemoteMemory, address: Address) -> Result<(), Rejection> {
        if !self.table.known.contains_key(&address) {
            let code = self.read(memory, address)?;
            if self.table.known.len() >= KEPT_LIMIT || self.kept > KEPT_BYTES {
                self.table.known.clear();
                self.others.clear();
                self.fresh.clear();
                self.texts.clear();
                self.kept = 0;
            }
            self.table.known.insert(address, code);
            self.fresh.push(address);
        }
        Ok(())
    }

    /// Keeps the code objects decoded since the last call. Call it when the walk turned out to be consistent.
    pub fn keep(&mut self) {
        self.read = 0;
        self.fresh.clear();
    }

    /// Forgets the code objects decoded since the last [`Decoder::keep`]. Call it when the walk was rejected: they may
    /// not have been code objects.
    pub fn forget_fresh(&mut self) {
        self.read = 0;
        for address in self.fresh.drain(..) {
            self.table.known.remove(&address);
        }
    }

    fn read(&mut self, memory: &mut dyn RemoteMemory, address: Address) -> Result<Code, Rejection> {
        let layout = self.layout.code;
        let bad = |why: &str| Rejection::BadCode { code: address, why: why.into() };
        if self.read > WALK_LIMIT {
            return Err(bad("the code objects before it are larger than any stack can have"));
        }
        let mut object = vec![0; usize::try_from(layout.size).unwrap_or(0)];
        memory.read(address, &mut object)?;
        let field = |offset: u64| {
            usize::try_from(offset)
                .ok()
                .and_then(|offset| word(&object, offset))
                .ok_or_else(|| bad("a field is outside the object"))
        };
        let int = |offset: u64| int(&object, offset).ok_or_else(|| bad("a field is outside the object"));
        let (first_line, flags) = (int(layout.first_line)?, int(layout.flags)?);
        // PyVarObject.ob_size, at the same offset as in a bytes object.
        let units = field(layout.bytes_size)?;
        let (qualname, filename, table) = (field(layout.qualname)?, field(layout.filename)?, field(layout.linetable)?);
        let function = python_text::read(memory, &layout, address, qualname)?;
        let file = python_text::read(memory, &layout, address, filename)?;
        let length = memory.read_u64(table.wrapping_add(layout.bytes_size))?;
        if length > TABLE_LIMIT {
            return Err(bad("its location table has an impossible length"));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        memory.read(table.wrapping_add(layout.bytes_data), &mut bytes)?;
        let read = object.len() + function.len() + file.len() + bytes.len();
        self.read += read;
        self.kept += read;
        let locations =
            LocationTable::decode(&bytes, first_line).ok_or_else(|| bad("its location table cannot be decoded"))?;
        let is_generator = flags.cast_unsigned() & GENERATOR_FLAGS != 0;
        let frames = vec![None; locations.entries() + 1].into();
        let locations = Arc::new(locations);
        let file = self.share(file);
        let function = if length > LONG_TABLE { self.note_long_table(function) } else { self.share(function) };
        Ok(Code { is_generator, function, file, locations, units, frames, lines: None })
    }

    /// Whether the frame's code has a location table that is too long for CPython's unwinder, as far as remembered.
    pub(super) fn has_long_table(&self, frame: &Frame) -> bool {
        self.long_tables.iter().any(|name| Arc::ptr_eq(name, &frame.function))
    }

    fn note_long_table(&mut self, function: Arc<str>) -> Arc<str> {
        if self.long_tables.len() >= LONG_TABLES_NOTED {
            self.long_tables.remove(0);
        }
        self.long_tables.push(Arc::clone(&function));
        function
    }

    fn share(&mut self, text: Arc<str>) -> Arc<str> {
        if let Some(shared) = self.texts.get(&text) {
            return shared.clone();
        }
        if self.texts.len() >= KEPT_LIMIT {
            self.texts.clear();
        }
        self.texts.insert(text.clone());
        text
    }
}

/// The C `int` at `offset` of an object.
fn int(object: &[u8], offset: u64) -> Option<i32> {
    let offset = usize::try_from(offset).ok()?;
    object.get(offset..)?.first_chunk().map(|bytes| i32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::PerThreadLayout;
    use crate::layout::release_3_15_2::LAYOUT;
    use crate::memory::image::Image;
    use crate::raw_frame::Owner;

    const TABLE: Address = 0x1000_0000;
    const NO_TABLE: Address = 0x2000_0000;
    const FILE: Address = 0x50;

    fn text(image: &mut Image, address: Address, text: &str) {
        let mut object = vec![0; 40];
        object[16..24].copy_from_slice(&(text.len() as u64).to_le_bytes());
        object[32..36].copy_from_slice(&(1_u32 << 2 | 1 << 5 | 1 << 6).to_le_bytes());
        object.extend_from_slice(text.as_bytes());
        image.map(address, object);
    }

    /// Code object `index`, of 216 bytes. Its name has three characters, its file name four.
    fn code(image: &mut Image, index: u64, flags: u32) -> Address {
        let address = 0x1_0000 + index * 0x1000;
        let mut object = vec![0; 216];
        object[16..24].copy_from_slice(&4_u64.to_le_bytes());
        object[48..52].copy_from_slice(&flags.to_le_bytes());
        object[68..72].copy_from_slice(&10_u32.to_le_bytes());
        for (offset, pointer) in [(112, FILE), (128, address + 0x400), (136, TABLE)] {
            object[offset..offset + 8].copy_from_slice(&pointer.to_le_bytes());
        }
        image.map(address, object);
        text(image, address + 0x400, &format!("f{index:02}"));
        text(image, FILE, "w.py");
        address
    }

    fn table(image: &mut Image, address: Address, bytes: &[u8]) {
        let mut object = vec![0; 32];
        object[16..24].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        object.extend_from_slice(bytes);
        image.map(address, object);
    }

    /// An image with a location table: two units on line 10, one on line 12, one without a line.
    fn small() -> Image {
        let mut image = Image::default();
        table(&mut image, TABLE, &[0xe9, 0x00, 0xe8, 0x04, 0xf8]);
        image
    }

    fn at(code: Address, offset: u64) -> RawFrame {
        RawFrame { address: 0x10, previous: 0, code, instr_ptr: code + 208 + offset, owner: Owner::Thread, copy: 0 }
    }

    fn name(decoder: &mut Decoder, image: &mut Image, code: Address) -> String {
        decoder.frame(image, &at(code, 0)).unwrap().function.to_string()
    }

    #[test]
    fn a_thread_can_run_its_own_copy_of_the_bytecode() {
        let mut image = small();
        let code = code(&mut image, 1, 0);
        let (array, copy) = (0x9_0000, 0xa_0000_u64);
        image.write(code + 72, &u64::to_le_bytes(array)).unwrap();
        image.map(array, [2, code + 208, copy].iter().flat_map(|word: &u64| word.to_le_bytes()).collect::<Vec<u8>>());
        let per_thread = PerThreadLayout { code_array: 72, frame_index: 76, is_allowed: true };
        let mut decoder = Decoder::new(Layout { free_threaded: true, per_thread: Some(per_thread), ..LAYOUT });
        let mut line = |copy_index, instr_ptr| {
            let frame = decoder.frame(&mut image, &RawFrame { instr_ptr, copy: copy_index, ..at(code, 0) });
            frame.map(|frame| frame.location.line)
        };
        assert_eq!((line(0, code + 208), line(1, copy + 4)), (Ok(Some(10)), Ok(Some(12))));
        assert!(matches!(line(1, code + 208), Err(Rejection::BadCode { .. })));
        assert!(matches!(line(2, copy), Err(Rejection::BadCode { .. })));
    }

    #[test]
    fn the_instruction_pointer_must_be_inside_the_code() {
        let mut image = small();
        let code = code(&mut image, 1, 0);
        let mut decoder = Decoder::new(LAYOUT);
        let lines = [0, 2, 4, 6].map(|offset| decoder.frame(&mut image, &at(code, offset)).unwrap().location.line);
        assert_eq!(lines, [Some(10), Some(10), Some(12), None]);
        for offset in [1, 3, 8, 0_u64.wrapping_sub(2)] {
            let raw = RawFrame { instr_ptr: (code + 208).wrapping_add(offset), ..at(code, 0) };
            let refused = decoder.frame(&mut image, &raw);
            assert!(matches!(refused, Err(Rejection::BadCode { .. })), "{offset}: {refused:?}");
        }
        let lines = decoder.lines(&mut image, code).unwrap();
        assert_eq!(*lines, BTreeSet::from([None, Some(10), Some(12)]));
    }

    #[test]
    fn generators_are_recognised_by_their_flags() {
        let mut image = small();
        for (index, flags, expected) in
            [(1, 0x20, true), (2, 0x80, true), (3, 0x200, true), (4, 0, false), (5, !0x2a0, false), (6, !0, true)]
        {
            let code = code(&mut image, index, flags);
            assert_eq!(Decoder::new(LAYOUT).is_generator(&mut image, code), Ok(expected), "{flags:#x}");
        }
    }

    #[test]
    fn known_code_is_not_read_again_and_names_are_shared() {
        let mut image = small();
        let codes = [1, 2, 3].map(|index| code(&mut image, index, 0));
        let mut decoder = Decoder::new(LAYOUT);
        let frames = codes.map(|code| decoder.frame(&mut image, &at(code, 0)).unwrap());
        assert_eq!(frames.each_ref().map(|frame| &*frame.function), ["f01", "f02", "f03"]);
        assert!(frames.iter().all(|frame| Arc::ptr_eq(&frame.file, &frames[0].file)));
        for code in codes {
            image.unmap(code);
        }
        assert_eq!(codes.map(|code| name(&mut decoder, &mut image, code)), ["f01", "f02", "f03"]);
    }

    #[test]
    fn a_rejected_walk_forgets_only_what_it_learned() {
        let mut image = small();
        let [first, second] = [1, 2].map(|index| code(&mut image, index, 0));
        let mut decoder = Decoder::new(LAYOUT);
        assert_eq!(name(&mut decoder, &mut image, first), "f01");
        decoder.keep();
        assert_eq!(name(&mut decoder, &mut image, second), "f02");
        decoder.forget_fresh();
        for code in [first, second] {
            text(&mut image, code + 0x400, "new");
        }
        assert_eq!(name(&mut decoder, &mut image, first), "f01");
        assert_eq!(name(&mut decoder, &mut image, second), "new");
    }

    /// Code object `index` with `length` bytes that are not a location table. They are read before that is noticed.
    fn garbage(image: &mut Image, index: u64, length: usize) -> Address {
        let address = code(image, index, 0);
        image.write(address + 136, &NO_TABLE.to_le_bytes()).unwrap();
        table(image, NO_TABLE, &vec![0; length]);
        address
    }

    fn why(decoder: &mut Decoder, image: &mut Image, code: Address) -> String {
        decoder.frame(image, &at(code, 0)).unwrap_err().to_string()
    }

    #[test]
    fn the_length_of_a_location_table_is_limited() {
        let longest = usize::try_from(TABLE_LIMIT).unwrap();
        for (length, expected) in [(longest, "cannot be decoded"), (longest + 1, "impossible length")] {
            let mut image = small();
            let code = garbage(&mut image, 1, length);
            let why = why(&mut Decoder::new(LAYOUT), &mut image, code);
            assert!(why.ends_with(expected), "{why}");
        }
    }

    /// Bytes read for a code object without its location table: the object, its name and its file name.
    const REST: usize = 216 + 3 + 4;

    #[test]
    fn the_bytes_of_code_objects_read_by_a_walk_are_limited() {
        for more in [0, 1] {
            let mut image = small();
            let codes = [1, 2, 3, 4].map(|index| garbage(&mut image, index, WALK_LIMIT / 4 - REST));
            text(&mut image, codes[0] + 0x400, &"f01."[..3 + more]);
            let last = code(&mut image, 5, 0);
            for end in [Decoder::keep, Decoder::forget_fresh] {
                let mut decoder = Decoder::new(LAYOUT);
                for code in codes {
                    assert!(why(&mut decoder, &mut image, code).ends_with("cannot be decoded"));
                }
                if more == 0 {
                    assert_eq!(name(&mut decoder, &mut image, last), "f05");
                } else {
                    assert!(why(&mut decoder, &mut image, last).ends_with("larger than any stack can have"));
                }
                end(&mut decoder);
                assert_eq!(name(&mut decoder, &mut image, last), "f05", "the next walk begins anew");
            }
        }
    }

    #[test]
    fn the_code_cache_is_cleared_when_full() {
        for (more, forgotten) in [(0, false), (1, true)] {
            let mut image = small();
            let [first, last] = [1, 2].map(|index| code(&mut image, index, 0));
            let mut decoder = Decoder::new(LAYOUT);
            assert_eq!(name(&mut decoder, &mut image, first), "f01");
            decoder.keep();
            // Together with these two code objects, whose tables have five bytes each, this is as much as may be kept.
            let length = (KEPT_BYTES - 2 * (REST + 5)) / 8 - REST;
            for index in 3..11 {
                let code = garbage(&mut image, index, length);
                why(&mut decoder, &mut image, code);
                decoder.keep();
            }
            text(&mut image, last + 0x400, &"f02."[..3 + more]);
            name(&mut decoder, &mut image, last);
            text(&mut image, first + 0x400, "new");
            assert_eq!(name(&mut decoder, &mut image, first) == "new", forgotten);
        }
    }
}
