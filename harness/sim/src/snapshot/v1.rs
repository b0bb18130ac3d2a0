//! The payload of format version 1.
//!
//! These types are the format: postcard writes the fields in order, without names or types. They never change. If the
//! content of a snapshot changes, it gets a new version number and a new module, and [`decode`] keeps reading these
//! types.

use std::collections::HashMap;
use std::sync::Arc;

use framewalk::chain::DEPTH_LIMIT;
use framewalk::frame::{Frame, Location};
use framewalk::layout::VersionHex;
use framewalk::memory::Address;
use model::account::AccountFrame;
use model::jit_mode::JitMode;
use model::workload::{Family, FrameSize, Names, Parameters};
use serde::{Deserialize, Serialize};

use super::pieces::{Cutter, Gluer, Range};
use super::{Answer, GateTruth, Meta, Profiled, RecordedStop, Snapshot, ThreadTruth};

/// Most stops of a snapshot, and most threads of a stop. Files with more are rejected.
const STOP_LIMIT: usize = 256;
const THREAD_LIMIT: usize = 4096;

#[derive(Serialize, Deserialize)]
struct Payload<'a> {
    version: u32,
    debug: bool,
    jit: Jit,
    family: &'a str,
    seed: u64,
    depth: u32,
    width: u32,
    frame_size: Size,
    speed: u32,
    names: Text,
    runtime: Address,
    texts: Vec<&'a str>,
    frames: Vec<FileFrame>,
    lengths: Vec<u16>,
    #[serde(borrow)]
    bytes: &'a [u8],
    stops: Vec<FileStop>,
}

#[derive(Serialize, Deserialize)]
enum Jit {
    Unavailable,
    Off,
    On,
}

#[derive(Serialize, Deserialize)]
enum Size {
    Equal(u32),
    Unequal(u32),
}

#[derive(Serialize, Deserialize)]
enum Text {
    Ascii,
    Latin1,
    Wide,
    Astral,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct FileFrame {
    function: u32,
    file: u32,
    /// A signed line stored as the bits of a `u32`, like `end_line`.
    line: Option<u32>,
    end_line: Option<u32>,
    column: Option<u32>,
    end_column: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct FileStop {
    ranges: Vec<Range>,
    gate_thread: u64,
    gate_context: u32,
    /// Indices of frames. Only function, file and line of these frames are meaningful.
    account: Vec<u32>,
    threads: Vec<FileThread>,
}

#[derive(Serialize, Deserialize)]
struct FileThread {
    state: Address,
    native_thread_id: u64,
    /// Indices of frames, or the index of the text that names the rejection.
    stack: Result<Vec<u32>, u32>,
    profiled: Option<FileProfiled>,
}

#[derive(Serialize, Deserialize)]
struct FileProfiled {
    answer: FileAnswer,
    from_cache: u32,
    anchor: Address,
}

#[derive(Serialize, Deserialize)]
enum FileAnswer {
    FullHit,
    PartialHit,
    Miss,
    Rejected,
}

/// Deduplicated texts and frames, by index.
#[derive(Default)]
struct Tables<'a> {
    texts: Vec<&'a str>,
    text_numbers: HashMap<&'a str, u32>,
    frames: Vec<FileFrame>,
    frame_numbers: HashMap<FileFrame, u32>,
}

impl<'a> Tables<'a> {
    fn text(&mut self, text: &'a str) -> u32 {
        *self.text_numbers.entry(text).or_insert_with(|| {
            self.texts.push(text);
            number(self.texts.len() - 1)
        })
    }

    fn frame(&mut self, function: &'a str, file: &'a str, location: Location) -> u32 {
        let Location { line, end_line, column, end_column } = location;
        let [line, end_line] = [line, end_line].map(|line| line.map(i32::cast_unsigned));
        let frame =
            FileFrame { function: self.text(function), file: self.text(file), line, end_line, column, end_column };
        *self.frame_numbers.entry(frame).or_insert_with(|| {
            self.frames.push(frame);
            number(self.frames.len() - 1)
        })
    }

