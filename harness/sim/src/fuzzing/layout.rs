//! Offset tables, compared with a second description of their words.

use arbitrary::Arbitrary;
use framewalk::layout::version::KNOWN;
use framewalk::layout::{COOKIE, CacheFields, Layout};
use serde::{Deserialize, Serialize};

use super::CheckOutcome;
use super::target::FuzzTarget;

/// The fuzz target over damaged tables of offsets.
pub static TARGET: FuzzTarget<TestCase> =
    FuzzTarget { name: "layout", check, least_accepted: 10, judges_refusals: true };

/// A valid table and its damage.
#[derive(Clone, Debug, Arbitrary, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestCase {
    /// The release that the table belongs to.
    pub release: Release,
    /// The micro version: 2 in 3.15.2.
    pub micro: u8,
    /// Level and serial of the version. `None` for a final release.
    pub pre_release: Option<u8>,
    /// Whether the table describes a free-threaded build.
    pub free_threaded: bool,
    /// The words, each moved to an offset that fits. Missing ones are zero.
    pub offsets: Vec<u8>,
    /// Words that are overwritten after the table was made valid.
    pub damage: Vec<LayoutDamage>,
    /// Length to which the table is cut, in bytes, modulo twice its length. `None` for no cut.
    pub cut: Option<u16>,
}

/// The releases with a known table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Arbitrary, Serialize, Deserialize)]
pub enum Release {
    /// The table of 3.13, without a frame cache.
    V3_13,
    /// The table of 3.14, without a frame cache.
    V3_14,
    /// The table of 3.15, with the frame cache.
    V3_15,
}

/// A word to overwrite.
#[derive(Clone, Copy, Debug, Arbitrary, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayoutDamage {
    /// Index of the word, modulo their number.
    pub index: u8,
    /// The value that replaces the word.
    pub value: LayoutValue,
}

/// Values on both sides of the limits.
#[derive(Clone, Copy, Debug, Arbitrary, Serialize, Deserialize)]
pub enum LayoutValue {
    /// About as large as a structure, plus or minus the size of a word.
    NearSize(i8),
    /// Any value of 32 bits.
    Medium(u32),
    /// Any value of 64 bits.
    Any(u64),
}

/// An index in the table of each known version, oldest first.
type PerVersion = [usize; KNOWN.len()];

/// A word that walkers read, with the index of the size of its structure.
struct Field {
    size: PerVersion,
    word: PerVersion,
    width: u64,
    read: fn(&Layout) -> Option<u64>,
}

/// Number of words in a table.
const WORDS: PerVersion = [73, 95, 111];
/// Marks a word that a table does not have.
const NONE: usize = usize::MAX;
/// Size of every structure in an undamaged table.
const SIZE: u64 = 512;
/// Size of the structure inside a thread state that holds the exception being handled.
const INNER: u64 = 16;
/// Indices of the sizes of the text objects' headers.
const ASCII: PerVersion = [70, 80, 92];
const COMPACT: PerVersion = [NONE, NONE, 93];
/// Index of `argcount`. A code object's flags come directly before it.
const ARGCOUNT: PerVersion = [40, 45, 53];
/// Size of an `int` in bytes.
const INT: u64 = 4;
/// A structure up to this size, in bytes, is no reason to reject a table. A larger one may be.
const PLAIN: u64 = 1 << 16;
/// Indices of `exc_state`, and of `exc_value` inside it. Only 3.15 has them.
const EXC_STATE: PerVersion = [NONE, NONE, 37];
const EXC_VALUE: PerVersion = [NONE, NONE, 38];
const THREAD: PerVersion = [19, 22, 22];
const FRAME: PerVersion = [28, 31, 39];
const CODE: PerVersion = [34, 39, 47];

/// Words that are read only in a free-threaded build.
const PER_THREAD: [Field; 2] = [
    Field { size: CODE, word: [NONE, 49, 57], width: 8, read: |it| Some(it.per_thread?.code_array) },
    Field { size: FRAME, word: [NONE, 38, 46], width: INT, read: |it| Some(it.per_thread?.frame_index) },
];
/// Before 3.15, the start of compact text is this far behind the start of ASCII text, in bytes.
const TWO_WORDS: u64 = 16;

