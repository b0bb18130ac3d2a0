//! Words of commands that a shell reads.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Quotes a path for a POSIX shell if necessary.
#[must_use]
pub fn quote_path(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    match str::from_utf8(bytes) {
        Ok(text) => quote(text),
        // Shells read this form of a name, and reports can print it.
        Err(_) => format!("$'{}'", bytes.escape_ascii()),
    }
}

/// Quotes `word` for a POSIX shell if necessary.
#[must_use]
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_words_survive_a_shell() {
        for (word, quoted) in [
            ("/opt/py-3.15/bin/python3.15", "/opt/py-3.15/bin/python3.15"),
            ("", "''"),
            ("/my builds/py", "'/my builds/py'"),
            ("$HOME", "'$HOME'"),
            ("it's", r"'it'\''s'"),
        ] {
            assert_eq!(quote(word), quoted);
        }
    }

    #[test]
    fn a_path_that_is_not_utf8_is_quoted_byte_by_byte() {
        let path = |bytes| Path::new(std::ffi::OsStr::from_bytes(bytes)).to_owned();
        assert_eq!(quote_path(&path(b"/opt/my python")), "'/opt/my python'");
        assert_eq!(quote_path(&path(b"/opt/x\xff'\n/python")), r"$'/opt/x\xff\'\n/python'");
    }
}
