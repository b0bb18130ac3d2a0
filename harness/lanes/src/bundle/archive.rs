//! Reading and writing the bundle file.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use framewalk::printable::{clean, excerpt};
use model::files;
use model::json::Head;
use tar::{Archive, Builder, EntryType, Header};
use thiserror::Error;

use super::about::{About, FORMAT, VERSION};
use super::{Bundle, name};

/// Files above this size, in bytes, are rejected.
const SIZE_LIMIT: u64 = 128 << 20;
/// Archives that unpack to more than this, in bytes, are rejected.
const UNPACKED_LIMIT: u64 = 256 << 20;

/// The magic number of gzip files.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Whether a file that starts with `bytes` can be a bundle.
#[must_use]
pub fn is_bundle(bytes: &[u8]) -> bool {
    bytes.starts_with(&GZIP)
}

/// Why a bundle cannot be opened or written.
#[derive(Debug, Error)]
pub enum BundleError {
    /// The file cannot be read or written.
    #[error("cannot {action} the bundle {}: {source}", path.display())]
    System {
        /// Either "read" or "write".
        action: &'static str,
        /// The path of the file.
        path: PathBuf,
        /// What the system reported.
        source: io::Error,
    },
    /// The file was read, but its content cannot be used.
    #[error("{} is not a complete bundle: {why}", path.display())]
    Damaged {
        /// The path of the file.
        path: PathBuf,
        /// The reason, for the message.
        why: String,
    },
}

/// Why the bytes of a file are not a bundle.
#[derive(Debug, Error)]
pub enum BundleFormatError {
    /// Not a gzip-compressed tar, or truncated.
    #[error("{}", clean(&.0.to_string()))]
    Archive(#[from] io::Error),
    /// Larger than the limit.
    #[error("it is larger than {} MiB{}", .limit >> 20, if *.unpacked { " after unpacking" } else { "" })]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
        /// Whether the limit applies to the unpacked size.
        unpacked: bool,
    },
    /// It contains a file that does not belong in a bundle.
    #[error("it contains {0}, which does not belong in a bundle")]
    Foreign(String),
    /// It contains the same file twice.
    #[error("it contains {0} twice")]
    Twice(&'static str),
    /// A required file is missing.
    #[error("it does not contain {0}")]
    Missing(&'static str),
    /// One of its files cannot be parsed.
    #[error("{name}: {why}")]
    Content {
        /// The name of the file in the bundle.
        name: &'static str,
        /// The reason, for the message.
        why: String,
    },
    /// The bundle has another format version.
    #[error(
        "its version is {0}, but this framediff reads version {VERSION}: use the framediff that made it, or a newer one"
    )]
    OtherVersion(u64),
}

