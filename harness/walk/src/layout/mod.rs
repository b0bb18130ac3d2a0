//! Structure offsets of a target, read from `_Py_DebugOffsets`.
//!
//! The table is at the start of the `.PyRuntime` section. It carries a version but no description of itself. Words were
//! inserted in its middle between versions, and between pre-releases. So it can be read only with a [`WordOrder`]: the
//! built-in one of a final release, or one that was found in the build.

mod order;
pub mod release_3_15_2;
pub mod version;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::order::{FrameOwners, WordOrder};
use crate::layout::version::KNOWN;
use crate::memory::{Address, MemoryError, RemoteMemory};

/// The first eight bytes of the `.PyRuntime` section.
pub const COOKIE: [u8; 8] = *b"xdebugpy";

/// Size of the longest known table, in bytes: the newest version's.
pub const TABLE_SIZE: usize = KNOWN[KNOWN.len() - 1].words() * 8;

/// Largest accepted size of a structure that walkers read, in bytes. The largest real one is the interpreter state,
/// with some hundred KiB.
const STRUCTURE_LIMIT: u64 = 16 << 20;

/// The words of the frame cache. A build has all of them or no frame cache that walkers can use.
const CACHE_WORDS: [&str; 3] =
    ["thread_state.base_frame", "thread_state.last_profiled_frame", "thread_state.last_profiled_frame_seq"];

/// The words that a thread's status is derived from.
const STATUS_WORDS: [&str; 6] = [
    "interpreter_state.threads_main",
    "thread_state.holds_gil",
    "thread_state.gil_requested",
    "thread_state.current_exception",
    "thread_state.exc_state",
    "err_stackitem.exc_value",
];

/// A version as `PY_VERSION_HEX` encodes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VersionHex(pub u32);

impl VersionHex {
    /// Major and minor version.
    #[must_use]
    pub fn minor(self) -> (u8, u8) {
        let [major, minor, _, _] = self.0.to_be_bytes();
        (major, minor)
    }

    /// Whether this is a final release. Pre-releases change the table from one to the next.
    #[must_use]
    pub fn is_final(self) -> bool {
        self.0 & 0xf0 == 0xf0
    }
}

impl std::fmt::Display for VersionHex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [major, minor, micro, release] = self.0.to_be_bytes();
        write!(f, "{major}.{minor}.{micro}")?;
        let serial = release & 0xf;
        match release >> 4 {
            0xa => write!(f, "a{serial}"),
            0xb => write!(f, "b{serial}"),
            0xc => write!(f, "rc{serial}"),
            0xf => Ok(()),
            level => write!(f, "+level{level:x}.{serial}"),
        }
    }
}

/// The fields that the thread state offers to a caching profiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CacheFields {
    /// No fields: before 3.15.
    Absent,
    /// `last_profiled_frame` only: pre-releases of 3.15 before b4 (gh-151613).
    AnchorOnly,
    /// `last_profiled_frame` and `last_profiled_frame_seq`.
    AnchorAndSequence,
}

impl CacheFields {
    /// The fields that a version has, judged by its number alone: the anchor came in 3.15.0a3 (gh-142137), the sequence
    /// in 3.15.0b4 (gh-151613). Use it to list builds whose table cannot be read. Walkers use [`Layout::frame_cache`].
    #[must_use]
    pub fn of_version(version: VersionHex) -> Self {
        match version.0 {
            ..0x030f_00a3 => Self::Absent,
            0x030f_00a3..0x030f_00b4 => Self::AnchorOnly,
            0x030f_00b4.. => Self::AnchorAndSequence,
        }
    }
}

impl std::fmt::Display for CacheFields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Absent => "absent",
            Self::AnchorOnly => "anchor only",
            Self::AnchorAndSequence => "anchor and sequence",
        })
    }
}

