//! The verb that reports saved documents.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::cli::exit;
use crate::cli::report_arguments::{Report, ReportFormat};
use crate::cli::verbs::{Failure, print};
use crate::report::known::KnownFailures;
use crate::report::output::Output;
use crate::report::saved::Saved;
use crate::report::text::Look;
use crate::report::{html, junit, markdown};

/// What the document of several documents says it is, and its version.
const KIND: &str = "framediff-reports";
const VERSION: u32 = 1;

/// Several documents in one.
#[derive(Serialize)]
struct Reports {
    kind: &'static str,
    version: u32,
    reports: Vec<OneReport>,
}

#[derive(Serialize)]
struct OneReport {
    file: String,
    report: Value,
}

/// Reports all files as one.
pub(super) fn report(arguments: &Report) -> Result<u8, Failure> {
    let output = arguments.output.as_deref().map(Output::open).transpose()?;
    let known = KnownFailures::kept()?;
    let load = |path: &std::path::PathBuf| Saved::load(path, &known);
    let mut all = arguments.files.iter().map(load).collect::<Result<Vec<_>, _>>()?;
    short_names(&mut all);
    let look = if output.is_some() { Look::plain() } else { Look::of_stdout() };
    let text = text(&all, arguments.format, look)?;
    match output {
        Some(output) => output.write(&text)?,
        None => print(&text)?,
    }
    Ok(exit::PASS)
}

/// All documents in one format.
pub(super) fn text(all: &[Saved], format: ReportFormat, look: Look) -> Result<String, Failure> {
    Ok(match (format, all) {
        (ReportFormat::Human, [one]) => one.human(look),
        (ReportFormat::Human, _) => {
            let one = |one: &Saved| format!("{}\n\n{}\n", look.bold(&one.name), one.human(look));
            all.iter().map(one).collect()
        }
        (ReportFormat::Json, [one]) => serde_json::to_string_pretty(&one.json()?)? + "\n",
        (ReportFormat::Json, _) => {
            let one = |one: &Saved| Ok(OneReport { file: one.name.clone(), report: one.json()? });
            let reports = all.iter().map(one).collect::<serde_json::Result<_>>()?;
            serde_json::to_string_pretty(&Reports { kind: KIND, version: VERSION, reports })? + "\n"
        }
        (ReportFormat::Junit, _) => junit::render(all)?,
        (ReportFormat::Html, _) => html::render(all),
        (ReportFormat::Markdown, _) => markdown::render(all, markdown::STEP_SUMMARY),
    })
}

/// Without folders, where that is enough to tell the files apart.
fn short_names(all: &mut [Saved]) {
    let short = |saved: &Saved| Path::new(&saved.name).file_name().map(|name| name.to_string_lossy().into_owned());
    let names: Vec<Option<String>> = all.iter().map(short).collect();
    for (saved, name) in all.iter_mut().zip(&names) {
        if let Some(name) = name
            && names.iter().filter(|other| other.as_ref() == Some(name)).count() == 1
        {
            saved.name.clone_from(name);
        }
    }
}