/// The indices were counted in the headers, not taken from the parser's names.
const FIELDS: &[Field] = &{
    const RUNTIME: PerVersion = [3, 3, 3];
    const INTERPRETER: PerVersion = [6, 6, 6];
    const GENERATOR: PerVersion = [NONE, 83, 99];
    const BYTES: PerVersion = [64, 74, 86];
    const TEXT: PerVersion = [67, 77, 89];
    const fn field(size: PerVersion, word: PerVersion, width: u64, read: fn(&Layout) -> Option<u64>) -> Field {
        Field { size, word, width, read }
    }
    [
        field(RUNTIME, [4, 4, 4], 8, |it| Some(it.finalizing)),
        field(RUNTIME, [5, 5, 5], 8, |it| Some(it.interpreters_head)),
        field(INTERPRETER, [7, 7, 7], 8, |it| Some(it.interpreter.id)),
        field(INTERPRETER, [8, 8, 8], 8, |it| Some(it.interpreter.next)),
        field(INTERPRETER, [9, 9, 9], 8, |it| Some(it.interpreter.threads_head)),
        field(INTERPRETER, [NONE, NONE, 10], 8, |it| Some(it.thread.status?.threads_main)),
        field(INTERPRETER, [NONE, 20, 20], 8, |it| it.interpreter.code_object_generation),
        field(THREAD, [21, 24, 24], 8, |it| Some(it.thread.next)),
        field(THREAD, [22, 25, 25], 8, |it| Some(it.thread.interpreter)),
        field(THREAD, [23, 26, 26], 8, |it| Some(it.thread.current_frame)),
        field(THREAD, [25, 28, 31], 8, |it| Some(it.thread.native_thread_id)),
        field(THREAD, [26, 29, 32], 8, |it| Some(it.thread.datastack_chunk)),
        field(THREAD, [NONE, NONE, 27], 8, |it| Some(it.thread.cache?.base_frame)),
        field(THREAD, [NONE, NONE, 28], 8, |it| Some(it.thread.cache?.anchor)),
        field(THREAD, [NONE, NONE, 29], 8, |it| Some(it.thread.cache?.sequence)),
        field(THREAD, [NONE, NONE, 34], INT, |it| Some(it.thread.status?.holds_gil)),
        field(THREAD, [NONE, NONE, 35], INT, |it| Some(it.thread.status?.gil_requested)),
        field(THREAD, [NONE, NONE, 36], 8, |it| Some(it.thread.status?.current_exception)),
        field(FRAME, [29, 32, 40], 8, |it| Some(it.frame.previous)),
        field(FRAME, [30, 33, 41], 8, |it| Some(it.frame.executable)),
        field(FRAME, [31, 34, 42], 8, |it| Some(it.frame.instr_ptr)),
        field(FRAME, [33, 36, 44], 1, |it| Some(it.frame.owner)),
        field(CODE, [35, 40, 48], 8, |it| Some(it.code.filename)),
        field(CODE, [37, 42, 50], 8, |it| Some(it.code.qualname)),
        field(CODE, [38, 43, 51], 8, |it| Some(it.code.linetable)),
        field(CODE, [39, 44, 52], 4, |it| Some(it.code.first_line)),
        field(CODE, ARGCOUNT, INT, |it| Some(it.code.flags + INT)),
        field(CODE, [43, 48, 56], 0, |it| Some(it.code.code_adaptive)),
        field(BYTES, [65, 75, 87], 8, |it| Some(it.code.bytes_size)),
        field(BYTES, [66, 76, 88], 0, |it| Some(it.code.bytes_data)),
        field(GENERATOR, [NONE, 85, 101], 8, |it| Some(it.generator?.frame)),
        field(GENERATOR, [NONE, 86, 102], 1, |it| Some(it.generator?.state)),
        field(TEXT, [68, 78, 90], 4, |it| Some(it.code.text_state)),
        field(TEXT, [69, 79, 91], 8, |it| Some(it.code.text_length)),
    ]
};

impl Release {
    fn index(self) -> usize {
        self as usize
    }
}

impl TestCase {
    fn version(&self) -> u64 {
        let minor = 13 + self.release.index() as u64;
        3 << 24 | minor << 16 | u64::from(self.micro) << 8 | u64::from(self.pre_release.unwrap_or(0xf0))
    }

    /// The start of the `.PyRuntime` section.
    fn section(&self) -> Vec<u8> {
        let release = self.release.index();
        let offset = |index| 2 * u64::from(self.offsets.get(index).copied().unwrap_or(0)) % (SIZE - 7);
        let mut words: Vec<u64> = (0..WORDS[release]).map(offset).collect();
        words[0] = u64::from_le_bytes(COOKIE);
        words[1] = self.version();
        words[2] = self.free_threaded.into();
        for field in FIELDS {
            if let Some(word) = words.get_mut(field.size[release]) {
                *word = SIZE;
            }
        }
        words[ASCII[release]] = 40;
        words[ARGCOUNT[release]] = words[ARGCOUNT[release]].max(INT);
        if let Some(word) = words.get_mut(COMPACT[release]) {
            *word = 56;
        }
        if let Some(word) = words.get_mut(EXC_VALUE[release]) {
            *word %= INNER;
        }
        if let Some(word) = words.get_mut(EXC_STATE[release]) {
            *word = (*word).min(SIZE - 8 - INNER);
        }
        for damage in &self.damage {
            let index = usize::from(damage.index) % words.len();
            words[index] = match damage.value {
                LayoutValue::NearSize(delta) => SIZE.saturating_add_signed(i64::from(delta % 10)),
                LayoutValue::Medium(value) => value.into(),
                LayoutValue::Any(value) => value,
            };
        }
        let mut section: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        if let Some(cut) = self.cut {
            section.resize(usize::from(cut) % (2 * section.len()), 0);
        }
        section
    }
}

