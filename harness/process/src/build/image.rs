//! Finds a build's ELF file with the `.PyRuntime` section.

use std::fs::File;
use std::path::{Path, PathBuf};

use object::read::ReadCache;
use object::{Object, ObjectSection, ObjectSymbol};

/// The section that contains `_PyRuntime`.
const SECTION: &str = ".PyRuntime";

/// Larger sections, in bytes, are rejected. `_PyRuntime` has some hundred KiB, and only its beginning is used.
const LIMIT: u64 = 64 << 20;

/// The first of `files` with the section, and the section's initial contents.
pub(super) fn find(files: &[PathBuf]) -> Option<(PathBuf, Vec<u8>)> {
    let named = |file: &&PathBuf| file.file_name().is_some_and(|name| name.to_string_lossy().contains("python"));
    let likely = files.iter().filter(named);
    let rest = files.iter().filter(|file| !named(file));
    likely.chain(rest).find_map(|file| Some((file.clone(), section(file)?)))
}

/// Whether the file defines or needs a symbol for which `holds` is true. A weak reference does not count as a need.
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

/// The section's bytes, or `None` if the file cannot be read, is not an ELF file or has no such section.
fn section(file: &Path) -> Option<Vec<u8>> {
    // Mapped files are regular files. Opening anything else could block.
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
