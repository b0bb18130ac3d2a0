//! Shell scripts that start interpreters.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::{fs, io};

/// Writes an executable script.
pub(super) fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// Quotes a word for the shell.
pub(super) fn quoted(word: &OsStr) -> Vec<u8> {
    let inner = word.as_bytes().split(|&byte| byte == b'\'').collect::<Vec<_>>().join(&b"'\\''"[..]);
    [b"'", inner.as_slice(), b"'"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_word_stays_one_word() {
        for (word, expected) in [("a b", "'a b'"), ("", "''"), ("it's", "'it'\\''s'")] {
            assert_eq!(quoted(OsStr::new(word)), expected.as_bytes());
        }
    }
}
