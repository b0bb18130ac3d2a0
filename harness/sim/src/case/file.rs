//! The file of one case.

use std::path::{Path, PathBuf};

use framewalk::printable::excerpt;

use super::envelope::{CaseKind, Envelope, load};
use super::error::CaseError;
use super::format::STEPPED;
use super::stepped::{BadStepped, SteppedCase};
use crate::fuzzing::TARGETS;
use crate::fuzzing::target::{AnyCase, AnyFuzzTarget, Case, FuzzTarget};

/// A loaded case of any kind.
#[derive(Debug)]
pub enum AnyCaseFile {
    /// A case of a fuzz target.
    Fuzz(CaseFile),
    /// A case of the stepped lane.
    Stepped(SteppedFile),
}

impl AnyCaseFile {
    /// Loads a file.
    ///
    /// # Errors
    /// The file cannot be read, or as [`AnyCaseFile::parse`]. The error names the file.
    pub fn load(path: &Path) -> Result<Self, CaseError> {
        load(path, Self::parse)
    }

    /// Parses the content of a file.
    ///
    /// # Errors
    /// The first problem found in it.
    pub fn parse(bytes: &[u8]) -> Result<Self, CaseError> {
        let envelope = Envelope::parse(bytes)?;
        match envelope.kind {
            CaseKind::Fuzz(_) => CaseFile::open(envelope).map(Self::Fuzz),
            CaseKind::Stepped { .. } => SteppedFile::open(envelope).map(Self::Stepped),
        }
    }
}

/// A loaded case of a fuzz target.
pub struct CaseFile {
    /// The fuzz target that runs it.
    pub target: &'static dyn AnyFuzzTarget,
    /// What the case shows, or where it came from.
    pub note: String,
    /// The case, decoded and checked.
    pub case: Box<dyn AnyCase>,
}

impl std::fmt::Debug for CaseFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("CaseFile");
        shown.field("target", &self.target.name()).field("note", &self.note).finish_non_exhaustive()
    }
}

impl CaseFile {
    /// Loads a file.
    ///
    /// # Errors
    /// The file cannot be read, or as [`CaseFile::parse`]. The error names the file.
    pub fn load(path: &Path) -> Result<Self, CaseError> {
        load(path, Self::parse)
    }

    /// Parses the content of a file.
    ///
    /// # Errors
    /// The first problem found in it, or [`CaseError::OtherKind`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CaseError> {
        Self::open(Envelope::parse(bytes)?)
    }

    fn open(envelope: Envelope) -> Result<Self, CaseError> {
        let CaseKind::Fuzz(name) = envelope.kind else { return Err(CaseError::OtherKind) };
        let target = target(&name)?;
        let case = target
            .decode(envelope.case)
            .map_err(|why| CaseError::DoesNotFit { target: target.name(), why: excerpt(&why.to_string()) })?;
        Ok(Self { target, note: envelope.note, case })
    }

    /// The content of a file with this case.
    ///
    /// # Errors
    /// [`CaseError::NotWritable`] if JSON cannot express the case.
    pub fn text(&self) -> Result<String, CaseError> {
        Ok(envelope(self.target.name(), &self.note, self.case.to_value())?.text())
    }
}

/// A stepped case with the note from its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SteppedFile {
    /// What the case shows, or where it came from.
    pub note: String,
    /// The case, decoded and checked.
    pub case: SteppedCase,
}

impl SteppedFile {
    /// Loads a file.
    ///
    /// # Errors
    /// The file cannot be read or is not a stepped case. The error names the file.
    pub fn load(path: &Path) -> Result<Self, CaseError> {
        load(path, Self::parse)
    }

    /// Parses the content of a file.
    ///
    /// # Errors
    /// It is not a stepped case.
    pub fn parse(bytes: &[u8]) -> Result<Self, CaseError> {
        Self::open(Envelope::parse(bytes)?)
    }

    fn open(envelope: Envelope) -> Result<Self, CaseError> {
        let CaseKind::Stepped { version } = envelope.kind else { return Err(CaseError::OtherKind) };
        let case: SteppedCase = serde_json::from_value(envelope.case)
            .map_err(|why| CaseError::BadStepped(BadStepped::Field(excerpt(&why.to_string()))))?;
        case.check()?;
        if version < case.version() {
            return Err(CaseError::Damaged(format!("its version is {version}, but it has a field of a later version")));
        }
        Ok(Self { note: envelope.note, case })
    }

    /// The content of a file with this case.
    ///
    /// # Errors
    /// The case is inconsistent, so it could not be loaded again.
    pub fn text(&self) -> Result<String, CaseError> {
        Ok(self.envelope()?.text())
    }

    /// Saves the case in `folder` under a name derived from its content. Returns the path.
    ///
    /// # Errors
    /// As [`SteppedFile::text`], or the file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<PathBuf, CaseError> {
        self.envelope()?.save(folder)
    }

    fn envelope(&self) -> Result<Envelope, CaseError> {
        self.case.check()?;
        let case = serde_json::to_value(&self.case)
            .map_err(|why| CaseError::NotWritable { target: STEPPED, why: why.to_string() })?;
        Ok(Envelope { kind: CaseKind::Stepped { version: self.case.version() }, note: self.note.clone(), case })
    }
}

/// Saves a case in `folder` under a name derived from its content. Returns the path.
///
/// # Errors
/// [`CaseError::NotWritable`], or the file cannot be written.
pub fn save<T: Case>(folder: &Path, target: &FuzzTarget<T>, note: &str, case: &T) -> Result<PathBuf, CaseError> {
    envelope(target.name, note, serde_json::to_value(case))?.save(folder)
}

/// The fuzz target with that name.
///
/// # Errors
/// [`CaseError::UnknownTarget`] if there is none.
pub fn target(name: &str) -> Result<&'static dyn AnyFuzzTarget, CaseError> {
    TARGETS.iter().copied().find(|target| target.name() == name).ok_or_else(|| {
        let known: Vec<&str> = TARGETS.iter().map(|target| target.name()).collect();
        CaseError::UnknownTarget { name: excerpt(name), known: known.join(", ") }
    })
}

fn envelope(
    target: &'static str,
    note: &str,
    case: Result<serde_json::Value, serde_json::Error>,
) -> Result<Envelope, CaseError> {
    let case = case.map_err(|why| CaseError::NotWritable { target, why: why.to_string() })?;
    Ok(Envelope { kind: CaseKind::Fuzz(target.to_owned()), note: note.to_owned(), case })
}
