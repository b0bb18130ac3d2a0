//! The outputs of a run: the terminal, files and GitHub.

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use model::run::document::Document;
use model::run::event::{Consumer, Event};
use model::run::results::Results;
use model::run::summary::{Rules, Summary};
use model::run::verdict::Verdict;

use crate::cli::exit::Ending;
use crate::cli::output::{Failure, print, tell, tell_runner};
use crate::cli::report;
use crate::cli::report_arguments::{ReportFormat, ReportKind, ReportTo, Reports};
use crate::cli::shared_arguments::Format;
use crate::report::output::{Output, open_stream};
use crate::report::progress::Progress;
use crate::report::saved::{Content, Saved};
use crate::report::stream::Stream;
use crate::report::text::Look;
use crate::report::{github, json, markdown};

/// Every output of a run. Opened before the run, so that a file that cannot be written fails early.
pub(super) struct Reporting {
    summary: Summary,
    results: Results,
    progress: Progress,
    /// What is printed; `None` if the verb prints its result itself.
    format: Option<Format>,
    streams: Vec<(PathBuf, Stream<File>)>,
    files: Vec<(ReportFormat, Output)>,
    /// Why an item could not be printed.
    not_printed: Option<String>,
    /// Set if the run is a GitHub step; holds the step's summary file, if there is one.
    github: Option<Option<StepSummary>>,
}

impl Consumer for Reporting {
    fn event(&mut self, event: &Event) {
        self.summary.event(event);
        self.results.event(event);
        self.progress.event(event);
        for (_, stream) in &mut self.streams {
            stream.event(event);
        }
        if let (Event::ItemFinished(item), Some(Format::Human)) = (event, self.format) {
            let text = if self.github.is_some() { guarded(&item.text) } else { item.text.clone() };
            // If standard output is full, the reports are still written.
            if let Err(error) = self.progress.suspend(|| print(&text)) {
                self.not_printed.get_or_insert(error.to_string());
            }
        }
    }
}

impl Reporting {
    /// Opens every output of a run of `verb` that judges items.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) fn of_items(verb: &str, wanted: &Reports, format: Option<Format>) -> Result<Self, Failure> {
        let mut reporting = Self::open(&wanted.reports, format, Rules::default())?;
        reporting.event(&Event::ItemsStarted { verb: verb.to_owned() });
        Ok(reporting)
    }

    /// Opens every output.
    ///
    /// # Errors
    /// The first file that cannot be written, by name.
    pub(super) fn open(wanted: &[ReportTo], format: Option<Format>, rules: Rules) -> Result<Self, Failure> {
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
        Ok(Self {
            summary: Summary::new(rules),
            results: Results::default(),
            progress,
            format,
            streams,
            files,
            not_printed: None,
            github,
        })
    }

    /// The summary of the run so far.
    pub(super) fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Writes all reports of a run of `check`.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(super) fn finish(self) -> Result<Ending, Failure> {
        let document = Document::from(&self.summary);
        self.finish_as(document)
    }

    /// The same with this document of the run, which may be judged against a base.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(super) fn finish_as(self, document: Document) -> Result<Ending, Failure> {
        let ending = Ending::of(&document);
        self.write(Content::Check(Box::new(document)))?;
        Ok(ending)
    }

    /// Writes all reports of a run that judged items. `content` is its document; without one, it is the items
    /// themselves.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(super) fn finish_items(mut self, content: Option<Content>, interrupted: bool) -> Result<Ending, Failure> {
        self.event(&Event::RunFinished { interrupted });
        let content = content.unwrap_or_else(|| Content::Results(Box::new(self.results.clone())));
        let verdict = self.write(content)?;
        Ok(if interrupted { Ending::Interrupted } else { Ending::Judged(verdict) })
    }

    /// Writes all reports, and returns the verdict of `content`. If one output fails, the others are still written.
    ///
    /// # Errors
    /// An output could not be written. The message was already printed.
    fn write(self, content: Content) -> Result<Verdict, Failure> {
        let Self { results, progress, streams, files, github, format, not_printed, .. } = self;
        drop(progress);
        let all = [Saved { name: results.verb.clone(), content }];
        let [saved] = &all;
        // The text of items was printed when each ended.
        let printed = match (format, &saved.content) {
            (Some(Format::Human), Content::Results(_) | Content::Searches(_)) | (None, _) => String::new(),
            (Some(Format::Human), _) => saved.report().human(Look::of_stdout()),
            (Some(Format::Json), Content::Check(document)) => json::render(document)?,
            (Some(Format::Json), _) => serde_json::to_string_pretty(&saved.report().json()?)? + "\n",
        };
        let annotations = match &saved.content {
            Content::Check(document) => github::annotations(document),
            _ => github::annotations_of_items(&results),
        };
        let mut written = true;
        let mut keep = |result: Result<(), Failure>| {
            if let Err(error) = result {
                tell(&format!("framediff: {error}"));
                written = false;
            }
        };
        keep(not_printed.map_or(Ok(()), |why| Err(why.into())));
        match (&github, format) {
            (Some(_), Some(Format::Human)) => keep(print(&(guarded(&printed) + &annotations))),
            // The runner reads both streams. Standard output is the verb's own, or must be a single document.
            (Some(_), _) => {
                keep(print(&printed));
                tell_runner(&annotations);
            }
            (None, _) => keep(print(&printed)),
        }
        for (path, stream) in streams {
            keep(stream.end().map_err(|why| format!("cannot write {}: {why}", path.display()).into()));
        }
        if let Some(StepSummary { file, room }) = github.flatten() {
            keep(append(file, &markdown::render(&all, room)));
        }
        for (format, output) in files {
            keep(report::text(&all, format, Look::plain()).and_then(|text| Ok(output.write(&text)?)));
        }
        if written { Ok(saved.report().verdict()) } else { Err("not every report could be written".into()) }
    }
}

/// Wraps a text so that GitHub's runner does not interpret any of it as a command.
fn guarded(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    // The keys of the hasher come from the system, so nobody can predict the token.
    let token = format!("framediff-{:016x}", RandomState::new().build_hasher().finish());
    github::guarded(text, &token)
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
