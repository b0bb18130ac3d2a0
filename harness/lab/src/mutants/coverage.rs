//! Measures which sites a real interpreter reaches, and by which operations.
//!
//! A target runs a workload with watchpoints. Every load of the anchor stops it after a guard, every store to the
//! sequence after an increment. The instruction pointer identifies the site. An increment at any other address is a
//! site that the search missed. The harness sets the anchor in place of a profiler.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use framewalk::layout::{CacheLayout, Layout};
use framewalk::memory::{Address, MemoryError, RemoteMemory};
use framewalk::raw_frame::{Owner, RawFrame};
use framewalk::rejection::Rejection;
use framewalk::thread_state::{Window, thread_states, write_anchor};
use framewalk::walker::Site;
use iced_x86::Register;
use nix::libc::{self, user_regs_struct};
use process::build::{Build, LocateError};
use process::gate::GateError;
use process::memory::ProcessMemory;
use process::target::{LaunchError, StopError, Target};
use process::trace::{Resume, Stop, TraceError, Traced, Watchdog, Watched};
use thiserror::Error;

use super::code::Span;
use super::image::{BinaryImage, Template};
use super::register;
use super::site::UpdateSite;

/// How the target runs, and which frames the anchor is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// From gate to gate. At each gate, the anchor is set to the current frame, as by a profiler that samples there.
    Gates {
        /// Number of gates to pass.
        gates: u32,
    },
    /// Without gates. The anchor is set to every frame as soon as it becomes current, as by a profiler that samples at
    /// that moment.
    Free {
        /// How long the target runs before it is watched, so that the JIT can compile hot code.
        warm: Duration,
        /// Number of times that the target is stopped.
        stops: u32,
    },
}

/// Why coverage could not be measured.
#[derive(Debug, Error)]
pub enum CoverageError {
    /// The target did not start.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The target's `_PyRuntime` was not found, or its offsets are unknown.
    #[error(transparent)]
    Site(#[from] LocateError),
    /// The target cannot be watched, or it ended.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The target did not reach its next gate.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The target cannot be stopped.
    #[error(transparent)]
    Stop(#[from] StopError),
    /// The target's memory cannot be accessed.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The target's memory is inconsistent.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// There is no thread at the gate, or it cannot be watched.
    #[error("{0}")]
    Thread(String),
    /// Code outside the known sites stored to the sequence.
    #[error(
        "the instruction before {address:#x} ({bytes}) changed the sequence, but is not one of the sites that were \
         found: the search for sites is incomplete"
    )]
    UnknownSite {
        /// The address after the instruction, in the target.
        address: Address,
        /// The bytes before that address.
        bytes: String,
    },
}

/// Size in bytes of a bytecode instruction without its cache entries.
const CODE_UNIT: u64 = 2;

/// How often a site was reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// How often its guard was evaluated.
    pub guards: u64,
    /// How often its guard held.
    pub updates: u64,
}

impl Reached {
    /// Adds the counts of another run.
    pub fn add(&mut self, other: Self) {
        self.guards += other.guards;
        self.updates += other.updates;
    }
}

/// Counts by site and operation.
pub type Coverage = BTreeMap<(usize, Operation), Reached>;

/// How a frame left the stack: by its own instruction, or by its caller's instruction if the frame never ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// The frame was at an instruction with the first opcode, after one with the second. Some instructions look at the
    /// anchor when they are already done and the frame points to the next one.
    At(u8, u8),
    /// The frame had not started to run. Its caller was at an instruction with this opcode.
    NotBegun(u8),
    /// The data that was read is inconsistent.
    Unknown,
}

/// The program to run, and how to run it.
pub struct CoveragePlan<'a> {
    /// The build whose image is measured.
    pub build: &'a Build,
    /// Whether the JIT is on; `None` leaves that to the build.
    pub jit: Option<bool>,
    /// The program's source, with or without gates.
    pub source: &'a str,
    /// The folder for the program's file.
    pub folder: &'a Path,
    /// Whether it runs from gate to gate or freely.
    pub run: Run,
    /// Time limit for the target to run from gate to gate.
    pub patience: Duration,
}