/// Why an offset table was rejected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LayoutError {
    /// The section does not start with the cookie.
    #[error("the .PyRuntime section does not start with `xdebugpy`: this is not CPython 3.13 or later")]
    NoCookie,
    /// The section ends before the table does.
    #[error("the .PyRuntime section has {have} bytes, but the offsets of this version need {need}")]
    Truncated {
        /// Size of the section in bytes.
        have: usize,
        /// Size of the table in bytes, including its header.
        need: usize,
    },
    /// The target is a pre-release, whose table may differ from the final release's.
    #[error(
        "CPython {0} is a pre-release: the order of its offsets may differ from the final release's; use a final {known}",
        known = version::known("or")
    )]
    PreRelease(VersionHex),
    /// The layout of this version is not known.
    #[error("the layout of CPython {0} is unknown; known are the final releases of {known}", known = version::known("and"))]
    UnknownVersion(VersionHex),
    /// The order of the table's words has no such word, but walkers need it.
    #[error("the table of offsets has no word {0}, which walkers need")]
    NoWord(&'static str),
    /// The target is a free-threaded build, which the walkers cannot read.
    #[error(
        "CPython {0} is a free-threaded build: no walker was tested on one, because its threads move while one of them \
         is read; use a build with the GIL, or `attach --experimental-free-threaded` to help with such a build"
    )]
    FreeThreaded(VersionHex),
    /// An offset points outside its structure, or a size is out of bounds.
    #[error("the offset {field} = {value:#x} is outside its structure of {size:#x} bytes")]
    DoesNotFit {
        /// Name of the word in the table, as `section.word`.
        field: &'static str,
        /// The offset, or the size.
        value: u64,
        /// Size of the structure, or its upper bound, in bytes.
        size: u64,
    },
    /// The table cannot be read from the target.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// Offsets in `PyInterpreterState`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the offset of the field of that name")]
pub struct InterpreterLayout {
    pub id: u64,
    pub next: u64,
    pub threads_head: u64,
    /// `code_object_generation`, incremented before the interpreter frees a code object. Since 3.14.
    pub code_object_generation: Option<u64>,
    /// The fields that show a collection and the GIL. Since 3.15. Walkers do not use them, so a table in which they do
    /// not fit is no reason to refuse it.
    pub running: Option<RunningLayout>,
}

/// Offsets in `PyInterpreterState` of the fields that show what it does, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningLayout {
    /// `gc.collecting`, an `int`: whether a collection runs.
    pub collecting: u64,
    /// `gc.frame`, a pointer to the frame in which the collection began.
    pub collecting_frame: u64,
    /// `_gil.locked`, an `int`: whether a thread has the GIL.
    pub gil_locked: u64,
    /// `_gil.last_holder`, a pointer to the state of the last thread that had it.
    pub gil_holder: u64,
}

/// Offsets in `PyThreadState`, in bytes, and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the offset of the field of that name")]
pub struct ThreadLayout {
    pub size: u64,
    pub next: u64,
    /// `interp`, the interpreter that the thread belongs to.
    pub interpreter: u64,
    pub current_frame: u64,
    pub native_thread_id: u64,
    pub datastack_chunk: u64,
    /// `base_frame`, `last_profiled_frame` and `last_profiled_frame_seq`. Since 3.15.
    pub cache: Option<CacheLayout>,
    /// The fields that a thread's status is derived from. Since 3.15.
    pub status: Option<StatusLayout>,
}

/// Offsets of the fields that a thread's status is derived from, in bytes. All but the last are in `PyThreadState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusLayout {
    /// `holds_gil`, an `int` in `PyThreadState`.
    pub holds_gil: u64,
    /// `gil_requested`, an `int` in `PyThreadState`.
    pub gil_requested: u64,
    /// `current_exception`, a pointer to the exception being raised.
    pub current_exception: u64,
    /// `exc_state.exc_value`, a pointer to the exception being handled.
    pub exc_value: u64,
    /// `threads.main` in the interpreter's state.
    pub threads_main: u64,
}

/// Offsets of the frame cache's fields in `PyThreadState`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheLayout {
    /// `base_frame`, the oldest frame of every chain.
    pub base_frame: u64,
    /// `last_profiled_frame`, written by the profiler and moved by the interpreter.
    pub anchor: u64,
    /// `last_profiled_frame_seq`, incremented by the interpreter when it moves the anchor.
    pub sequence: u64,
}

