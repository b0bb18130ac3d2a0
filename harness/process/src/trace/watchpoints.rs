//! Hardware watchpoints: a thread stops right after it has accessed a word (x86-64).

use std::ffi::c_long;
use std::mem::offset_of;

use framewalk::memory::Address;
use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace;

use super::{TraceError, Traced};

/// How many words can be watched.
pub(super) const WATCHPOINTS: usize = 4;

/// Which watchpoints were hit (DR6).
const STATUS: usize = 6;
/// Which watchpoints are on, and for what (DR7).
const CONTROL: usize = 7;
/// In the control register: stores (01) to 8 bytes (10).
const STORE_OF_A_WORD: u64 = 0b1001;
/// In the control register: loads and stores (11) of 8 bytes (10). There are none for loads alone.
const ACCESS_TO_A_WORD: u64 = 0b1011;
/// Where these four bits stand for the first watchpoint.
const CONDITIONS_AT: usize = 16;

/// A word that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Where it is; a multiple of 8.
    pub address: Address,
    /// Whether loads of it count, too.
    pub loads: bool,
}

impl Traced {
    /// Stops the thread from now on after each access to one of these words, of which at most four are watched.
    ///
    /// # Errors
    /// [`TraceError::NoWatchpoints`].
    pub fn watch(&mut self, words: &[Watched]) -> Result<(), TraceError> {
        self.unwatch()?;
        let mut control = 0;
        for (index, &Watched { address, loads }) in words.iter().take(WATCHPOINTS).enumerate() {
            self.set_debug_register(index, address)?;
            let condition = if loads { ACCESS_TO_A_WORD } else { STORE_OF_A_WORD };
            control |= 1 << (2 * index) | condition << (CONDITIONS_AT + 4 * index);
        }
        self.set_debug_register(CONTROL, control)?;
        self.watched = true;
        Ok(())
    }

    /// Stops it no more.
    ///
    /// # Errors
    /// The thread is not stopped, or has ended.
    pub fn unwatch(&mut self) -> Result<(), TraceError> {
        if std::mem::take(&mut self.watched) {
            self.set_debug_register(CONTROL, 0)?;
        }
        Ok(())
    }

    /// Which of the watched words were accessed since this was asked last, as a set of bits.
    ///
    /// # Errors
    /// The thread is not stopped, or has ended.
    pub fn watchpoints_hit(&mut self) -> Result<u64, TraceError> {
        let status = ptrace::read_user(self.thread, offset(STATUS))
            .map_err(|errno| self.error("read the debug registers of", errno))?;
        let hit = status.cast_unsigned() & ((1 << WATCHPOINTS) - 1);
        if hit != 0 {
            self.set_debug_register(STATUS, 0)?;
        }
        Ok(hit)
    }

    fn set_debug_register(&mut self, number: usize, value: u64) -> Result<(), TraceError> {
        ptrace::write_user(self.thread, offset(number), value.cast_signed()).map_err(|errno| match errno {
            Errno::ESRCH => self.error("set the debug registers of", errno),
            errno => TraceError::NoWatchpoints { thread: self.thread.as_raw(), why: errno.to_string() },
        })
    }
}

/// Where the kernel has a debug register in `struct user`.
fn offset(number: usize) -> ptrace::AddressType {
    std::ptr::without_provenance_mut(offset_of!(libc::user, u_debugreg) + number * size_of::<c_long>())
}
