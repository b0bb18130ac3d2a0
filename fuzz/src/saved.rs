//! Saves decoded cases next to libFuzzer's raw inputs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use sim::case::file::save;
use sim::fuzzing::target::{Case, FuzzTarget};

/// The folder in which every case is saved, if `FRAMEDIFF_CASES` is set.
static WANTED: LazyLock<Option<PathBuf>> = LazyLock::new(|| std::env::var_os("FRAMEDIFF_CASES").map(PathBuf::from));

pub(crate) fn if_wanted<T: Case>(target: &FuzzTarget<T>, case: &T) {
    if let Some(folder) = &*WANTED {
        match save(folder, target, "an input of the fuzzer", case) {
            Ok(path) => eprintln!("case: {}", path.display()),
            Err(error) => eprintln!("{error}"),
        }
    }
}

pub(crate) fn after_failure<T: Case>(target: &FuzzTarget<T>, case: &T, message: &str) {
    eprintln!("{}: {message}", target.name);
    // A message can contain everything that was compared.
    let note: String = message.chars().take(300).collect();
    match save(&folder(target.name, std::env::args_os()), target, &note, case) {
        Ok(path) => {
            let here = std::env::current_dir().unwrap_or_default();
            let path = path.strip_prefix(here).unwrap_or(&path).display();
            eprintln!("case: {path}\nreplay: cargo run --release -- replay {path}");
        }
        Err(error) => eprintln!("{error}"),
    }
}

/// The folder for saved cases: `cases/TARGET`, next to the folder in which libFuzzer puts its artifacts of this
/// target. It must not be inside that folder, because `cargo fuzz` would take the case for the artifact.
fn folder(target: &str, arguments: impl Iterator<Item = OsString>) -> PathBuf {
    let prefix =
        arguments.filter_map(|argument| Some(argument.to_str()?.strip_prefix("-artifact_prefix=")?.to_owned()));
    let artifacts = prefix.last().and_then(|prefix| {
        // The prefix may continue after the last slash with the beginning of a file name.
        Some(Path::new(prefix.rsplit_once('/')?.0).parent()?.to_path_buf())
    });
    artifacts.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("artifacts")).join("cases").join(target)
}
