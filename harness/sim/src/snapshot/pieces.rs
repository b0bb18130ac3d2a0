//! Images as lists of pieces. Equal pieces are stored once, because successive stops differ little.

use std::collections::HashMap;

use framewalk::memory::Address;
use framewalk::memory::image::Image;
use serde::{Deserialize, Serialize};

/// Pieces begin at multiples of this address, so that a change moves no other piece.
const PIECE: u64 = 256;
/// Files with more ranges in an image are rejected.
const RANGE_LIMIT: usize = 1 << 16;
/// Files with more bytes in all images of a snapshot together are rejected.
pub(super) const MAPPED_LIMIT: usize = 128 << 20;

/// A range of an image, as indices of its pieces.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Range {
    address: Address,
    pieces: Vec<u32>,
}

/// The distinct pieces of a snapshot that is being written: their lengths, and their bytes end to end.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    numbers: HashMap<Vec<u8>, u32>,
    pub(super) lengths: Vec<u16>,
    pub(super) bytes: Vec<u8>,
}

impl Cutter {
    /// Cuts an image into pieces.
    pub(super) fn cut(&mut self, image: &Image) -> Vec<Range> {
        let cut_one = |(address, bytes): (Address, &[u8])| {
            let to_border = usize::try_from(PIECE - address % PIECE).unwrap_or(usize::MAX);
            let (first, rest) = bytes.split_at(to_border.min(bytes.len()));
            let pieces = std::iter::once(first).chain(rest.chunks(PIECE as usize));
            Range { address, pieces: pieces.map(|piece| self.number(piece)).collect() }
        };
        image.ranges().map(cut_one).collect()
    }

    fn number(&mut self, piece: &[u8]) -> u32 {
        if let Some(&number) = self.numbers.get(piece) {
            return number;
        }
        let number = u32::try_from(self.lengths.len()).unwrap_or(u32::MAX);
        self.numbers.insert(piece.to_vec(), number);
        self.lengths.push(u16::try_from(piece.len()).unwrap_or(u16::MAX));
        self.bytes.extend_from_slice(piece);
        number
    }
}

/// The pieces of a snapshot that is being read.
pub(super) struct Gluer<'a> {
    pieces: Vec<&'a [u8]>,
    /// Number of bytes that the remaining images may have.
    left: usize,
}

impl<'a> Gluer<'a> {
    /// Splits `bytes` into pieces. Fails if the lengths do not match.
    pub(super) fn new(lengths: &[u16], mut bytes: &'a [u8]) -> Result<Self, String> {
        let mut pieces = Vec::with_capacity(lengths.len());
        for &length in lengths {
            let (piece, rest) =
                bytes.split_at_checked(usize::from(length)).ok_or("its pieces are longer than its bytes")?;
            pieces.push(piece);
            bytes = rest;
        }
        if !bytes.is_empty() {
            return Err("its pieces are shorter than its bytes".into());
        }
        Ok(Self { pieces, left: MAPPED_LIMIT })
    }

    /// Assembles an image from its pieces.
    pub(super) fn glue(&mut self, ranges: &[Range]) -> Result<Image, String> {
        if ranges.len() > RANGE_LIMIT {
            return Err(format!("an image has more than {RANGE_LIMIT} ranges"));
        }
        let mut image = Image::default();
        let mut free_from = 0;
        for range in ranges {
            let mut bytes = Vec::new();
            for &number in &range.pieces {
                let piece = usize::try_from(number).ok().and_then(|number| self.pieces.get(number));
                let piece = piece.ok_or("an image refers to a missing piece")?;
                self.left = self
                    .left
                    .checked_sub(piece.len())
                    .ok_or_else(|| format!("its images are larger than {} MiB", MAPPED_LIMIT >> 20))?;
                bytes.extend_from_slice(piece);
            }
            let end = range.address.checked_add(bytes.len() as u64);
            let end = end.filter(|_| range.address >= free_from && !bytes.is_empty());
            free_from =
                end.ok_or_else(|| format!("the range at {:#x} is empty or overlaps another one", range.address))?;
            image.map(range.address, bytes);
        }
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(ranges: &[(Address, Vec<u8>)]) -> Image {
        let mut image = Image::default();
        for (address, bytes) in ranges {
            image.map(*address, bytes.clone());
        }
        image
    }

    #[test]
    fn images_round_trip_and_equal_pieces_are_stored_once() {
        let mut random: Vec<u8> = (0..4000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let first = image(&[(0x1030, random.clone()), (0x9000, vec![0; 10_000])]);
        random[777] ^= 1;
        let second = image(&[(0x1030, random)]);
        let mut cutter = Cutter::default();
        let cut = [cutter.cut(&first), cutter.cut(&second)];
        assert!(cutter.bytes.len() <= 4000 + 2 * 256 + 16, "{}", cutter.bytes.len());
        let mut gluer = Gluer::new(&cutter.lengths, &cutter.bytes).unwrap();
        assert_eq!(gluer.glue(&cut[0]), Ok(first));
        assert_eq!(gluer.glue(&cut[1]), Ok(second));
    }

    #[test]
    fn invalid_pieces_are_refused() {
        assert!(Gluer::new(&[4], &[1, 2, 3]).is_err());
        assert!(Gluer::new(&[2], &[1, 2, 3]).is_err());
        let range = |address, pieces: &[u32]| Range { address, pieces: pieces.to_vec() };
        let big = [u16::MAX];
        let bytes = vec![0; usize::from(u16::MAX)];
        let glue = |ranges: &[Range]| Gluer::new(&big, &bytes).unwrap().glue(ranges).map(drop);
        assert_eq!(glue(&[range(0x1000, &[0]), range(0x1000 + 65_535, &[0])]), Ok(()));
        for bad in [
            vec![range(0x1000, &[0]), range(0x2000, &[0])],
            vec![range(0x2_0000, &[0]), range(0, &[0])],
            vec![range(u64::MAX - 9, &[0])],
            vec![range(0, &[])],
            vec![range(0, &[1])],
            vec![range(0, &[0].repeat(2 + MAPPED_LIMIT / 65_535))],
        ] {
            assert!(glue(&bad).is_err(), "{:x?}", bad.first());
        }
    }
}
