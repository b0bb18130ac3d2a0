//! Finds the order of `_Py_DebugOffsets` for a build: in its debug information, in CPython's headers beside it, or in
//! the tables of this project.

mod header;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use framewalk::layout::{FrameOwners, VersionHex, WordOrder};
pub use header::HeaderError;
use object::read::ReadCache;
use thiserror::Error;

use crate::debug_info::{self, DebugInfo, StructMember};

/// The structure whose order is needed.
const STRUCTURE: &str = "_Py_DebugOffsets";

/// The headers that define the structure, newest version's first: since 3.14, and in 3.13.
const HEADERS: [&str; 2] = ["pycore_debug_offsets.h", "pycore_runtime.h"];

/// The headers that define `enum _frameowner`: since 3.14, and in 3.13.
const OWNERS: [&str; 2] = ["pycore_interpframe_structs.h", "pycore_frame.h"];

/// Larger headers, in bytes, are rejected. The real ones have some ten KiB.
const LIMIT: u64 = 4 << 20;

/// The final releases whose built-in tables were compared with real builds, as `PY_VERSION_HEX`: first and last of each
/// minor version.
const COMPARED: [(u32, u32); 3] = [(0x030d_00f0, 0x030d_fff0), (0x030e_00f0, 0x030e_fff0), (0x030f_00f0, 0x030f_02f0)];

/// Where an order comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderSource {
    /// The debug information of the image.
    Dwarf,
    /// The text of a header.
    Header(PathBuf),
    /// The tables of this project, by version.
    Table,
}

impl fmt::Display for OrderSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dwarf => f.write_str("DWARF"),
            Self::Header(path) => write!(f, "{}", path.display()),
            Self::Table => f.write_str("the built-in table"),
        }
    }
}

/// Why no order was found.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OrderError {
    /// No source has the order.
    #[error(
        "the order of the offsets of CPython {version} is unknown: {}, {} has no debug information, and {} was not found \
         in the folders of its headers{folders}; build with -g, or name the header of its source with --layout-header",
        no_table(*version), image.display(), HEADERS[0]
    )]
    Nowhere {
        /// The version of the build.
        version: VersionHex,
        /// The file without debug information.
        image: PathBuf,
        /// The folders that were searched: empty, or a list in parentheses.
        folders: String,
    },
    /// Two sources have different orders.
    #[error(
        "{one} and {other} disagree about the order of the offsets: word {index} is {ours:?} in the first and {theirs:?} \
         in the second; the header is probably of another version: update it, or name the right one with --layout-header"
    )]
    Disagree {
        /// The first source.
        one: OrderSource,
        /// The second source.
        other: OrderSource,
        /// The position of the first different word behind `free_threaded`, from 0.
        index: usize,
        /// The word in the first source.
        ours: String,
        /// The word in the second source.
        theirs: String,
    },
    /// A header cannot be used.
    #[error("{}: {source}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: HeaderError,
    },
    /// The header that the user named cannot be read.
    #[error("cannot read the header {}: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's message.
        why: String,
    },
}

/// Why the version has no built-in table.
fn no_table(version: VersionHex) -> &'static str {
    if version.is_final() {
        "the version has no built-in table"
    } else {
        "it is a pre-release without a built-in table"
    }
}

fn listed(folders: &[PathBuf]) -> String {
    let names: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}

/// An order with its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundOrder {
    /// The order.
    pub order: WordOrder,
    /// Where it was found.
    pub source: OrderSource,
}

/// Where to search.
pub(super) struct OrderSearch<'a> {
    pub(super) version: VersionHex,
    /// Whether it is a development build, whose version ends with `+`.
    pub(super) is_development: bool,
    pub(super) image: &'a Path,
    /// Folders with CPython's internal headers.
    pub(super) folders: &'a [PathBuf],
    /// The header that the user named. It takes the place of the folders and of the built-in table.
    pub(super) header: Option<&'a Path>,
}