/// Offsets in `_PyInterpreterFrame`, in bytes, and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the offset of the field of that name")]
pub struct FrameLayout {
    pub size: u64,
    pub previous: u64,
    pub executable: u64,
    pub instr_ptr: u64,
    pub owner: u64,
    /// Mask of the tag bits in `executable`.
    pub tag_mask: u64,
    /// The values of `owner`.
    pub owners: FrameOwners,
}

/// Offsets in `PyCodeObject`, `PyBytesObject` and the text objects, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the offset of the field of that name")]
pub struct CodeLayout {
    pub size: u64,
    pub filename: u64,
    pub qualname: u64,
    pub linetable: u64,
    /// `co_firstlineno`, the line from which the location table counts, an `int`.
    pub first_line: u64,
    /// `co_flags`, an `int`. Not in the table: in all known versions it comes directly before `co_argcount`
    /// (`_PyCode_DEF` in `cpython/code.h`).
    pub flags: u64,
    pub code_adaptive: u64,
    pub bytes_size: u64,
    pub bytes_data: u64,
    pub text_state: u64,
    pub text_length: u64,
    /// Size of `PyASCIIObject`: where the data of ASCII text starts.
    pub ascii_data: u64,
    /// Size of `PyCompactUnicodeObject`: where the data of other compact text starts.
    pub compact_data: u64,
    /// The lowest bit of `kind` in the text's state. `compact` and `ascii` follow its three bits.
    pub text_kind_bit: u8,
}

/// Offsets in `PyGenObject`, in bytes. No walker reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeneratorLayout {
    /// `gi_iframe`, the inline frame.
    pub frame: u64,
    /// `gi_frame_state`, one byte.
    pub state: u64,
}

/// Offsets of per-thread bytecode, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerThreadLayout {
    /// `co_tlbc` in code objects: a pointer to a `_PyCodeArray`, which has a size and pointers to the copies. The first
    /// copy is the code object's own.
    pub code_array: u64,
    /// `tlbc_index` in frames, an `int32_t`: the copy that the frame runs.
    pub frame_index: u64,
    /// Whether walkers may read such a build. See [`Layout::with_free_threaded`].
    pub is_allowed: bool,
}

/// Everything a walker needs to know about a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// The version in the table itself.
    pub version: VersionHex,
    /// Whether the build has no GIL.
    pub free_threaded: bool,
    /// Offset in `_PyRuntime` of a pointer that is NULL until the interpreter finalizes.
    pub finalizing: u64,
    /// Offset in `_PyRuntime` of the pointer to the first interpreter.
    pub interpreters_head: u64,
    /// Offsets in the interpreter state.
    pub interpreter: InterpreterLayout,
    /// Offsets in the thread state.
    pub thread: ThreadLayout,
    /// Offsets in a frame.
    pub frame: FrameLayout,
    /// Offsets in generators. Since 3.14.
    pub generator: Option<GeneratorLayout>,
    /// Where the copies of the bytecode are that each thread has. Only in free-threaded builds since 3.14.
    pub per_thread: Option<PerThreadLayout>,
    /// Offsets in code objects and the objects they point to.
    pub code: CodeLayout,
}

/// The words of one table, looked up by name.
struct Table<'a> {
    version: VersionHex,
    free_threaded: bool,
    words: Vec<u64>,
    /// The position of a word, given as `section.word`.
    position: &'a dyn Fn(&str) -> Option<usize>,
}

impl<'a> Table<'a> {
    /// The number of words before the first section: the cookie, the version and `free_threaded`.
    const HEADER: usize = 3;

    /// A table with this number of words behind its header.
    fn new(section: &[u8], length: usize, position: &'a dyn Fn(&str) -> Option<usize>) -> Result<Self, LayoutError> {
        let (version, free_threaded) = header(section)?;
        let need = Self::HEADER + length;
        let words: Vec<u64> = section.as_chunks().0.iter().take(need).map(|chunk| u64::from_le_bytes(*chunk)).collect();
        match words.get(Self::HEADER..need) {
            Some(words) => Ok(Self { version, free_threaded, words: words.to_vec(), position }),
            None => Err(LayoutError::Truncated { have: section.len(), need: need * 8 }),
        }
    }

