//! Reads what the shipped profiler writes. All of it is hostile: what does not have the expected form is an error.

use std::collections::BTreeMap;

use framewalk::printable::excerpt;
use serde::Deserialize;
use thiserror::Error;

/// The file of marker frames such as `<GC>`. In collapsed stacks they have neither file nor line
/// (`Lib/profiling/sampling/stack_collector.py`).
const MARKER: &str = "~";

/// An output that does not have its documented form.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum Unreadable {
    #[error("this line is no collapsed stack: {0}")]
    Stack(String),
    #[error("this is no record of the JSON lines: {0}")]
    Record(String),
    #[error("the JSON lines name a string or frame that they do not define")]
    Undefined,
    #[error("the JSON lines have no last record, so they are not complete")]
    NoEnd,
    #[error("the tables of pstats cannot be read: {0}")]
    Tables(String),
    #[error("the profiler did not print `{0}`")]
    NotPrinted(&'static str),
}

/// A frame as the profiler writes it. The file is without its folders, because collapsed stacks have none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ProfiledFrame {
    pub(super) file: String,
    pub(super) function: String,
    /// 0 or -1 if there is no line. A torn read can give any number.
    pub(super) line: i32,
}

impl ProfiledFrame {
    fn new(file: &str, function: &str, line: i32) -> Self {
        let file = file.rsplit('/').next().unwrap_or(file).to_owned();
        Self { file, function: function.to_owned(), line }
    }

    pub(super) fn is_marker(&self) -> bool {
        self.file == MARKER
    }
}

/// A stack, root first, with the number of samples that show it.
pub(super) type CountedStack = (Vec<ProfiledFrame>, u64);

/// Reads collapsed stacks: `tid:N;file:function:line;... count`, root first.
pub(super) fn collapsed(text: &str) -> Result<Vec<CountedStack>, Unreadable> {
    text.lines().map(|line| stack(line).ok_or_else(|| Unreadable::Stack(excerpt(line)))).collect()
}

fn stack(line: &str) -> Option<CountedStack> {
    let (stack, count) = line.rsplit_once(' ')?;
    let mut parts = stack.split(';');
    parts.next()?.strip_prefix("tid:")?.parse::<u64>().ok()?;
    let frames = parts.map(|part| {
        if part.starts_with('<') && part.ends_with('>') {
            return Some(ProfiledFrame::new(MARKER, part, 0));
        }
        let mut words = part.rsplitn(3, ':');
        let (line, function, file) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
        Some(ProfiledFrame::new(file, function, line))
    });
    Some((frames.collect::<Option<_>>()?, count.parse().ok()?))
}

/// How many samples show a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FrameTotal {
    /// As the leaf.
    pub(super) own: u64,
    /// Anywhere in the stack: at least and at most. The JSON lines count by columns, so a stack that has the same line
    /// twice may be counted twice.
    pub(super) least: u64,
    pub(super) most: u64,
}

/// The totals of a recording, by frame.
pub(super) type FrameTotals = BTreeMap<ProfiledFrame, FrameTotal>;

/// The totals of stacks.
pub(super) fn totals(stacks: &[CountedStack]) -> FrameTotals {
    let mut totals = FrameTotals::new();
    for (frames, count) in stacks {
        for (index, frame) in frames.iter().enumerate() {
            let total = totals.entry(frame.clone()).or_default();
            if index + 1 == frames.len() {
                total.own += count;
            }
            if !frames.iter().take(index).any(|earlier| earlier == frame) {
                total.least += count;
                total.most += count;
            }
        }
    }
    totals
}

/// The first frame of which two formats of one recording say something different, with both totals.
pub(super) fn difference(one: &FrameTotals, other: &FrameTotals) -> Option<(ProfiledFrame, FrameTotal, FrameTotal)> {
    let frames = one.keys().chain(other.keys());
    let pairs = frames.map(|frame| {
        let of = |totals: &FrameTotals| totals.get(frame).copied().unwrap_or_default();
        (frame, of(one), of(other))
    });
    let agree =
        |one: FrameTotal, other: FrameTotal| one.own == other.own && one.least <= other.most && other.least <= one.most;
    pairs.into_iter().find(|&(_, one, other)| !agree(one, other)).map(|(frame, one, other)| (frame.clone(), one, other))
}

/// A record of the JSON lines (`Lib/profiling/sampling/jsonl_collector.py`), of which only this is needed.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Record {
    Meta {},
    StringTable {
        strings: Vec<Text>,
    },
    FrameTable {
        frames: Vec<Place>,
    },
    Agg {
        entries: Vec<Entry>,
    },
    End {},
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct Text {
    str_id: u64,
    value: String,
}

#[derive(Deserialize)]
struct Place {
    frame_id: u64,
    path_str_id: u64,
    func_str_id: u64,
    line: i32,
}

#[derive(Deserialize)]
struct Entry {
    frame_id: u64,
    #[serde(rename = "self")]
    own: u64,
    cumulative: u64,
}

/// The totals that the JSON lines have.
pub(super) fn json_lines(text: &str) -> Result<FrameTotals, Unreadable> {
    let (mut strings, mut frames) = (BTreeMap::new(), BTreeMap::new());
    let (mut totals, mut ended) = (FrameTotals::new(), false);
    for line in text.lines() {
        match serde_json::from_str(line).map_err(|error| Unreadable::Record(excerpt(&error.to_string())))? {
            Record::Meta {} | Record::Unknown => {}
            Record::StringTable { strings: more } => {
                strings.extend(more.into_iter().map(|text| (text.str_id, text.value)));
            }
            Record::FrameTable { frames: more } => {
                for place in more {
                    let text = |id| strings.get(&id).ok_or(Unreadable::Undefined);
                    let frame = ProfiledFrame::new(text(place.path_str_id)?, text(place.func_str_id)?, place.line);
                    frames.insert(place.frame_id, frame);
                }
            }
            Record::Agg { entries } => {
                for entry in entries {
                    let frame = frames.get(&entry.frame_id).ok_or(Unreadable::Undefined)?;
                    let total = totals.entry(frame.clone()).or_default();
                    total.own += entry.own;
                    total.least = total.least.max(entry.cumulative);
                    total.most += entry.cumulative;
                }
            }
            Record::End {} => ended = true,
        }
    }
    if ended { Ok(totals) } else { Err(Unreadable::NoEnd) }
}

