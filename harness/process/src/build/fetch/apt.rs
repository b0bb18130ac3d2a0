//! Runs apt with its own separate state.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use std::{fs, thread};

use framewalk::printable::excerpt;

use super::super::FetchProgress;
use super::super::run::die_with_us;
use super::{Archive, FetchError, create};

/// How often to check for an interruption while apt is silent.
const ASK: Duration = Duration::from_millis(100);

/// At most this many bytes of apt's error output are kept.
const COMPLAINTS: u64 = 64 << 10;

/// The path of complete packages below apt's folder.
const PACKAGES: &str = "cache/archives";

/// A package as the signed index describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Package {
    /// The name of the package file, without folders.
    pub(super) file: String,
    /// The file's size in bytes.
    pub(super) size: u64,
    /// The file's SHA-256 digest in hexadecimal.
    pub(super) sha256: String,
}

/// An apt confined to one folder.
#[derive(Debug)]
pub(super) struct Apt {
    folder: PathBuf,
    uri: String,
}

impl Apt {
    /// Prepares the folder and keeps its contents.
    pub(super) fn new(folder: &Path, archive: &Archive) -> Result<Self, FetchError> {
        let name = folder.to_str().filter(|name| !name.contains(|c: char| c.is_control() || ":;\"".contains(c)));
        let name = name.ok_or_else(|| FetchError::Name { folder: folder.to_path_buf() })?;
        for below in ["state/lists/partial", "cache/archives/partial", "sources", "none"] {
            create(&folder.join(below))?;
        }
        let write = |file: &str, text: String| {
            let path = folder.join(file);
            fs::write(&path, text).map_err(FetchError::folder(&path))
        };
        write("status", String::new())?;
        write("apt.conf", settings(name))?;
        write("sources/debian.sources", source(archive))?;
        Ok(Self { folder: folder.to_path_buf(), uri: archive.uri.clone() })
    }

    /// Reads the index. apt checks its signature.
    pub(super) fn update(&self, progress: &mut dyn FetchProgress) -> Result<(), FetchError> {
        let failed = |detail| FetchError::Network { what: "the package index", uri: self.uri.clone(), detail };
        self.run(&["update"], progress, &mut |_, _| {})?.map_err(failed)
    }

    /// The packages needed for `names`, whether or not they were fetched already.
    pub(super) fn plan(&self, names: &[&str], progress: &mut dyn FetchProgress) -> Result<Vec<Package>, FetchError> {
        let offered = |detail| FetchError::NotOffered { uri: self.uri.clone(), detail };
        // apt omits packages it already has, so point it to an empty folder.
        let elsewhere = format!("Dir::Cache::archives={}", self.folder.join("none").display());
        let arguments = [&["install", "--print-uris", "-qq", "-o", elsewhere.as_str()], names].concat();
        let mut packages = Vec::new();
        self.run(&arguments, progress, &mut |line, _| packages.extend(package(line)))?.map_err(offered)?;
        if packages.is_empty() {
            return Err(offered("apt lists no package to fetch".to_owned()));
        }
        Ok(packages)
    }

    /// The package `name` in exactly this version, without dependencies. The inner error is apt's message if the
    /// archive does not have this version.
    pub(super) fn plan_one(
        &self,
        name: &str,
        version: &str,
        progress: &mut dyn FetchProgress,
    ) -> Result<Result<Package, String>, FetchError> {
        let wanted = format!("{name}={version}");
        let mut packages = Vec::new();
        let arguments = ["download", "--print-uris", "-qq", wanted.as_str()];
        let answer = self.run_in("none", &arguments, progress, &mut |line, _| packages.extend(package(line)))?;
        let none = || format!("apt lists no file for {wanted}");
        Ok(answer.and_then(|()| packages.pop().ok_or_else(none)))
    }

