//! Files that users name: read within a bound, and written so that they appear complete or not at all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// What a reader of a pipe waits for.
type Content = io::Result<Vec<u8>>;

/// The readers that wait for a pipe.
struct Waiting {
    called_off: bool,
    readers: Vec<Sender<Content>>,
}

static WAITING: Mutex<Waiting> = Mutex::new(Waiting { called_off: false, readers: Vec::new() });

/// Reads a regular file or a pipe of at most `limit` bytes. A pipe may have no writer yet; [`call_off`] ends that wait.
///
/// # Errors
/// The file cannot be read, is larger than `limit`, or is a folder, device or socket.
pub fn read(path: &Path, limit: u64) -> Content {
    // A device may have no end, and opening one can have effects.
    let kind = fs::metadata(path)?.file_type();
    if kind.is_file() {
        return within(&File::open(path)?, limit);
    }
    if !kind.is_fifo() {
        let what = if kind.is_dir() { "a folder" } else { "a device or socket" };
        return Err(io::Error::other(format!("it is {what}; name a regular file or a pipe")));
    }
    let (send, receive) = channel();
    {
        let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.called_off {
            return Err(called_off());
        }
        waiting.readers.push(send.clone());
    }
    // Opening waits for a writer, and nothing but the end of the process ends that, so a thread does it.
    let path = path.to_owned();
    let read = move || send.send(File::open(path).and_then(|file| within(&file, limit)));
    thread::Builder::new().name("pipe".into()).spawn(read)?;
    receive.recv().unwrap_or_else(|_| Err(called_off()))
}

/// Like [`read`], for text.
///
/// # Errors
/// As [`read`], or it is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(read(path, limit)?).map_err(|_| io::Error::other("it is not a text in UTF-8"))
}

/// The first `length` bytes of a regular file. Nothing of any other file: bytes read from a pipe are gone.
#[must_use]
pub fn beginning(path: &Path, length: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if path.is_file() {
        // Whoever opens the file next reports why it cannot be read.
        let _ = File::open(path).and_then(|file| file.take(length).read_to_end(&mut bytes));
    }
    bytes
}

/// Ends every wait for a pipe, now and later.
pub fn call_off() {
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.called_off = true;
    for reader in waiting.readers.drain(..) {
        // The reader may have ended.
        let _ = reader.send(Err(called_off()));
    }
}

fn called_off() -> io::Error {
    io::Error::new(io::ErrorKind::Interrupted, "interrupted while waiting for the writer of the pipe")
}

fn within(file: &File, limit: u64) -> Content {
    let mut bytes = Vec::new();
    // One byte more shows that the file is too large. The length that the file system reports may be wrong.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let limit = if limit >> 20 > 0 { format!("{} MiB", limit >> 20) } else { format!("{limit} bytes") };
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {limit}")));
    }
    Ok(bytes)
}

/// Replaces the content of a file, or creates it. A regular file appears complete or stays as it was, whatever happens;
/// a device or pipe is written to.
///
/// # Errors
/// It cannot be written, or the user may not write to the existing file.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(there) => {
            // A user who may not write to a file must not be able to replace it either.
            let mut file = OpenOptions::new().write(true).open(path)?;
            if !there.is_file() {
                return file.write_all(content).and_then(|()| file.flush());
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // If the path is a link, replace the file that it points to.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut beside = beside(&path)?;
    beside.write_all(content)?;
    beside.persist(&path).map_err(|error| error.error).map(drop)
}

/// A temporary file in the folder of `path`, which can be renamed to `path`. The user's umask limits its permissions, as
/// for any other file.
///
/// # Errors
/// No file can be created there.
pub fn beside(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".framediff-").permissions(Permissions::from_mode(0o666)).tempfile_in(folder_of(path))
}

/// The folder of a file.
#[must_use]
pub fn folder_of(path: &Path) -> PathBuf {
    path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new(".")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_stops_at_the_limit_and_at_devices() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "four").unwrap();
        assert_eq!(read(&file, 4).unwrap(), b"four");
        assert_eq!(beginning(&file, 2), b"fo");
        let sparse = folder.path().join("sparse");
        File::create(&sparse).unwrap().set_len(1 << 40).unwrap();
        for (path, words) in [
            (&*file, "it is larger than 3 bytes"),
            (&*sparse, "it is larger than 3 bytes"),
            (Path::new("/dev/zero"), "a device"),
            (folder.path(), "it is a folder"),
        ] {
            let error = read(path, 3).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert!(beginning(Path::new("/dev/zero"), 2).is_empty());
    }

    #[test]
    fn a_file_that_cannot_be_written_whole_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link] = ["file", "link"].map(|name| folder.path().join(name));
        replace(&file, b"old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        replace(&link, b"new").unwrap();
        assert_eq!((fs::read(&file).unwrap(), fs::read_dir(&folder).unwrap().count()), (b"new".to_vec(), 2));
        assert!(replace(Path::new("/dev/full"), b"x").is_err());
        assert!(replace(&folder.path().join("none/file"), b"x").is_err());
    }
}
