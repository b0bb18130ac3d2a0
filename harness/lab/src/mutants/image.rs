//! A build's ELF file: its update sites, and copies with faults.

use std::path::{Path, PathBuf};
use std::{fs, io};

use framewalk::layout::Layout;
use framewalk::memory::Address;
use object::read::elf::{ElfFile64, ProgramHeader};
use object::{LittleEndian, Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind, elf};
use thiserror::Error;

use super::code::{Kind, Section};
use super::fault::{Edit, Fault, FieldOffsets, Room, Surgeon};
use super::site::{SiteError, UpdateSite, find};

/// Larger files, in bytes, are rejected. Images have some tens of MiB.
const SIZE_LIMIT: u64 = 512 << 20;
/// The smallest page size. The last page of a file is mapped as a whole.
const PAGE: u64 = 4096;
/// The section that contains `_PyRuntime`.
const RUNTIME: &str = ".PyRuntime";

/// Why an image cannot be mutated.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The image cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The image that was read.
        path: PathBuf,
        /// The error of the read.
        source: io::Error,
    },
    /// A copy cannot be written.
    #[error("cannot write {}: {source}; free some space there, or choose another folder with TMPDIR", path.display())]
    Write {
        /// The copy that could not be written.
        path: PathBuf,
        /// The error of the write.
        source: io::Error,
    },
    /// The image is not an ELF file of a supported kind.
    #[error("{} is not a readable 64-bit ELF file: {why}", path.display())]
    Elf {
        /// The image that was read.
        path: PathBuf,
        /// What is missing or unsupported in the file.
        why: String,
    },
    /// The build has no frame cache.
    #[error("{} has no frame cache because it is older than 3.15: there is nothing to mutate", path.display())]
    NoCache {
        /// The image that was read.
        path: PathBuf,
    },
    /// The update sites could not be determined.
    #[error("{}: {source}", path.display())]
    Sites {
        /// The image that was read.
        path: PathBuf,
        /// Why the search for sites failed.
        source: SiteError,
    },
    /// The image does not have the bytes that an edit replaces.
    #[error("the bytes at offset {offset:#x} of {} changed after the file was read", path.display())]
    Changed {
        /// The image that was read.
        path: PathBuf,
        /// Offset of the bytes in the file.
        offset: u64,
    },
}

/// The position and kind of a section.
#[derive(Clone, Copy, Debug)]
struct FileOffset {
    kind: Kind,
    address: u64,
    offset: u64,
    size: u64,
}

/// A function from the symbol table.
#[derive(Clone, Debug)]
struct Function {
    address: u64,
    size: u64,
    name: String,
}

/// An image and its sites.
pub struct BinaryImage {
    path: PathBuf,
    bytes: Vec<u8>,
    places: Vec<FileOffset>,
    functions: Vec<Function>,
    room: Room,
    offsets: FieldOffsets,
    /// The address of `.PyRuntime` in the linked file.
    runtime: u64,
    sites: Vec<UpdateSite>,
}

