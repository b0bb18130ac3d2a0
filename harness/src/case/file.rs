//! The file of one case.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::error::{CaseError, excerpt};
use super::pretty;
use crate::fuzzing::TARGETS;
use crate::fuzzing::target::{AnyCase, AnyFuzzTarget, Case, FuzzTarget};

/// What every file says of itself.
pub(super) const FORMAT: &str = "framediff-case";
/// The version that is written; all from 1 on are read. A new one is due when the fields around the case change.
pub(super) const VERSION: u64 = 1;
/// A longer file is none, in bytes.
pub(super) const SIZE_LIMIT: u64 = 16 << 20;

/// A case that was loaded.
pub struct CaseFile {
    /// The fuzz target.
    pub target: &'static dyn AnyFuzzTarget,
    /// What the case is about, or where it came from.
    pub note: String,
    /// The case.
    pub case: Box<dyn AnyCase>,
}

impl std::fmt::Debug for CaseFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("CaseFile");
        shown.field("target", &self.target.name()).field("note", &self.note).finish_non_exhaustive()
    }
}

impl CaseFile {
    /// Reads a file.
    ///
    /// # Errors
    /// That it cannot be read, or as [`CaseFile::parse`], naming the file.
    pub fn load(path: &Path) -> Result<Self, CaseError> {
        let unreadable = |why: std::io::Error| CaseError::system("read", path, &why);
        let mut bytes = Vec::new();
        // One byte more tells that there is too much; what the file system says of the length may be wrong.
        File::open(path).map_err(unreadable)?.take(SIZE_LIMIT + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        Self::parse(&bytes).map_err(|error| CaseError::InFile { path: path.to_path_buf(), error: Box::new(error) })
    }

    /// Reads the content of a file.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, CaseError> {
        if bytes.len() as u64 > SIZE_LIMIT {
            return Err(CaseError::TooLarge);
        }
        let value = serde_json::from_slice(bytes).map_err(|why| CaseError::NotJson(excerpt(&why.to_string())))?;
        let Value::Object(mut fields) = value else { return Err(CaseError::NoCase) };
        if fields.remove("format").as_ref().and_then(Value::as_str) != Some(FORMAT) {
            return Err(CaseError::NoCase);
        }
        // Before anything else is looked at: another version may have other fields.
        match take(&mut fields, "version")?.as_u64() {
            Some(1..=VERSION) => {}
            Some(other) => return Err(CaseError::UnknownVersion(other)),
            None => return Err(CaseError::Damaged("its version is no number".into())),
        }
        let target = target(&text(&mut fields, "target")?)?;
        let note = text(&mut fields, "note")?;
        let case = take(&mut fields, "case")?;
        if let Some(name) = fields.keys().next() {
            return Err(CaseError::Damaged(format!("it has a field {:?} too many", excerpt(name))));
        }
        let does_not_fit = |why: serde_json::Error| excerpt(&why.to_string());
        let case = target
            .decode(case)
            .map_err(|why| CaseError::DoesNotFit { target: target.name(), why: does_not_fit(why) })?;
        Ok(Self { target, note, case })
    }

    /// The content of a file with this case.
    ///
    /// # Errors
    /// [`CaseError::NotWritable`].
    pub fn text(&self) -> Result<String, CaseError> {
        content(self.target.name(), &self.note, self.case.to_value())
    }
}

/// Writes a case into `folder`, under a name that is made of its content, and tells where.
///
/// # Errors
/// [`CaseError::NotWritable`], or that the file cannot be written.
pub fn save<T: Case>(folder: &Path, target: &FuzzTarget<T>, note: &str, case: &T) -> Result<PathBuf, CaseError> {
    let content = content(target.name, note, serde_json::to_value(case))?;
    let digest = Sha256::digest(content.as_bytes());
    let name: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let path = folder.join(name + ".json");
    let write = || fs::create_dir_all(folder).and_then(|()| fs::write(&path, &content));
    write().map_err(|why| CaseError::system("write", &path, &why))?;
    Ok(path)
}

/// The fuzz target of that name.
///
/// # Errors
/// [`CaseError::UnknownTarget`].
pub fn target(name: &str) -> Result<&'static dyn AnyFuzzTarget, CaseError> {
    TARGETS.iter().copied().find(|target| target.name() == name).ok_or_else(|| {
        let known: Vec<&str> = TARGETS.iter().map(|target| target.name()).collect();
        CaseError::UnknownTarget { name: excerpt(name), known: known.join(", ") }
    })
}

fn content(target: &'static str, note: &str, case: Result<Value, serde_json::Error>) -> Result<String, CaseError> {
    let case = case.map_err(|why| CaseError::NotWritable { target, why: why.to_string() })?;
    let fields = [
        ("format", FORMAT.into()),
        ("version", VERSION.into()),
        ("target", target.into()),
        ("note", note.into()),
        ("case", case),
    ];
    let lines: Vec<String> =
        fields.iter().map(|(name, value)| format!("  \"{name}\": {}", pretty::text(value, 2))).collect();
    Ok(format!("{{\n{}\n}}\n", lines.join(",\n")))
}

fn take(fields: &mut Map<String, Value>, name: &str) -> Result<Value, CaseError> {
    fields.remove(name).ok_or_else(|| CaseError::Damaged(format!("its {name} is missing")))
}

fn text(fields: &mut Map<String, Value>, name: &str) -> Result<String, CaseError> {
    match take(fields, name)? {
        Value::String(text) => Ok(text),
        _ => Err(CaseError::Damaged(format!("its {name} is no text"))),
    }
}
