//! Asks a program whether it is a CPython, and which one.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use framewalk::layout::release_3_15_2::LAYOUT;
use framewalk::layout::version::KNOWN;
use framewalk::layout::{Layout, VersionHex};
use framewalk::printable::excerpt;
use serde::Deserialize;

use super::calibrate::{CalibrationError, calibrate};
use super::order::{FoundOrder, OrderSearch};
use super::run::{self, RunError};
use super::sanitizer::{Evidence, recognise, without_leak_search};
use super::{Build, BuildError, LayoutRefusal, ProvedLayout, image};

/// Runs in the candidate. Needs only the standard library.
const SCRIPT: &str = include_str!("probe.py");

/// The time limit for a candidate's answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// The limit on the size of an answer, in bytes.
const LIMIT: u64 = 256 << 10;

/// The answer that the script prints.
#[derive(Debug, Deserialize)]
struct ProbeAnswer {
    implementation: String,
    hexversion: u32,
    executable: String,
    debug: bool,
    free_threaded: bool,
    jit_available: bool,
    mapped: Vec<String>,
    #[serde(default)]
    development: bool,
    #[serde(default)]
    headers: Vec<String>,
    #[serde(default)]
    options: String,
}

/// Runs `path` and describes its build.
///
/// # Errors
/// The reason why `path` is not a supported CPython. An unknown layout is not an error here; see [`Build::usable`].
pub fn probe(path: &Path) -> Result<Build, BuildError> {
    probe_with(path, &BuildOptions::default())
}

/// What is known about a build before it is probed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildOptions {
    /// The header with the order of the offsets, as the user named it.
    pub header: Option<PathBuf>,
    /// Layouts that were proved on other builds. A build with the same offsets may be one whose interpreter does not
    /// move the anchor as it should, which a calibration cannot tell from a wrong offset.
    pub proved: Vec<Layout>,
    /// Arguments of the interpreter when it runs a program, before the program's own: `-X perf`.
    pub arguments: Vec<String>,
}

impl BuildOptions {
    /// Whether these offsets were proved elsewhere: on another build, or on the final release 3.15.2.
    fn are_proved(&self, layout: &Layout) -> bool {
        let known = self.proved.iter().chain(std::iter::once(&LAYOUT));
        known.into_iter().any(|known| Layout { version: layout.version, ..*known } == *layout)
    }
}

/// [`probe`] with what the user said about the build.
///
/// # Errors
/// As [`probe`].
pub fn probe_with(path: &Path, options: &BuildOptions) -> Result<Build, BuildError> {
    probe_within(path, options, DEADLINE)
}

/// [`probe_with`] with a deadline.
pub(super) fn probe_within(path: &Path, options: &BuildOptions, deadline: Duration) -> Result<Build, BuildError> {
    let here = || path.to_path_buf();
    // Otherwise a name like `python3` would be searched on PATH.
    let python = std::path::absolute(path).map_err(|source| BuildError::Start { path: here(), source })?;
    if path.is_dir() {
        return Err(BuildError::Folder { path: here(), inside: interpreter_in(path) });
    }
    let answer = ask(path, &python, &options.arguments, deadline)?;
    if answer.implementation != "cpython" {
        return Err(BuildError::NotCPython { path: here(), implementation: answer.implementation });
    }
    let version = VersionHex(answer.hexversion);
    if version.minor() < KNOWN[0].minor {
        return Err(BuildError::TooOld { path: here(), version });
    }
    let mapped: Vec<PathBuf> = answer.mapped.iter().map(|file| from_latin1(file)).collect();
    let (image, section) =
        image::find(&mapped).ok_or_else(|| BuildError::NoRuntimeSection { path: here(), version })?;
    if let Ok((found, free_threaded)) = framewalk::layout::header(&section)
        && (found, free_threaded) != (version, answer.free_threaded)
    {
        return Err(BuildError::OtherImage { path: here(), version, image, found });
    }
    let folders: Vec<PathBuf> = answer.headers.iter().map(|folder| from_latin1(folder)).collect();
    let header = options.header.as_deref();
    let search = OrderSearch { version, is_development: answer.development, image: &image, folders: &folders, header };
    let layout = layout(&python, &search, options, &section);
    Ok(Build {
        python,
        executable: from_latin1(&answer.executable),
        image,
        version,
        is_development: answer.development,
        layout_header: options.header.clone(),
        arguments: options.arguments.clone(),
        debug: answer.debug,
        free_threaded: answer.free_threaded,
        jit_available: answer.jit_available,
        sanitizers: recognise(&Evidence { options: &answer.options, mapped: &mapped }),
        layout,
    })
}

