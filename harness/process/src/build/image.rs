//! The ELF file of a build that holds `.PyRuntime`.

use std::fs::File;
use std::path::{Path, PathBuf};

use object::read::ReadCache;
use object::{Object, ObjectSection, ObjectSymbol};

/// The section that CPython puts `_PyRuntime` in.
const SECTION: &str = ".PyRuntime";

/// `_PyRuntime` has some hundred KiB; its beginning is all that is wanted.
const LIMIT: u64 = 64 << 20;

/// The first of `files` with the section, and the section's bytes as they are before the program starts.
pub(super) fn find(files: &[PathBuf]) -> Option<(PathBuf, Vec<u8>)> {
    let named = |file: &&PathBuf| file.file_name().is_some_and(|name| name.to_string_lossy().contains("python"));
    let likely = files.iter().filter(named);
    let rest = files.iter().filter(|file| !named(file));
    likely.chain(rest).find_map(|file| Some((file.clone(), section(file)?)))
}

/// Whether the file defines a symbol of which this holds, or cannot do without one; a weak reference is no need.
pub(super) fn has_symbol(file: &Path, holds: &dyn Fn(&[u8]) -> bool) -> bool {
    let found = || {
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let cache = ReadCache::new(File::open(file).ok()?);
        let elf = object::File::parse(&cache).ok()?;
        let is_needed = |symbol: object::Symbol<'_, '_, _>| {
            !(symbol.is_undefined() && symbol.is_weak()) && symbol.name_bytes().is_ok_and(holds)
        };
        Some(elf.dynamic_symbols().chain(elf.symbols()).any(is_needed))
    };
    found().unwrap_or(false)
}

/// The section's bytes, or nothing if the file cannot be read, is no ELF file or has no such section.
fn section(file: &Path) -> Option<Vec<u8>> {
    // Mapped files are regular files; opening anything else could block.
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let cache = ReadCache::new(File::open(file).ok()?);
    let elf = object::File::parse(&cache).ok()?;
    let section = elf.section_by_name(SECTION)?;
    if section.size() > LIMIT {
        return None;
    }
    section.data().ok().map(<[u8]>::to_vec)
}
