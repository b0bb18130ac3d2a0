//! Opens what the user names as a failure: a case on a line, a case in a file, or a bundle.

use std::path::Path;

use lanes::bundle::Bundle;
use lanes::bundle::about::CellRecord;
use sim::case::file::SteppedFile;
use sim::case::line::is_line;

use crate::cli::bundled;
use crate::cli::output::Failure;

/// A failure that was saved.
pub(super) enum Opened {
    /// A case of the stepped lane, and the bundle that contained it, if one did.
    Case(Box<SteppedFile>, Option<Box<Bundle>>),
    /// A failure of another lane of `check`, from its bundle.
    Cell(Box<Bundle>, Box<CellRecord>),
}

/// Opens a case or a bundle.
///
/// # Errors
/// It cannot be read, or is damaged.
pub(super) fn open(text: &str) -> Result<Opened, Failure> {
    let path = Path::new(text);
    if is_line(text) {
        let case = text.parse().map_err(|error| format!("this case cannot be used: {error}"))?;
        return Ok(Opened::Case(Box::new(SteppedFile { note: String::new(), case }), None));
    }
    if !bundled::starts_as_bundle(path) {
        return Ok(Opened::Case(Box::new(SteppedFile::load(path)?), None));
    }
    let bundle = Box::new(Bundle::load(path)?);
    Ok(match bundled::case(path, &bundle)? {
        Some(case) => Opened::Case(Box::new(case), Some(bundle)),
        None => {
            let record = bundled::finding(path, &bundle)?;
            Opened::Cell(bundle, Box::new(record))
        }
    })
}
