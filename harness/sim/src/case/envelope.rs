//! The fields around every case in its file.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use framewalk::printable::excerpt;
use model::{digest, files, json};
use serde_json::{Map, Value};

use super::error::CaseError;
use super::format::{FORMAT, SIZE_LIMIT, STEPPED, VERSION};
use super::pretty;

/// What runs the case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CaseKind {
    /// A fuzz target, by name. Version 1; its files have a target instead of a kind.
    Fuzz(String),
    /// The stepped lane, from version 2 on.
    Stepped {
        /// Version of the file, 2 or later.
        version: u64,
    },
}

/// The content of a file, with the case still as JSON.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Envelope {
    pub(super) kind: CaseKind,
    pub(super) note: String,
    pub(super) case: Value,
}

impl Envelope {
    /// Parses the content of a file.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, CaseError> {
        if bytes.len() as u64 > SIZE_LIMIT {
            return Err(CaseError::TooLarge);
        }
        let value = json::parse(bytes).map_err(|why| CaseError::NotJson(excerpt(&why.to_string())))?;
        let Value::Object(mut fields) = value else { return Err(CaseError::NoCase) };
        if fields.remove("format").as_ref().and_then(Value::as_str) != Some(FORMAT) {
            return Err(CaseError::NoCase);
        }
        // The version comes first, because another version may have other fields.
        let kind = match take(&mut fields, "version")?.as_u64() {
            Some(1) => CaseKind::Fuzz(text(&mut fields, "target")?),
            Some(version @ 2..=VERSION) => match text(&mut fields, "kind")?.as_str() {
                STEPPED => CaseKind::Stepped { version },
                other => return Err(CaseError::UnknownKind(excerpt(other))),
            },
            Some(other) => return Err(CaseError::UnknownVersion(other)),
            None => return Err(CaseError::Damaged("its version is not a number".into())),
        };
        let note = text(&mut fields, "note")?;
        let case = take(&mut fields, "case")?;
        match fields.keys().next() {
            Some(name) => Err(CaseError::Damaged(format!("it has an unknown field {:?}", excerpt(name)))),
            None => Ok(Self { kind, note, case }),
        }
    }

    /// The content of the file.
    pub(super) fn text(&self) -> String {
        let (version, kind): (u64, (&str, &str)) = match &self.kind {
            CaseKind::Fuzz(target) => (1, ("target", target)),
            CaseKind::Stepped { version } => (*version, ("kind", STEPPED)),
        };
        let fields = [
            ("format", FORMAT.into()),
            ("version", version.into()),
            (kind.0, kind.1.into()),
            ("note", self.note.as_str().into()),
            ("case", self.case.clone()),
        ];
        let lines: Vec<String> =
            fields.iter().map(|(name, value)| format!("  \"{name}\": {}", pretty::text(value, 2))).collect();
        format!("{{\n{}\n}}\n", lines.join(",\n"))
    }

    /// Saves the case in `folder` under a name derived from its content. Returns the path.
    pub(super) fn save(&self, folder: &Path) -> Result<PathBuf, CaseError> {
        let content = self.text();
        let mut name = digest::of_bytes(content.as_bytes());
        name.truncate(32);
        let path = folder.join(name + ".json");
        let write = || fs::create_dir_all(folder).and_then(|()| files::replace(&path, content.as_bytes()));
        write().map_err(|why| CaseError::system("write", &path, &why))?;
        Ok(path)
    }
}

/// Reads a file and passes its content to `parse`. Errors name the file.
pub(super) fn load<T>(path: &Path, parse: impl FnOnce(&[u8]) -> Result<T, CaseError>) -> Result<T, CaseError> {
    let in_file = |error| CaseError::InFile { path: path.to_path_buf(), error: Box::new(error) };
    let bytes = files::read(path, SIZE_LIMIT).map_err(|why| match why.kind() {
        ErrorKind::FileTooLarge => in_file(CaseError::TooLarge),
        _ => CaseError::system("read", path, &why),
    })?;
    parse(&bytes).map_err(in_file)
}

fn take(fields: &mut Map<String, Value>, name: &str) -> Result<Value, CaseError> {
    fields.remove(name).ok_or_else(|| CaseError::Damaged(format!("its {name} is missing")))
}

fn text(fields: &mut Map<String, Value>, name: &str) -> Result<String, CaseError> {
    match take(fields, name)? {
        Value::String(text) => Ok(text),
        _ => Err(CaseError::Damaged(format!("its {name} is not a text"))),
    }
}
