//! Replays and explains bundles.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use framewalk::printable::clean;
use lanes::bundle::about::{About, Again, AgainWorkload, CellRecord, InterpreterIdentity};
use lanes::bundle::archive::{BundleError, is_bundle};
use lanes::bundle::{Bundle, name};
use model::jit_mode::JitMode;
use model::run::words::{broke, meaning};
use model::{files, json};
use process::build::{BuildVariant, SelectError, Terminal, cache_folder, select};
use process::run_folder::RunFolder;
use sim::case::file::SteppedFile;
use sim::snapshot::Snapshot;

use crate::cli::arguments::{Cli, Replay, Verb};
use crate::cli::check::{Checked, run_check};
use crate::cli::check_arguments::Check;
use crate::cli::exit::Ending;
use crate::cli::output::{Failure, print, tell};
use crate::cli::shared_arguments::{BuildSource, Jit, Size};
use crate::cli::snapshots;
use crate::cli::values::Configurations;
use crate::report::shell::{quote, quote_path};
use crate::report::text::{Look, paragraph};

/// Writes the program in a bundle to `folder`, under its own file name. No other name in a bundle becomes a path, and
/// this one cannot leave the folder.
fn unpack_program(path: &Path, bundle: &Bundle, folder: &Path, file_name: &str) -> Result<PathBuf, Failure> {
    let is_plain = Path::new(file_name).file_name() == Some(OsStr::new(file_name)) && !file_name.contains('\0');
    if !is_plain {
        return Err(BundleError::damaged(path, "the name of its program is not a plain file name").into());
    }
    let Some(source) = bundle.file(name::WORKLOAD) else {
        return Err(BundleError::damaged(path, "it does not contain its program").into());
    };
    let file = folder.join(file_name);
    fs::write(&file, source).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    Ok(file)
}

/// Whether a file starts like a bundle.
pub(super) fn starts_as_bundle(path: &Path) -> bool {
    is_bundle(&files::beginning(path, 2))
}

/// Replays the snapshot in a bundle with every walker and prints the results. Passes if the bundle has no snapshot.
pub(super) fn show_snapshot(path: &Path, bundle: &Bundle) -> Result<Ending, Failure> {
    if let Some(bytes) = bundle.file(name::SNAPSHOT) {
        let snapshot = Snapshot::from_bytes(bytes)
            .map_err(|error| BundleError::damaged(path, &format!("{}: {error}", name::SNAPSHOT)))?;
        return snapshots::show(path, &snapshot);
    }
    Ok(Ending::PASS)
}

/// The case of the stepped lane in a bundle, if there is one.
pub(super) fn case(path: &Path, bundle: &Bundle) -> Result<Option<SteppedFile>, Failure> {
    let Some(bytes) = bundle.file(name::CASE) else { return Ok(None) };
    let damaged = |why: String| BundleError::damaged(path, &format!("{}: {why}", name::CASE));
    Ok(Some(SteppedFile::parse(bytes).map_err(|error| damaged(error.to_string()))?))
}

pub(super) fn finding(path: &Path, bundle: &Bundle) -> Result<CellRecord, Failure> {
    let bytes = bundle.file(name::FINDING).unwrap_or_default();
    let damaged = |why: String| BundleError::damaged(path, &format!("{}: {}", name::FINDING, clean(&why)));
    Ok(json::parse(bytes).map_err(|error| damaged(error.to_string()))?)
}

