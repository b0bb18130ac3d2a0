//! An image that is damaged for a case and restored afterwards. Cloning it for each case would cost more than the walk.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::{Deref, DerefMut};

use framewalk::memory::image::Image;
use framewalk::memory::{Address, MemoryError, RemoteMemory};

use super::recorded::{Loaded, Recorded};

/// An image with an undo log.
#[derive(Debug)]
pub(super) struct ScratchImage {
    image: Image,
    undo: Vec<Undo>,
}

#[derive(Debug)]
enum Undo {
    Bytes(Address, Vec<u8>),
    Word(Address, [u8; 8]),
    Range(Address, Vec<u8>),
    Mapped(Address),
}

impl ScratchImage {
    /// Overwrites bytes if they are mapped.
    pub(super) fn patch(&mut self, address: Address, bytes: &[u8]) -> Option<()> {
        let there = self.image.get_mut(address, bytes.len())?;
        self.undo.push(match there.first_chunk() {
            Some(word) if bytes.len() == 8 => Undo::Word(address, *word),
            _ => Undo::Bytes(address, there.to_vec()),
        });
        there.copy_from_slice(bytes);
        Some(())
    }

    /// Writes a word where the image may have nothing.
    pub(super) fn map_word(&mut self, address: Address, word: u64) {
        if self.patch(address, &word.to_le_bytes()).is_none() {
            self.map(address, word.to_le_bytes().to_vec());
        }
    }

    /// Maps bytes where the image has nothing.
    pub(super) fn map(&mut self, address: Address, bytes: Vec<u8>) {
        self.image.map(address, bytes);
        self.undo.push(Undo::Mapped(address));
    }

    /// Unmaps the range that starts at `address`.
    pub(super) fn drop_range(&mut self, address: Address) {
        if let Some(bytes) = self.image.unmap(address) {
            self.undo.push(Undo::Range(address, bytes));
        }
    }

    /// Restores the recorded bytes and mappings.
    pub(super) fn restore(&mut self) {
        while let Some(undo) = self.undo.pop() {
            let (address, bytes): (_, &[u8]) = match &undo {
                Undo::Bytes(address, bytes) => (*address, bytes),
                Undo::Word(address, word) => (*address, word),
                Undo::Range(address, _) | Undo::Mapped(address) => (*address, &[]),
            };
            if let Some(there) = self.image.get_mut(address, bytes.len()) {
                there.copy_from_slice(bytes);
            }
            match undo {
                Undo::Range(address, bytes) => self.image.map(address, bytes),
                Undo::Mapped(address) => drop(self.image.unmap(address)),
                Undo::Bytes(..) | Undo::Word(..) => {}
            }
        }
    }
}

impl Deref for ScratchImage {
    type Target = Image;

    fn deref(&self) -> &Image {
        &self.image
    }
}

impl RemoteMemory for ScratchImage {
    fn read(&mut self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        self.image.read(address, buffer)
    }

    fn write(&mut self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
        let length = bytes.len();
        self.patch(address, bytes).ok_or(MemoryError::Unmapped { action: "write", address, length })
    }
}

thread_local! {
    static SHEETS: RefCell<HashMap<(Recorded, usize), ScratchImage>> = RefCell::default();
}

/// A borrowed sheet. It is restored and returned even if the check panics.
pub(super) struct Borrowed {
    key: (Recorded, usize),
    sheet: Option<ScratchImage>,
}

impl Borrowed {
    /// Borrows the recorded image of a stop.
    pub(super) fn new(recorded: Recorded, stop: usize) -> Self {
        let key = (recorded, stop);
        let kept = SHEETS.with_borrow_mut(|sheets| sheets.remove(&key));
        let sheet = kept.unwrap_or_else(|| {
            let Loaded { snapshot, .. } = recorded.loaded();
            ScratchImage { image: snapshot.stops[stop].image.clone(), undo: Vec::new() }
        });
        Self { key, sheet: Some(sheet) }
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if let Some(mut sheet) = self.sheet.take() {
            sheet.restore();
            SHEETS.with_borrow_mut(|sheets| sheets.insert(self.key, sheet));
        }
    }
}

impl Deref for Borrowed {
    type Target = ScratchImage;

    fn deref(&self) -> &ScratchImage {
        self.sheet.as_ref().unwrap_or_else(|| unreachable!("it is there until the drop"))
    }
}

impl DerefMut for Borrowed {
    fn deref_mut(&mut self) -> &mut ScratchImage {
        self.sheet.as_mut().unwrap_or_else(|| unreachable!("it is there until the drop"))
    }
}

#[cfg(test)]
#[test]
fn a_scratch_image_is_restored_after_every_loan() {
    for recorded in Recorded::all() {
        let original = &recorded.loaded().snapshot.stops[0].image;
        let ranges: Vec<Address> = original.ranges().map(|(address, _)| address).collect();
        let mut sheet = Borrowed::new(recorded, 0);
        for &address in &ranges {
            sheet.patch(address, &[1; 8]);
            sheet.patch(address + 1, &[2, 3]);
        }
        sheet.map_word(0x10, 7);
        assert_eq!(sheet.get(0x10, 8), Some(&7_u64.to_le_bytes()[..]));
        for &address in &ranges {
            sheet.drop_range(address);
        }
        assert_eq!(sheet.ranges().len(), 1);
        drop(sheet);
        assert_eq!(**Borrowed::new(recorded, 0), *original, "{}", recorded.name());
    }
}