    /// Fetches the package that [`Apt::plan_one`] found.
    pub(super) fn download_one(
        &self,
        name: &str,
        version: &str,
        total: u64,
        progress: &mut dyn FetchProgress,
    ) -> Result<(), FetchError> {
        let failed = |detail| FetchError::Network { what: "a package", uri: self.uri.clone(), detail };
        let wanted = format!("{name}={version}");
        let mut report = |line: &str, progress: &mut dyn FetchProgress| {
            if let Some(percent) = percent(line) {
                progress.bytes((total as f64 * percent / 100.0) as u64, total);
            }
        };
        self.run_in(PACKAGES, &["download", "-q", &wanted], progress, &mut report)?.map_err(failed)
    }

    /// Fetches `names` with their dependencies. `there` of `total` bytes were fetched already.
    pub(super) fn download(
        &self,
        names: &[&str],
        there: u64,
        total: u64,
        progress: &mut dyn FetchProgress,
    ) -> Result<(), FetchError> {
        let failed = |detail| FetchError::Network { what: "packages", uri: self.uri.clone(), detail };
        let arguments = [&["install", "--download-only", "-q"], names].concat();
        let mut report = |line: &str, progress: &mut dyn FetchProgress| {
            if let Some(percent) = percent(line) {
                let missing = total.saturating_sub(there);
                progress.bytes(there + (missing as f64 * percent / 100.0) as u64, total);
            }
        };
        self.run(&arguments, progress, &mut report)?.map_err(failed)
    }

    /// The path of a fetched package.
    pub(super) fn file(&self, package: &Package) -> PathBuf {
        self.folder.join(PACKAGES).join(&package.file)
    }

    /// How many bytes of a package were fetched already.
    pub(super) fn size_of_fetched(&self, package: &Package) -> u64 {
        let partial = self.folder.join(PACKAGES).join("partial").join(&package.file);
        let size = |path: &Path| path.metadata().map_or(0, |about| about.len());
        size(&self.file(package)).max(size(&partial)).min(package.size)
    }

    /// [`Apt::run_in`] apt's own folder.
    fn run(
        &self,
        arguments: &[&str],
        progress: &mut dyn FetchProgress,
        line: &mut dyn FnMut(&str, &mut dyn FetchProgress),
    ) -> Result<Result<(), String>, FetchError> {
        self.run_in("", arguments, progress, line)
    }

    /// Runs apt in a folder below its own and passes each line of its output to `line`. If apt fails, its messages are
    /// the inner error.
    fn run_in(
        &self,
        below: &str,
        arguments: &[&str],
        progress: &mut dyn FetchProgress,
        line: &mut dyn FnMut(&str, &mut dyn FetchProgress),
    ) -> Result<Result<(), String>, FetchError> {
        let failed = |source| FetchError::Tool { tool: "apt-get", source };
        let mut command = Command::new("apt-get");
        command.arg("-c").arg(self.folder.join("apt.conf")).args(arguments).env("LC_ALL", "C");
        command.current_dir(self.folder.join(below)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = die_with_us(&mut command).spawn().map_err(failed)?;
        let complaints = child.stderr.take().map(|stderr| {
            thread::spawn(move || {
                let mut text = Vec::new();
                let mut stderr = BufReader::new(stderr);
                let _ = stderr.by_ref().take(COMPLAINTS).read_to_end(&mut text);
                // Read the rest too, or apt would block on a full pipe.
                let _ = std::io::copy(&mut stderr, &mut std::io::sink());
                String::from_utf8_lossy(&text).into_owned()
            })
        });
        let (send, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || {
                BufReader::new(stdout).split(b'\n').map_while(Result::ok).try_for_each(|line| send.send(line))
            });
        } else {
            drop(send);
        }
        let interrupted = loop {
            match lines.recv_timeout(ASK) {
                Ok(text) => line(&String::from_utf8_lossy(&text), progress),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break false,
            }
            if progress.interrupted() {
                break true;
            }
        };
        if interrupted {
            // apt may have ended by itself. The next run can use its partial files in both cases.
            let _ = child.kill();
        }
        let status = child.wait().map_err(failed)?;
        if interrupted || progress.interrupted() {
            return Err(FetchError::Interrupted);
        }
        let complaints = complaints.and_then(|reader| reader.join().ok()).unwrap_or_default();
        Ok(if status.success() { Ok(()) } else { Err(summary(&complaints, &status.to_string())) })
    }
}

