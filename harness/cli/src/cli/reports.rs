//! The outputs of a run: the terminal, files and GitHub.

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use model::run::document::Document;
use model::run::event::{Consumer, Event};
use model::run::summary::{Rules, Summary};

use crate::cli::output::{Failure, print, tell};
use crate::cli::report_arguments::{ReportFormat, ReportKind, ReportTo};
use crate::cli::shared_arguments::Format;
use crate::cli::{exit, report};
use crate::report::output::{Output, open_stream};
use crate::report::progress::Progress;
use crate::report::saved::{Content, Saved};
use crate::report::stream::Stream;
use crate::report::text::Look;
use crate::report::{github, human, json, markdown};

/// Every output of a run. Opened before the run, so that a file that cannot be written fails early.
pub(super) struct Reporting {
    summary: Summary,
    progress: Progress,
    streams: Vec<(PathBuf, Stream<File>)>,
    files: Vec<(ReportFormat, Output)>,
    /// Set if the run is a GitHub step; holds the step's summary file, if there is one.
    github: Option<Option<StepSummary>>,
}

impl Consumer for Reporting {
    fn event(&mut self, event: &Event) {
        self.summary.event(event);
        self.progress.event(event);
        for (_, stream) in &mut self.streams {
            stream.event(event);
        }
    }
}

impl Reporting {
    /// Opens every output.
    ///
    /// # Errors
    /// The first file that cannot be written, by name.
    pub(super) fn open(wanted: &[ReportTo], rules: Rules) -> Result<Self, Failure> {
        for (index, one) in wanted.iter().enumerate() {
            if wanted.iter().take(index).any(|other| is_same(&other.path, &one.path)) {
                return Err(format!("two reports cannot both go to {}: name another file", one.path.display()).into());
            }
        }
        let (streams, files): (Vec<_>, Vec<_>) = wanted.iter().partition(|one| one.kind == ReportKind::JsonLines);
        // Starting a stream truncates its file, so every other file is opened first.
        let files = files.into_iter().filter_map(|one| Some((one.kind.format()?, one)));
        let files = files.map(|(format, one)| Ok((format, Output::open(&one.path)?)));
        let files = files.collect::<Result<_, Failure>>()?;
        let begin = |one: &ReportTo| {
            let stream = Stream::begin(open_stream(&one.path)?, &rules)
                .map_err(|why| format!("cannot write {}: {why}", one.path.display()))?;
            Ok((one.path.clone(), stream))
        };
        let streams = streams.into_iter().map(begin).collect::<Result<_, Failure>>()?;
        let there = std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true");
        let step_summary = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty());
        let github = there.then(|| step_summary.map(|path| StepSummary::open(Path::new(&path))).transpose());
        let github = github.transpose()?;
        let progress = Progress::on_stderr(rules.known.clone());
        Ok(Self { summary: Summary::new(rules), progress, streams, files, github })
    }

    /// The summary of the run so far.
    pub(super) fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Writes all reports. If one output fails, the others are still written.
    ///
    /// # Errors
    /// An output could not be written. The message was already printed.
    pub(super) fn finish(self, format: Format) -> Result<u8, Failure> {
        let Self { summary, progress, streams, files, github } = self;
        drop(progress);
        let code = exit::of(&summary);
        let document = Document::from(&summary);
        let printed = match format {
            Format::Human => human::render(&document, Look::of_stdout()),
            Format::Json => json::render(&document)?,
        };
        match (&github, format) {
            (None, _) => print(&printed)?,
            (Some(_), Format::Human) => {
                // The keys of the hasher come from the system, so nobody can predict the token.
                let token = format!("framediff-{:016x}", RandomState::new().build_hasher().finish());
                print(&(github::guarded(&printed, &token) + &github::annotations(&document)))?;
            }
            (Some(_), Format::Json) => {
                // The runner reads both streams. Here, standard output must be a single document.
                print(&printed)?;
                tell(github::annotations(&document).trim_end());
            }
        }
        let mut written = true;
        let mut keep = |result: Result<(), Failure>| {
            if let Err(error) = result {
                tell(&format!("framediff: {error}"));
                written = false;
            }
        };
        for (path, stream) in streams {
            keep(stream.end().map_err(|why| format!("cannot write {}: {why}", path.display()).into()));
        }
        let all = [Saved { name: "check".to_owned(), content: Content::Check(Box::new(document)) }];
        if let Some(StepSummary { file, room }) = github.flatten() {
            keep(append(file, &markdown::render(&all, room)));
        }
        for (format, output) in files {
            keep(report::text(&all, format, Look::plain()).and_then(|text| Ok(output.write(&text)?)));
        }
        if written { Ok(code) } else { Err("not every report could be written".into()) }
    }
}

/// The summary file of a step on GitHub.
struct StepSummary {
    file: File,
    /// Bytes that still fit.
    room: usize,
}

impl StepSummary {
    fn open(path: &Path) -> Result<Self, Failure> {
        let open = || {
            let file = File::options().append(true).create(true).open(path)?;
            let taken = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
            Ok(Self { file, room: markdown::STEP_SUMMARY.saturating_sub(taken) })
        };
        open().map_err(|why: io::Error| format!("cannot write the step summary {}: {why}", path.display()).into())
    }
}

fn append(mut file: File, text: &str) -> Result<(), Failure> {
    file.write_all(text.as_bytes()).map_err(|why| format!("cannot write the step summary: {why}").into())
}

/// Whether two paths name the same file, as far as that can be known before the file exists.
fn is_same(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| {
        let path = std::path::absolute(path).unwrap_or(path.to_owned());
        let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
        path.canonicalize().ok().or_else(|| Some(folder?.join(path.file_name()?))).unwrap_or(path)
    };
    whole(one) == whole(other)
}
