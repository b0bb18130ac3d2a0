//! The comparison of two saved reports: [`model::run::comparison`] for the documents of every verb that has failures.

mod comparable;
pub mod document;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use model::run::change::ReportComparison;
use model::run::known::{KnownError, KnownFailures};
use thiserror::Error;

use crate::report::saved::SavedError;

/// Why two reports cannot be compared.
#[derive(Debug, Error)]
pub enum CompareError {
    /// One file cannot be read or is not a report that can be compared.
    #[error(transparent)]
    Load(#[from] SavedError),
    /// The list of known failures, which has the margins of rates, cannot be used.
    #[error(transparent)]
    Known(#[from] KnownError),
    /// The reports come from different verbs.
    #[error(
        "{} is a report of {left}, but {} is one of {right}: they cannot be compared; name two reports of the same \
         verb",
        old.display(), new.display()
    )]
    Kinds {
        /// The file of the earlier report.
        old: PathBuf,
        /// The verb of the earlier report.
        left: &'static str,
        /// The file of the later report.
        new: PathBuf,
        /// The verb of the later report.
        right: &'static str,
    },
}

/// Compares two reports of `check`, `merge`, `explore` or `mutants`.
///
/// # Errors
/// One file is not such a report, or the reports come from different verbs.
pub fn compare(old: &Path, new: &Path) -> Result<ReportComparison, CompareError> {
    let (left, right) = (comparable::load(old)?, comparable::load(new)?);
    if left.verb != right.verb {
        let (old, new) = (old.to_owned(), new.to_owned());
        return Err(CompareError::Kinds { old, left: left.verb, new, right: right.verb });
    }
    Ok(model::run::comparison::compare(&left, &right, KnownFailures::kept()?.live()))
}
