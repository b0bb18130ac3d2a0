//! Report files: checked before the run, and either complete or unchanged after it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use model::files;
use thiserror::Error;

/// The error for a file that cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("cannot write {}: {why}", path.display())]
pub struct OutputError {
    path: PathBuf,
    why: String,
}

impl OutputError {
    fn new(path: &Path, why: impl ToString) -> Self {
        Self { path: path.to_owned(), why: why.to_string() }
    }
}

/// The destination of a report. An existing file stays unchanged until the report replaces it.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    /// A regular file. The report is written to a temporary file in the same folder, which then replaces it. Nothing
    /// is left behind if the process ends before that.
    Beside,
    /// A pipe, a terminal or another device, which cannot be replaced.
    Itself(File),
}

impl Output {
    /// Creates the folder, and checks that files can be created in it.
    ///
    /// # Errors
    /// The report cannot be written there. The error says why.
    pub fn open(path: &Path) -> Result<Self, OutputError> {
        let failed = |why: io::Error| OutputError::new(path, why);
        let folder = folder(path)?;
        let sink = match fs::metadata(path) {
            Ok(there) if there.is_dir() => return Err(OutputError::new(path, "this is a folder; name a file")),
            Ok(there) if !there.is_file() => Sink::Itself(existing(path)?),
            Ok(_) => {
                // A user who may not write to a file must not be able to replace it either.
                existing(path)?;
                can_write(&folder).map_err(failed)?;
                Sink::Beside
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                can_write(&folder).map_err(failed)?;
                Sink::Beside
            }
            Err(error) => return Err(failed(error)),
        };
        Ok(Self { path: path.to_owned(), sink })
    }

    /// Writes the whole report.
    ///
    /// # Errors
    /// The report could not be written. An existing regular file is then unchanged.
    pub fn write(self, text: &str) -> Result<(), OutputError> {
        let Self { path, sink } = self;
        let written = match sink {
            Sink::Itself(mut file) => file.write_all(text.as_bytes()).and_then(|()| file.flush()),
            Sink::Beside => files::replace(&path, text.as_bytes()),
        };
        written.map_err(|why| OutputError::new(&path, why))
    }
}

/// Opens a file that is written while the run goes on. Its old content is discarded at once.
///
/// # Errors
/// The file cannot be written. The error says why.
pub fn open_stream(path: &Path) -> Result<File, OutputError> {
    folder(path)?;
    if path.is_dir() {
        return Err(OutputError::new(path, "this is a folder; name a file"));
    }
    File::create(path).map_err(|why| OutputError::new(path, why))
}

/// Creates the folder of a file, and returns it.
fn folder(path: &Path) -> Result<PathBuf, OutputError> {
    let folder = files::folder_of(path);
    let failed =
        |why: io::Error| OutputError::new(path, format!("cannot create the folder {}: {why}", folder.display()));
    fs::create_dir_all(&folder).map_err(failed)?;
    Ok(folder)
}

fn existing(path: &Path) -> Result<File, OutputError> {
    OpenOptions::new().write(true).open(path).map_err(|why| OutputError::new(path, why))
}

/// Tests whether files can be created, with an unnamed temporary file.
fn can_write(folder: &Path) -> io::Result<()> {
    tempfile::tempfile_in(folder).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_folder_is_created_and_the_file_appears_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/report.xml");
        let output = Output::open(&path).unwrap();
        assert!(!path.exists(), "nothing is there before the report is");
        output.write("one").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        assert_eq!(names(path.parent().unwrap()), ["report.xml"]);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        let plain = folder.path().join("plain");
        fs::write(&plain, "").unwrap();
        assert_eq!(mode, fs::metadata(plain).unwrap().permissions().mode());
    }

    #[test]
    fn an_unfinished_run_keeps_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        fs::write(&path, "old").unwrap();
        // As if the process had been killed: nothing is dropped.
        std::mem::forget(Output::open(&path).unwrap());
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), names(folder.path())), ("old", vec!["report".into()]));
        Output::open(&path).unwrap().write("new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn unwritable_outputs_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain");
        fs::write(&plain, "").unwrap();
        let below = plain.join("report");
        for (path, why) in [(folder.path(), "this is a folder"), (&below, "cannot create the folder")] {
            for error in [Output::open(path).unwrap_err(), open_stream(path).unwrap_err()] {
                let error = error.to_string();
                assert!(error.contains(path.to_str().unwrap()) && error.contains(why), "{error}");
            }
        }
    }
}