    fn word(&self, name: &str) -> Option<u64> {
        self.words.get((self.position)(name)?).copied()
    }

    /// A word that walkers need.
    fn needed(&self, name: &'static str) -> Result<u64, LayoutError> {
        self.word(name).ok_or(LayoutError::NoWord(name))
    }

    /// Looks up an offset. A field of `width` bytes at that offset must lie inside its structure.
    fn offset(&self, size: &'static str, field: &'static str, width: u64) -> Result<u64, LayoutError> {
        let (size, value) = (self.needed(size)?, self.needed(field)?);
        match value.checked_add(width) {
            Some(end) if end <= size && size <= STRUCTURE_LIMIT => Ok(value),
            _ => Err(LayoutError::DoesNotFit { field, value, size }),
        }
    }
}

/// The version and whether the build is free-threaded, from the first words of a `.PyRuntime` section.
///
/// # Errors
/// [`LayoutError::NoCookie`] or [`LayoutError::Truncated`].
pub fn header(section: &[u8]) -> Result<(VersionHex, bool), LayoutError> {
    if section.first_chunk() != Some(&COOKIE) {
        return Err(LayoutError::NoCookie);
    }
    let word = |index: usize| section.as_chunks().0.get(index).map(|chunk| u64::from_le_bytes(*chunk));
    let (Some(version), Some(free_threaded)) = (word(1), word(2)) else {
        return Err(LayoutError::Truncated { have: section.len(), need: Table::HEADER * 8 });
    };
    Ok((VersionHex(u32::try_from(version).unwrap_or(0)), free_threaded != 0))
}

fn flags_offset(argcount: u64) -> Result<u64, LayoutError> {
    const WIDTH: u64 = 4;
    let refused = LayoutError::DoesNotFit { field: "code_object.argcount", value: argcount, size: WIDTH };
    argcount.checked_sub(WIDTH).ok_or(refused)
}

