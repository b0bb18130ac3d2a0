//! The document of a comparison of two reports.

use model::run::change::ReportComparison;
use model::run::verdict::Verdict;
use serde::{Deserialize, Serialize};

/// The value of the document's `kind` field.
pub const KIND: &str = "framediff-comparison";
/// The version of the document format. It grows when a field changes its meaning or is removed.
pub const VERSION: u32 = 1;

/// The document of a comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparisonDocument {
    /// Always [`KIND`], which distinguishes the document from reports.
    pub kind: String,
    /// The version of the format, [`VERSION`].
    pub version: u32,
    /// The verdict of the comparison.
    pub verdict: Verdict,
    /// The changes and the places compared.
    #[serde(flatten)]
    pub comparison: ReportComparison,
}

impl From<ReportComparison> for ComparisonDocument {
    fn from(comparison: ReportComparison) -> Self {
        Self { kind: KIND.to_owned(), version: VERSION, verdict: comparison.verdict(), comparison }
    }
}
