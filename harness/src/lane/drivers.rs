//! CPython's unwinders, kept from cell to cell: starting an interpreter for each would cost more than the cell.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::lane::cell::{Cell, Cut};
use crate::target::unwinder::Unwinder;

/// The idle drivers, by interpreter. Each is lent for a session and opened anew for it.
#[derive(Default)]
pub struct Drivers {
    idle: HashMap<PathBuf, Vec<Unwinder>>,
}

impl Drivers {
    /// An unwinder of the cell's own build, open on `pid`.
    ///
    /// # Errors
    /// The driver does not start, or `RemoteUnwinder` refuses the process.
    pub fn open(&mut self, cell: &Cell<'_>, pid: i32, cache: bool) -> Result<Unwinder, Cut> {
        let python = &cell.row.build.python;
        let mut unwinder = match self.idle.get_mut(python).and_then(Vec::pop) {
            Some(unwinder) => unwinder,
            None => Unwinder::start(python, cell.patience())?,
        };
        unwinder.open(pid, cache, cell.patience())?;
        Ok(unwinder)
    }

    /// Takes an unwinder back. One that no longer answers is dropped, which ends its process.
    pub fn give_back(&mut self, cell: &Cell<'_>, mut unwinder: Unwinder) {
        if unwinder.close(cell.patience()).is_ok() {
            self.idle.entry(cell.row.build.python.clone()).or_default().push(unwinder);
        }
    }
}