impl Table<'_> {
    fn running(&self) -> Option<RunningLayout> {
        let of_interpreter = |field| self.offset("interpreter_state.size", field, 8).ok();
        let of_collector = |field, width| {
            let inside = self.offset("gc.size", field, width).ok()?;
            let place = self.word("interpreter_state.gc")?.checked_add(inside)?;
            (place.checked_add(width)? <= self.word("interpreter_state.size")?).then_some(place)
        };
        Some(RunningLayout {
            collecting: of_collector("gc.collecting", 4)?,
            collecting_frame: of_collector("gc.frame", 8)?,
            gil_locked: of_interpreter("interpreter_state.gil_runtime_state_locked")?,
            gil_holder: of_interpreter("interpreter_state.gil_runtime_state_holder")?,
        })
    }

    /// The offsets that walkers need.
    fn layout(&self, owners: FrameOwners, tag_mask: u64) -> Result<Layout, LayoutError> {
        let thread_size = self.needed("thread_state.size")?;
        // A build without these fields has no frame cache, or no status of threads.
        let has = |names: &[&str]| names.iter().all(|name| self.word(name).is_some());
        let cache = if has(&CACHE_WORDS) {
            Some(CacheLayout {
                base_frame: self.offset("thread_state.size", "thread_state.base_frame", 8)?,
                anchor: self.offset("thread_state.size", "thread_state.last_profiled_frame", 8)?,
                sequence: self.offset("thread_state.size", "thread_state.last_profiled_frame_seq", 8)?,
            })
        } else {
            None
        };
        let status = if has(&STATUS_WORDS) {
            let inside = self.needed("err_stackitem.exc_value")?;
            let exc_value = self.needed("thread_state.exc_state")?.saturating_add(inside);
            if exc_value.checked_add(8).is_none_or(|end| end > thread_size) {
                return Err(LayoutError::DoesNotFit {
                    field: "thread_state.exc_state",
                    value: exc_value,
                    size: thread_size,
                });
            }
            Some(StatusLayout {
                holds_gil: self.offset("thread_state.size", "thread_state.holds_gil", 4)?,
                gil_requested: self.offset("thread_state.size", "thread_state.gil_requested", 4)?,
                current_exception: self.offset("thread_state.size", "thread_state.current_exception", 8)?,
                exc_value,
                threads_main: self.offset("interpreter_state.size", "interpreter_state.threads_main", 8)?,
            })
        } else {
            None
        };
        let generation = if has(&["interpreter_state.code_object_generation"]) {
            Some(self.offset("interpreter_state.size", "interpreter_state.code_object_generation", 8)?)
        } else {
            None
        };
        let running = self.running();
        let generator = if has(&["gen_object.gi_iframe", "gen_object.gi_frame_state"]) {
            Some(GeneratorLayout {
                frame: self.offset("gen_object.size", "gen_object.gi_iframe", 8)?,
                state: self.offset("gen_object.size", "gen_object.gi_frame_state", 1)?,
            })
        } else {
            None
        };
        let per_thread = if self.free_threaded && has(&["code_object.co_tlbc", "interpreter_frame.tlbc_index"]) {
            Some(PerThreadLayout {
                code_array: self.offset("code_object.size", "code_object.co_tlbc", 8)?,
                frame_index: self.offset("interpreter_frame.size", "interpreter_frame.tlbc_index", 4)?,
                is_allowed: false,
            })
        } else {
            None
        };
        let pointer_size = 8;
        let ascii_data = self.needed("unicode_object.asciiobject_size")?;
        // Before 3.15, the table has no start of compact text: PyCompactUnicodeObject adds two words.
        let compact_data = self
            .word("unicode_object.compactunicodeobject_size")
            .unwrap_or(ascii_data.saturating_add(2 * pointer_size));
        for (field, value) in [
            ("unicode_object.asciiobject_size", ascii_data),
            ("unicode_object.compactunicodeobject_size", compact_data),
        ] {
            if !(16..=256).contains(&value) {
                return Err(LayoutError::DoesNotFit { field, value, size: 256 });
            }
        }
        let frame_size = self.needed("interpreter_frame.size")?;
        let code_size = self.needed("code_object.size")?;
        for (field, value) in [
            ("interpreter_frame.size", frame_size),
            ("thread_state.size", thread_size),
            ("code_object.size", code_size),
        ] {
            // Frames, thread states and code objects are read whole. Real ones are below 1 KiB.
            if value > 1 << 16 {
                return Err(LayoutError::DoesNotFit { field, value, size: 1 << 16 });
            }
        }
        Ok(Layout {
            version: self.version,
            free_threaded: self.free_threaded,
            finalizing: self.offset("runtime_state.size", "runtime_state.finalizing", 8)?,
            interpreters_head: self.offset("runtime_state.size", "runtime_state.interpreters_head", 8)?,
            interpreter: InterpreterLayout {
                id: self.offset("interpreter_state.size", "interpreter_state.id", 8)?,
                next: self.offset("interpreter_state.size", "interpreter_state.next", 8)?,
                threads_head: self.offset("interpreter_state.size", "interpreter_state.threads_head", 8)?,
                code_object_generation: generation,
                running,
            },
            thread: ThreadLayout {
                size: thread_size,
                next: self.offset("thread_state.size", "thread_state.next", 8)?,
                interpreter: self.offset("thread_state.size", "thread_state.interp", 8)?,
                current_frame: self.offset("thread_state.size", "thread_state.current_frame", 8)?,
                native_thread_id: self.offset("thread_state.size", "thread_state.native_thread_id", 8)?,
                datastack_chunk: self.offset("thread_state.size", "thread_state.datastack_chunk", 8)?,
                cache,
                status,
            },
            frame: FrameLayout {
                size: frame_size,
                previous: self.offset("interpreter_frame.size", "interpreter_frame.previous", 8)?,
                executable: self.offset("interpreter_frame.size", "interpreter_frame.executable", 8)?,
                instr_ptr: self.offset("interpreter_frame.size", "interpreter_frame.instr_ptr", 8)?,
                owner: self.offset("interpreter_frame.size", "interpreter_frame.owner", 1)?,
                tag_mask,
                owners,
            },
            generator,
            per_thread,
            code: CodeLayout {
                size: code_size,
                filename: self.offset("code_object.size", "code_object.filename", 8)?,
                qualname: self.offset("code_object.size", "code_object.qualname", 8)?,
                linetable: self.offset("code_object.size", "code_object.linetable", 8)?,
                first_line: self.offset("code_object.size", "code_object.firstlineno", 4)?,
                flags: flags_offset(self.offset("code_object.size", "code_object.argcount", 4)?)?,
                code_adaptive: self.offset("code_object.size", "code_object.co_code_adaptive", 0)?,
                bytes_size: self.offset("bytes_object.size", "bytes_object.ob_size", 8)?,
                bytes_data: self.offset("bytes_object.size", "bytes_object.ob_sval", 0)?,
                text_state: self.offset("unicode_object.size", "unicode_object.state", 4)?,
                text_length: self.offset("unicode_object.size", "unicode_object.length", 8)?,
                ascii_data,
                compact_data,
                // `interned` has two bits in a build with the GIL, and eight without.
                text_kind_bit: if self.free_threaded { 8 } else { 2 },
            },
        })
    }
}

