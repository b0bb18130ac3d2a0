//! Turns checked packages into interpreters that run from the folder they are unpacked to.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use framewalk::printable::excerpt;
use model::digest;
use serde::{Deserialize, Serialize};

use super::super::FetchProgress;
use super::super::run::die_with_us;
use super::apt::Package;
use super::{Archive, FetchError};

/// The file that lists the contents of a complete folder.
pub(super) const MANIFEST: &str = "manifest.json";

/// The interpreters to wrap, and the new names of their ELF files. The names must contain "python", because CPython's
/// own unwinder looks for that among the target's mapped files.
const INTERPRETERS: [(&str, &str); 2] = [("python3.15", "python3.15-elf"), ("python3.15d", "python3.15d-elf")];

/// Paths that are not unpacked. No interpreter needs them, and they are half of the bytes.
const LEFT_OUT: [&str; 5] =
    ["./usr/lib/debug", "./usr/share/doc", "./usr/share/man", "./usr/share/locale", "./usr/lib/*.a"];

/// The contents of the manifest.
#[derive(Serialize, Deserialize)]
struct Manifest {
    format: u32,
    archive: String,
    packages: Vec<Entry>,
    /// The size of every regular file, in bytes. Empty in manifests of format 1.
    #[serde(default)]
    files: BTreeMap<PathBuf, u64>,
}

/// A package in the manifest.
#[derive(Serialize, Deserialize)]
struct Entry {
    name: String,
    version: String,
    sha256: String,
}

/// Checks each file against the index and unpacks it below `root`.
pub(super) fn unpack(
    files: &[(&Package, PathBuf)],
    root: &Path,
    progress: &mut dyn FetchProgress,
) -> Result<(), FetchError> {
    let total = files.iter().map(|(package, _)| package.size).sum();
    let mut done = 0;
    for (package, file) in files {
        if progress.interrupted() {
            return Err(FetchError::Interrupted);
        }
        check(package, file)?;
        extract(file, root)?;
        done += package.size;
        progress.bytes(done, total);
    }
    Ok(())
}

/// Installs launchers that make the interpreters below `root` run from there.
pub(super) fn launchers(root: &Path) -> Result<(), FetchError> {
    for (name, elf) in INTERPRETERS {
        launcher(&root.join("usr/bin"), name, elf)?;
    }
    Ok(())
}

/// Writes the manifest for the packages in `root`.
pub(super) fn write_manifest(files: &[(&Package, PathBuf)], archive: &Archive, root: &Path) -> Result<(), FetchError> {
    let packages = files.iter().map(|(package, _)| entry(package)).collect();
    let path = root.join(MANIFEST);
    let mut files = BTreeMap::new();
    sizes(root, Path::new(""), &mut files).map_err(FetchError::folder(root))?;
    let manifest = Manifest { format: 2, archive: archive.uri.clone(), packages, files };
    let text = serde_json::to_string_pretty(&manifest).map_err(io::Error::from);
    text.and_then(|text| fs::write(&path, text)).map_err(FetchError::folder(&path))
}

/// Collects the sizes of the regular files in `root` below `folder`.
fn sizes(root: &Path, folder: &Path, files: &mut BTreeMap<PathBuf, u64>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let (kind, path) = (entry.file_type()?, folder.join(entry.file_name()));
        if kind.is_dir() {
            sizes(root, &path, files)?;
        } else if kind.is_file() {
            files.insert(path, entry.metadata()?.len());
        }
    }
    Ok(())
}

/// Checks a complete folder: `None` if it is not there, else what is wrong with it. Only sizes are compared, because this
/// is done in every run.
pub(super) fn check_complete(root: &Path) -> Option<Result<(), String>> {
    let path = root.join(MANIFEST);
    // The manifest is the last file written before the rename.
    let bytes = fs::read(&path).ok()?;
    let Ok(Manifest { files, .. }) = serde_json::from_slice(&bytes) else {
        return Some(Err(format!("{} is damaged", path.display())));
    };
    let is_damaged = |(file, size): &(&PathBuf, &u64)| {
        let there = fs::symlink_metadata(root.join(file));
        !there.is_ok_and(|there| there.is_file() && there.len() == **size)
    };
    Some(match files.iter().find(is_damaged) {
        Some((file, size)) => Err(format!("{} is gone, or has not its {size} bytes", root.join(file).display())),
        None => Ok(()),
    })
}

/// The version of a package in the complete folder `root`, or `None` if the folder is incomplete or lacks the package.
pub(super) fn version(root: &Path, name: &str) -> Option<String> {
    let manifest: Manifest = serde_json::from_slice(&fs::read(root.join(MANIFEST)).ok()?).ok()?;
    manifest.packages.into_iter().find(|entry| entry.name == name).map(|entry| entry.version)
}

/// Parses the name of a package's file, NAME_VERSION_ARCHITECTURE.deb, in which the version's colon is escaped.
fn entry(package: &Package) -> Entry {
    let mut parts = package.file.split('_');
    let mut part = || parts.next().unwrap_or_default().replace("%3a", ":");
    Entry { name: part(), version: part(), sha256: package.sha256.clone() }
}

