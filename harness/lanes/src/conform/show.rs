//! Shows two histories side by side, up to their first difference.

use std::collections::HashMap;
use std::fmt::Write as _;

use framewalk::memory::Address;
use model::history::{Columns, Side};

use super::story::{Answer, Named, Part, StoryLine, Value};

/// How many entries are shown before the first difference.
const BEFORE: usize = 40;
/// How many entries are shown after it.
const AFTER: usize = 2;
const WIDTH: u16 = 150;

/// Numbers addresses in the order in which they appear.
#[derive(Default)]
struct Names {
    numbers: HashMap<Address, usize>,
}

impl Names {
    fn number(&mut self, address: Address) -> usize {
        let next = self.numbers.len();
        *self.numbers.entry(address).or_insert(next)
    }

    fn address(&mut self, address: Address) -> String {
        if address == 0 {
            return "NULL".to_owned();
        }
        format!("@{}", self.number(address))
    }

    fn value(&mut self, value: Value) -> String {
        match value {
            Value::Frame(address) => self.address(address),
            Value::Number(number) => number.cast_signed().to_string(),
        }
    }

    fn part(&mut self, part: &Part) -> String {
        match *part {
            Part::Thread(word, value) => format!("{} {}", word.name(), self.value(value)),
            Part::Frame(frame) => format!("frame {}", self.address(frame)),
            Part::Previous(frame, above) => {
                format!("previous of {} {}", self.address(frame), self.address(above))
            }
            Part::Chunk(start, size) => format!("chunk @{} of {size}", self.number(start)),
            Part::Other => "something else".to_owned(),
        }
    }

    fn line(&mut self, line: &StoryLine) -> String {
        match line {
            StoryLine::Sample(number) => format!("sample {number}"),
            StoryLine::Access(at, kind, parts) => {
                let parts: Vec<String> = parts.iter().map(|part| self.part(part)).collect();
                format!("{at} {kind}: {}", parts.join(", "))
            }
            StoryLine::Stored(word, value) => format!("stores {} = {}", word.name(), self.value(*value)),
            StoryLine::Chain(links) => {
                let mut text = "stack".to_owned();
                for link in links {
                    match &link.named {
                        Some(name) => {
                            let number = self.number(link.address);
                            let _ = write!(text, " {}@{number}", frame(name));
                        }
                        None => {
                            let _ = write!(text, " shim{}", self.address(link.address));
                        }
                    }
                }
                text
            }
            StoryLine::Answer(answer) => answered(answer),
        }
    }
}

fn frame((name, line): &Named) -> String {
    line.map_or_else(|| format!("{name}:?"), |line| format!("{name}:{line}"))
}

fn answered(answer: &Answer) -> String {
    match &answer.outcome {
        Ok(frames) => {
            let frames: Vec<String> = frames.iter().map(frame).collect();
            format!("returns {} ({:?}, {} from the cache)", frames.join(" < "), answer.lookup, answer.from_cache)
        }
        Err(why) => format!("rejects: {why}"),
    }
}

/// The histories around entry `parting`, the first that differs.
pub(super) fn side_by_side(real: &[StoryLine], simulated: &[StoryLine], parting: usize) -> String {
    let mut columns = Columns::default();
    let (mut left, mut right) = (Names::default(), Names::default());
    let shown = parting.saturating_sub(BEFORE);
    for index in 0..=parting + AFTER {
        let texts = (real.get(index).map(|line| left.line(line)), simulated.get(index).map(|line| right.line(line)));
        if index < shown || texts == (None, None) {
            continue;
        }
        let mark = if index == parting { "> " } else { "" };
        columns.add_below(Side::Left, format!("{mark}{}", texts.0.unwrap_or_else(|| "(nothing)".to_owned())));
        columns.beside(format!("{mark}{}", texts.1.unwrap_or_else(|| "(nothing)".to_owned())));
    }
    columns.render(["real", "simulated"], WIDTH)
}