/// The totals of the tables of a pstats file: file, line, function, own and cumulative samples.
pub(super) fn tables(text: &str) -> Result<FrameTotals, Unreadable> {
    let rows: Vec<(String, i32, String, u64, u64)> =
        serde_json::from_str(text).map_err(|error| Unreadable::Tables(excerpt(&error.to_string())))?;
    let mut totals = FrameTotals::new();
    for (file, line, function, own, cumulative) in rows {
        let total = FrameTotal { own, least: cumulative, most: cumulative };
        totals.insert(ProfiledFrame::new(&file, &function, line), total);
    }
    Ok(totals)
}

/// What the profiler prints about a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Printed {
    /// Attempts to sample, with those that failed.
    pub(super) samples: u64,
    /// Attempts in a second.
    pub(super) rate: f64,
    /// Failed attempts in per cent.
    pub(super) errors: f64,
}

/// Finds the figures that `sample.py` prints. The target writes to the same stream, without an end of line.
pub(super) fn printed(stdout: &str) -> Result<Printed, Unreadable> {
    let number = |before: &'static str| -> Result<f64, Unreadable> {
        let found = stdout.split(before).nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        found.filter(|number: &f64| number.is_finite()).ok_or(Unreadable::NotPrinted(before))
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count; a wrong one saturates")]
    let samples = number("Captured ")? as u64;
    Ok(Printed { samples, rate: number("Sample rate: ")?, errors: number("Error rate: ")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACKS: &str = "tid:7;<frozen runpy>:_run_code:87;w.py:<module>:15;w.py:main:11 5\n\
                          tid:7;<frozen runpy>:_run_code:87;w.py:<module>:15;<GC> 2\n";

    fn frame(file: &str, function: &str, line: i32) -> ProfiledFrame {
        ProfiledFrame::new(file, function, line)
    }

    #[test]
    fn collapsed_stacks_are_read_with_their_markers() {
        let stacks = collapsed(STACKS).unwrap();
        assert_eq!(stacks[0].0[2], frame("/x/w.py", "main", 11));
        assert_eq!((stacks[0].1, stacks[1].1), (5, 2));
        assert!(stacks[1].0[2].is_marker() && !stacks[1].0[0].is_marker());
    }

    #[test]
    fn other_text_is_no_stack() {
        for text in [
            "",
            "Traceback (most recent call last):",
            "tid:7;w.py:f 5",
            "tid:7;w.py:f:1 many",
            "w.py:f:1 5",
            "tid:7;w.py:f:1",
        ] {
            assert!(collapsed(&format!("{text}\n")).is_err(), "{text}");
        }
    }

    #[test]
    fn the_formats_of_one_recording_agree() {
        let json = r#"{"type":"meta","v":0}
{"type":"string_table","strings":[{"str_id":0,"value":"main"},{"str_id":1,"value":"/x/w.py"},{"str_id":2,"value":"<module>"}]}
{"type":"frame_table","frames":[{"frame_id":0,"path_str_id":1,"func_str_id":0,"line":11,"col":1},{"frame_id":1,"path_str_id":1,"func_str_id":0,"line":11,"col":2},{"frame_id":2,"path_str_id":1,"func_str_id":2,"line":15}]}
{"type":"agg","entries":[{"frame_id":0,"self":2,"cumulative":2},{"frame_id":1,"self":3,"cumulative":3},{"frame_id":2,"self":0,"cumulative":5}]}
{"type":"end"}"#;
        let stacks = totals(&collapsed("tid:7;w.py:<module>:15;w.py:main:11 5").unwrap());
        let tables = tables(r#"[["/x/w.py", 11, "main", 5, 5], ["/x/w.py", 15, "<module>", 0, 5]]"#).unwrap();
        assert_eq!(difference(&stacks, &json_lines(json).unwrap()), None);
        assert_eq!(difference(&stacks, &tables), None);
        let fewer = totals(&collapsed("tid:7;w.py:<module>:15;w.py:main:11 4").unwrap());
        let (_, one, other) = difference(&fewer, &tables).unwrap();
        assert_eq!((one.least, other.least), (4, 5));
        assert!(difference(&fewer, &json_lines(json).unwrap()).is_some());
        let cut = json.rsplit_once('\n').unwrap().0;
        assert_eq!(json_lines(cut), Err(Unreadable::NoEnd));
        assert!(json_lines("{}").is_err());
        assert_eq!(
            json_lines(r#"{"type":"agg","entries":[{"frame_id":9,"self":2,"cumulative":2}]}"#),
            Err(Unreadable::Undefined)
        );
    }

    #[test]
    fn the_printed_figures_are_found_behind_the_greeting() {
        let text =
            "framdiffCaptured 19995 samples in 2.03 seconds\nSample rate: 9842.01 samples/sec\nError rate: 0.43\n";
        assert_eq!(printed(text), Ok(Printed { samples: 19995, rate: 9842.01, errors: 0.43 }));
        assert_eq!(printed("Captured 3 samples"), Err(Unreadable::NotPrinted("Sample rate: ")));
        assert!(printed("Captured nan samples").is_err());
    }
}
