//! CPython's own `_remote_debugging.RemoteUnwinder`, run by the build under test in a separate process.
//!
//! The driver (`pyscripts/remote_unwinder.py`) communicates over two pipes, one JSON document per line. It reads the
//! unwinder's counters after each walk, so every sample comes with what the cache did during the walk.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use framewalk::printable::excerpt;
use framewalk::sample::WalkerKind;
use model::run::configuration::{AskedThreads, Configuration};
use model::workload::positions::Positions;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::child::{Child, ChildError};
use super::confined;
use super::deadline::Deadline;
use super::script::{Script, ScriptFile};
use super::target::isolated;
pub use super::unwind_reply::{CountedSample, StackDetails, ToldThread};
use super::unwind_reply::{Hello, Interned, Reply, location};
pub use super::unwinder_error::UnwinderError;
use crate::memory::permission_advice;

static DRIVER: Script = Script::new("remote_unwinder.py", include_str!("../pyscripts/remote_unwinder.py"));
/// Longer lines, in bytes, are rejected.
const LINE_LIMIT: usize = 64 * 1024 * 1024;
/// How long to wait for a batch of a live run. The driver normally sends one every 0.2 s.
const BATCH_PATIENCE: Duration = Duration::from_secs(20);

/// One batch of samples of a live run.
#[derive(Clone, Debug)]
pub struct LiveBatch {
    /// The samples, in order.
    pub samples: Vec<CountedSample>,
    /// The total time spent inside the unwinder.
    pub walk_time: Duration,
    /// The duration of each walk, if requested.
    pub times: Vec<Duration>,
}

/// The pace of a live run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// The time from one walk to the next. Without it, walks follow each other immediately.
    pub interval: Option<Duration>,
    /// How often the driver sends a batch and reacts to a `Break`. The default is five times a second.
    pub batch: Option<Duration>,
    /// Whether to report the duration of each walk.
    pub times: bool,
}

/// When a live run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveBound {
    /// After this many samples.
    Samples(u64),
    /// After this much time.
    Time(Duration),
}

/// The totals of a live run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveTotal {
    /// Number of samples taken.
    pub samples: u64,
    /// The total time spent inside the unwinder.
    pub walk_time: Duration,
}

/// A process that runs `RemoteUnwinder`. Dropping it ends the process.
pub struct Unwinder {
    child: Child,
    hello: Hello,
    interned: Interned,
    open: Option<(i32, WalkerKind)>,
    /// The options of new unwinders.
    configuration: Configuration,
    /// The script that the process runs. Its file is removed with the last owner.
    _script: Arc<ScriptFile>,
}

fn hello(child: &mut Child, deadline: Deadline) -> Result<Hello, UnwinderError> {
    let line = child.receive_line(LINE_LIMIT, deadline)?;
    serde_json::from_slice(&line).map_err(|error| UnwinderError::Malformed(excerpt(&error.to_string())))
}

impl Unwinder {
    /// Starts the driver on `python`.
    ///
    /// # Errors
    /// The driver does not start before `deadline`, or the build has no `RemoteUnwinder`.
    pub fn start(python: &Path, deadline: impl Into<Deadline>) -> Result<Self, UnwinderError> {
        Self::start_command(python, isolated(python.into(), None), deadline.into())
    }

    /// Starts the driver so that it can be traced. With `filter`, if the kernel allows that, the driver stops for its
    /// tracer before each access to another process and at each mark; without a tracer these calls fail. Its addresses
    /// are the same in every run.
    ///
    /// # Errors
    /// As [`Unwinder::start`].
    pub fn start_traceable(python: &Path, filter: bool, deadline: impl Into<Deadline>) -> Result<Self, UnwinderError> {
        let mut command = isolated(python.into(), None);
        confined::fix_addresses(&mut command);
        if filter {
            confined::stop_at_remote_accesses(&mut command);
        }
        Self::start_command(python, command, deadline.into())
    }

