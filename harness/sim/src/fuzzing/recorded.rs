//! The committed snapshots as input for fuzzing. They are loaded once, together with the addresses at which damage
//! matters.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use arbitrary::{Arbitrary, Unstructured};
use framewalk::memory::Address;
use framewalk::memory::image::Image;
use framewalk::walker::Site;
use serde::{Deserialize, Serialize};

use super::chains::{Reader, chains};
use crate::snapshot::Snapshot;

macro_rules! recorded {
    ($($name:literal),* $(,)?) => {
        /// Names and files. Saved cases contain the names.
        const FILES: &[(&str, &[u8])] =
            &[$(($name, include_bytes!(concat!("../../corpus/snapshots/", $name, ".snapshot")))),*];
    };
}

recorded![
    "release-alternating",
    "release-recursion",
    "release-exceptions",
    "release-generators",
    "release-coroutines",
    "release-through-c",
    "release-failed-bind",
    "release-finalizers",
    "release-kept-frames",
    "release-monitoring",
    "release-threads",
    "release-deep",
    "jit-alternating",
    "jit-deep",
    "jit-generators",
    "jit-through-c",
    "debug-alternating",
    "debug-deep",
    "debug-coroutines",
    "debug-threads",
    "old-deep",
    "old-generators",
    "old-threads",
    "old-through-c",
];

/// A committed snapshot, identified by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&str")]
pub struct Recorded(usize);

impl Recorded {
    /// All snapshots in `corpus/snapshots`, in a fixed order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..FILES.len()).map(Self)
    }

    /// Name of the snapshot.
    #[must_use]
    pub fn name(self) -> &'static str {
        FILES[self.0].0
    }

    /// Content of the snapshot, with the addresses that matter.
    pub(super) fn loaded(self) -> &'static Loaded {
        static LOADED: [OnceLock<Loaded>; FILES.len()] = [const { OnceLock::new() }; FILES.len()];
        LOADED[self.0].get_or_init(|| Loaded::new(FILES[self.0].1))
    }
}

impl TryFrom<String> for Recorded {
    type Error = String;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::all().find(|it| it.name() == name).ok_or_else(|| format!("there is no snapshot {name:?} in the corpus"))
    }
}

impl From<Recorded> for &str {
    fn from(recorded: Recorded) -> Self {
        recorded.name()
    }
}

impl<'a> Arbitrary<'a> for Recorded {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(Self(usize::from(u8::arbitrary(u)?) % FILES.len()))
    }

    fn size_hint(depth: usize) -> (usize, Option<usize>) {
        u8::size_hint(depth)
    }
}

/// A snapshot with the information that fuzzing needs.
pub(super) struct Loaded {
    pub(super) snapshot: Snapshot,
    pub(super) site: Site,
    /// The marks of each stop.
    pub(super) marks: Vec<Marks>,
    /// Start addresses of all code objects in all stops.
    pub(super) codes: BTreeSet<Address>,
    /// Start and end of the memory of code objects, texts and tables in any stop.
    immutable: Vec<(Address, Address)>,
}

/// Addresses of structures in an image.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    pub(super) interpreters: Vec<Address>,
    pub(super) threads: Vec<Address>,
    pub(super) frames: Vec<Address>,
    pub(super) chunks: Vec<Address>,
    pub(super) codes: Vec<Address>,
    pub(super) texts: Vec<Address>,
    pub(super) tables: Vec<Address>,
    /// Starts and lengths of the ranges.
    pub(super) ranges: Vec<(Address, usize)>,
    /// Length of all ranges together, in bytes.
    pub(super) bytes: usize,
}

impl Loaded {
    fn new(file: &[u8]) -> Self {
        let loaded = Snapshot::from_bytes(file);
        let snapshot = loaded.unwrap_or_else(|error| panic!("a file of the corpus does not load: {error}"));
        let site = snapshot.site().unwrap_or_else(|error| panic!("a file of the corpus has no layout: {error}"));
        let marks: Vec<Marks> = snapshot.stops.iter().map(|stop| Marks::new(&stop.image, &site)).collect();
        let codes = marks.iter().flat_map(|marks| marks.codes.iter().copied()).collect();
        let mut immutable = BTreeSet::new();
        let code = &site.layout.code;
        for (stop, marks) in snapshot.stops.iter().zip(&marks) {
            // A name or table extends to the end of the range that holds its data: nothing else was read next to it.
            let texts = [code.ascii_data, code.compact_data];
            let kinds = [(&marks.codes, code.size, &[][..]), (&marks.texts, code.compact_data, &texts)];
            let tables = (&marks.tables, code.bytes_data, &[code.bytes_data][..]);
            for (starts, least, data) in kinds.into_iter().chain([tables]) {
                for &start in starts {
                    let end_of =
                        |&offset: &u64| stop.image.rest(start + offset).map(|rest| start + offset + rest.len() as u64);
                    let end = data.iter().filter_map(end_of).max().unwrap_or(0);
                    immutable.insert((start, end.max(start + least)));
                }
            }
        }
        Self { snapshot, site, marks, codes, immutable: immutable.into_iter().collect() }
    }

    /// Whether one of these bytes belongs to a code object, text or table.
    pub(super) fn is_immutable(&self, at: Address, width: usize) -> bool {
        let end = at.saturating_add(width as u64);
        self.immutable.iter().any(|&(from, to)| from < end && at < to)
    }
}

impl Marks {
    fn new(image: &Image, site: &Site) -> Self {
        let reader = Reader(image);
        let layout = &site.layout;
        let mut marks = Self::default();
        let mut interpreter = reader.word(site.runtime + layout.interpreters_head);
        while let Some(address) = interpreter.filter(|&address| address != 0) {
            marks.interpreters.push(address);
            interpreter = reader.word(address + layout.interpreter.next);
        }
        let mut codes = BTreeSet::new();
        for chain in chains(image, site) {
            marks.threads.push(chain.state);
            marks.frames.extend(chain.links.iter().map(|link| link.address));
            codes.extend(chain.links.iter().filter(|link| link.is_python).map(|link| link.code));
            let mut chunk = reader.word(chain.state + layout.thread.datastack_chunk);
            while let Some(address) = chunk.filter(|&address| address != 0) {
                marks.chunks.push(address);
                chunk = reader.word(address);
            }
        }
        let mut texts = BTreeSet::new();
        for &code in &codes {
            texts.extend(reader.word(code + layout.code.qualname));
            texts.extend(reader.word(code + layout.code.filename));
            marks.tables.extend(reader.word(code + layout.code.linetable));
        }
        marks.codes = codes.into_iter().collect();
        marks.texts = texts.into_iter().collect();
        marks.ranges = image.ranges().map(|(address, bytes)| (address, bytes.len())).collect();
        marks.bytes = marks.ranges.iter().map(|(_, length)| length).sum();
        marks
    }
}
