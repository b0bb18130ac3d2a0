//! Presenting a copy of an image as a build that can be run.
//!
//! An interpreter finds its library by its own place. A copy elsewhere finds the original's like a virtual environment does,
//! by a `pyvenv.cfg` beside it. It is started by a script, since it may need the loader and the libraries that the original
//! was started with; `sys.executable` is that script, so that what the interpreter starts in turn is the copy again.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{LittleEndian, elf};
use process::build::{Build, BuildError, ask, probe};
use thiserror::Error;

use super::script::{self, quoted};

/// Prints the command by which the interpreter was started, and its executable.
const SCRIPT: &str = "\
import os, sys
sys.stdout.buffer.write(open('/proc/self/cmdline', 'rb').read() + b'\\0' + os.fsencode(os.readlink('/proc/self/exe')))";
/// The first argument of the interpreter's own in that command.
const FIRST: &str = "-I";

/// Why a copy cannot be run.
#[derive(Debug, Error)]
pub enum InstallError {
    /// The original does not say how it was started.
    #[error("{} does not tell how it is started: {why}", python.display())]
    Unknown {
        /// The original.
        python: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}; make room there, or choose another folder with TMPDIR", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The copy does not start.
    #[error("the copy does not start: {0}")]
    Probe(#[from] BuildError),
    /// Another image than the copy was loaded.
    #[error("the copy at {} was not loaded, but {}: an image of this kind cannot be replaced", copy.display(), loaded.display())]
    OtherImage {
        /// The copy.
        copy: PathBuf,
        /// What was loaded.
        loaded: PathBuf,
    },
}

/// How copies of one build's image are started.
pub struct Starter {
    /// The folder of the original's executable, for `pyvenv.cfg`.
    home: PathBuf,
    /// The file that is replaced.
    image: PathBuf,
    /// Command before the interpreter's own arguments.
    command: Vec<OsString>,
}

impl Starter {
    /// Finds out how `build` is started.
    ///
    /// # Errors
    /// [`InstallError::Unknown`].
    pub fn new(build: &Build) -> Result<Self, InstallError> {
        let unknown = |why: String| InstallError::Unknown { python: build.python.clone(), why };
        let answer = ask(&build.python, &[FIRST, "-S", "-c", SCRIPT]).map_err(|error| unknown(error.to_string()))?;
        let mut words: Vec<OsString> =
            answer.split(|&byte| byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect();
        let program = words.pop().map(PathBuf::from).unwrap_or_default();
        let own = words.iter().position(|word| word == FIRST);
        words.truncate(own.ok_or_else(|| unknown("its command line is another one".into()))?);
        let home = build.executable.parent().map(Path::to_owned);
        let home = home.ok_or_else(|| unknown("it has no folder".into()))?;
        if let [_] = words.as_slice() {
            // Started by the kernel: as the loader would be, so that it can be told another name.
            let loader = loader(&program).ok_or_else(|| unknown("its executable names no loader".into()))?;
            words = vec![loader.into(), "--argv0".into(), "$0".into(), program.into()];
        }
        Ok(Self { home, image: build.image.clone(), command: words })
    }

    /// Makes the copy in `folder`, which [`Starter::image_in`] names and which must be there, a build.
    ///
    /// # Errors
    /// See [`InstallError`].
    pub fn install(&self, folder: &Path) -> Result<Build, InstallError> {
        let copy = self.image_in(folder);
        let write = |path: &Path, source| InstallError::Write { path: path.to_owned(), source };
        let configuration = folder.join("pyvenv.cfg");
        let text = [b"home = ", self.home.as_os_str().as_bytes(), b"\n"].concat();
        fs::write(&configuration, text).map_err(|source| write(&configuration, source))?;
        let script = folder.join("python");
        script::write(&script, &self.script(&copy)).map_err(|source| write(&script, source))?;
        let build = probe(&script)?;
        let same =
            |one: &Path, other: &Path| matches!((one.canonicalize(), other.canonicalize()), (Ok(a), Ok(b)) if a == b);
        if !same(&build.image, &copy) {
            return Err(InstallError::OtherImage { copy, loaded: build.image });
        }
        Ok(build)
    }

    /// Where in `folder` the copy of the image must be.
    #[must_use]
    pub fn image_in(&self, folder: &Path) -> PathBuf {
        folder.join(self.image.file_name().unwrap_or(OsStr::new("image")))
    }

    fn script(&self, copy: &Path) -> Vec<u8> {
        let mut line = b"#!/bin/sh\n".to_vec();
        let replaced = self.command.iter().any(|word| Path::new(word) == self.image);
        if !replaced {
            // It is a library.
            let folder = copy.parent().unwrap_or(Path::new("/"));
            line.extend(b"export LD_LIBRARY_PATH=");
            line.extend(quoted(folder.as_os_str()));
            line.extend(b"${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}\n");
        }
        line.extend(b"exec");
        let mut named = false;
        for word in &self.command {
            line.push(b' ');
            // The word after `--argv0` is the name that the program is told; it is to be this script.
            if std::mem::replace(&mut named, word == "--argv0") {
                line.extend(b"\"$0\"");
            } else if Path::new(word) == self.image {
                line.extend(quoted(copy.as_os_str()));
            } else {
                line.extend(quoted(word));
            }
        }
        line.extend(b" \"$@\"\n");
        line
    }
}

/// The program interpreter that an executable asks for.
fn loader(program: &Path) -> Option<PathBuf> {
    let bytes = fs::read(program).ok()?;
    let file = ElfFile64::<LittleEndian>::parse(bytes.as_slice()).ok()?;
    let endian = file.elf_header().endian().ok()?;
    let header = file.elf_program_headers().iter().find(|header| header.p_type(endian) == elf::PT_INTERP)?;
    let name = header.data(endian, bytes.as_slice()).ok()?;
    Some(PathBuf::from(OsStr::from_bytes(name.split(|&byte| byte == 0).next()?)))
}
