//! Output to terminal or pipe, and the error type of the verbs.

use std::io::Write;
use std::path::Path;

use framewalk::printable::message as message_of;
use model::files;

pub(super) type Failure = Box<dyn std::error::Error>;

/// Prints a message to standard error. A closed standard error is not an error.
///
/// Every message comes through here, and may name files and quote what others wrote, so nothing in it can control the
/// terminal or fill it.
pub(super) fn tell(message: &str) {
    let _ = writeln!(std::io::stderr(), "{}", message_of(message));
}

/// Prints annotations for GitHub's runner, which are escaped as the runner wants them, to standard error.
pub(super) fn tell_runner(annotations: &str) {
    let _ = std::io::stderr().write_all(annotations.as_bytes());
}

pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // The reader closed the pipe because it has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(format!("cannot write to standard output: {error}").into()),
        Ok(()) => Ok(()),
    }
}

/// Writes a whole file, or leaves what was there.
///
/// # Errors
/// It cannot be written. The message names it.
pub(super) fn write(file: &Path, text: &str) -> Result<(), Failure> {
    files::replace(file, text.as_bytes()).map_err(|error| format!("cannot write {}: {error}", file.display()).into())
}