impl Layout {
    /// The same layout without [`InterpreterLayout::running`].
    #[must_use]
    pub fn without_running(mut self) -> Self {
        self.interpreter.running = None;
        self
    }

    /// Parses the table from the bytes at the start of a `.PyRuntime` section, in the built-in order of its version.
    ///
    /// # Errors
    /// Anything but a final release of a known minor version whose offsets all fit is rejected. Free-threaded builds
    /// are accepted here; [`Layout::walkable`] rejects them.
    pub fn parse(section: &[u8]) -> Result<Self, LayoutError> {
        let (version, _) = header(section)?;
        let known = KNOWN.iter().find(|known| known.minor == version.minor());
        let known = known.ok_or(LayoutError::UnknownVersion(version))?;
        if !version.is_final() {
            return Err(LayoutError::PreRelease(version));
        }
        let position = |name: &str| known.position(name);
        Table::new(section, known.words() - Table::HEADER, &position)?.layout(known.owners, known.tag_mask)
    }

    /// Reads the table of a target whose `_PyRuntime` is at `runtime`, in the built-in order of its version.
    ///
    /// # Errors
    /// As [`Layout::parse`]; also fails if the table cannot be read.
    pub fn read(memory: &mut dyn RemoteMemory, runtime: Address) -> Result<Self, LayoutError> {
        // Older tables are shorter, but the rest of _PyRuntime is much longer than the difference.
        let mut table = [0; TABLE_SIZE];
        memory.read(runtime, &mut table)?;
        Self::parse(&table)
    }

    /// The frame cache's fields in this build.
    #[must_use]
    pub fn frame_cache(&self) -> CacheFields {
        if self.thread.cache.is_some() { CacheFields::AnchorAndSequence } else { CacheFields::Absent }
    }

    /// Rejects builds that the walkers cannot read although their offsets are known.
    ///
    /// # Errors
    /// [`LayoutError::FreeThreaded`] for a free-threaded build, unless [`Layout::with_free_threaded`] allows it.
    pub fn walkable(&self) -> Result<(), LayoutError> {
        let is_allowed = self.per_thread.is_some_and(|it| it.is_allowed);
        if self.free_threaded && !is_allowed { Err(LayoutError::FreeThreaded(self.version)) } else { Ok(()) }
    }

