//! Code objects: from a raw frame to function, file and position.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::frame::Frame;
use crate::layout::Layout;
use crate::memory::{Address, RemoteMemory};
use crate::walk::location_table::LocationTable;
use crate::walk::raw_frame::RawFrame;
use crate::walk::rejection::Rejection;
use crate::walk::text;
use crate::walk::thread_state::word;

/// A longer location table is garbage, in bytes.
pub const TABLE_LIMIT: u64 = 1 << 22;
/// One walk ends with the code object with which it has read more than these bytes of code objects and what they point
/// to: real ones have some hundred bytes each.
pub const WALK_LIMIT: usize = 1 << 24;
/// Decoded code objects kept; a real program of the workloads' size has far fewer.
const KEPT_LIMIT: usize = 1 << 16;
/// Bytes from which the kept ones were decoded.
const KEPT_BYTES: usize = 1 << 25;
/// Bytes of one code unit.
const CODE_UNIT: u64 = 2;

/// `CO_GENERATOR`, `CO_COROUTINE` and `CO_ASYNC_GENERATOR` (`cpython/code.h`).
const GENERATOR_FLAGS: u32 = 0x20 | 0x80 | 0x200;

struct Code {
    is_generator: bool,
    function: Arc<str>,
    file: Arc<str>,
    locations: LocationTable,
}

/// Decodes frames and keeps what it learnt of code objects, by address: right only as long as the target frees no
/// code object whose frames were seen, or another object comes to stand at its address.
pub struct Decoder {
    layout: Layout,
    known: HashMap<Address, Code>,
    /// One copy of each name and file name, so that equal frames share them.
    texts: HashSet<Arc<str>>,
    /// Learnt since the last [`Decoder::keep`].
    fresh: Vec<Address>,
    /// Bytes read since the last [`Decoder::keep`] or [`Decoder::forget_fresh`].
    read: usize,
    /// Bytes read for what is known, and for what was known and forgotten again.
    kept: usize,
}

impl Decoder {
    /// An empty decoder for a build.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        Self { layout, known: HashMap::new(), texts: HashSet::new(), fresh: Vec::new(), read: 0, kept: 0 }
    }

    /// Function, file and position of a frame that runs Python code.
    ///
    /// # Errors
    /// [`Rejection::BadCode`] or [`Rejection::Unreadable`].
    pub fn frame(&mut self, memory: &mut dyn RemoteMemory, raw: &RawFrame) -> Result<Frame, Rejection> {
        self.learn(memory, raw.code)?;
        let bad = |why: String| Rejection::BadCode { code: raw.code, why };
        let Some(code) = self.known.get(&raw.code) else { return Err(bad("lost".into())) };
        let start = raw.code.wrapping_add(self.layout.code.code_adaptive);
        let location = raw
            .instr_ptr
            .checked_sub(start)
            .filter(|offset| offset % CODE_UNIT == 0)
            .and_then(|offset| u32::try_from(offset / CODE_UNIT).ok())
            .and_then(|unit| code.locations.get(unit))
            .ok_or_else(|| bad(format!("the instruction {:#x} is none of its own", raw.instr_ptr)))?;
        Ok(Frame { function: code.function.clone(), file: code.file.clone(), location })
    }

    /// Whether the code at `code` is a generator's, coroutine's or asynchronous generator's: its frame leaves the data
    /// stack by RETURN_GENERATOR, and the generator by a yield.
    ///
    /// # Errors
    /// As [`Decoder::frame`].
    pub fn is_generator(&mut self, memory: &mut dyn RemoteMemory, code: Address) -> Result<bool, Rejection> {
        self.learn(memory, code)?;
        Ok(self.known.get(&code).is_some_and(|code| code.is_generator))
    }

    /// The lines on which the code at `code` can stand.
    ///
    /// # Errors
    /// As [`Decoder::frame`].
    pub fn lines(&mut self, memory: &mut dyn RemoteMemory, code: Address) -> Result<BTreeSet<Option<u32>>, Rejection> {
        self.learn(memory, code)?;
        Ok(self.known.get(&code).into_iter().flat_map(|code| code.locations.lines()).collect())
    }

    fn learn(&mut self, memory: &mut dyn RemoteMemory, address: Address) -> Result<(), Rejection> {
        if !self.known.contains_key(&address) {
            let code = self.read(memory, address)?;
            if self.known.len() >= KEPT_LIMIT || self.kept > KEPT_BYTES {
                self.known.clear();
                self.fresh.clear();
                self.texts.clear();
                self.kept = 0;
            }
            self.known.insert(address, code);
            self.fresh.push(address);
        }
        Ok(())
    }

    /// Keeps what was learnt: the walk it was learnt in turned out to be consistent.
    pub fn keep(&mut self) {
        self.read = 0;
        self.fresh.clear();
    }

    /// Forgets what was learnt since [`Decoder::keep`]: the walk was rejected, the code objects may have been none.
    pub fn forget_fresh(&mut self) {
        self.read = 0;
        for address in self.fresh.drain(..) {
            self.known.remove(&address);
        }
    }

    fn read(&mut self, memory: &mut dyn RemoteMemory, address: Address) -> Result<Code, Rejection> {
        let layout = self.layout.code;
        let bad = |why: &str| Rejection::BadCode { code: address, why: why.into() };
        if self.read > WALK_LIMIT {
            return Err(bad("the code objects before it are larger than those of any stack"));
        }
        let mut object = vec![0; usize::try_from(layout.size).unwrap_or(0)];
        memory.read(address, &mut object)?;
        let field = |offset: u64| {
            usize::try_from(offset)
                .ok()
                .and_then(|offset| word(&object, offset))
                .ok_or_else(|| bad("a field is outside"))
        };
        let int = |offset: u64| int(&object, offset).ok_or_else(|| bad("a field is outside"));
        let (first_line, flags) = (int(layout.first_line)?, int(layout.flags)?);
        let (qualname, filename, table) = (field(layout.qualname)?, field(layout.filename)?, field(layout.linetable)?);
        let function = text::read(memory, &layout, address, qualname)?;
        let file = text::read(memory, &layout, address, filename)?;
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
            LocationTable::decode(&bytes, first_line).ok_or_else(|| bad("its location table does not decode"))?;
        let is_generator = flags.cast_unsigned() & GENERATOR_FLAGS != 0;
        Ok(Code { is_generator, function: self.share(function), file: self.share(file), locations })
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

/// The `int` at `offset` of an object.
fn int(object: &[u8], offset: u64) -> Option<i32> {
    let offset = usize::try_from(offset).ok()?;
    object.get(offset..)?.first_chunk().map(|bytes| i32::from_le_bytes(*bytes))
}