/// Runs the cell of a failed `check` again and replays the snapshot. Only the build of the bundle can pass: the result
/// of another build says nothing about it.
pub(super) fn replay(
    path: &Path,
    bundle: &Bundle,
    arguments: &Replay,
    interrupted: &'static AtomicBool,
) -> Result<Ending, Failure> {
    let record = finding(path, bundle)?;
    let shown = show_snapshot(path, bundle)?;
    let row = match row(bundle, &arguments.source, interrupted)? {
        Ok(row) => row,
        Err(why) => {
            tell(&format!("framediff: {why}"));
            print(&elsewhere(path, &bundle.about.interpreter))?;
            return Ok(Ending::INCONCLUSIVE);
        }
    };
    let mut again = again(&record.again)?;
    let folder = RunFolder::after_cleaning()?;
    if let AgainWorkload::Program { file_name, arguments } = &record.again.workload {
        let file = unpack_program(path, bundle, folder.path(), file_name)?;
        tell(&format!("note: running the bundle's own program {}", clean(file_name)));
        (again.program, again.arguments) = (Some(file), arguments.clone());
    }
    let fingerprint = record.finding.fingerprint();
    again.until = Some(fingerprint.clone());
    again.source = BuildSource {
        python: vec![row.build.python.clone()],
        python_arg: bundle.about.interpreter.arguments.clone(),
        ..arguments.source.clone()
    };
    again.jit = Some(if row.jit == JitMode::On { Jit::On } else { Jit::Off });
    again.budget = arguments.budget;
    let Checked { ending, summary } = run_check(&again)?;
    let own = bundle.about.interpreter.is_image(&row);
    let result = replay_result(ending, summary.is_seen(&fingerprint), own);
    print(&format!("{}: {}: {result}\n", path.display(), clean(&bundle.about.fingerprint)))?;
    let ending = shown.worse(ending);
    if own {
        return Ok(ending);
    }
    print(&elsewhere(path, &bundle.about.interpreter))?;
    Ok(if ending == Ending::PASS { Ending::INCONCLUSIVE } else { ending })
}

/// The result of a replay in words.
fn replay_result(ending: Ending, seen: bool, own: bool) -> &'static str {
    match (ending, seen, own) {
        (Ending::Interrupted, false, _) => "interrupted before it was seen",
        (Ending::PASS, true, true) => "seen again, a known failure",
        (Ending::PASS, true, false) => "seen, a known failure, but on a different interpreter than the bundle's",
        (_, true, _) => "seen again, see above",
        (Ending::FAIL, false, _) => "not seen again, but there was another failure, see above",
        (_, false, true) => "not seen again, which proves nothing; a longer --budget may show it",
        (_, false, false) => "not seen, which proves nothing: the bundle was made on a different interpreter",
    }
}

/// The command that replays a bundle on the machine that has its build.
pub(super) fn elsewhere(path: &Path, interpreter: &InterpreterIdentity) -> String {
    let InterpreterIdentity { version, flavour, jit, .. } = interpreter;
    let id = interpreter.build_id.as_deref().map(|id| format!(", build id {id}")).unwrap_or_default();
    format!(
        "  replay     framediff replay {} --python PATH, with CPython {}{}{}\n",
        quote_path(path),
        clean(&format!("{version} {flavour}")),
        if *jit { " JIT" } else { "" },
        clean(&id)
    )
}

/// Makes arguments of `check` that run this cell and nothing else, except for a user's program. They are built from
/// typed fields alone: the contents of a bundle can choose a workload and nothing else.
fn again(again: &Again) -> Result<Check, Failure> {
    let Verb::Check(check) = Cli::try_parse_from(["framediff", "check"])?.verb() else {
        return Err("`check` is no verb".into());
    };
    let mut check = *check;
    check.selection.lane = vec![again.lane];
    if let AgainWorkload::Family(family) = again.workload {
        check.selection.family = vec![family];
    }
    check.selection.walker = vec![again.walker];
    check.selection.seed = Some(again.seed);
    check.selection.configuration = vec![Configurations::One(again.configuration)];
    check.selection.weaken.clone_from(&again.weakenings);
    let Again { overrides, .. } = again;
    check.size = Size {
        depth: overrides.depth,
        width: overrides.width,
        speed: overrides.speed,
        frame_size: overrides.frame_size,
        names: overrides.names,
    };
    Ok(check)
}

