//! Where a run is told: on the terminal, in files, to GitHub.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::cli::arguments::Format;
use crate::cli::exit;
use crate::cli::report_arguments::{ReportKind, ReportTo};
use crate::cli::verbs::{Failure, print, tell};
use crate::report::event::{Consumer, Event};
use crate::report::json::Document;
use crate::report::output::{Output, open_stream};
use crate::report::progress::Progress;
use crate::report::stream::Stream;
use crate::report::summary::{Rules, Summary};
use crate::report::text::Look;
use crate::report::{human, json, junit};

/// Everyone who is told of a run. Made before it, so that what cannot be written is known then.
pub(super) struct Reporting {
    summary: Summary,
    progress: Progress,
    streams: Vec<(PathBuf, Stream<File>)>,
    files: Vec<(ReportKind, Output)>,
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
    /// Opens every file.
    ///
    /// # Errors
    /// The first that cannot be written, by its name.
    pub(super) fn open(wanted: &[ReportTo], rules: Rules) -> Result<Self, Failure> {
        for (index, one) in wanted.iter().enumerate() {
            if wanted.iter().take(index).any(|other| is_same(&other.path, &one.path)) {
                return Err(format!("two reports cannot both go to {}: name another file", one.path.display()).into());
            }
        }
        let (streams, files): (Vec<_>, Vec<_>) = wanted.iter().partition(|one| one.kind == ReportKind::JsonLines);
        // What is there before is lost when a stream begins: everything else first.
        let files = files.into_iter().map(|one| Ok((one.kind, Output::open(&one.path)?)));
        let files = files.collect::<Result<_, Failure>>()?;
        let begin = |one: &ReportTo| {
            let stream = Stream::begin(open_stream(&one.path)?, &rules)
                .map_err(|why| format!("cannot write {}: {why}", one.path.display()))?;
            Ok((one.path.clone(), stream))
        };
        let streams = streams.into_iter().map(begin).collect::<Result<_, Failure>>()?;
        Ok(Self { summary: Summary::new(rules), progress: Progress::on_stderr(), streams, files })
    }

    /// Reports everywhere. One place that fails keeps nothing from the others.
    ///
    /// # Errors
    /// That something could not be written; it was told what.
    pub(super) fn finish(self, format: Format) -> Result<u8, Failure> {
        let Self { summary, progress, streams, files } = self;
        drop(progress);
        let document = Document::from(&summary);
        match format {
            Format::Human => print(&human::render(&document, Look::of_stdout()))?,
            Format::Json => print(&json::render(&document)?)?,
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
        for (kind, output) in files {
            keep(render(kind, &document).and_then(|text| Ok(output.write(&text)?)));
        }
        if written { Ok(exit::of(&summary)) } else { Err("not every report could be written".into()) }
    }
}

fn render(kind: ReportKind, document: &Document) -> Result<String, Failure> {
    Ok(match kind {
        ReportKind::Json => json::render(document)?,
        ReportKind::Junit => junit::render(document)?,
        ReportKind::JsonLines | ReportKind::Html | ReportKind::Markdown => return Err("not yet".into()),
    })
}

/// Whether two paths are of one file, as far as can be seen before it is there.
fn is_same(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| {
        let path = std::path::absolute(path).unwrap_or(path.to_owned());
        let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
        path.canonicalize().ok().or_else(|| Some(folder?.join(path.file_name()?))).unwrap_or(path)
    };
    whole(one) == whole(other)
}