/// Finds the order of the offsets, and proves it unless it is the built-in one of a known final release.
fn layout(
    python: &Path,
    search: &OrderSearch<'_>,
    options: &BuildOptions,
    section: &[u8],
) -> Result<ProvedLayout, LayoutRefusal> {
    framewalk::layout::header(section)?;
    let FoundOrder { order, source } = search.find()?;
    let mut layout =
        order.layout(section).map_err(|error| LayoutRefusal::Unfit { order: source.to_string(), source: error })?;
    let needs_proof = search.header.is_some() || !search.is_known_final();
    if needs_proof {
        // The proof does not reach these words, so collections and the status of threads are not judged by them.
        layout = layout.without_running();
    }
    let proved = if needs_proof && layout.walkable().is_ok() {
        match calibrate(python, &layout) {
            Ok(words) => Some(words.len()),
            Err(CalibrationError::Anchor { proved, .. }) if options.are_proved(&layout) => Some(proved),
            Err(error) => return Err(LayoutRefusal::Calibration { order: source.to_string(), source: error }),
        }
    } else {
        None
    };
    Ok(ProvedLayout { layout, order, source, proved })
}

/// Runs the script in `python`. Errors show the path as the user wrote it.
fn ask(path: &Path, python: &Path, arguments: &[String], deadline: Duration) -> Result<ProbeAnswer, BuildError> {
    let here = || path.to_path_buf();
    let mut command = Command::new(python);
    // The variable turns the JIT on or off; whether the build has one does not depend on it.
    command.args(arguments).args(["-I", "-S", "-c", SCRIPT]).env_remove("PYTHON_JIT");
    without_leak_search(&mut command);
    let outcome = run::run(&mut command, deadline, LIMIT).map_err(|error| match error {
        RunError::Start(source) if source.kind() == std::io::ErrorKind::NotFound => {
            BuildError::NotFound { path: here(), near: near(path) }
        }
        RunError::Start(source) | RunError::Wait(source) => BuildError::Start { path: here(), source },
        RunError::CalledOff(why) => BuildError::Start { path: here(), source: io::Error::other(why) },
        RunError::Deadline => BuildError::Deadline { path: here(), seconds: deadline.as_secs_f32() },
    })?;
    let silent = || if outcome.stderr.is_empty() { &outcome.stdout } else { &outcome.stderr };
    if !outcome.status.success() {
        return Err(BuildError::NotPython {
            path: here(),
            evidence: format!("it ended with {}{}{}", outcome.status, quote(silent()), advice(&outcome.stderr)),
        });
    }
    serde_json::from_slice(&outcome.stdout).map_err(|_| BuildError::NotPython {
        path: here(),
        evidence: match quote(silent()) {
            nothing if nothing.is_empty() => "it printed nothing".to_owned(),
            words => format!("it answered{words}"),
        },
    })
}

/// The interpreter in the folder of a build, of an installation or of a virtual environment.
fn interpreter_in(folder: &Path) -> Option<PathBuf> {
    // With the suffix `.exe` if the file system does not distinguish `python` from the folder `Python`.
    ["python", "python.exe", "bin/python3", "bin/python"]
        .map(|name| folder.join(name))
        .into_iter()
        .find(|path| path.is_file())
}

/// The same path with the suffix `.exe`, if such a file exists.
fn near(path: &Path) -> Option<PathBuf> {
    let mut name = path.file_name()?.to_owned();
    name.push(".exe");
    Some(path.with_file_name(name)).filter(|path| path.is_file())
}

/// What to do about a failure whose own message does not say so.
fn advice(stderr: &[u8]) -> &'static str {
    let text = String::from_utf8_lossy(stderr);
    if text.contains("No module named 'encodings'") {
        "; it cannot find its standard library: a build folder needs the pybuilddir.txt and Modules/Setup.local that \
         `configure` and `make` leave in it, and the checkout at its old path; an installation needs its lib folder"
    } else if text.contains("Sanitizer") && text.contains("memory mapping") {
        "; its sanitizer does not work with the kernel's address randomisation: run framediff under `setarch -R`"
    } else {
        ""
    }
}

/// Converts a file name. The script sends each byte as one character, because JSON has no bytes.
fn from_latin1(text: &str) -> PathBuf {
    let bytes = text.chars().filter_map(|character| u8::try_from(u32::from(character)).ok()).collect();
    PathBuf::from(OsString::from_vec(bytes))
}

/// The line that says what is wrong, formatted so that it can be appended to a message: the last line of a traceback,
/// else the first line.
fn quote(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let traceback = text.trim_start().starts_with("Traceback");
    let Some(line) = (if traceback { lines.next_back() } else { lines.next() }) else {
        return String::new();
    };
    format!(": {}", excerpt(line))
}
