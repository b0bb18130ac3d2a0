//! The report as JSON.

use model::run::document::Document;

/// The document as pretty-printed JSON, with a newline at the end.
///
/// # Errors
/// None are known: everything in a document can be written as JSON.
pub fn render(document: &Document) -> serde_json::Result<String> {
    serde_json::to_string_pretty(document).map(|text| text + "\n")
}
