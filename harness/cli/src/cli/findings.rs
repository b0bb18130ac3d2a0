//! `findings`: runs the reproducers of known faults.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::Args;
use lanes::findings::{FindingError, TriedFinding, try_all};
use model::findings::{FindingFolder, all};
use model::run::event::{Consumer, Event};
use model::run::item::Item;
use model::run::verdict::Verdict;
use process::python_run::PythonRunError;
use process::run_folder::RunFolder;

use crate::cli::exit::Ending;
use crate::cli::output::Failure;
use crate::cli::report_arguments::Reports;
use crate::cli::reports::Reporting;
use crate::cli::rows;
use crate::cli::shared_arguments::{BuildSource, Format, Jit};

/// Arguments of `findings`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct FindingsArguments {
    /// Only these findings, by name [default: all]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// The builds under test. They run without the JIT.
    #[command(flatten)]
    pub source: BuildSource,
    /// Number of runs of each reproducer, each in a new interpreter
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(1..=1000), help_heading = "Run")]
    pub times: u32,
    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "human", help_heading = "Run")]
    pub format: Format,
    /// Where else it is reported.
    #[command(flatten)]
    pub reports: Reports,
}

/// Tries each finding on each build.
pub(super) fn findings(arguments: &FindingsArguments, interrupted: &'static AtomicBool) -> Result<Ending, Failure> {
    let findings = named(&arguments.names)?;
    let rows = rows::with_cache(&arguments.source, Some(Jit::Off), interrupted)?;
    let folder = RunFolder::after_cleaning()?;
    let mut events = Reporting::of_items("findings", &arguments.reports, Some(arguments.format))?;
    let width = findings.iter().map(|finding| finding.name.len()).max().unwrap_or_default();
    for (done, row) in rows.iter().enumerate() {
        let of = rows.len() as u64;
        events.event(&Event::Working { done: done as u64, of, doing: row.name.clone() });
        let begun = Instant::now();
        let tried = try_all(row, &findings, arguments.times, folder.path());
        let all_together = begun.elapsed().as_secs_f64();
        for (number, (finding, tried)) in findings.iter().zip(tried).enumerate() {
            let mut item = match tried {
                Ok(tried) => item(finding, &tried, width, arguments.times),
                Err(FindingError::Run(PythonRunError::CalledOff(_))) => continue,
                Err(
                    why @ (FindingError::File { .. }
                    | FindingError::Run(PythonRunError::Start { .. } | PythonRunError::Hangs { .. })),
                ) => return Err(format!("{}: {why}", row.name).into()),
            };
            item.of.clone_from(&row.name);
            if number == 0 {
                let times = arguments.times;
                let head = format!("{}, {times} runs of each, {all_together:.1} s", row.name);
                item.text = format!("{head}\n  {:width$}  {:14}  seconds\n{}", "finding", "state", item.text);
            }
            events.event(&Event::ItemFinished(Box::new(item)));
        }
    }
    events.finish_items(None, interrupted.load(Ordering::Relaxed))
}

/// The findings with these names; all if there are none.
fn named(names: &[String]) -> Result<Vec<FindingFolder>, Failure> {
    let all = all()?;
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|finding| finding.name != name.as_str())) {
        let known: Vec<&str> = all.iter().map(|finding| finding.name).collect();
        return Err(format!("there is no finding {unknown:?}; known are {}", known.join(", ")).into());
    }
    let wanted = |finding: &FindingFolder| names.is_empty() || names.iter().any(|name| finding.name == name);
    Ok(all.into_iter().filter(wanted).collect())
}

fn item(finding: &FindingFolder, tried: &TriedFinding, width: usize, times: u32) -> Item {
    let (name, state, seconds) = (finding.name, tried.state.name(), tried.time.as_secs_f64());
    let mut text = format!("  {name:width$}  {state:14}  {seconds:7.2}");
    if tried.verdict != Verdict::Pass {
        let _ = write!(text, "  {}", tried.verdict);
    }
    if !tried.remark.is_empty() {
        let _ = write!(text, "  {}", tried.remark);
    }
    text.push('\n');
    let remark = if tried.remark.is_empty() { String::new() } else { format!(": {}", tried.remark) };
    let short = format!("{state}, {times} of {times} runs agree{remark}");
    let short = if state == "unstable" { format!("{state}{remark}") } else { short };
    Item { name: name.to_owned(), of: String::new(), verdict: tried.verdict, seconds, short, text, history: Vec::new() }
}
