//! The arguments that choose reports and their files.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

/// The files that a run is reported in, besides what it prints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct Reports {
    /// Also write a report to this file: json, json-lines (events as they happen), junit, html or markdown; repeatable
    #[arg(long = "report", value_name = "KIND=PATH", help_heading = "Run")]
    pub reports: Vec<ReportTo>,
}

/// One `--report`: a kind of report and its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportTo {
    /// The kind of report, before the equals sign.
    pub kind: ReportKind,
    /// The file, after the equals sign.
    pub path: PathBuf,
}

/// What can be written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum ReportKind {
    /// One JSON document with a version field
    Json,
    /// One event per line, as they happen
    JsonLines,
    /// The XML of JUnit, for CI systems
    Junit,
    /// An HTML page that needs no other file
    Html,
    /// Text for a step summary or an issue
    Markdown,
}

/// Arguments of `report`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Report {
    /// JSON or JSON lines of check, attach, explore, prove, conform, mutants or bench, JSON of merge, compare or explain, and saved cases
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// The format to write
    #[arg(long, value_name = "FORMAT", default_value = "human", help_heading = "Run")]
    pub format: ReportFormat,
    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE", help_heading = "Run")]
    pub output: Option<PathBuf>,
}

/// In which form saved documents are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum ReportFormat {
    /// Text for people, in the width of the terminal.
    Human,
    /// The document, or one document of several.
    Json,
    /// The XML of JUnit, for CI systems.
    Junit,
    /// An HTML page that needs no other file.
    Html,
    /// Text for a step summary or an issue.
    Markdown,
}

impl ReportKind {
    /// The format of the whole report. Events are written one by one and have none.
    pub(super) fn format(self) -> Option<ReportFormat> {
        match self {
            Self::Json => Some(ReportFormat::Json),
            Self::JsonLines => None,
            Self::Junit => Some(ReportFormat::Junit),
            Self::Html => Some(ReportFormat::Html),
            Self::Markdown => Some(ReportFormat::Markdown),
        }
    }
}

impl FromStr for ReportTo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names: Vec<String> = ReportKind::value_variants()
            .iter()
            .filter_map(|kind| Some(kind.to_possible_value()?.get_name().to_owned()))
            .collect();
        let known = || format!("write KIND=PATH with one of these kinds: {}", names.join(", "));
        let (kind, path) = text.split_once('=').ok_or_else(known)?;
        let kind = ReportKind::from_str(kind, false).map_err(|_| known())?;
        if path.is_empty() {
            return Err(known());
        }
        Ok(Self { kind, path: path.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_and_path_are_split_at_the_first_equals_sign() {
        let parsed = "json-lines=a=b".parse();
        assert_eq!(parsed, Ok(ReportTo { kind: ReportKind::JsonLines, path: "a=b".into() }));
        for bad in ["", "json", "json=", "pdf=x", "=x", "JSON=x"] {
            let error = bad.parse::<ReportTo>().unwrap_err();
            assert!(error.contains("json, json-lines, junit, html, markdown"), "{error}");
        }
    }
}
