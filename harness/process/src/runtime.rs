//! Finds `_PyRuntime` in a live process: looks for the mapped file with a `.PyRuntime` section and for its load
//! address.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use framewalk::memory::{Address, MemoryError, RemoteMemory};
use object::read::{Object, ObjectSection, ObjectSegment, ReadCache};
use thiserror::Error;

use crate::memory::{ProcessMemory, permission_advice};

/// The section that contains `_PyRuntime`.
const SECTION: &str = ".PyRuntime";
/// The first bytes of `_PyRuntime`.
const COOKIE: [u8; 8] = *b"xdebugpy";
/// At most this many bytes of a `maps` file are read.
const MAPS_LIMIT: u64 = 16 * 1024 * 1024;

/// The location of `_PyRuntime` in a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeLocation {
    /// Its address in the target.
    pub address: Address,
    /// The section's size in bytes.
    pub size: u64,
    /// The mapped file with the section, under the name that the target uses.
    pub image: PathBuf,
}

/// Why `_PyRuntime` was not found.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// The process has ended.
    #[error("process {pid} has ended")]
    Gone {
        /// The process that was searched.
        pid: i32,
    },
    /// The kernel refused access.
    #[error("cannot read process {pid}: {advice}")]
    Denied {
        /// The process that was searched.
        pid: i32,
        /// The setting that refuses, and what to do about it.
        advice: String,
    },
    /// No mapped file has the section.
    #[error(
        "process {pid} does not run CPython 3.13 or later: none of its {files} mapped files has a .PyRuntime section"
    )]
    NotPython {
        /// The process that was searched.
        pid: i32,
        /// Number of files the process has mapped.
        files: usize,
    },
    /// The mapped file was deleted or replaced, so it cannot be read.
    #[error("{} was deleted or replaced after process {pid} started: restart the process", image.display())]
    Deleted {
        /// The process that was searched.
        pid: i32,
        /// The mapped file with the section.
        image: PathBuf,
    },
    /// The file has the section, but the memory does not start with the cookie.
    #[error(
        "{} of process {pid} has a .PyRuntime section that does not start with debug offsets: it is older than CPython \
         3.13, the oldest version that can be observed",
        image.display()
    )]
    NoCookie {
        /// The process that was searched.
        pid: i32,
        /// The mapped file with the section.
        image: PathBuf,
    },
    /// A system call failed.
    #[error("cannot read {}: {source}", path.display())]
    System {
        /// The file that was read.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
}

/// Finds `_PyRuntime` in process `pid`.
///
/// # Errors
/// The process has ended, may not be read, or is not a CPython since 3.13, or its mapped files cannot be read.
pub fn runtime_address(pid: i32) -> Result<RuntimeLocation, RuntimeError> {
    let maps = read_maps(pid)?;
    let mut images: Vec<(&ImageId, &Vec<Mapping>)> = maps.iter().collect();
    // Try files whose names contain `python` first: they nearly always have the section.
    images.sort_by_key(|(image, _)| !image.is_named_python());
    let mut excuse = None;
    for (image, mappings) in &images {
        let opened = open_image(pid, image, mappings);
        let Some((file, as_mapped)) = opened else {
            if image.is_named_python() {
                excuse.get_or_insert(RuntimeError::Deleted { pid, image: image.path.clone() });
            }
            continue;
        };
        let Some(section) = Section::find(&file) else { continue };
        if let Some(address) = section.loaded_at(pid, mappings)? {
            return Ok(RuntimeLocation { address, size: section.size, image: image.path.clone() });
        }
        let path = image.path.clone();
        excuse = Some(match as_mapped {
            true => RuntimeError::NoCookie { pid, image: path },
            false => RuntimeError::Deleted { pid, image: path },
        });
    }
    Err(excuse.unwrap_or(RuntimeError::NotPython { pid, files: images.len() }))
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ImageId {
    path: PathBuf,
    deleted: bool,
    inode: u64,
}

impl ImageId {
    fn is_named_python(&self) -> bool {
        self.path.file_name().is_some_and(|name| name.as_bytes().windows(6).any(|part| part == b"python"))
    }
}

/// One mapped part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapping {
    start: Address,
    end: Address,
    offset: u64,
    writable: bool,
}

