//! Hardware watchpoints: a thread stops right after it accesses a watched word (x86-64).

use std::ffi::c_long;
use std::mem::offset_of;

use framewalk::memory::Address;
use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace;

use super::{TraceError, Traced};

/// Number of words that can be watched.
pub(super) const WATCHPOINTS: usize = 4;

/// DR6: which watchpoints were hit.
const STATUS: usize = 6;
/// DR7: which watchpoints are enabled, and for which accesses.
const CONTROL: usize = 7;
/// DR7 bits of one watchpoint: stores (01) to 8 bytes (10).
const STORE_OF_A_WORD: u64 = 0b1001;
/// DR7 bits of one watchpoint: loads and stores (11) of 8 bytes (10). The hardware cannot watch loads alone.
const ACCESS_TO_A_WORD: u64 = 0b1011;
/// Position of these four bits for the first watchpoint.
const CONDITIONS_AT: usize = 16;

/// A word of 8 bytes to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Its address, a multiple of 8.
    pub address: Address,
    /// Whether to stop at loads too.
    pub loads: bool,
}

impl Traced {
    /// From now on, the thread stops after each access to one of these words. At most four are watched.
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

    /// Removes all watchpoints of the thread.
    ///
    /// # Errors
    /// The thread is not stopped, or has ended.
    pub fn unwatch(&mut self) -> Result<(), TraceError> {
        if std::mem::take(&mut self.watched) {
            self.set_debug_register(CONTROL, 0)?;
        }
        Ok(())
    }

    /// The watched words that were accessed since the last call, as a bit set.
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

/// Offset of a debug register in the kernel's `struct user`.
fn offset(number: usize) -> ptrace::AddressType {
    std::ptr::without_provenance_mut(offset_of!(libc::user, u_debugreg) + number * size_of::<c_long>())
}
