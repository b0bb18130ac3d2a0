//! The file of a snapshot.
//!
//! ```text
//! framediff-snapshot 1\n      what it is and its format version, in ASCII
//! 8 bytes                     length of the compressed payload, little-endian
//! 32 bytes                    SHA-256 of everything before and after these bytes
//! ...                         the payload, zlib
//! ```
//! The first line is the same for every version, so every framediff can read the version of every snapshot. A change of
//! the payload gets the next version number. Decoders of earlier versions stay; for each, the tests have a file that
//! must always load. Unknown versions are rejected by their number, without guessing.

use std::io::{self, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use model::files;
use sha2::{Digest, Sha256};

use super::error::{SnapshotError, SnapshotFormatError};
use super::{SIZE_LIMIT, Snapshot, VERSION, v1};

/// Largest accepted payload, in bytes. Decoding takes a multiple of it.
const PAYLOAD_LIMIT: u64 = 32 << 20;

const MAGIC: &[u8] = b"framediff-snapshot ";
/// Most digits of a version.
const DIGITS: usize = 20;
const LENGTH: usize = 8;
const DIGEST: usize = 32;

/// Whether a file that starts with `bytes` claims to be a snapshot of any version.
#[must_use]
pub fn is_snapshot(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

impl Snapshot {
    /// The content of the snapshot's file.
    ///
    /// # Errors
    /// [`SnapshotError::TooMuch`] if it could not be loaded again.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SnapshotError> {
        let payload = v1::encode(self).map_err(SnapshotError::TooMuch)?;
        if payload.len() as u64 > PAYLOAD_LIMIT {
            return Err(SnapshotError::TooMuch(format!(
                "{} bytes, but at most {PAYLOAD_LIMIT} are allowed",
                payload.len()
            )));
        }
        // A payload rejected here would be rejected at every load.
        v1::decode(&payload).map_err(SnapshotError::TooMuch)?;
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        let compressed = encoder.write_all(&payload).and_then(|()| encoder.finish());
        let compressed = compressed.map_err(|error| SnapshotError::TooMuch(error.to_string()))?;
        Ok(wrap(VERSION, &compressed))
    }

    /// Parses the content of a file.
    ///
    /// # Errors
    /// The first problem found in it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SnapshotFormatError> {
        if bytes.len() as u64 > SIZE_LIMIT {
            return Err(SnapshotFormatError::TooLarge);
        }
        let (_, compressed) = unwrap(bytes)?;
        let foreign = SnapshotFormatError::Foreign;
        let mut payload = Vec::new();
        // One byte more shows that the payload is too large.
        let read = ZlibDecoder::new(compressed).take(PAYLOAD_LIMIT + 1).read_to_end(&mut payload);
        read.map_err(|error| foreign(error.to_string()))?;
        if payload.len() as u64 > PAYLOAD_LIMIT {
            return Err(foreign(format!("it is larger than {} MiB after unpacking", PAYLOAD_LIMIT >> 20)));
        }
        v1::decode(&payload).map_err(foreign)
    }

    /// Loads a snapshot file and checks its SHA-256.
    ///
    /// # Errors
    /// The file cannot be read, or as [`Snapshot::from_bytes`].
    pub fn load(path: &Path) -> Result<Self, SnapshotError> {
        let unreadable = |source| SnapshotError::Read { path: path.to_owned(), source };
        let bytes = files::read(path, SIZE_LIMIT).map_err(unreadable)?;
        Self::from_bytes(&bytes).map_err(|source| SnapshotError::Format { path: path.to_owned(), source })
    }

    /// Saves the snapshot in a new file, which appears complete or not at all.
    ///
    /// # Errors
    /// The file already exists or cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), SnapshotError> {
        let bytes = self.to_bytes()?;
        let written = |source| SnapshotError::Write { path: path.to_owned(), source };
        let mut file = new_file(path)?;
        file.write_all(&bytes).and_then(|()| file.as_file().sync_all()).map_err(written)?;
        file.persist_noclobber(path).map(drop).map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => SnapshotError::Exists { path: path.to_owned() },
            _ => written(error.error),
        })
    }
}

/// Checks that a snapshot can be saved at `path`. Called before the work of recording one.
///
/// # Errors
/// As [`Snapshot::save`].
pub fn can_save(path: &Path) -> Result<(), SnapshotError> {
    if path.symlink_metadata().is_ok() {
        return Err(SnapshotError::Exists { path: path.to_owned() });
    }
    new_file(path).map(drop)
}

fn new_file(path: &Path) -> Result<tempfile::NamedTempFile, SnapshotError> {
    files::beside(path).map_err(|source| SnapshotError::Write { path: path.to_owned(), source })
}

/// The content of a file with a compressed payload.
pub(super) fn wrap(version: u64, compressed: &[u8]) -> Vec<u8> {
    let mut bytes = [MAGIC, version.to_string().as_bytes(), b"\n"].concat();
    bytes.extend((compressed.len() as u64).to_le_bytes());
    let digest = digest(&bytes, compressed);
    bytes.extend(digest);
    bytes.extend_from_slice(compressed);
    bytes
}

fn digest(head: &[u8], compressed: &[u8]) -> [u8; DIGEST] {
    Sha256::new().chain_update(head).chain_update(compressed).finalize().into()
}

/// Version and compressed payload of an intact file with a known version.
fn unwrap(bytes: &[u8]) -> Result<(u64, &[u8]), SnapshotFormatError> {
    let have = bytes.len() as u64;
    let rest = match bytes.strip_prefix(MAGIC) {
        Some(rest) => rest,
        None if !bytes.is_empty() && MAGIC.starts_with(bytes) => {
            return Err(SnapshotFormatError::Truncated { have, need: (MAGIC.len() + 2 + LENGTH + DIGEST) as u64 });
        }
        None => return Err(SnapshotFormatError::NotSnapshot),
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let version = rest.get(..digits.min(DIGITS)).and_then(|digits| std::str::from_utf8(digits).ok());
    let version = version.and_then(|digits| digits.parse::<u64>().ok());
    match (version, rest.get(digits)) {
        (_, None) => return Err(SnapshotFormatError::Truncated { have, need: have + (1 + LENGTH + DIGEST) as u64 }),
        (Some(1..=VERSION), Some(b'\n')) => {}
        (Some(version), Some(b'\n')) if version > VERSION => return Err(SnapshotFormatError::Newer { version }),
        _ => return Err(SnapshotFormatError::NotSnapshot),
    }
    let start = MAGIC.len() + digits + 1 + LENGTH;
    let least = (start + DIGEST) as u64;
    let cut_off = |need| SnapshotFormatError::Truncated { have, need };
    let (head, rest) = bytes.split_at_checked(start).ok_or_else(|| cut_off(least))?;
    let (said, compressed) = rest.split_at_checked(DIGEST).ok_or_else(|| cut_off(least))?;
    let length = head.last_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    let need = least.saturating_add(length);
    if have < need {
        return Err(cut_off(need));
    }
    if have > need {
        return Err(SnapshotFormatError::TooLong { more: have - need });
    }
    if digest(head, compressed) != *said {
        return Err(SnapshotFormatError::Checksum);
    }
    Ok((version.unwrap_or(VERSION), compressed))
}