fn read_maps(pid: i32) -> Result<BTreeMap<ImageId, Vec<Mapping>>, RuntimeError> {
    let path = PathBuf::from(format!("/proc/{pid}/maps"));
    let mut text = Vec::new();
    File::open(&path).and_then(|file| file.take(MAPS_LIMIT).read_to_end(&mut text)).map_err(|source| {
        match source.kind() {
            io::ErrorKind::NotFound => RuntimeError::Gone { pid },
            io::ErrorKind::PermissionDenied => RuntimeError::Denied { pid, advice: permission_advice(pid) },
            _ if source.raw_os_error() == Some(nix::libc::ESRCH) => RuntimeError::Gone { pid },
            _ => RuntimeError::System { path, source },
        }
    })?;
    if text.is_empty() {
        // A process that has ended but was not reaped has no mappings.
        return Err(RuntimeError::Gone { pid });
    }
    Ok(parse_maps(&text))
}

/// The file mappings in a `maps` file. Other lines, and lines that do not parse, are skipped.
fn parse_maps(text: &[u8]) -> BTreeMap<ImageId, Vec<Mapping>> {
    let mut images: BTreeMap<ImageId, Vec<Mapping>> = BTreeMap::new();
    for (image, mapping) in text.split(|&byte| byte == b'\n').filter_map(parse_line) {
        images.entry(image).or_default().push(mapping);
    }
    images
}

fn parse_line(line: &[u8]) -> Option<(ImageId, Mapping)> {
    let path_at = line.iter().position(|&byte| byte == b'/')?;
    let (head, path) = line.split_at_checked(path_at)?;
    let mut words = std::str::from_utf8(head).ok()?.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let hexadecimal = |digits| u64::from_str_radix(digits, 16).ok();
    let writable = words.next()?.contains('w');
    let offset = hexadecimal(words.next()?)?;
    let mapping = Mapping { start: hexadecimal(start)?, end: hexadecimal(end)?, offset, writable };
    let inode = words.nth(1)?.parse().ok()?;
    let kept = path.strip_suffix(b" (deleted)");
    let path = PathBuf::from(std::ffi::OsString::from_vec(unescape(kept.unwrap_or(path))));
    Some((ImageId { path, deleted: kept.is_some(), inode }, mapping))
}

/// In `maps`, the kernel escapes a newline in a path as `\012`, and escapes nothing else.
fn unescape(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, tail)) = rest.split_first() {
        match rest.strip_prefix(br"\012") {
            Some(after) => {
                plain.push(b'\n');
                rest = after;
            }
            None => {
                plain.push(first);
                rest = tail;
            }
        }
    }
    plain
}

/// Opens a mapped file. The flag is set if this certainly is the file that is mapped.
fn open_image(pid: i32, image: &ImageId, mappings: &[Mapping]) -> Option<(File, bool)> {
    // The kernel's own link works even if the file's name is gone, but following it needs a privilege.
    let linked = mappings
        .first()
        .and_then(|mapping| File::open(format!("/proc/{pid}/map_files/{:x}-{:x}", mapping.start, mapping.end)).ok());
    if let Some(file) = linked.filter(is_regular) {
        return Some((file, true));
    }
    if image.deleted {
        return None;
    }
    let inside = Path::new("/proc").join(pid.to_string()).join("root");
    let path = inside.join(image.path.strip_prefix("/").ok()?);
    // Do not open a mapped device or pipe by name: opening it can have effects, or block.
    if !path.metadata().ok()?.is_file() {
        return None;
    }
    let file = File::open(path).ok()?;
    // Some overlay file systems show two inode numbers for one file, so a difference is not an error.
    let same = file.metadata().is_ok_and(|metadata| metadata.ino() == image.inode);
    Some((file, same))
}

fn is_regular(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file())
}

/// The section's position according to its file.
#[derive(Debug)]
struct Section {
    address: Address,
    size: u64,
    /// (address, file offset, size in the file) of each segment in the file.
    segments: Vec<(Address, u64, u64)>,
}

impl Section {
    fn find(file: &File) -> Option<Self> {
        let cache = ReadCache::new(file);
        let parsed = object::File::parse(&cache).ok()?;
        let section = parsed.section_by_name(SECTION)?;
        let segments = parsed
            .segments()
            .map(|segment| {
                let (offset, size) = segment.file_range();
                (segment.address(), offset, size)
            })
            .collect();
        Some(Self { address: section.address(), size: section.size(), segments })
    }