impl BinaryImage {
    /// Reads the image at `path` of a build with this `layout`.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn read(path: &Path, layout: &Layout) -> Result<Self, ImageError> {
        let read = |source| ImageError::Read { path: path.to_owned(), source };
        let size = fs::metadata(path).map_err(read)?.len();
        if size > SIZE_LIMIT {
            return Err(ImageError::Elf { path: path.to_owned(), why: format!("it has {size} bytes") });
        }
        let bytes = fs::read(path).map_err(read)?;
        let cache = layout.thread.cache.ok_or_else(|| ImageError::NoCache { path: path.to_owned() })?;
        let malformed = |error: object::Error| ImageError::Elf { path: path.to_owned(), why: error.to_string() };
        let (places, functions, room, runtime) = {
            let elf = ElfFile64::<LittleEndian>::parse(bytes.as_slice()).map_err(malformed)?;
            let runtime = elf.section_by_name(RUNTIME).ok_or_else(|| ImageError::Elf {
                path: path.to_owned(),
                why: format!("it has no section {RUNTIME}"),
            })?;
            (places(&elf), functions(&elf), room(&elf, &bytes), runtime.address())
        };
        let sections: Vec<Section<'_>> = places.iter().filter_map(|place| section(place, &bytes)).collect();
        let sites = find(&sections, &cache).map_err(|source| ImageError::Sites { path: path.to_owned(), source })?;
        let offsets = FieldOffsets { anchor: cache.anchor, previous: layout.frame.previous };
        Ok(Self { path: path.to_owned(), places, functions, room, offsets, runtime, sites, bytes })
    }

    /// The file it was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The update sites, ordered by address.
    #[must_use]
    pub fn sites(&self) -> &[UpdateSite] {
        &self.sites
    }

    /// The load bias of a process whose `_PyRuntime` is at `runtime`.
    #[must_use]
    pub fn moved_by(&self, runtime: Address) -> u64 {
        runtime.wrapping_sub(self.runtime)
    }

    /// The function that contains `address`, if the image has a symbol for it.
    #[must_use]
    pub fn function(&self, address: u64) -> Option<&str> {
        let index = self.functions.partition_point(|function| function.address <= address).checked_sub(1)?;
        let function = self.functions.get(index)?;
        (address - function.address < function.size).then_some(function.name.as_str())
    }

    /// The section that contains `site`.
    fn section_of(&self, site: &UpdateSite) -> Option<Section<'_>> {
        let holds = |place: &&FileOffset| {
            place.kind == site.kind && (place.address..place.address + place.size).contains(&site.address())
        };
        section(self.places.iter().find(holds)?, &self.bytes)
    }

    /// The code from the guard to the end of the update, for recognising a site in code that the JIT copied. `None` for
    /// a site that is executed in place.
    #[must_use]
    pub fn template(&self, site: &UpdateSite) -> Option<Template> {
        if site.kind == Kind::Text {
            return None;
        }
        let start = site.guards.first()?.compare.address;
        let end = site.pointer.end().max(site.increment.store().end());
        let section = self.section_of(site)?;
        let bytes = section.from(start)?.get(..usize::try_from(end.checked_sub(start)?).ok()?)?;
        Some(Template { start, bytes: bytes.to_vec() })
    }

    /// The edits that put `fault` into the sites with these indices.
    ///
    /// # Errors
    /// The reason why one of these sites does not allow the fault.
    pub fn edits(&self, fault: Fault, sites: &[usize]) -> Result<Vec<Edit>, String> {
        let mut room = self.room;
        let mut edits = Vec::new();
        for &index in sites {
            let site = self.sites.get(index).ok_or_else(|| format!("the image has no site {index}"))?;
            let section = self.section_of(site).ok_or("no section contains the site")?;
            let surgeon = Surgeon { section: &section, offsets: self.offsets };
            edits.extend(surgeon.edits(fault, site, &mut room)?);
        }
        Ok(edits)
    }

    /// Writes an executable copy with `edits` to `path`.
    ///
    /// # Errors
    /// [`ImageError::Write`], or [`ImageError::Changed`] if the edits belong to another file.
    pub fn write(&self, edits: &[Edit], path: &Path) -> Result<(), ImageError> {
        use std::os::unix::fs::PermissionsExt;
        let mut bytes = self.bytes.clone();
        for edit in edits {
            let changed = || ImageError::Changed { path: self.path.clone(), offset: edit.offset };
            let start = usize::try_from(edit.offset).map_err(|_| changed())?;
            let range = bytes.get_mut(start..).and_then(|bytes| bytes.get_mut(..edit.old.len())).ok_or_else(changed)?;
            if range != edit.old.as_slice() || edit.old.len() != edit.new.len() {
                return Err(changed());
            }
            range.copy_from_slice(&edit.new);
        }
        let write = |source| ImageError::Write { path: path.to_owned(), source };
        fs::write(path, bytes).map_err(write)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(write)
    }
}

/// The code of a site in the image, before the JIT copies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its address in the image.
    pub start: u64,
    /// Its bytes. They do not depend on their address.
    pub bytes: Vec<u8>,
}

fn section<'a>(place: &FileOffset, bytes: &'a [u8]) -> Option<Section<'a>> {
    let start = usize::try_from(place.offset).ok()?;
    let bytes = bytes.get(start..)?.get(..usize::try_from(place.size).ok()?)?;
    Some(Section { kind: place.kind, address: place.address, offset: place.offset, bytes })
}

/// The code sections and `.rodata`.
fn places(elf: &ElfFile64<'_, LittleEndian>) -> Vec<FileOffset> {
    let place = |section: object::read::elf::ElfSection64<'_, '_, LittleEndian>| {
        let kind = match section.kind() {
            SectionKind::Text => Kind::Text,
            SectionKind::ReadOnlyData if section.name() == Ok(".rodata") => Kind::Data,
            _ => return None,
        };
        let (offset, size) = section.file_range()?;
        Some(FileOffset { kind, address: section.address(), offset, size })
    };
    elf.sections().filter_map(place).collect()
}

fn functions(elf: &ElfFile64<'_, LittleEndian>) -> Vec<Function> {
    let function = |symbol: object::read::elf::ElfSymbol64<'_, '_, LittleEndian>| {
        let name = symbol.name().ok()?.to_owned();
        (symbol.kind() == SymbolKind::Text && symbol.size() > 0).then(|| Function {
            address: symbol.address(),
            size: symbol.size(),
            name,
        })
    };
    let mut functions: Vec<Function> = elf.symbols().chain(elf.dynamic_symbols()).filter_map(function).collect();
    functions.sort_by_key(|function| function.address);
    functions
}

/// The unused rest of the last page of the executable segment, as far as the file contains zeros there.
fn room(elf: &ElfFile64<'_, LittleEndian>, bytes: &[u8]) -> Room {
    let executable = elf.elf_program_headers().iter().find(|header| {
        let endian = LittleEndian;
        header.p_type(endian) == elf::PT_LOAD && header.p_flags(endian).contains(elf::PF_X)
    });
    let Some(header) = executable else { return Room { address: 0, offset: 0, length: 0 } };
    let endian = LittleEndian;
    let size = header.p_filesz(endian);
    let (address, offset) = (header.p_vaddr(endian) + size, header.p_offset(endian) + size);
    let end = address.next_multiple_of(PAGE) - address;
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let empty = bytes.get(start..).unwrap_or_default().iter().take_while(|&&byte| byte == 0).count() as u64;
    Room { address, offset, length: end.min(empty) }
}
