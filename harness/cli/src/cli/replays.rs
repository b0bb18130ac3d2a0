//! `replay`: replays files of every kind.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use framewalk::printable::clean;
use lanes::bundle::Bundle;
use lanes::bundle::about::InterpreterIdentity;
use model::files;
use sim::case::file::{AnyCaseFile, CaseFile, SteppedFile};
use sim::case::line::is_line;
use sim::case::verdict::CaseVerdict;
use sim::fuzzing::cache_state_machine;
use sim::history::render;
use sim::snapshot::Snapshot;

use crate::cli::arguments::Replay;
use crate::cli::exit::Ending;
use crate::cli::output::{Failure, print, tell};
use crate::cli::{bundled, cases, snapshots};

/// Printed for a case that proves nothing.
const UNJUDGED: &str = "inconclusive: the walkers rejected everything, so nothing was judged";

/// Replays files one by one. An unusable file does not stop the others.
pub(super) fn replay(arguments: &Replay, interrupted: &'static AtomicBool) -> Result<Ending, Failure> {
    let mut ending = Ending::PASS;
    for path in &arguments.files {
        let one = match replay_file(path, arguments, interrupted) {
            Ok(ending) => ending,
            Err(error) => {
                tell(&format!("framediff: {error}"));
                Ending::NotSetUp
            }
        };
        ending = ending.worse(one);
    }
    Ok(ending)
}

/// Replays a file of any kind. The start of a file identifies its kind. A file that matches none may still be a
/// damaged snapshot.
fn replay_file(path: &Path, arguments: &Replay, interrupted: &'static AtomicBool) -> Result<Ending, Failure> {
    if let Some(line) = path.to_str().filter(|text| is_line(text)) {
        let case = line.parse().map_err(|error| format!("this case cannot be used: {error}"))?;
        return stepped(&SteppedFile { note: String::new(), case }, cases::ON_A_LINE, None, arguments, interrupted);
    }
    if files::beginning(path, 1) != *b"{" {
        if !bundled::starts_as_bundle(path) {
            return snapshots::show(path, &Snapshot::load(path)?);
        }
        let bundle = Bundle::load(path)?;
        return match bundled::case(path, &bundle)? {
            Some(case) => {
                let shown = bundled::show_snapshot(path, &bundle)?;
                let image = Some(&bundle.about.interpreter);
                let code = stepped(&case, &path.display().to_string(), image, arguments, interrupted)?;
                Ok(shown.worse(code))
            }
            None => bundled::replay(path, &bundle, arguments, interrupted),
        };
    }
    match AnyCaseFile::load(path)? {
        AnyCaseFile::Fuzz(file) => replay_case(path, &file),
        AnyCaseFile::Stepped(file) => stepped(&file, &path.display().to_string(), None, arguments, interrupted),
    }
}

#[cfg(target_arch = "x86_64")]
fn stepped(
    file: &SteppedFile,
    name: &str,
    image: Option<&InterpreterIdentity>,
    arguments: &Replay,
    interrupted: &'static AtomicBool,
) -> Result<Ending, Failure> {
    cases::replay(file, name, image, &arguments.source, arguments.times, interrupted)
}

#[cfg(not(target_arch = "x86_64"))]
fn stepped(
    _: &SteppedFile,
    name: &str,
    _: Option<&InterpreterIdentity>,
    _: &Replay,
    _: &'static AtomicBool,
) -> Result<Ending, Failure> {
    Err(format!("{name}: the stepped lane needs an x86-64 machine").into())
}

/// Runs a saved case through the check of its fuzz target. A case of the simulated interpreter also prints its
/// history.
fn replay_case(path: &Path, file: &CaseFile) -> Result<Ending, Failure> {
    let mut text = format!("{}: {}: {}\n", path.display(), file.target.name(), clean(&file.note));
    if file.target.name() == cache_state_machine::TARGET.name {
        let case: cache_state_machine::TestCase = serde_json::from_value(file.case.to_value()?)?;
        let ran = case.scenario.run(true)?;
        text.push_str(&render(&ran.interpreter, &ran.notes));
        let _ = match (ran.broken, case.breaks) {
            (Some(broken), Some(_)) => writeln!(text, "known violation: {broken}"),
            (Some(broken), None) => writeln!(text, "violation: {broken}"),
            (None, _) => writeln!(text, "no violation"),
        };
    }
    let verdict = file.run();
    let (verdict, code) = match verdict {
        CaseVerdict::Failed(message) => (clean(&message), Ending::FAIL),
        CaseVerdict::Accepted | CaseVerdict::Rejected if file.is_judged(&verdict, path) => {
            ("pass".to_owned(), Ending::PASS)
        }
        CaseVerdict::Accepted | CaseVerdict::Rejected => (UNJUDGED.to_owned(), Ending::INCONCLUSIVE),
    };
    print(&(text + "  " + verdict.lines().next().unwrap_or_default() + "\n"))?;
    Ok(code)
}