/// The row of the bundle's interpreter, or the most similar one here, with a note. Otherwise, the reason why there is
/// none.
pub(super) fn row(
    bundle: &Bundle,
    source: &BuildSource,
    interrupted: &'static AtomicBool,
) -> Result<Result<BuildVariant, String>, Failure> {
    let wanted = &bundle.about.interpreter;
    let cache = cache_folder(source.cache.as_deref())?;
    let stopped = || interrupted.load(Ordering::Relaxed);
    let selection = match select(&source.python, &source.options(), &cache, &mut Terminal::new(stopped)) {
        Ok(selection) => selection,
        // If the machine has no builds, the command line is not at fault.
        Err(error @ SelectError::Fetch { .. }) if !stopped() => return Ok(Err(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    let given = !source.python.is_empty();
    let rows = &selection.rows;
    let jit = if wanted.jit { " JIT" } else { "" };
    let name = clean(&format!("{} {}{jit}", wanted.version, wanted.flavour));
    if let Some(row) = rows.iter().find(|row| wanted.is(row)) {
        return Ok(Ok(row.clone()));
    }
    let like = rows.iter().find(|row| wanted.is_like(row));
    let Some(row) = like.or_else(|| rows.iter().find(|row| given && wanted.is_kind(row))) else {
        let why =
            format!("the bundle was made on CPython {name}, and no such build was found: name one with --python PATH");
        return Ok(Err(why));
    };
    let details = wanted.sys_version.as_deref().map(|text| format!(" ({})", clean(text))).unwrap_or_default();
    tell(&format!(
        "note: the bundle was not made on {}, but on CPython {name}{details}; this is {}",
        row.build.python.display(),
        row.name
    ));
    Ok(Ok(row.clone()))
}

/// Explains a bundle from what was recorded when it was made, so that it works on any machine. `record` is the failure
/// of `check` in it; without one, it holds a case.
pub(super) fn explain(path: &str, bundle: &Bundle, record: Option<&CellRecord>) -> Result<Ending, Failure> {
    let look = Look::of_stdout();
    let mut text = String::new();
    if let Some(record) = record {
        let headline = record.headline.clone().unwrap_or_else(|| broke(&record.finding));
        paragraph(&mut text, "", &headline, look.width);
        paragraph(&mut text, "", meaning(&record.finding.violation), look.width);
        text.push('\n');
    }
    for line in bundle.text(name::LOG).unwrap_or_default().lines() {
        text.push_str(&clean(line));
        text.push('\n');
    }
    text.push('\n');
    text.push_str(&about(bundle));
    let (path, python) = (quote(path), python(&bundle.about.interpreter));
    text.push_str(&format!("\n  run again  framediff replay {path} {python}\n"));
    text.push_str(&format!("  reproducer framediff reproducer {path} {python} -o reproducer.py\n"));
    print(&text)?;
    let known = record.is_some_and(|record| record.known.is_some());
    Ok(if known { Ending::PASS } else { Ending::FAIL })
}

/// The option that names the interpreter. A bundle may come from anywhere, so its path is only printed, never run.
fn python(interpreter: &InterpreterIdentity) -> String {
    let there = interpreter.python.as_deref().filter(|path| path.is_file());
    format!("--python {}", there.map_or_else(|| "PATH".to_owned(), |path| clean(&quote_path(path))))
}

/// What the bundle contains and where it was made.
pub(super) fn about(bundle: &Bundle) -> String {
    let About { framediff, fingerprint, interpreter, machine, .. } = &bundle.about;
    let details = interpreter.sys_version.as_deref().unwrap_or("sys.version unknown");
    let id = interpreter.build_id.as_deref().unwrap_or("none");
    let mut text = String::new();
    for (label, value) in [
        ("bundle", fingerprint.clone()),
        (
            "of",
            format!(
                "CPython {} {}{}",
                interpreter.version,
                interpreter.flavour,
                if interpreter.jit { " JIT" } else { "" }
            ),
        ),
        ("", format!("{details}, build id {id}")),
        ("on", format!("Linux {}, {}", machine.kernel, machine.processor)),
        ("by", format!("framediff {framediff}")),
    ] {
        text.push_str(&format!("  {label:<10} {}\n", clean(&value)));
    }
    text
}