    /// The address of the section in the target. A file may be mapped more than once, but only the loaded image has the
    /// section in writable memory.
    fn loaded_at(&self, pid: i32, mappings: &[Mapping]) -> Result<Option<Address>, RuntimeError> {
        let mut biases: Vec<Address> = mappings.iter().flat_map(|mapping| self.biases(mapping)).collect();
        biases.sort_unstable();
        biases.dedup();
        let mut memory = ProcessMemory::new(pid);
        for bias in biases {
            let address = self.address.wrapping_add(bias);
            let holds = |mapping: &&Mapping| mapping.writable && (mapping.start..mapping.end).contains(&address);
            if mappings.iter().find(holds).is_none() {
                continue;
            }
            let mut cookie = [0; COOKIE.len()];
            match memory.read(address, &mut cookie) {
                Ok(()) if cookie == COOKIE => return Ok(Some(address)),
                Ok(()) | Err(MemoryError::Unmapped { .. }) => {}
                Err(MemoryError::Gone { pid }) => return Err(RuntimeError::Gone { pid }),
                Err(MemoryError::Denied { pid, advice, .. }) => return Err(RuntimeError::Denied { pid, advice }),
                Err(other) => {
                    let path = PathBuf::from(format!("/proc/{pid}/mem"));
                    return Err(RuntimeError::System { path, source: io::Error::other(other) });
                }
            }
        }
        Ok(None)
    }

    /// Possible load biases of the file, assuming that `mapping` is a part of the loaded image. The bias of a file that
    /// is not position independent is 0.
    fn biases(&self, mapping: &Mapping) -> impl Iterator<Item = Address> {
        let mapping = *mapping;
        self.segments
            .iter()
            .filter(move |(_, offset, size)| {
                // A segment can start inside a page, but its mapping starts at a page boundary.
                let end = mapping.offset.saturating_add(mapping.end.saturating_sub(mapping.start));
                mapping.offset < offset.saturating_add(*size) && *offset < end
            })
            .map(move |(address, offset, _)| {
                mapping.start.wrapping_sub(mapping.offset).wrapping_add(*offset).wrapping_sub(*address)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &[u8] = b"\
00400000-00420000 r--p 00000000 fe:00 12 /usr/bin/python3.15
00620000-00640000 rw-p 0021f000 fe:00 12 /usr/bin/python3.15
7f0000000000-7f0000001000 rw-p 00000000 00:00 0 
7f0000002000-7f0000003000 r-xp 00000000 fe:00 13 /opt/a b/libpython3.so (deleted)
7f0000004000-7f0000005000 r-xp 00000000 fe:00 14 /opt/new\\012line
zzzz /half a line
7ffe00000000-7ffe00001000 rw-p 00000000 00:00 0 [stack]";

    #[test]
    fn maps_are_grouped_by_file_even_with_unusual_names() {
        let maps = parse_maps(MAPS);
        let images: Vec<(&str, bool, u64, usize)> = maps
            .iter()
            .map(|(image, mappings)| (image.path.to_str().unwrap(), image.deleted, image.inode, mappings.len()))
            .collect();
        assert_eq!(
            images,
            [
                ("/opt/a b/libpython3.so", true, 13, 1),
                ("/opt/new\nline", false, 14, 1),
                ("/usr/bin/python3.15", false, 12, 2)
            ]
        );
    }

    #[test]
    fn the_load_bias_is_zero_for_fixed_images_and_equal_for_all_segments() {
        let fixed = Section {
            address: 0x62_0100,
            size: 8,
            segments: vec![(0x40_0000, 0, 0x1_f000), (0x62_0e00, 0x21_fe00, 0x1000)],
        };
        let part = |start, end, offset| Mapping { start, end, offset, writable: true };
        for mapping in [part(0x40_0000, 0x42_0000, 0), part(0x62_0000, 0x64_0000, 0x21_f000)] {
            assert_eq!(fixed.biases(&mapping).collect::<Vec<_>>(), [0]);
        }
        let moved = Section { address: 0x2100, size: 8, segments: vec![(0, 0, 0x800), (0x2e00, 0x1e00, 0x100)] };
        for mapping in [part(0x7f00_0000, 0x7f00_1000, 0), part(0x7f00_2000, 0x7f00_3000, 0x1000)] {
            assert_eq!(moved.biases(&mapping).collect::<Vec<_>>(), [0x7f00_0000]);
        }
    }
}
