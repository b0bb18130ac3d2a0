//! Makes bundles of failures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use framewalk::printable::clean;
use lanes::bundle::about::{About, Again, AgainWorkload, CellRecord};
use lanes::bundle::{Bundle, name};
use lanes::record::{RecordOrder, record};
use lanes::stepped::RigPlan;
use model::invariants::Violation;
use model::lane::Lane;
use model::run::distinct::DistinctViolation;
use model::run::document::Document;
use model::run::finding::Fingerprint;
use model::workload::user_program::UserProgram;
use model::workload::{Mode, Parameters, Workload, generate};
use process::build::BuildVariant;
use process::run_folder::RunFolder;
use sim::case::file::SteppedFile;
use sim::case::stepped::{SteppedCase, WorkloadIdentity};

use crate::cli::check_arguments::Check;
use crate::cli::explanation::explanation;
use crate::cli::output::{Failure, tell};
use crate::cli::shared_arguments::BuildSource;
use crate::report::human;
use crate::report::reproducer::{Duty, FileMoves, reproducer as python_file};
use crate::report::text::Look;

/// Number of stops in the snapshot of a bundle.
const STOPS: u32 = 6;

/// At most this many failing schedules get a bundle. One is enough to understand a failure, and each bundle costs another
/// run.
const MOST_SCHEDULES: usize = 4;

/// Makes a bundle of each distinct violation of a run of `check`, and names it in the document. Failing schedules get a
/// bundle only if they are new, and only the shortest ones do.
pub(super) fn of_check(
    folder: &Path,
    arguments: &Check,
    program: Option<&UserProgram>,
    rows: &[BuildVariant],
    document: &mut Document,
    interrupted: &'static AtomicBool,
) -> Result<(), Failure> {
    let weakenings = &arguments.selection.weaken;
    let headlines: BTreeMap<Fingerprint, String> = document
        .grouped()
        .iter()
        .flat_map(|group| {
            let all = group.violations(&document.violations);
            all.map(|violation| (violation.fingerprint.clone(), group.headline.clone())).collect::<Vec<_>>()
        })
        .collect();
    let mut cases = Vec::new();
    // Against a base, what is not new needs no bundle.
    let is_new = |violation: &&mut DistinctViolation| violation.against_base.is_none() || violation.fails(false);
    for violation in document.violations.iter_mut().filter(is_new) {
        let finding = &violation.first;
        let Some(row) = rows.iter().find(|row| row.name == finding.row) else { continue };
        if let Violation::Existence { case, .. } = &finding.violation {
            if violation.fails(false) {
                cases.push((case.parse::<SteppedCase>()?, row, &mut violation.bundle));
            }
            continue;
        }
        let again = Again::of(finding, program, arguments.size.overrides(), weakenings.clone());
        let Some(again) = again else { continue };
        let headline = headlines.get(&violation.fingerprint).cloned();
        let bundle = of_violation(row, violation, headline, again, program, interrupted)?;
        violation.bundle = Some(saved(&bundle, folder)?);
    }
    cases.sort_by_key(|(case, ..)| (case.schedule.moves.len(), case.schedule.total_steps()));
    for (case, row, place) in cases.into_iter().take(MOST_SCHEDULES) {
        *place = Some(saved(&of_case(case, row, interrupted)?, folder)?);
    }
    Ok(())
}

fn saved(bundle: &Bundle, folder: &Path) -> Result<PathBuf, Failure> {
    let path = bundle.save(folder)?;
    tell(&format!("bundle: {}", path.display()));
    Ok(path)
}

#[cfg(target_arch = "x86_64")]
fn of_case(case: SteppedCase, row: &BuildVariant, interrupted: &'static AtomicBool) -> Result<Bundle, Failure> {
    let source = BuildSource {
        python: vec![row.build.python.clone()],
        layout_header: row.build.layout_header.clone(),
        python_arg: row.build.arguments.clone(),
        cache: None,
    };
    of_stepped(&SteppedFile { note: String::new(), case }, row, &source, interrupted)
}

