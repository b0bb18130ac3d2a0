//! Turns a copy of an image into a build that can be run.
//!
//! An interpreter finds its library relative to its own location. A copy elsewhere finds the original's library through
//! a `pyvenv.cfg` next to it, like a virtual environment. A script starts the copy, because it may need the loader and
//! the libraries with which the original was started. `sys.executable` is that script, so that children of the
//! interpreter run the copy too.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{LittleEndian, elf};
use process::build::{Build, BuildError, BuildOptions, ask, probe_with};
use thiserror::Error;

use super::script::{self, quoted};

/// Prints the interpreter's command line and its executable.
const SCRIPT: &str = "\
import os, sys
sys.stdout.buffer.write(open('/proc/self/cmdline', 'rb').read() + b'\\0' + os.fsencode(os.readlink('/proc/self/exe')))";
/// The first of the interpreter's own arguments in that command line.
const FIRST: &str = "-I";

/// Why a copy cannot be run.
#[derive(Debug, Error)]
pub enum InstallError {
    /// How the original is started is unknown.
    #[error("cannot find out how {} is started: {why}", python.display())]
    Unknown {
        /// The original interpreter, as given by the user.
        python: PathBuf,
        /// The unusual part of its command line, or the error of asking for it.
        why: String,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}; free some space there, or choose another folder with TMPDIR", path.display())]
    Write {
        /// The file that could not be written.
        path: PathBuf,
        /// The error of the write.
        source: io::Error,
    },
    /// The copy does not start.
    #[error("the copy does not start: {0}")]
    Probe(#[from] BuildError),
    /// An image other than the copy was loaded.
    #[error("the copy at {} was not loaded, but {}: an image of this kind cannot be replaced", copy.display(), loaded.display())]
    OtherImage {
        /// The copy that should have been loaded.
        copy: PathBuf,
        /// The image that was loaded instead.
        loaded: PathBuf,
    },
}

/// How to start copies of one build's image.
pub struct Starter {
    /// The folder of the original's executable, for `pyvenv.cfg`.
    home: PathBuf,
    /// The file that a copy replaces.
    image: PathBuf,
    /// The command before the interpreter's own arguments.
    command: Vec<OsString>,
    /// What the original shows about the layout of a copy.
    options: BuildOptions,
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
        words.truncate(own.ok_or_else(|| unknown("its command line is not the one that it was started with".into()))?);
        let home = build.executable.parent().map(Path::to_owned);
        let home = home.ok_or_else(|| unknown("its path has no folder".into()))?;
        if let [_] = words.as_slice() {
            // The kernel started it. Start it through the loader instead, which can pass another `argv[0]`.
            let loader = loader(&program).ok_or_else(|| unknown("its ELF file names no loader".into()))?;
            words = vec![loader.into(), "--argv0".into(), "$0".into(), program.into()];
        }
        Ok(Self { home, image: build.image.clone(), command: words, options: build.options_for_copies() })
    }

    /// Turns the copy in `folder` into a build. The copy must already be at [`Starter::image_in`].
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
        let build = probe_with(&script, &self.options)?;
        let same =
            |one: &Path, other: &Path| matches!((one.canonicalize(), other.canonicalize()), (Ok(a), Ok(b)) if a == b);
        if !same(&build.image, &copy) {
            return Err(InstallError::OtherImage { copy, loaded: build.image });
        }
        Ok(build)
    }

    /// The required path of the image's copy in `folder`.
    #[must_use]
    pub fn image_in(&self, folder: &Path) -> PathBuf {
        folder.join(self.image.file_name().unwrap_or(OsStr::new("image")))
    }

    fn script(&self, copy: &Path) -> Vec<u8> {
        let mut line = b"#!/bin/sh\n".to_vec();
        let replaced = self.command.iter().any(|word| Path::new(word) == self.image);
        if !replaced {
            // The image is a library.
            let folder = copy.parent().unwrap_or(Path::new("/"));
            line.extend(b"export LD_LIBRARY_PATH=");
            line.extend(quoted(folder.as_os_str()));
            line.extend(b"${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}\n");
        }
        line.extend(b"exec");
        let mut named = false;
        for word in &self.command {
            line.push(b' ');
            // The word after `--argv0` is the program's name for itself, which must be this script.
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

/// The loader that an executable requests (`PT_INTERP`).
fn loader(program: &Path) -> Option<PathBuf> {
    let bytes = fs::read(program).ok()?;
    let file = ElfFile64::<LittleEndian>::parse(bytes.as_slice()).ok()?;
    let endian = file.elf_header().endian().ok()?;
    let header = file.elf_program_headers().iter().find(|header| header.p_type(endian) == elf::PT_INTERP)?;
    let name = header.data(endian, bytes.as_slice()).ok()?;
    Some(PathBuf::from(OsStr::from_bytes(name.split(|&byte| byte == 0).next()?)))
}
