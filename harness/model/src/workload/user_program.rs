//! A user's Python program as a workload. It has no grammar. Walkers are compared with each other, and with what the
//! program reports at its gates.

use std::path::{Path, PathBuf};
use std::{fs, io};

use framewalk::printable::{clean, shortened};
use thiserror::Error;

use crate::files;

/// The prefix of the name of such a workload. Other workloads have the name of their family.
const PREFIX: &str = "program ";
/// Files above this size, in bytes, are rejected.
const SIZE_LIMIT: u64 = 16 << 20;
/// The largest number of characters in a name. It limits long arguments.
const LONGEST_NAME: usize = 120;

/// A program with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserProgram {
    /// Its file, as an absolute path.
    pub file: PathBuf,
    /// The file's content, which need not be valid UTF-8.
    pub source: Vec<u8>,
    /// The arguments for the program, without its name.
    pub arguments: Vec<String>,
}

/// Why a file cannot be run as a program.
#[derive(Debug, Error)]
#[error("cannot read the program {}: {source}", clean(&file.display().to_string()))]
pub struct UserProgramError {
    file: PathBuf,
    source: io::Error,
}

impl UserProgram {
    /// The program in `file`.
    ///
    /// # Errors
    /// The file cannot be read, is not a regular file, or is too large.
    pub fn load(file: &Path, arguments: Vec<String>) -> Result<Self, UserProgramError> {
        let read = || -> io::Result<(PathBuf, Vec<u8>)> {
            // The interpreter reads it again, so a pipe is no program.
            if !fs::metadata(file)?.is_file() {
                return Err(io::Error::other("it is not a regular file"));
            }
            Ok((std::path::absolute(file)?, files::read(file, SIZE_LIMIT)?))
        };
        let (absolute, source) = read().map_err(|source| UserProgramError { file: file.to_owned(), source })?;
        Ok(Self { file: absolute, source, arguments })
    }

    /// The name of its file without folders.
    #[must_use]
    pub fn file_name(&self) -> String {
        self.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Its name where other workloads have the name of their family: the file name and the arguments.
    #[must_use]
    pub fn name(&self) -> String {
        let words = std::iter::once(self.file_name()).chain(self.arguments.iter().cloned());
        format!("{PREFIX}{}", shortened(&words.collect::<Vec<_>>().join(" "), LONGEST_NAME))
    }

    /// Its text. Bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.source).into_owned()
    }

    /// How the program uses gates, judged by its text.
    #[must_use]
    pub fn gates(&self) -> Gates {
        self.text().lines().map(gates_of_line).max().unwrap_or(Gates::Unknown)
    }
}

/// How a program uses the module of gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gates {
    /// It does not import the module, but a module that it imports may.
    Unknown,
    /// It imports only functions that do not stop it.
    Spins,
    /// It imports functions that stop it.
    Stops,
}

fn gates_of_line(line: &str) -> Gates {
    let is_module = |word: &str| matches!(word, "gate" | "framediff_gate");
    let code = line.split('#').next().unwrap_or_default();
    let mut words = code.split(|c: char| !(c.is_alphanumeric() || "_*".contains(c))).filter(|word| !word.is_empty());
    match words.next() {
        Some("import") if words.any(is_module) => Gates::Stops,
        Some("from") if words.next().is_some_and(is_module) => {
            let goes_on = code.contains('(') && !code.contains(')') || code.trim_end().ends_with('\\');
            let stops = words.any(|word| matches!(word, "gate" | "gate_gate" | "*"));
            if stops || goes_on { Gates::Stops } else { Gates::Spins }
        }
        _ => Gates::Unknown,
    }
}

/// Whether a workload with this name is a user's program.
#[must_use]
pub fn is_user_program(name: &str) -> bool {
    name.starts_with(PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(source: &str, arguments: &[&str]) -> UserProgram {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        UserProgram { file: "/some/where/p.py".into(), source: source.into(), arguments }
    }

    #[test]
    fn a_program_name_contains_file_and_arguments_and_is_not_a_family() {
        assert_eq!(program("", &[]).name(), "program p.py");
        assert_eq!(program("", &["2000", "-v"]).name(), "program p.py 2000 -v");
        assert!(program("", &["\x1b"; 400]).name().chars().count() < 140);
        assert!(is_user_program(&program("", &[]).name()));
        assert!(crate::workload::Family::ALL.iter().all(|family| !is_user_program(family.name())));
    }

    #[test]
    fn imports_of_the_gates_are_found() {
        for (source, gates) in [
            ("import sys\nfrom gate import gate, run\n", Gates::Stops),
            ("  import framediff_gate as g", Gates::Stops),
            ("import os, gate", Gates::Stops),
            ("from framediff_gate import *", Gates::Stops),
            ("from framediff_gate import (\n    gate,\n)", Gates::Stops),
            ("from gate import run, \\\n    gate", Gates::Stops),
            ("from gate import (run)", Gates::Spins),
            ("from gate import gate_run, run", Gates::Spins),
            ("from gate import run # gate", Gates::Spins),
            ("import investigate", Gates::Unknown),
            ("# gate\ngate = 3\n", Gates::Unknown),
            ("", Gates::Unknown),
        ] {
            assert_eq!(program(source, &[]).gates(), gates, "{source}");
        }
    }

    #[test]
    fn paths_that_are_not_files_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_owned(), folder.path().join("missing.py")] {
            let error = UserProgram::load(&path, Vec::new()).unwrap_err().to_string();
            assert!(error.contains(&*path.to_string_lossy()), "{error}");
        }
    }
}