    fn start_command(python: &Path, mut command: Command, deadline: Deadline) -> Result<Self, UnwinderError> {
        let not_started = |source| UnwinderError::Start { python: python.to_owned(), source };
        let script = DRIVER.file().map_err(not_started)?;
        command.arg(script.path());
        let mut child = Child::spawn(command).map_err(not_started)?;
        let hello = hello(&mut child, deadline)
            .map_err(|source| UnwinderError::NotReady { python: python.to_owned(), source: Box::new(source) })?;
        if !hello.unwinder {
            let version = excerpt(&hello.version);
            return Err(UnwinderError::NotAvailable { version, what: "RemoteUnwinder (new in 3.14)" });
        }
        Ok(Self {
            child,
            hello,
            interned: Interned::default(),
            open: None,
            configuration: Configuration::default(),
            _script: script,
        })
    }

    /// Sets the options of new unwinders.
    pub fn configure(&mut self, configuration: Configuration) {
        self.configuration = configuration;
    }

    /// The version of the build that runs the unwinder.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.hello.version
    }

    /// Whether this build's unwinder has a frame cache.
    #[must_use]
    pub fn has_cache(&self) -> bool {
        self.hello.cache
    }

    /// Fails if the driver's process has ended.
    ///
    /// # Errors
    /// The driver's process has ended.
    pub fn check(&mut self) -> Result<(), UnwinderError> {
        Ok(self.child.check()?)
    }

    /// The id of the process that runs the unwinder.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.pid().as_raw()
    }

    /// Makes a new unwinder on process `pid`, with or without the frame cache. The previous one is dropped first.
    ///
    /// # Errors
    /// The build has no cache, or `RemoteUnwinder` refuses the process.
    pub fn open(&mut self, pid: i32, cache: bool, deadline: impl Into<Deadline>) -> Result<(), UnwinderError> {
        let deadline = deadline.into();
        self.ask_to_open(pid, cache, false, deadline)?;
        self.opened(pid, cache, deadline)
    }

    /// The first half of [`Unwinder::open`]: sends the request without waiting for the answer. If `marked`, the driver
    /// marks its answer for a tracer.
    pub fn ask_to_open(
        &mut self,
        pid: i32,
        cache: bool,
        marked: bool,
        deadline: impl Into<Deadline>,
    ) -> Result<(), UnwinderError> {
        if cache && !self.hello.cache {
            let version = self.hello.version.clone();
            return Err(UnwinderError::NotAvailable { version, what: "frame cache (new in 3.15)" });
        }
        self.open = None;
        let Configuration { gc, native, opcodes, mode, threads, skip, statistics } = self.configuration;
        let options = json!({
            "gc": gc, "native": native, "opcodes": opcodes, "mode": mode.number(), "skip_non_matching_threads": skip,
            "all_threads": threads == AskedThreads::All, "only_active_thread": threads == AskedThreads::Active,
        });
        let request = json!({
            "do": "open", "pid": pid, "cache": cache, "stats": statistics, "options": options, "mark": marked,
        });
        self.send(&request, deadline)
    }

    /// The second half of [`Unwinder::open`]: receives the answer.
    pub fn opened(&mut self, pid: i32, cache: bool, deadline: impl Into<Deadline>) -> Result<(), UnwinderError> {
        match self.receive(deadline) {
            Ok(_) => {}
            Err(UnwinderError::Raised { kind, .. }) if kind == "PermissionError" => {
                return Err(UnwinderError::Denied { pid, advice: permission_advice(pid) });
            }
            Err(UnwinderError::Raised { kind, .. }) if kind == "TypeError" => {
                let version = self.hello.version.clone();
                return Err(UnwinderError::NotAvailable { version, what: "unwinder with these options" });
            }
            Err(error) => return Err(error),
        }
        self.open = Some((pid, if cache { WalkerKind::CpythonCached } else { WalkerKind::CpythonUncached }));
        Ok(())
    }

    /// Takes one sample of all threads.
    ///
    /// # Errors
    /// The driver fails. An exception raised by the walk is not an error but a rejection inside the sample.
    pub fn sample(&mut self, deadline: impl Into<Deadline>) -> Result<CountedSample, UnwinderError> {
        let deadline = deadline.into();
        self.ask_for_sample(false, deadline)?;
        self.sampled(deadline)
    }

    /// Like [`Unwinder::sample`], and returns the time that the driver measured around `get_stack_trace`.
    ///
    /// # Errors
    /// As [`Unwinder::sample`].
    pub fn timed_sample(&mut self, deadline: impl Into<Deadline>) -> Result<(CountedSample, Duration), UnwinderError> {
        let deadline = deadline.into();
        self.ask_for_sample(false, deadline)?;
        self.sampled_in(deadline)
    }

    /// The first half of [`Unwinder::sample`]: sends the request without waiting for the answer. If `marked`, the
    /// driver marks its answer for a tracer.
    pub fn ask_for_sample(&mut self, marked: bool, deadline: impl Into<Deadline>) -> Result<(), UnwinderError> {
        self.open.ok_or(UnwinderError::NotOpen)?;
        self.send(&json!({"do": "sample", "mark": marked}), deadline)
    }

    /// The second half of [`Unwinder::sample`]: receives the answer.
    pub fn sampled(&mut self, deadline: impl Into<Deadline>) -> Result<CountedSample, UnwinderError> {
        Ok(self.sampled_in(deadline)?.0)
    }

    fn sampled_in(&mut self, deadline: impl Into<Deadline>) -> Result<(CountedSample, Duration), UnwinderError> {
        let (pid, kind) = self.open.ok_or(UnwinderError::NotOpen)?;
        let reply = self.receive(deadline)?;
        let walk_time = reply.walk_time();
        let samples = self.interned.samples(reply, kind, pid);
        let mut samples = self.poisoned_by_nonsense(samples)?;
        match (samples.pop(), samples.is_empty()) {
            (Some(sample), true) => Ok((sample, walk_time)),
            _ => Err(UnwinderError::Malformed("not one sample".into())),
        }
    }

    /// Takes samples as fast as the driver can and passes them on in batches (five a second, or 2000 samples), until
    /// `bound`, a `Break`, or the end of the target.
    ///
    /// # Errors
    /// The driver fails. Exceptions raised by walks are not errors but rejections inside the samples.
    pub fn run_live(
        &mut self,
        bound: LiveBound,
        on_batch: impl FnMut(LiveBatch) -> ControlFlow<()>,
    ) -> Result<LiveTotal, UnwinderError> {
        self.run_paced(bound, Pace::default(), on_batch)
    }

    /// Like [`Unwinder::run_live`], at the given pace.
    ///
    /// # Errors
    /// As [`Unwinder::run_live`].
    pub fn run_paced(
        &mut self,
        bound: LiveBound,
        pace: Pace,
        mut on_batch: impl FnMut(LiveBatch) -> ControlFlow<()>,
    ) -> Result<LiveTotal, UnwinderError> {
        let (pid, kind) = self.open.ok_or(UnwinderError::NotOpen)?;
        let (samples, seconds) = match bound {
            LiveBound::Samples(samples) => (Some(samples), None),
            LiveBound::Time(time) => (None, Some(time.as_secs_f64())),
        };
        let mut total = LiveTotal::default();
        let mut stopping = false;
        let in_seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        let request = json!({
            "do": "run", "samples": samples, "seconds": seconds, "interval": in_seconds(pace.interval),
            "batch": in_seconds(pace.batch), "times": pace.times,
        });
        self.send(&request, Instant::now() + BATCH_PATIENCE)?;
        loop {
            let mut reply = self.receive(Instant::now() + BATCH_PATIENCE)?;
            let times = std::mem::take(&mut reply.times).into_iter().map(Duration::from_nanos).collect();
            let (walk_time, last) = (reply.walk_time(), reply.last);
            let samples = self.interned.samples(reply, kind, pid);
            let samples = self.poisoned_by_nonsense(samples)?;
            total.samples += u64::try_from(samples.len()).unwrap_or_default();
            total.walk_time += walk_time;
            let wanted = on_batch(LiveBatch { samples, walk_time, times });
            if last {
                return Ok(total);
            }
            if wanted.is_break() && !stopping {
                self.send(&json!({"do": "stop"}), Instant::now() + BATCH_PATIENCE)?;
                stopping = true;
            }
        }
    }

    /// Makes the build compile a program and report the positions of the instructions in its code objects.
    ///
    /// # Errors
    /// The driver fails, or the program does not compile.
    pub fn positions(
        &mut self,
        source: &str,
        file: &str,
        deadline: impl Into<Deadline>,
    ) -> Result<Positions, UnwinderError> {
        let deadline = deadline.into();
        self.send(&json!({"do": "positions", "file": file, "source": source}), deadline)?;
        let told = self.receive(deadline)?.positions;
        let functions = told.into_iter().map(|(name, told)| (name, told.into_iter().map(location).collect()));
        Ok(Positions::new(file, functions))
    }

    /// Drops the unwinder. The driver keeps running for the next [`Unwinder::open`].
    ///
    /// CPython 3.15.2 leaves its anchors in the target when an unwinder is dropped. Making a cached one clears them, so
    /// opening with the cache and closing without a sample leaves no anchors in the target.
    ///
    /// # Errors
    /// The driver fails.
    pub fn close(&mut self, deadline: impl Into<Deadline>) -> Result<(), UnwinderError> {
        let deadline = deadline.into();
        self.ask_to_close(false, deadline)?;
        self.closed(deadline)
    }

    /// The first half of [`Unwinder::close`]: sends the request without waiting for the answer. If `marked`, the driver
    /// marks its answer for a tracer.
    pub fn ask_to_close(&mut self, marked: bool, deadline: impl Into<Deadline>) -> Result<(), UnwinderError> {
        self.open = None;
        self.send(&json!({"do": "close", "mark": marked}), deadline)
    }

    /// The second half of [`Unwinder::close`]: receives the answer.
    pub fn closed(&mut self, deadline: impl Into<Deadline>) -> Result<(), UnwinderError> {
        // The driver forgets its numbers, too.
        self.interned = Interned::default();
        self.receive(deadline).map(drop)
    }

    fn send(&mut self, request: &Value, deadline: impl Into<Deadline>) -> Result<(), UnwinderError> {
        let mut line = request.to_string();
        line.push('\n');
        let sent = self.child.send(line.as_bytes(), deadline.into());
        self.poisoned_by_deadline(sent)
    }

    fn receive(&mut self, deadline: impl Into<Deadline>) -> Result<Reply, UnwinderError> {
        let line = self.child.receive_line(LINE_LIMIT, deadline.into());
        let line = self.poisoned_by_deadline(line)?;
        let reply: Result<Reply, _> =
            serde_json::from_slice(&line).map_err(|error| UnwinderError::Malformed(excerpt(&error.to_string())));
        let reply = self.poisoned_by_nonsense(reply)?;
        match reply.error {
            Some((kind, text)) => Err(UnwinderError::Raised { kind: excerpt(&kind), text: excerpt(&text) }),
            None if reply.ok || reply.samples.is_some() => Ok(reply),
            None => Err(UnwinderError::Malformed("neither a batch nor the end of the run".into())),
        }
    }

    /// Kills the driver after an answer that makes no sense, because its next answer may belong to another request.
    fn poisoned_by_nonsense<T>(&mut self, result: Result<T, UnwinderError>) -> Result<T, UnwinderError> {
        if matches!(result, Err(UnwinderError::Malformed(_))) {
            // Killing fails only if the process has already ended.
            let _ = self.child.signal(Signal::SIGKILL);
        }
        result
    }

    fn poisoned_by_deadline<T>(&mut self, result: Result<T, ChildError>) -> Result<T, UnwinderError> {
        if matches!(result, Err(ChildError::Deadline | ChildError::CalledOff(_))) {
            // Killing fails only if the process has already ended.
            let _ = self.child.signal(Signal::SIGKILL);
        }
        Ok(result?)
    }
}
