//! The status that CPython's unwinder has to report for a stopped thread, made from the same words of its thread state.

use framewalk::layout::Layout;
use framewalk::memory::{Address, RemoteMemory, Segment};
use framewalk::rejection::Rejection;
use framewalk::thread_state::ThreadState;
use model::run::configuration::ProfilingMode;

/// `THREAD_STATUS_HAS_GIL` of `_remote_debugging`. The flags below are named likewise.
const HAS_GIL: u64 = 1 << 0;
/// Set in modes in which the unwinder does not look at the processor.
const UNKNOWN: u64 = 1 << 2;
const GIL_REQUESTED: u64 = 1 << 3;
/// An exception is being raised or handled.
const HAS_EXCEPTION: u64 = 1 << 4;
const MAIN_THREAD: u64 = 1 << 5;

/// `THREAD_STATUS_ON_CPU`.
const ON_CPU: u64 = 1 << 1;

/// Whether an unwinder may report this status for the main thread of a process in this mode, whatever the thread does.
pub(super) fn is_of_main_thread(told: u64, mode: ProfilingMode) -> bool {
    let processor = if mode.looks_at_processor() { told & ON_CPU } else { UNKNOWN };
    told & !(HAS_GIL | GIL_REQUESTED | HAS_EXCEPTION) == processor | MAIN_THREAD
}

impl Status {
    /// Whether the thread holds its interpreter's GIL.
    pub(super) fn has_gil(self) -> bool {
        self.flags & HAS_GIL != 0
    }

    /// Whether the thread raises or handles an exception. `None` if that is unknown.
    pub(super) fn has_exception(self) -> Option<bool> {
        (self.unknown & HAS_EXCEPTION == 0).then_some(self.flags & HAS_EXCEPTION != 0)
    }
}

/// A status, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Status {
    /// The flags that are set.
    pub(super) flags: u64,
    /// The flags whose value is unknown.
    pub(super) unknown: u64,
}

impl Status {
    /// Whether an unwinder may report this status.
    pub(super) fn allows(self, told: u64) -> bool {
        told & !self.unknown == self.flags & !self.unknown
    }
}

/// The status of a stopped thread. `knows_processor` says whether the unwinder looks whether the thread is on a
/// processor, and understands what it sees. `None` if the layout does not say where its words are. A running generator
/// handles exceptions of its own, in a place that the layout does not give. The main thread of an interpreter other
/// than the first, whose id is 0, is unknown. Before the interpreter runs the program, and after that, it has no main
/// thread.
pub(super) fn status(
    memory: &mut dyn RemoteMemory,
    layout: &Layout,
    thread: &ThreadState,
    in_generator: bool,
    id: Option<u64>,
    knows_processor: bool,
) -> Result<Option<Status>, Rejection> {
    let Some(words) = layout.thread.status else { return Ok(None) };
    let (mut holds, mut requested, mut raised, mut handled) = ([0; 4], [0; 4], [0; 8], [0; 8]);
    let at = |offset: u64| -> Address { thread.address.wrapping_add(offset) };
    let mut segments = [
        Segment { address: at(words.holds_gil), buffer: &mut holds },
        Segment { address: at(words.gil_requested), buffer: &mut requested },
        Segment { address: at(words.current_exception), buffer: &mut raised },
        Segment { address: at(words.exc_value), buffer: &mut handled },
    ];
    if memory.read_vectored(&mut segments)? < segments.len() {
        return Err(Rejection::Unreadable(format!("the thread state at {:#x} is only partly mapped", thread.address)));
    }
    let interpreter = memory.read_u64(at(layout.thread.interpreter))?;
    let is_main = memory.read_u64(interpreter.wrapping_add(words.threads_main))? == thread.address;
    let has_exception = raised != [0; 8] || handled != [0; 8];
    let flags = [
        (holds != [0; 4], HAS_GIL),
        (requested != [0; 4], GIL_REQUESTED),
        (has_exception, HAS_EXCEPTION),
        (is_main, MAIN_THREAD),
    ];
    let set = flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag);
    let unknown = [(in_generator && !has_exception, HAS_EXCEPTION), (id.is_some_and(|id| id != 0), MAIN_THREAD)];
    let unknown = unknown.into_iter().filter(|(is_unknown, _)| *is_unknown).fold(0, |all, (_, flag)| all | flag);
    let processor = if knows_processor { 0 } else { UNKNOWN };
    Ok(Some(Status { flags: set.fold(processor, |status, flag| status | flag), unknown }))
}

/// What runs in a stopped thread's interpreter. Nothing, if the layout does not say where to read it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Running {
    /// The frame in which a collection began that still runs.
    pub(super) collecting: Option<Address>,
    /// The state of the thread that holds the GIL. A thread that ends holds it for a while after it has left the list.
    pub(super) holder: Option<Address>,
}

impl Running {
    pub(super) fn read(
        memory: &mut dyn RemoteMemory,
        layout: &Layout,
        thread: &ThreadState,
    ) -> Result<Self, Rejection> {
        let Some(words) = layout.interpreter.running else { return Ok(Self::default()) };
        let (mut collecting, mut locked) = ([0; 4], [0; 4]);
        let at = |offset: u64| thread.interpreter.wrapping_add(offset);
        memory.read(at(words.collecting), &mut collecting)?;
        memory.read(at(words.gil_locked), &mut locked)?;
        let frame = memory.read_u64(at(words.collecting_frame))?;
        let holder = memory.read_u64(at(words.gil_holder))?;
        Ok(Self {
            collecting: (collecting != [0; 4] && frame != 0).then_some(frame),
            holder: (locked == 1_i32.to_le_bytes()).then_some(holder),
        })
    }
}