/// apt's settings, added to the machine's own, which contain proxies and the like.
fn settings(folder: &str) -> String {
    // As root, apt would download as the user _apt, who may not be able to enter the cache folder.
    let sandbox = if nix::unistd::geteuid().is_root() { "APT::Sandbox::User \"root\";\n" } else { "" };
    // The machine's hooks would act on the system's own state.
    let hooks = ["APT::Update::Pre-Invoke", "APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success"];
    let cleared: String = hooks.iter().map(|hook| format!("#clear {hook};\n")).collect();
    format!(
        r#"{cleared}#clear APT::Default-Release;
#clear APT::Architectures;
{sandbox}APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Get::Assume-Yes "true";
APT::Get::AllowUnauthenticated "false";
APT::Install-Recommends "false";
APT::Status-Fd "1";
APT::Update::Error-Mode "any";
Acquire::AllowInsecureRepositories "false";
Acquire::ForceHash "SHA256";
Acquire::Languages "none";
Dir::State "{folder}/state";
Dir::State::lists "{folder}/state/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Cache::archives "{folder}/{PACKAGES}";
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "{folder}/sources";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "{folder}/none";
Dir::Log "{folder}/state";
"#
    )
}

/// The sources file: the suite with 3.15, and only its package index.
fn source(archive: &Archive) -> String {
    let Archive { uri, signed_by } = archive;
    let keyring = signed_by.as_ref().map(|path| format!("Signed-By: {}\n", path.display())).unwrap_or_default();
    format!("Types: deb\nURIs: {uri}\nSuites: unstable\nComponents: main\nTargets: Packages\n{keyring}")
}

/// Parses a line of `--print-uris`: 'URI' file size SHA256:digest.
fn package(line: &str) -> Option<Package> {
    let (_, rest) = line.strip_prefix('\'')?.split_once("' ")?;
    let mut words = rest.split_whitespace();
    let (file, size, digest) = (words.next()?, words.next()?, words.next()?);
    let sha256 = digest.strip_prefix("SHA256:")?;
    Some(Package { file: file.to_owned(), size: size.parse().ok()?, sha256: sha256.to_owned() })
}

/// Parses a line of the status output: dlstatus:N:PERCENT:text.
fn percent(line: &str) -> Option<f64> {
    let percent = line.strip_prefix("dlstatus:")?.split(':').nth(1)?;
    percent.parse().ok().filter(|percent| (0.0..=100.0).contains(percent))
}

/// apt's errors and warnings without duplicates. If there are none, its last line or its exit status.
fn summary(complaints: &str, status: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in complaints.lines().filter(|line| line.starts_with("E: ") || line.starts_with("W: ")) {
        if !lines.contains(&line) && lines.len() < 5 {
            lines.push(line);
        }
    }
    if lines.is_empty() {
        lines.extend(complaints.lines().last());
    }
    if lines.is_empty() { format!("apt-get ended with {status}") } else { excerpt(&lines.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_plan_parses() {
        let line = "'http://m/pool/a_1%2b1_amd64.deb' a_1%3a1+1_amd64.deb 17012 SHA256:90ac";
        let expected = Package { file: "a_1%3a1+1_amd64.deb".to_owned(), size: 17012, sha256: "90ac".to_owned() };
        assert_eq!(package(line), Some(expected));
        assert_eq!(package("'http://m/pool/a.deb' a.deb 17012 MD5Sum:90ac"), None);
        assert_eq!(package("Reading package lists..."), None);
    }

    #[test]
    fn progress_comes_only_from_status_lines() {
        assert_eq!(percent("dlstatus:3:14.7336:Retrieving file 3 of 3"), Some(14.7336));
        assert_eq!(percent("dlstatus:3:nan:Retrieving"), None);
        assert_eq!(percent("Get:1 http://m unstable"), None);
    }

    #[test]
    fn apt_messages_are_reported_once() {
        assert_eq!(summary("W: a\nnoise\nE: b\nW: a\n", "exit 100"), "W: a; E: b");
        assert_eq!(summary("", "exit 100"), "apt-get ended with exit 100");
    }
}