/// The final release of a version, if its table is known.
fn final_release(version: u64) -> Option<Release> {
    let release = match version >> 16 {
        0x030d => Release::V3_13,
        0x030e => Release::V3_14,
        0x030f => Release::V3_15,
        _ => return None,
    };
    (version & 0xf0 == 0xf0).then_some(release)
}

/// A table whose words may be read.
struct Readable<'a> {
    words: &'a [u64],
    release: usize,
}

impl<'a> Readable<'a> {
    /// Checks cookie, version and length, and that every word that walkers read is inside its structure.
    fn new(words: &'a [u64]) -> Option<Self> {
        let &[cookie, version, ..] = words else { return None };
        let release = final_release(version)?.index();
        let table = Self { words: words.get(..WORDS[release])?, release };
        let text = |size: u64| (16..=256).contains(&size);
        let fits = |field: &Field| match (table.at(field.size), table.at(field.word)) {
            (Some(size), Some(word)) => word.checked_add(field.width).is_some_and(|end| end <= size),
            _ => true,
        };
        let sound = cookie == u64::from_le_bytes(COOKIE)
            && table.at(ASCII).is_some_and(text)
            && table.compact().is_some_and(text)
            && table.at(ARGCOUNT).is_some_and(|argcount| argcount >= INT)
            && table.exc_value().is_none_or(|it| it.checked_add(8).is_some_and(|end| Some(end) <= table.at(THREAD)))
            && FIELDS.iter().all(fits)
            && (words.get(2) == Some(&0) || PER_THREAD.iter().all(fits));
        sound.then_some(table)
    }

    fn at(&self, index: PerVersion) -> Option<u64> {
        self.words.get(index[self.release]).copied()
    }

    /// Start of the data of compact text. 3.15 has it in the table; for earlier versions it is derived.
    fn compact(&self) -> Option<u64> {
        self.at(COMPACT).or_else(|| self.at(ASCII)?.checked_add(TWO_WORDS))
    }

    /// Offset in the thread state of the exception being handled.
    fn exc_value(&self) -> Option<u64> {
        Some(self.at(EXC_STATE)?.saturating_add(self.at(EXC_VALUE)?))
    }

    /// Whether every structure has a plausible size.
    fn is_plain(&self) -> bool {
        FIELDS.iter().all(|field| self.at(field.size).is_none_or(|size| size <= PLAIN))
    }
}

/// Checks [`Layout::parse`]: it accepts final releases of the known versions with complete tables and fitting offsets,
/// and returns the values of the table. It must not reject such a table.
///
/// # Panics
/// One of these assertions fails.
pub fn check(case: &TestCase) -> CheckOutcome {
    let section = case.section();
    let words: Vec<u64> = section.as_chunks().0.iter().map(|chunk| u64::from_le_bytes(*chunk)).collect();
    let readable = Readable::new(&words);
    let layout = match Layout::parse(&section) {
        Ok(layout) => layout,
        Err(error) => {
            assert!(!readable.is_some_and(|table| table.is_plain()), "{error}, but {words:x?} is valid");
            return CheckOutcome::Rejected;
        }
    };
    let Some(table) = readable else { panic!("accepted: {words:x?}") };
    assert_eq!(u64::from(layout.version.0), words[1]);
    assert_eq!(layout.walkable().is_err(), words[2] != 0, "exactly free-threaded builds are not walkable");
    assert_eq!(layout.frame_cache() == CacheFields::AnchorAndSequence, table.release == Release::V3_15.index());
    let per_thread = PER_THREAD.iter().filter(|_| words[2] != 0);
    for (position, field) in FIELDS.iter().chain(per_thread).enumerate() {
        assert_eq!((field.read)(&layout), table.at(field.word), "field {position} of {words:x?}");
    }
    assert_eq!(layout.thread.status.map(|it| it.exc_value), table.exc_value());
    assert_eq!(Some(layout.code.ascii_data), table.at(ASCII));
    assert_eq!(Some(layout.code.compact_data), table.compact());
    CheckOutcome::Accepted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoke() {
        crate::fuzzing::smoke::both_outcomes(check);
    }

    /// Both descriptions cover the same words: each word in turn gets a value that does not fit.
    #[test]
    fn a_bad_value_in_any_layout_word_is_handled() {
        for release in [Release::V3_13, Release::V3_14, Release::V3_15] {
            for index in 3..WORDS[release.index()] {
                for value in [LayoutValue::NearSize(0), LayoutValue::NearSize(-4), LayoutValue::Any(u64::MAX)] {
                    let damage = vec![LayoutDamage { index: u8::try_from(index).unwrap(), value }];
                    let (micro, pre_release, free_threaded, offsets) = (2, None, false, Vec::new());
                    check(&TestCase { release, micro, pre_release, free_threaded, offsets, damage, cut: None });
                }
            }
        }
    }
}
