//! `triage`: what a night of runs found, and an issue's text for each new failure.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use framewalk::printable::clean;
use lanes::bundle::Bundle;
use lanes::bundle::archive::file_name;
use lanes::explore::search::Until;
use lanes::explore::shrink::Budget;
use model::invariants::Violation;
use model::run::change::Fate;
use model::run::document::Document;
use model::run::known::KnownFailures;
use model::run::merge::{Source, merge};
use sim::case::file::SteppedFile;

use crate::cli::cases::smaller;
use crate::cli::exit::Ending;
use crate::cli::explanation::Ready;
use crate::cli::opened::Opened;
use crate::cli::output::{Failure, print, tell, write};
use crate::cli::reproducers::{Made, Wanted, make};
use crate::cli::shared_arguments::known_failures;
use crate::cli::triage_arguments::Triage;
use crate::cli::{bundled, folder};
use crate::report::issue::NightIssue;
use crate::report::night::Night;
use crate::report::saved::{Content, Saved};
use crate::report::text::Look;

/// At most this many issues are written. A night that finds more has one cause for most of them.
const MOST_ISSUES: usize = 8;
/// Runs to reduce a schedule, and smaller workloads to try.
const SHRINK: (u32, u32) = (2000, 40);

/// What was found in the folder of a night.
#[derive(Default)]
struct Found {
    night: Night,
    /// Bundles, by fingerprint.
    bundles: BTreeMap<String, PathBuf>,
    /// The simplest case of each fingerprint.
    cases: BTreeMap<String, SteppedFile>,
}

pub(super) fn triage(arguments: &Triage, interrupted: &'static AtomicBool) -> Result<Ending, Failure> {
    let known = known_failures(arguments.known.as_deref())?;
    let found = Found::read(&arguments.night, &known)?;
    let before = arguments.before.as_deref().map(|folder| Found::read(folder, &known)).transpose()?.unwrap_or_default();
    let mut text = found.night.text(&before.night, Look::of_stdout().width);
    if let Some(output) = &arguments.output {
        folder::for_results(output)?;
        // One cause shows in many ways: the first of them stands for it.
        let mut causes = BTreeSet::new();
        for (fate, fingerprint) in found.night.since(&before.night) {
            let cause = found.night.failures.get(fingerprint).map(|failure| &failure.what);
            if fate != Fate::New || !causes.insert(cause) || causes.len() > MOST_ISSUES {
                continue;
            }
            if interrupted.load(Ordering::Relaxed) {
                break;
            }
            let issue = found.issue(fingerprint, arguments, output, interrupted)?;
            text.push_str(&format!("issue: {}\n", issue.display()));
        }
        found.carry(&before, &output.join("cases"))?;
    }
    print(&text)?;
    Ok(if interrupted.load(Ordering::Relaxed) { Ending::Interrupted } else { Ending::Judged(found.night.verdict()) })
}

