//! The layout of a release build of CPython 3.15.2, for memory images that come from no process.

use super::{
    CacheLayout, CodeLayout, FrameLayout, FrameOwners, GeneratorLayout, InterpreterLayout, Layout, RunningLayout,
    StatusLayout, ThreadLayout, VersionHex,
};

/// The offsets in `_Py_DebugOffsets` of Debian's release build of CPython 3.15.2. A test compares them with the real
/// table.
pub const LAYOUT: Layout = Layout {
    version: VersionHex(0x030f_02f0),
    free_threaded: false,
    finalizing: 912,
    interpreters_head: 936,
    interpreter: InterpreterLayout {
        id: 7272,
        next: 7264,
        threads_head: 7336,
        code_object_generation: Some(7944),
        running: Some(RunningLayout { collecting: 7512, collecting_frame: 7520, gil_locked: 7752, gil_holder: 7744 }),
    },
    thread: ThreadLayout {
        size: 888,
        next: 8,
        interpreter: 16,
        current_frame: 72,
        native_thread_id: 184,
        datastack_chunk: 256,
        cache: Some(CacheLayout { base_frame: 80, anchor: 88, sequence: 96 }),
        status: Some(StatusLayout {
            holds_gil: 36,
            gil_requested: 40,
            current_exception: 136,
            exc_value: 288,
            threads_main: 7352,
        }),
    },
    frame: FrameLayout {
        size: 88,
        previous: 8,
        executable: 0,
        instr_ptr: 56,
        owner: 74,
        tag_mask: 3,
        owners: FrameOwners::NEWEST,
    },
    generator: Some(GeneratorLayout { frame: 72, state: 67 }),
    per_thread: None,
    code: CodeLayout {
        size: 216,
        filename: 112,
        qualname: 128,
        linetable: 136,
        first_line: 68,
        flags: 48,
        code_adaptive: 208,
        bytes_size: 16,
        bytes_data: 32,
        text_state: 32,
        text_length: 16,
        ascii_data: 40,
        compact_data: 56,
        text_kind_bit: 2,
    },
};
