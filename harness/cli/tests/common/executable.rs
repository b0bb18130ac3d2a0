//! Programs that tests write and then run.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes `bytes` as a program at `path`.
///
/// Another process writes the file. If this process had it open for writing, a child that another test is just
/// starting could inherit the descriptor, and executing the file would fail with ETXTBSY.
pub(crate) fn write_executable(path: &Path, bytes: &[u8]) {
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$1\" && chmod 755 \"$1\"", "sh"])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    writer.stdin.take().unwrap().write_all(bytes).unwrap();
    assert!(writer.wait().unwrap().success());
}