impl OrderSearch<'_> {
    /// Whether the built-in table was compared with builds of exactly this version.
    pub(super) fn is_known_final(&self) -> bool {
        !self.is_development && is_known_final(self.version)
    }

    /// The order that all sources agree on.
    pub(super) fn find(&self) -> Result<FoundOrder, OrderError> {
        let dwarf = of_image(self.image).map(|order| FoundOrder { order, source: OrderSource::Dwarf });
        let header = match self.header {
            Some(path) => Some(of_header(path)?),
            None => self.folders.iter().find_map(|folder| of_folder(folder)).transpose()?,
        };
        let built_in =
            WordOrder::of_version(self.version).map(|order| FoundOrder { order, source: OrderSource::Table });
        let table = built_in.filter(|_| self.version.is_final() && self.header.is_none());
        // The table of another release of the minor version is a guess, so it only serves where nothing else is known.
        let (judge, guess) = if self.is_known_final() { (table, None) } else { (None, table) };
        let mut found = dwarf.into_iter().chain(header).chain(judge);
        let Some(first) = found.next() else {
            return guess.ok_or_else(|| OrderError::Nowhere {
                version: self.version,
                image: self.image.to_path_buf(),
                folders: listed(self.folders),
            });
        };
        for other in found {
            if let Some((index, ours, theirs)) = first.order.first_difference(&other.order) {
                let (ours, theirs) = (ours.to_owned(), theirs.to_owned());
                return Err(OrderError::Disagree { one: first.source, other: other.source, index, ours, theirs });
            }
        }
        Ok(first)
    }
}

/// Whether the built-in table was compared with builds of this version.
pub(super) fn is_known_final(version: VersionHex) -> bool {
    version.is_final() && COMPARED.iter().any(|(first, last)| (*first..=*last).contains(&version.0))
}

/// The order in the image's debug information, if it has any that is complete.
#[must_use]
pub fn of_image(image: &Path) -> Option<WordOrder> {
    let cache = ReadCache::new(File::open(image).ok()?);
    let file = object::File::parse(&cache).ok()?;
    if !debug_info::is_present(&file) {
        return None;
    }
    debug_info::with(&file, order).ok()?
}

fn order(types: &DebugInfo<'_>) -> Option<WordOrder> {
    let all = types.members(STRUCTURE)?.into_iter().flat_map(|member: StructMember| {
        let section = member.name;
        let inside = member.members.into_iter().map(|word| format!("{section}.{}", word.name)).collect::<Vec<_>>();
        if inside.is_empty() { vec![section] } else { inside }
    });
    let words = header::after_header(all.collect()).ok()?;
    let owners = types.enumeration("_frameowner").and_then(|members| header::by_name(&members));
    Some(WordOrder::new(words, owners.unwrap_or(FrameOwners::NEWEST)))
}

/// The order in the headers of a folder, if one of them defines the structure.
fn of_folder(folder: &Path) -> Option<Result<FoundOrder, OrderError>> {
    let headers = HEADERS.iter().map(|name| folder.join(name));
    headers.map(|path| of_header(&path)).find(|found| {
        let is_absent = matches!(
            found,
            Err(OrderError::Unreadable { .. } | OrderError::Header { source: HeaderError::NoStructure, .. })
        );
        !is_absent
    })
}

/// The order in a header. The owners of frames are in the same file or in a file beside it.
fn of_header(path: &Path) -> Result<FoundOrder, OrderError> {
    let text = read(path)?;
    let words = header::words(&text).map_err(|source| OrderError::Header { path: path.to_path_buf(), source })?;
    let beside = OWNERS.iter().filter_map(|name| read(&path.with_file_name(name)).ok());
    let owners = std::iter::once(text.clone()).chain(beside).find_map(|text| header::owners(&text));
    let order = WordOrder::new(words, owners.unwrap_or(FrameOwners::NEWEST));
    Ok(FoundOrder { order, source: OrderSource::Header(path.to_path_buf()) })
}

fn read(path: &Path) -> Result<String, OrderError> {
    let unreadable = |why: String| OrderError::Unreadable { path: path.to_path_buf(), why };
    let metadata = path.metadata().map_err(|error| unreadable(error.to_string()))?;
    if !metadata.is_file() {
        return Err(unreadable("it is not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > LIMIT {
        return Err(unreadable(format!("it is larger than {} MiB", LIMIT >> 20)));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