/// Runs a program and returns the sites of `image` that it reached.
///
/// # Errors
/// See [`CoverageError`].
pub fn measure(image: &BinaryImage, plan: &CoveragePlan<'_>) -> Result<Coverage, CoverageError> {
    let soon = || Instant::now() + plan.patience;
    let mut target = Target::launch(plan.build.interpreter(), plan.jit, plan.source, plan.folder, soon())?;
    target.start(soon())?;
    match plan.run {
        Run::Gates { gates } => {
            let gate = target.next_gate(soon())?;
            let mut observer = Observer::new(image, plan, &target, gate.native_thread_id)?;
            observer.run_to_gate()?;
            for _ in 0..gates {
                observer.arm_at_gate()?;
                target.go(soon())?;
                observer.run_to_gate()?;
                target.announced(soon())?;
            }
            Ok(observer.coverage)
        }
        Run::Free { warm, stops } => {
            target.run_for(warm)?;
            target.resume()?;
            let mut observer = Observer::new(image, plan, &target, target.pid().cast_unsigned())?;
            for _ in 0..stops {
                observer.run_on()?;
            }
            Ok(observer.coverage)
        }
    }
}

/// The positions of a site's instructions in the image.
struct Known {
    guards: Vec<(Span, Register)>,
    increment: Span,
    template: Option<Template>,
}

struct Observer<'a> {
    plan: &'a CoveragePlan<'a>,
    traced: Traced,
    watchdog: Watchdog,
    memory: ProcessMemory,
    layout: Layout,
    cache: CacheLayout,
    thread: Address,
    window: Window,
    known: Vec<Known>,
    moved_by: u64,
    current: Address,
    /// The site and operation of the guard that was evaluated last.
    guard: Option<(usize, Operation)>,
    coverage: Coverage,
}

impl<'a> Observer<'a> {
    fn new(
        image: &BinaryImage,
        plan: &'a CoveragePlan<'a>,
        target: &Target,
        thread: u32,
    ) -> Result<Self, CoverageError> {
        let Site { layout, runtime } = plan.build.site(target.pid())?;
        let mut memory = target.memory();
        let cache = layout.thread.cache.ok_or_else(|| CoverageError::Thread("the build has no frame cache".into()))?;
        let state = thread_states(&mut memory, &layout, runtime)?
            .into_iter()
            .find(|state| state.native_thread_id == u64::from(thread))
            .ok_or_else(|| CoverageError::Thread(format!("no thread state has the id {thread}")))?;
        let watchdog = Watchdog::new(plan.patience).map_err(|error| CoverageError::Thread(error.to_string()))?;
        let mut traced = Traced::attach(target.pid(), thread.cast_signed())?;
        let word = |offset: u64, loads| Watched { address: state.address.wrapping_add(offset), loads };
        let words = [word(layout.thread.current_frame, false), word(cache.anchor, true), word(cache.sequence, false)];
        traced.watch(&words)?;
        let known = |site: &UpdateSite| Known {
            guards: site.guards.iter().map(|guard| (guard.compare, guard.frame)).collect(),
            increment: site.increment.store(),
            template: image.template(site),
        };
        Ok(Self {
            plan,
            traced,
            watchdog,
            memory,
            layout,
            cache,
            thread: state.address,
            window: Window::new(&layout),
            known: image.sites().iter().map(known).collect(),
            moved_by: image.moved_by(runtime),
            current: state.current_frame,
            guard: None,
            coverage: Coverage::new(),
        })
    }

    fn arm_at_gate(&mut self) -> Result<(), CoverageError> {
        let state = self.window.read(&mut self.memory, &self.layout, self.thread)?;
        self.current = state.current_frame;
        Ok(write_anchor(&mut self.memory, &self.cache, self.thread, state.current_frame)?)
    }

    /// Runs to the next stop at a watched word.
    fn run_on(&mut self) -> Result<(), CoverageError> {
        loop {
            self.traced.resume(Resume::Freely)?;
            if self.traced.wait(&self.watchdog)? == Stop::Trap {
                return self.trapped();
            }
        }
    }

    /// Runs until the target waits at the next gate.
    fn run_to_gate(&mut self) -> Result<(), CoverageError> {
        loop {
            self.traced.resume(Resume::ToSystemCall)?;
            match self.traced.wait(&self.watchdog)? {
                Stop::Trap => self.trapped()?,
                Stop::SystemCall => {
                    let call = self.traced.system_call()?;
                    if call.begins && call.number == libc::SYS_read && call.arguments.first() == Some(&0) {
                        return Ok(());
                    }
                }
                Stop::Signal(_) | Stop::Interrupted | Stop::Filtered => {}
            }
        }
    }

    fn trapped(&mut self) -> Result<(), CoverageError> {
        let hit = self.traced.watchpoints_hit()?;
        let [current, anchor, sequence] = [0, 1, 2].map(|bit| hit >> bit & 1 == 1);
        if anchor || sequence {
            let registers = self.traced.registers()?;
            if sequence {
                self.updated(registers.rip)?;
            }
            if anchor {
                self.guarded(&registers)?;
            }
        }
        if current {
            self.moved()?;
        }
        Ok(())
    }