/// Compares a file's digest with the signed index. A file that differs is removed, so that it is fetched again.
fn check(package: &Package, file: &Path) -> Result<(), FetchError> {
    let found = digest::of_file(file).map_err(FetchError::folder(file))?;
    if found == package.sha256 {
        return Ok(());
    }
    fs::remove_file(file).map_err(FetchError::folder(file))?;
    Err(FetchError::Digest { file: file.to_path_buf(), expected: package.sha256.clone(), found })
}

/// Unpacks one package. dpkg-deb converts it to a tar file; tar unpacks that without owners and special permissions.
fn extract(file: &Path, root: &Path) -> Result<(), FetchError> {
    let tool = |tool| move |source| FetchError::Tool { tool, source };
    let mut source = Command::new("dpkg-deb");
    source.arg("--fsys-tarfile").arg(file).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut source = die_with_us(&mut source).spawn().map_err(tool("dpkg-deb"))?;
    let mut sink = Command::new("tar");
    sink.args(["-x", "--no-same-owner", "--no-same-permissions", "-C"]).arg(root);
    sink.args(LEFT_OUT.map(|pattern| format!("--exclude={pattern}")));
    sink.env("LC_ALL", "C").stdin(source.stdout.take().map_or_else(Stdio::null, Stdio::from)).stderr(Stdio::piped());
    let unpacked = die_with_us(&mut sink).output();
    // dpkg-deb ends by itself when tar does not read.
    let packed = source.wait_with_output().map_err(tool("dpkg-deb"))?;
    let unpacked = unpacked.map_err(tool("tar"))?;
    succeeded(file, "tar", unpacked.status, &unpacked.stderr)?;
    succeeded(file, "dpkg-deb", packed.status, &packed.stderr)
}

fn succeeded(file: &Path, tool: &str, status: ExitStatus, stderr: &[u8]) -> Result<(), FetchError> {
    if status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(stderr);
    let detail = format!("{tool} ended with {status}: {}", excerpt(words.lines().next().unwrap_or_default()));
    Err(FetchError::Unpack { file: file.to_path_buf(), detail })
}

/// Replaces the interpreter with a script that starts it with the C library it was built for. Children that the
/// interpreter starts as `sys.executable` run the script again.
fn launcher(folder: &Path, name: &str, elf: &str) -> Result<(), FetchError> {
    let (script, real) = (folder.join(name), folder.join(elf));
    fs::rename(&script, &real).map_err(FetchError::folder(&real))?;
    let text = format!(
        r#"#!/bin/sh
# The folder is told from this file's own name, if need be through links, so that it can be moved as a whole.
root=${{0%/usr/bin/*}}
case $root in
/*) [ -x "$root/usr/bin/{elf}" ] || root= ;;
*) root= ;;
esac
if [ -z "$root" ]; then
    self=$(PATH=/usr/bin:/bin readlink -f -- "$0") || exit 127
    root=${{self%/usr/bin/*}}
fi
exec "$root/usr/lib64/ld-linux-x86-64.so.2" --argv0 "$0" \
    --library-path "$root/usr/lib/x86_64-linux-gnu" "$root/usr/bin/{elf}" "$@"
"#
    );
    fs::write(&script, text).map_err(FetchError::folder(&script))?;
    fs::set_permissions(&script, Permissions::from_mode(0o755)).map_err(FetchError::folder(&script))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The SHA-256 digest of no bytes.
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_file_that_differs_from_the_index_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a_1_all.deb");
        let package = Package { file: "a_1_all.deb".to_owned(), size: 0, sha256: EMPTY.to_owned() };
        fs::write(&file, "").unwrap();
        check(&package, &file).unwrap();
        fs::write(&file, "x").unwrap();
        assert!(matches!(check(&package, &file), Err(FetchError::Digest { .. })));
        assert!(!file.exists());
    }

    #[test]
    fn damage_in_a_complete_folder_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let (root, file) = (folder.path(), folder.path().join("usr/lib/os.py"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "pass").unwrap();
        assert_eq!(check_complete(root), None);
        let archive = Archive { uri: String::new(), signed_by: None };
        write_manifest(&[], &archive, root).unwrap();
        assert_eq!(check_complete(root), Some(Ok(())));
        let damaged = |name: &str| assert!(check_complete(root).unwrap().unwrap_err().contains(name));
        fs::write(&file, "pas").unwrap();
        damaged("os.py");
        fs::remove_file(&file).unwrap();
        damaged("os.py");
        fs::write(root.join(MANIFEST), "{").unwrap();
        damaged(MANIFEST);
        // Folders of format 1 have no sizes.
        fs::write(root.join(MANIFEST), r#"{"format": 1, "archive": "", "packages": []}"#).unwrap();
        assert_eq!(check_complete(root), Some(Ok(())));
    }

    #[test]
    fn a_broken_package_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a_1_all.deb");
        fs::write(&file, "no archive").unwrap();
        let error = extract(&file, folder.path()).unwrap_err();
        assert!(matches!(error, FetchError::Unpack { .. }) && error.to_string().contains("a_1_all.deb"), "{error}");
    }

    #[test]
    fn the_manifest_uses_name_and_version_of_the_package_file() {
        let package = Package { file: "libx_1%3a2-3+b1_amd64.deb".to_owned(), size: 0, sha256: String::new() };
        let Entry { name, version, .. } = entry(&package);
        assert_eq!((name.as_str(), version.as_str()), ("libx", "1:2-3+b1"));
    }
}