    /// The same layout, which walkers accept even if the build is free-threaded. They then read the bytecode of each
    /// thread, but what they assume about threads that run at the same time was never tested on a real build.
    #[must_use]
    pub fn with_free_threaded(self) -> Self {
        Self { per_thread: self.per_thread.map(|it| PerThreadLayout { is_allowed: true, ..it }), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::version::Version;

    /// A table with structures of 512 bytes, in which every offset is eight times its position in its section.
    fn table(version: u32, known: &Version) -> Vec<u8> {
        let mut words = vec![u64::from_le_bytes(COOKIE), u64::from(version), 0];
        for (_, names) in known.sections {
            for (position, name) in (0..).zip(names.split(' ')) {
                words.push(match name {
                    "size" => 512,
                    "asciiobject_size" => 40,
                    "compactunicodeobject_size" => 56,
                    _ => 8 * position,
                });
            }
        }
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn tables_have_the_documented_number_of_words() {
        for (known, words) in KNOWN.iter().zip([73, 95, 111]) {
            assert_eq!((known.words(), table(0, known).len()), (words, words * 8));
        }
        assert!(KNOWN.iter().all(|known| known.words() * 8 <= TABLE_SIZE));
    }

    #[test]
    fn final_releases_parse_and_only_3_15_has_the_cache() {
        for (known, (version, cache)) in KNOWN.iter().zip([
            (0x030d_05f0, CacheFields::Absent),
            (0x030e_0af0, CacheFields::Absent),
            (0x030f_02f0, CacheFields::AnchorAndSequence),
        ]) {
            let layout = Layout::parse(&table(version, known)).unwrap();
            assert_eq!(layout.frame_cache(), cache);
            assert_eq!(layout.code.compact_data, 56);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let good = table(0x030f_02f0, &KNOWN[2]);
        assert_eq!(Layout::parse(b"nonsense"), Err(LayoutError::NoCookie));
        assert_eq!(Layout::parse(&[]), Err(LayoutError::NoCookie));
        let short = good.get(..good.len() - 1).unwrap();
        assert_eq!(Layout::parse(short), Err(LayoutError::Truncated { have: 887, need: 888 }));
        for version in [0x030f_00b4, 0x030f_00a3, 0x030f_00c1] {
            let error = Layout::parse(&table(version, &KNOWN[2])).unwrap_err();
            assert_eq!(error, LayoutError::PreRelease(VersionHex(version)));
        }
        for version in [0x030c_08f0, 0x0310_00f0, 0] {
            let error = Layout::parse(&table(version, &KNOWN[2])).unwrap_err();
            assert_eq!(error, LayoutError::UnknownVersion(VersionHex(version)));
        }
    }

    #[test]
    fn every_offset_must_be_inside_its_structure() {
        let good = table(0x030f_02f0, &KNOWN[2]);
        let read = ["thread_state.next", "interpreter_frame.previous", "code_object.qualname", "bytes_object.ob_sval"];
        let mut position = 3;
        for (section, names) in KNOWN[2].sections {
            for name in names.split(' ') {
                if read.contains(&format!("{section}.{name}").as_str()) {
                    let mut bad = good.clone();
                    bad[position * 8..][..8].copy_from_slice(&513_u64.to_le_bytes());
                    assert!(matches!(Layout::parse(&bad), Err(LayoutError::DoesNotFit { .. })), "{section}.{name}");
                }
                position += 1;
            }
        }
    }

    #[test]
    fn the_cache_fields_depend_on_the_version() {
        for (hex, cache) in [
            (0x030e_0af0, CacheFields::Absent),
            (0x030f_00a2, CacheFields::Absent),
            (0x030f_00b3, CacheFields::AnchorOnly),
            (0x030f_00b4, CacheFields::AnchorAndSequence),
            (0x030f_02f0, CacheFields::AnchorAndSequence),
        ] {
            assert_eq!(CacheFields::of_version(VersionHex(hex)), cache, "{hex:x}");
        }
    }

    #[test]
    fn versions_print_as_python_does() {
        for (hex, text) in [(0x030f_02f0, "3.15.2"), (0x030f_00b4, "3.15.0b4"), (0x030e_00c2, "3.14.0rc2")] {
            assert_eq!(VersionHex(hex).to_string(), text);
        }
    }
}
