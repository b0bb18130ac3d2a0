//! `report`: reports saved documents again.

use std::path::Path;

use model::run::known::KnownFailures;

use crate::cli::exit::Ending;
use crate::cli::output::{Failure, print};
use crate::cli::report_arguments::{Report, ReportFormat};
use crate::report::output::Output;
use crate::report::saved::Saved;
use crate::report::text::Look;
use crate::report::{html, junit, markdown};

/// Reports all files together.
pub(super) fn report(arguments: &Report) -> Result<Ending, Failure> {
    let output = arguments.output.as_deref().map(Output::open).transpose()?;
    let known = KnownFailures::kept()?;
    let load = |path: &std::path::PathBuf| Saved::load_all(path, &known);
    let mut all: Vec<Saved> =
        arguments.files.iter().map(load).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    short_names(&mut all);
    let look = if output.is_some() { Look::plain() } else { Look::of_stdout() };
    let text = text(&all, arguments.format, look)?;
    match output {
        Some(output) => output.write(&text)?,
        None => print(&text)?,
    }
    Ok(Ending::PASS)
}

/// Renders all documents in one format.
pub(super) fn text(all: &[Saved], format: ReportFormat, look: Look) -> Result<String, Failure> {
    Ok(match (format, all) {
        (ReportFormat::Human, [one]) => one.report().human(look),
        (ReportFormat::Human, _) => {
            let one = |one: &Saved| format!("{}\n\n{}\n", look.bold(&one.name), one.report().human(look));
            all.iter().map(one).collect()
        }
        (ReportFormat::Json, [one]) => serde_json::to_string_pretty(&one.report().json()?)? + "\n",
        (ReportFormat::Json, _) => serde_json::to_string_pretty(&Saved::json_of_all(all)?)? + "\n",
        (ReportFormat::Junit, _) => junit::render(all)?,
        (ReportFormat::Html, _) => html::render(all),
        (ReportFormat::Markdown, _) => markdown::render(all, markdown::STEP_SUMMARY),
    })
}

/// Shortens each name to the file name, if that still identifies the file.
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
