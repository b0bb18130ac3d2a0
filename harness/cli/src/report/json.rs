//! The report for programs.

use model::run::document::Document;

/// The document as text, with a line break at its end.
///
/// # Errors
/// None are known: everything in a document has a form in JSON.
pub fn render(document: &Document) -> serde_json::Result<String> {
    serde_json::to_string_pretty(document).map(|text| text + "\n")
}