    /// The site with an instruction that ends at `address`, and the end of that instruction in the image. `ends`
    /// selects the instructions.
    fn site(&mut self, address: Address, ends: impl Fn(&Known) -> Vec<u64>) -> Option<(usize, u64)> {
        for (index, known) in self.known.iter().enumerate() {
            for end in ends(known) {
                let here = match &known.template {
                    None => end.wrapping_add(self.moved_by) == address,
                    Some(template) => {
                        let start = address.wrapping_sub(end.wrapping_sub(template.start));
                        let mut there = vec![0; template.bytes.len()];
                        self.memory.read(start, &mut there).is_ok() && there == template.bytes
                    }
                };
                if here {
                    return Some((index, end));
                }
            }
        }
        None
    }

    fn updated(&mut self, address: Address) -> Result<(), CoverageError> {
        let Some((site, _)) = self.site(address, |known| vec![known.increment.end()]) else {
            let mut bytes = [0; 8];
            self.memory.read(address.wrapping_sub(8), &mut bytes)?;
            let bytes = bytes.map(|byte| format!("{byte:02x}")).join(" ");
            return Err(CoverageError::UnknownSite { address, bytes });
        };
        let key = self.guard.filter(|(of, _)| *of == site).unwrap_or((site, Operation::Unknown));
        self.coverage.entry(key).or_default().updates += 1;
        Ok(())
    }

    fn guarded(&mut self, registers: &user_regs_struct) -> Result<(), CoverageError> {
        let found = self.site(registers.rip, |known| known.guards.iter().map(|(compare, _)| compare.end()).collect());
        // A store to the anchor, or a load of it that is not a guard, for example by a walker inside the target.
        let Some((site, end)) = found else { return Ok(()) };
        let register = self.known.get(site).and_then(|known| {
            known.guards.iter().find(|(compare, _)| compare.end() == end).map(|(_, register)| *register)
        });
        let frame = register.and_then(|register| register::value(register, registers));
        let operation = frame.map_or(Operation::Unknown, |frame| self.operation(frame));
        self.guard = Some((site, operation));
        self.coverage.entry((site, operation)).or_default().guards += 1;
        Ok(())
    }

    /// The operation that makes the frame at `address` leave.
    fn operation(&mut self, address: Address) -> Operation {
        let Ok(frame) = RawFrame::read(&mut self.memory, &self.layout, address) else { return Operation::Unknown };
        if !frame.runs() {
            return Operation::Unknown;
        }
        let begun = frame.instr_ptr != frame.code.wrapping_add(self.layout.code.code_adaptive);
        if begun || frame.owner == Owner::Generator {
            let opcode = self.opcode(frame.instr_ptr);
            let before = self.opcode(frame.instr_ptr.wrapping_sub(CODE_UNIT));
            return opcode.zip(before).map_or(Operation::Unknown, |(opcode, before)| Operation::At(opcode, before));
        }
        let caller = RawFrame::read(&mut self.memory, &self.layout, frame.previous);
        let opcode = caller.ok().and_then(|caller| self.opcode(caller.instr_ptr));
        opcode.map_or(Operation::Unknown, Operation::NotBegun)
    }

    fn opcode(&mut self, instruction: Address) -> Option<u8> {
        let mut opcode = [0];
        self.memory.read(instruction, &mut opcode).ok()?;
        opcode.first().copied()
    }

    /// Handles a change of the current frame.
    fn moved(&mut self) -> Result<(), CoverageError> {
        let current = self.memory.read_u64(self.thread.wrapping_add(self.layout.thread.current_frame))?;
        let before = std::mem::replace(&mut self.current, current);
        if matches!(self.plan.run, Run::Free { .. }) && self.entered(current, before) {
            write_anchor(&mut self.memory, &self.cache, self.thread, current)?;
        }
        Ok(())
    }

    /// Whether `frame` was called by `caller`, directly or through C, or became current by the exit of a shim frame.
    /// After such an exit, no later code compares the anchor with the frame that was left.
    fn entered(&mut self, frame: Address, caller: Address) -> bool {
        let mut read = |address| RawFrame::read(&mut self.memory, &self.layout, address).ok();
        let Some(here) = read(frame).filter(RawFrame::runs) else { return false };
        let through_shim = read(here.previous).filter(|shim| !shim.is_python());
        let exited = read(caller).is_some_and(|left| left.owner == Owner::Shim);
        here.previous == caller || through_shim.is_some_and(|shim| shim.previous == caller) || exited
    }
}
