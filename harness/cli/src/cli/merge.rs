//! `merge`: merges the reports of shards.

use std::path::PathBuf;

use clap::Args;
use framewalk::printable::clean;
use framewalk::sample::WalkerKind;
use model::lane::Lane;
use model::run::document::Document;
use model::run::merge::{Source, merge as merged};

use crate::cli::exit::Ending;
use crate::cli::output::{Failure, print};
use crate::cli::shared_arguments::{Format, known_failures};
use crate::report::output::Output;
use crate::report::saved::{Content, Saved};
use crate::report::text::Look;
use crate::report::{human, json};

/// Arguments of `merge`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Merge {
    /// Reports of `check --shard K/N --format json`
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Known failures [default: the list that comes with framediff]
    #[arg(long, value_name = "FILE", help_heading = "Verdict")]
    pub known: Option<PathBuf>,
    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "human", help_heading = "Run")]
    pub format: Format,
    /// Also write the merged report to this file as JSON
    #[arg(short, long, value_name = "FILE", help_heading = "Run")]
    pub output: Option<PathBuf>,
}

/// Merges the reports of shards.
pub(super) fn merge(arguments: &Merge) -> Result<Ending, Failure> {
    let mut known = known_failures(arguments.known.as_deref())?;
    let output = arguments.output.as_deref().map(Output::open).transpose()?;
    let mut sources = Vec::new();
    for path in &arguments.files {
        let Content::Check(document) = Saved::load(path, &known)?.content else {
            return Err(format!(
                "{} is not a report of `check`: only `check` has shards",
                clean(&path.display().to_string())
            )
            .into());
        };
        sources.push(Source { path: path.clone(), document: *document });
    }
    let weakened = |source: &Source| source.document.part.as_ref().is_some_and(|part| !part.weakenings.is_empty());
    if sources.iter().any(weakened) {
        known.forget_walker(WalkerKind::OwnCached, Lane::Live);
    }
    let document = Document::from(&merged(&sources, &known)?);
    let text = json::render(&document)?;
    if let Some(output) = output {
        output.write(&text)?;
    }
    match arguments.format {
        Format::Human => print(&human::render(&document, Look::of_stdout()))?,
        Format::Json => print(&text)?,
    }
    // The merge itself cannot be interrupted. An interrupted shard counts as a doubt.
    Ok(Ending::Judged(document.judgement.verdict))
}