#[cfg(target_arch = "x86_64")]
/// Makes a bundle of a case, after one more run that explains it.
pub(super) fn of_stepped(
    file: &SteppedFile,
    row: &BuildVariant,
    source: &BuildSource,
    interrupted: &'static AtomicBool,
) -> Result<Bundle, Failure> {
    let mut log = explanation(file, source, interrupted)?.0.text(Look::plain());
    let workload = file.case.workload.generate()?;
    let snapshot = snapshot(row, &workload, &mut log, interrupted);
    let replay = format!("framediff replay BUNDLE\nframediff explain BUNDLE\nframediff replay {}\n", file.case);
    let bundle = Bundle::new(About::new(file.case.fingerprint.to_string(), row)).with(name::CASE, file.text()?);
    let bundle = with_workload(bundle, &workload)?.with(name::LOG, log).with(name::REPLAY, replay);
    let bundle = with_snapshot(bundle, snapshot);
    let duty = Duty {
        limit: Duration::from_secs(60),
        measured: None,
        warm_up: RigPlan::new(&row.build, file.case.walker).warm_up,
    };
    Ok(match python_file(file, &[], FileMoves::of(&file.case), duty) {
        Ok(text) => bundle.with(name::REPRODUCER, text),
        // Without this file, `replay` still shows the failure.
        Err(_) => bundle,
    })
}

#[cfg(not(target_arch = "x86_64"))]
fn of_case(_: SteppedCase, _: &BuildVariant, _: &'static AtomicBool) -> Result<Bundle, Failure> {
    Err("the stepped lane needs an x86-64 machine".into())
}

fn of_violation(
    row: &BuildVariant,
    violation: &DistinctViolation,
    headline: Option<String>,
    again: Again,
    program: Option<&UserProgram>,
    interrupted: &AtomicBool,
) -> Result<Bundle, Failure> {
    let stopped = again.lane == Lane::Stopped;
    let workload = generated(&again, if stopped { Mode::Gated } else { Mode::Free });
    let mut log = format!("{}\n", clean(violation.fingerprint.as_str()));
    human::describe(&mut log, violation, Look::plain().width);
    let snapshot =
        workload.as_ref().filter(|_| stopped).and_then(|workload| snapshot(row, workload, &mut log, interrupted));
    let replay = format!(
        "framediff replay BUNDLE\nframediff explain BUNDLE\n\nThe cell alone, on the machine where it was seen:\n{}\n",
        clean(&violation.first.replay)
    );
    let told = CellRecord {
        finding: violation.first.clone(),
        count: violation.count,
        known: violation.known.as_ref().map(|known| known.id.clone()),
        headline,
        again,
    };
    let bundle = Bundle::new(About::new(violation.fingerprint.to_string(), row))
        .with(name::FINDING, serde_json::to_vec_pretty(&told)?);
    let bundle = match (workload, program) {
        (Some(workload), _) => with_workload(bundle, &workload)?,
        (None, Some(program)) => bundle.with(name::WORKLOAD, program.source.as_slice()),
        (None, None) => bundle,
    };
    let bundle = bundle.with(name::LOG, log).with(name::REPLAY, replay);
    Ok(with_snapshot(bundle, snapshot))
}

/// The program that `check` generates from this seed, if the cell has a generated one.
fn generated(again: &Again, mode: Mode) -> Option<Workload> {
    use rand::SeedableRng;
    let AgainWorkload::Family(family) = again.workload else { return None };
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(again.seed);
    let parameters = Parameters::draw(family, &mut random).overridden(family, again.overrides);
    Some(generate(family, mode, &parameters, again.seed))
}

/// Adds the program and its legal stacks.
pub(super) fn with_workload(bundle: Bundle, workload: &Workload) -> Result<Bundle, Failure> {
    let grammar = serde_json::json!({ "workload": WorkloadIdentity::of(workload), "grammar": workload.grammar });
    Ok(bundle.with(name::WORKLOAD, workload.source.as_str()).with(name::GRAMMAR, serde_json::to_vec_pretty(&grammar)?))
}

/// A snapshot of a target that runs the program again with gates. If recording fails, the log says why.
pub(super) fn snapshot(
    row: &BuildVariant,
    workload: &Workload,
    log: &mut String,
    interrupted: &AtomicBool,
) -> Option<Vec<u8>> {
    let recorded = || -> Result<Vec<u8>, Failure> {
        let folder = RunFolder::after_cleaning()?;
        let snapshot = record(&RecordOrder {
            row,
            family: workload.family,
            parameters: workload.parameters.clone(),
            seed: workload.seed,
            stops: STOPS,
            folder: folder.path(),
            interrupted,
        })?;
        Ok(snapshot.to_bytes()?)
    };
    recorded().map_err(|error| log.push_str(&format!("\nno snapshot: {}\n", clean(&error.to_string())))).ok()
}

/// Adds the snapshot, if there is one.
pub(super) fn with_snapshot(bundle: Bundle, snapshot: Option<Vec<u8>>) -> Bundle {
    match snapshot {
        Some(bytes) => bundle.with(name::SNAPSHOT, bytes),
        None => bundle,
    }
}