    fn stop(&mut self, stop: &'a RecordedStop, cutter: &mut Cutter) -> FileStop {
        let told = |frame: &AccountFrame| Location { line: frame.line, ..Location::default() };
        let account = stop.gate.account.iter().map(|frame| self.frame(&frame.function, &frame.file, told(frame)));
        FileStop {
            ranges: cutter.cut(&stop.image),
            gate_thread: stop.gate.native_thread_id,
            gate_context: stop.gate.context,
            account: account.collect(),
            threads: stop.threads.iter().map(|thread| self.thread(thread)).collect(),
        }
    }

    fn thread(&mut self, thread: &'a ThreadTruth) -> FileThread {
        let stack = match &thread.stack {
            Ok(stack) => {
                Ok(stack.iter().map(|frame| self.frame(&frame.function, &frame.file, frame.location)).collect())
            }
            Err(rejection) => Err(self.text(rejection)),
        };
        let profiled = thread.profiler.map(|profiled| FileProfiled {
            answer: match profiled.answer {
                Answer::FullHit => FileAnswer::FullHit,
                Answer::PartialHit => FileAnswer::PartialHit,
                Answer::Miss => FileAnswer::Miss,
                Answer::Rejected => FileAnswer::Rejected,
            },
            from_cache: number(profiled.from_cache),
            anchor: profiled.anchor,
        });
        FileThread { state: thread.state, native_thread_id: thread.native_thread_id, stack, profiled }
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// Encodes a snapshot as a payload.
pub(super) fn encode(snapshot: &Snapshot) -> Result<Vec<u8>, String> {
    let Snapshot { meta, stops } = snapshot;
    let parameters = &meta.parameters;
    let (mut tables, mut cutter) = (Tables::default(), Cutter::default());
    let stops = stops.iter().map(|stop| tables.stop(stop, &mut cutter)).collect();
    let payload = Payload {
        version: meta.version.0,
        debug: meta.debug,
        jit: match meta.jit {
            JitMode::Unavailable => Jit::Unavailable,
            JitMode::Off => Jit::Off,
            JitMode::On => Jit::On,
        },
        family: meta.family.name(),
        seed: meta.seed,
        depth: parameters.depth,
        width: parameters.width,
        frame_size: match parameters.frame_size {
            FrameSize::Equal(locals) => Size::Equal(locals),
            FrameSize::Unequal(most) => Size::Unequal(most),
        },
        speed: parameters.speed,
        names: match parameters.names {
            Names::Ascii => Text::Ascii,
            Names::Latin1 => Text::Latin1,
            Names::Wide => Text::Wide,
            Names::Astral => Text::Astral,
        },
        runtime: meta.runtime,
        texts: tables.texts,
        frames: tables.frames,
        lengths: cutter.lengths,
        bytes: &cutter.bytes,
        stops,
    };
    postcard::to_stdvec(&payload).map_err(|error| error.to_string())
}

pub(super) fn decode(payload: &[u8]) -> Result<Snapshot, String> {
    let (payload, rest): (Payload<'_>, _) = postcard::take_from_bytes(payload).map_err(|error| error.to_string())?;
    if !rest.is_empty() {
        return Err(format!("it has {} bytes after its end", rest.len()));
    }
    let family = Family::from_name(payload.family).ok_or_else(|| format!("there is no family {:?}", payload.family))?;
    let meta = Meta {
        version: VersionHex(payload.version),
        debug: payload.debug,
        jit: match payload.jit {
            Jit::Unavailable => JitMode::Unavailable,
            Jit::Off => JitMode::Off,
            Jit::On => JitMode::On,
        },
        family,
        seed: payload.seed,
        parameters: Parameters {
            depth: payload.depth,
            width: payload.width,
            frame_size: match payload.frame_size {
                Size::Equal(locals) => FrameSize::Equal(locals),
                Size::Unequal(most) => FrameSize::Unequal(most),
            },
            speed: payload.speed,
            names: match payload.names {
                Text::Ascii => Names::Ascii,
                Text::Latin1 => Names::Latin1,
                Text::Wide => Names::Wide,
                Text::Astral => Names::Astral,
            },
        },
        runtime: payload.runtime,
    };
    let mut gluer = Gluer::new(&payload.lengths, payload.bytes)?;
    let reader = Reader::new(&payload)?;
    if payload.stops.is_empty() || payload.stops.len() > STOP_LIMIT {
        return Err(format!("it has {} stops, but 1 to {STOP_LIMIT} are allowed", payload.stops.len()));
    }
    let stops = payload.stops.iter().map(|stop| reader.stop(stop, &mut gluer)).collect::<Result<_, _>>()?;
    Ok(Snapshot { meta, stops })
}

/// The tables of a payload that is being read.
struct Reader {
    texts: Vec<Arc<str>>,
    frames: Vec<Frame>,
}

impl Reader {
    fn new(payload: &Payload<'_>) -> Result<Self, String> {
        let texts: Vec<Arc<str>> = payload.texts.iter().map(|&text| text.into()).collect();
        let mut reader = Self { texts, frames: Vec::with_capacity(payload.frames.len()) };
        for frame in &payload.frames {
            let &FileFrame { function, file, line, end_line, column, end_column } = frame;
            let [line, end_line] = [line, end_line].map(|line| line.map(u32::cast_signed));
            let location = Location { line, end_line, column, end_column };
            let frame = Frame { function: reader.text(function)?.clone(), file: reader.text(file)?.clone(), location };
            reader.frames.push(frame);
        }
        Ok(reader)
    }

    fn text(&self, number: u32) -> Result<&Arc<str>, String> {
        let text = usize::try_from(number).ok().and_then(|index| self.texts.get(index));
        text.ok_or_else(|| format!("it has no text {number}"))
    }

    fn stack(&self, numbers: &[u32]) -> Result<Vec<Frame>, String> {
        if numbers.len() > DEPTH_LIMIT {
            return Err(format!("a stack has {} frames", numbers.len()));
        }
        let frame = |&number: &u32| {
            let frame = usize::try_from(number).ok().and_then(|index| self.frames.get(index));
            frame.cloned().ok_or_else(|| format!("it has no frame {number}"))
        };
        numbers.iter().map(frame).collect()
    }

    fn stop(&self, stop: &FileStop, gluer: &mut Gluer<'_>) -> Result<RecordedStop, String> {
        let tell = |frame: Frame| AccountFrame {
            function: frame.function.as_ref().into(),
            file: frame.file.as_ref().into(),
            line: frame.location.line,
            place: None,
        };
        let account = self.stack(&stop.account)?.into_iter().map(tell).collect();
        if stop.threads.len() > THREAD_LIMIT {
            return Err(format!("a stop has {} threads", stop.threads.len()));
        }
        Ok(RecordedStop {
            image: gluer.glue(&stop.ranges)?,
            gate: GateTruth { native_thread_id: stop.gate_thread, context: stop.gate_context, account },
            threads: stop.threads.iter().map(|thread| self.thread(thread)).collect::<Result<_, _>>()?,
        })
    }

    fn thread(&self, thread: &FileThread) -> Result<ThreadTruth, String> {
        let stack = match &thread.stack {
            Ok(frames) => Ok(self.stack(frames)?.into()),
            Err(text) => Err(self.text(*text)?.as_ref().to_owned()),
        };
        let profiler = thread.profiled.as_ref().map(|profiled| Profiled {
            answer: match profiled.answer {
                FileAnswer::FullHit => Answer::FullHit,
                FileAnswer::PartialHit => Answer::PartialHit,
                FileAnswer::Miss => Answer::Miss,
                FileAnswer::Rejected => Answer::Rejected,
            },
            from_cache: usize::try_from(profiled.from_cache).unwrap_or(usize::MAX),
            anchor: profiled.anchor,
        });
        Ok(ThreadTruth { state: thread.state, native_thread_id: thread.native_thread_id, stack, profiler })
    }
}