impl Found {
    /// Reads everything below a folder.
    fn read(folder: &Path, known: &KnownFailures) -> Result<Self, Failure> {
        let mut found = Self::default();
        let mut shards: BTreeMap<(u64, u64), Vec<Source>> = BTreeMap::new();
        for path in files(folder)? {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("json") => match Saved::load_all(&path, known) {
                    Ok(all) => all.into_iter().for_each(|saved| found.add(&path, saved, &mut shards)),
                    Err(error) => found.night.open.push(error.to_string()),
                },
                Some("bundle") => match Bundle::load(&path) {
                    Ok(bundle) => found.add_bundle(&path, &bundle)?,
                    Err(error) => found.night.open.push(error.to_string()),
                },
                _ => {}
            }
        }
        for ((seed, of), sources) in shards {
            let document = Document::from(&merge(&sources, known)?);
            let name = format!("the run with seed {seed}, in {of} shards");
            found.add_report(&Saved { name, content: Content::Check(Box::new(document)) });
        }
        Ok(found)
    }

    fn add(&mut self, path: &Path, saved: Saved, shards: &mut BTreeMap<(u64, u64), Vec<Source>>) {
        match saved.content {
            Content::Check(document) if document.part.as_ref().is_some_and(|part| part.of > 1) => {
                let of = document.part.as_ref().map_or(1, |part| part.of);
                let source = Source { path: path.to_owned(), document: *document };
                shards.entry((source.document.seed, of)).or_default().push(source);
            }
            Content::Case(case) => {
                self.add_case(case.file.case.fingerprint.to_string(), *case.file);
            }
            Content::Check(_)
            | Content::Mutants(_)
            | Content::Bench(_)
            | Content::Searches(_)
            | Content::Results(_)
            | Content::Comparison(_)
            | Content::Explanation(_) => self.add_report(&saved),
        }
    }

    fn add_report(&mut self, saved: &Saved) {
        let mut cases: Vec<(String, &str)> = Vec::new();
        if let Content::Searches(document) = &saved.content {
            let failures = document.searches.iter().flat_map(|search| &search.failures);
            cases.extend(failures.map(|failure| (failure.fingerprint.clone(), failure.case.as_str())));
        }
        if let Content::Check(document) = &saved.content {
            for violation in &document.violations {
                if let Violation::Existence { case, .. } = &violation.first.violation {
                    cases.push((violation.fingerprint.to_string(), case));
                }
            }
        }
        for (fingerprint, case) in cases {
            // A case that this framediff cannot read is in the report all the same.
            if let Ok(case) = case.parse() {
                self.add_case(fingerprint, SteppedFile { note: String::new(), case });
            }
        }
        self.night.add(saved);
    }

    fn add_bundle(&mut self, path: &Path, bundle: &Bundle) -> Result<(), Failure> {
        if let Some(case) = bundled::case(path, bundle)? {
            self.add_case(case.case.fingerprint.to_string(), case);
        }
        self.bundles.entry(bundle.about.fingerprint.clone()).or_insert_with(|| path.to_owned());
        Ok(())
    }

    fn add_case(&mut self, fingerprint: String, file: SteppedFile) {
        let size = |file: &SteppedFile| {
            let schedule = &file.case.schedule;
            (schedule.moves.len(), schedule.total_steps(), file.case.samples)
        };
        if self.cases.get(&fingerprint).is_none_or(|other| size(&file) < size(other)) {
            self.cases.insert(fingerprint, file);
        }
    }

    /// Saves the simplest case of each fingerprint of both nights.
    fn carry(&self, before: &Self, folder: &Path) -> Result<(), Failure> {
        let mut all = Self { cases: before.cases.clone(), ..Self::default() };
        self.cases.iter().for_each(|(fingerprint, file)| all.add_case(fingerprint.clone(), file.clone()));
        if !all.cases.is_empty() {
            folder::for_results(folder)?;
        }
        for file in all.cases.values() {
            file.save(folder)?;
        }
        Ok(())
    }

    /// Writes what is known of a failure into a folder of its own, and returns that folder.
    fn issue(
        &self,
        fingerprint: &str,
        arguments: &Triage,
        output: &Path,
        interrupted: &'static AtomicBool,
    ) -> Result<PathBuf, Failure> {
        let folder = output.join(file_name(fingerprint, fingerprint.as_bytes()));
        folder::for_results(&folder)?;
        // The bundle of a schedule does not say that it is one of those that are kept.
        let case = self.cases.get(fingerprint);
        let of_case = case.map(|file| file.case.fingerprint.to_string());
        let path = self.bundles.get(fingerprint).or_else(|| self.bundles.get(&of_case?));
        let bundle = path.map(|path| Bundle::load(path)).transpose()?;
        let record = match (path, &bundle) {
            (Some(path), Some(bundle)) if bundled::case(path, bundle)?.is_none() => {
                Some(bundled::finding(path, bundle)?)
            }
            _ => None,
        };
        if let (Some(path), Some(name)) = (path, path.and_then(|path| path.file_name())) {
            fs::copy(path, folder.join(name))?;
        }
        let case = case.map(|file| self.smallest(file, arguments, interrupted));
        let opened = match (&case, &bundle, &record) {
            (Some(case), ..) => Some(Opened::Case(Box::new(case.clone()), None)),
            (None, Some(bundle), Some(record)) => {
                Some(Opened::Cell(Box::new(bundle.clone()), Box::new(record.clone())))
            }
            _ => None,
        };
        if let Some(case) = &case {
            case.save(&folder)?;
        }
        let file = folder.join("reproducer.py");
        let made = opened.map_or_else(
            || Err("the night's folder has neither its bundle nor a case".to_owned()),
            |opened| {
                let wanted =
                    Wanted { output: &file, limit: arguments.limit, baseline: None, source: &arguments.source };
                let name = path.map(|path| path.display().to_string()).unwrap_or_default();
                match make(&opened, &name, &wanted, interrupted) {
                    Ok(Made::Written(_)) => fs::read_to_string(&file).map_err(|error| error.to_string()),
                    Ok(Made::Not(why)) => Err(why),
                    // The build of the failure may be on another machine.
                    Err(error) => Err(error.to_string()),
                }
            },
        );
        if let Some(failure) = self.night.failures.get(fingerprint) {
            let case = case.map(|file| file.case.to_string());
            let issue = NightIssue {
                fingerprint,
                failure,
                bundle: bundle.as_ref(),
                violation: record.as_ref().map(|record| &record.finding.violation),
                case: case.as_deref(),
                reproducer: made.as_deref().map_err(String::as_str),
            };
            write(&folder.join("issue.md"), &issue.text())?;
        }
        Ok(folder)
    }

    /// A case, shrunk if its build is here.
    fn smallest(&self, file: &SteppedFile, arguments: &Triage, interrupted: &'static AtomicBool) -> SteppedFile {
        let stopped = || interrupted.load(Ordering::Relaxed);
        let until = Until { deadline: Some(Instant::now() + arguments.limit), interrupted: &stopped, first: false };
        let (runs, workloads) = SHRINK;
        let shrunk = Ready::new(&file.case, &arguments.source, interrupted)
            .and_then(|ready| Ok(smaller(&ready, &file.case, Budget { runs, workloads, until })?));
        match shrunk {
            Ok(shrunk) => SteppedFile { note: file.note.clone(), case: shrunk.case },
            Err(error) => {
                tell(&format!("note: not shrunk: {}: {}", file.case.fingerprint, clean(&error.to_string())));
                file.clone()
            }
        }
    }
}

/// All files below a folder, by name. Links are not followed.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let named = |error: std::io::Error| format!("cannot read {}: {error}", folder.display());
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).map_err(named)? {
        let entry = entry.map_err(named)?;
        let kind = entry.file_type().map_err(named)?;
        if kind.is_dir() {
            all.extend(files(&entry.path())?);
        } else if kind.is_file() {
            all.push(entry.path());
        }
    }
    all.sort();
    Ok(all)
}