impl Bundle {
    /// Serialises the bundle. Equal bundles give equal bytes.
    ///
    /// # Errors
    /// The result is larger than what [`Bundle::from_bytes`] accepts.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BundleFormatError> {
        let content =
            |error: serde_json::Error| BundleFormatError::Content { name: name::ABOUT, why: error.to_string() };
        let about = serde_json::to_vec_pretty(&self.about).map_err(content)?;
        let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
        let files = self.files.iter().map(|(name, bytes)| (*name, bytes.as_slice()));
        for (name, bytes) in std::iter::once((name::ABOUT, about.as_slice())).chain(files) {
            let mut header = Header::new_ustar();
            header.set_entry_type(EntryType::Regular);
            header.set_mode(0o644);
            header.set_mtime(0);
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, bytes)?;
        }
        let bytes = builder.into_inner()?.finish()?;
        Self::from_bytes(&bytes)?;
        Ok(bytes)
    }

    /// Parses the bytes of a bundle file.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BundleFormatError> {
        if bytes.len() as u64 > SIZE_LIMIT {
            return Err(BundleFormatError::TooLarge { limit: SIZE_LIMIT, unpacked: false });
        }
        let mut unpacked = Vec::new();
        let mut decoder = GzDecoder::new(bytes);
        // Read to the very end, where gzip's checksum is. The extra byte reveals an archive above the limit.
        (&mut decoder).take(UNPACKED_LIMIT + 1).read_to_end(&mut unpacked)?;
        if unpacked.len() as u64 > UNPACKED_LIMIT {
            return Err(BundleFormatError::TooLarge { limit: UNPACKED_LIMIT, unpacked: true });
        }
        let mut files: BTreeMap<&'static str, Vec<u8>> = BTreeMap::new();
        // Raw: names are at most as long as a header has room for, so an entry that extends the next one's is foreign.
        for entry in Archive::new(unpacked.as_slice()).entries()?.raw(true) {
            let mut entry = entry?;
            let path = entry.path_bytes();
            let known = name::ALL.into_iter().find(|known| known.as_bytes() == &*path);
            let foreign = || BundleFormatError::Foreign(format!("{:?}", excerpt(&String::from_utf8_lossy(&path))));
            let known = known.filter(|_| entry.header().entry_type() == EntryType::Regular).ok_or_else(foreign)?;
            drop(path);
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            if files.insert(known, content).is_some() {
                return Err(BundleFormatError::Twice(known));
            }
        }
        let about = files.remove(name::ABOUT).ok_or(BundleFormatError::Missing(name::ABOUT))?;
        let bundle = Self { about: about_of(&about)?, files };
        if bundle.file(name::FINDING).is_some() == bundle.file(name::CASE).is_some() {
            return Err(BundleFormatError::Missing("one of finding.json and case.json"));
        }
        Ok(bundle)
    }

    /// Reads a bundle file.
    ///
    /// # Errors
    /// It cannot be read, or is not a bundle.
    pub fn load(path: &Path) -> Result<Self, BundleError> {
        let system = |source| BundleError::System { action: "read", path: path.to_owned(), source };
        let bytes = files::read(path, SIZE_LIMIT).map_err(system)?;
        Self::from_bytes(&bytes).map_err(|error| BundleError::damaged(path, &error.to_string()))
    }

    /// Writes the bundle into `folder`, under a name made from its fingerprint, and returns the path. The file appears
    /// complete or not at all. Saving the same content again replaces the file with an identical one.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self, folder: &Path) -> Result<PathBuf, BundleError> {
        let bytes = self.to_bytes().map_err(|error| BundleError::damaged(folder, &error.to_string()))?;
        let path = folder.join(file_name(&self.about.fingerprint, &bytes) + ".bundle");
        let system = |source| BundleError::System { action: "write", path: path.clone(), source };
        files::replace(&path, &bytes).map_err(system)?;
        Ok(path)
    }
}

/// The name of a file about a failure: its fingerprint, cut, and a digest that tells apart what would have one name.
#[must_use]
pub fn file_name(fingerprint: &str, content: &[u8]) -> String {
    let digest = model::digest::of_bytes(content);
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let name: String = fingerprint.chars().take(100).map(plain).collect();
    format!("{name}-{}", digest.get(..8).unwrap_or(&digest))
}

impl BundleError {
    /// A bundle whose content cannot be used.
    #[must_use]
    pub fn damaged(path: &Path, why: &str) -> Self {
        Self::Damaged { path: path.to_owned(), why: why.to_owned() }
    }
}

fn about_of(bytes: &[u8]) -> Result<About, BundleFormatError> {
    let content = |why: String| BundleFormatError::Content { name: name::ABOUT, why };
    let foreign = |error: serde_json::Error| content(excerpt(&error.to_string()));
    let head = Head::of(bytes).map_err(foreign)?;
    // Check these two fields first: another version may have other fields.
    if head.format().as_deref() != Some(FORMAT) {
        return Err(content(format!("\"format\" is not \"{FORMAT}\"")));
    }
    match head.version() {
        Some(VERSION) => serde_json::from_slice(bytes).map_err(foreign),
        Some(other) => Err(BundleFormatError::OtherVersion(other)),
        None => Err(content("its version is not a number".into())),
    }
}
