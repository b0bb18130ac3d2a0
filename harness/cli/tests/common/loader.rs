//! Interpreters that are started through the loader of an unpacked distribution.

use std::path::Path;

use super::executable::write_executable;

/// Writes a script that starts the interpreter `elf` under the name `argv0`. It uses the loader and the libraries of
/// the unpacked distribution in `usr`, because the machine's own may be older.
pub(crate) fn write_loader_script(path: &Path, usr: &Path, argv0: &Path, elf: &Path) {
    let script = format!(
        "#!/bin/sh\nexec '{}' --argv0 '{}' --library-path '{}' '{}' \"$@\"\n",
        usr.join("lib64/ld-linux-x86-64.so.2").display(),
        argv0.display(),
        usr.join("lib/x86_64-linux-gnu").display(),
        elf.display()
    );
    write_executable(path, script.as_bytes());
}
