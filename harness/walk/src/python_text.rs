//! `PyUnicodeObject`: reading function and file names.

use std::sync::Arc;

use crate::layout::CodeLayout;
use crate::memory::{Address, RemoteMemory};
use crate::rejection::Rejection;
use crate::thread_state::word;

/// Longest accepted text, in characters.
pub const LENGTH_LIMIT: u64 = 1 << 20;

/// The state word from `kind` on: three bits of it, then `compact` and `ascii`.
struct State(u32);

impl State {
    fn width(&self) -> usize {
        usize::try_from(self.0 & 7).unwrap_or(0)
    }
    fn is_compact(&self) -> bool {
        self.0 & (1 << 3) != 0
    }
    fn is_ascii(&self) -> bool {
        self.0 & (1 << 4) != 0
    }
}

/// Decodes characters of `width` bytes each. Lone surrogates, which Python allows, become U+FFFD. Returns `None` if
/// `width` is not 1, 2 or 4, or a code point is out of range.
#[must_use]
pub fn decode(bytes: &[u8], width: usize) -> Option<String> {
    if width == 1 && bytes.is_ascii() {
        // Fast path: nearly all text is ASCII.
        return str::from_utf8(bytes).ok().map(str::to_owned);
    }
    let code_points: Vec<u32> = match width {
        1 => bytes.iter().map(|&byte| u32::from(byte)).collect(),
        2 => bytes.as_chunks().0.iter().map(|unit| u32::from(u16::from_le_bytes(*unit))).collect(),
        4 => bytes.as_chunks().0.iter().map(|unit| u32::from_le_bytes(*unit)).collect(),
        _ => return None,
    };
    code_points
        .into_iter()
        .map(|point| match point {
            0xd800..=0xdfff => Some(char::REPLACEMENT_CHARACTER),
            _ => char::from_u32(point),
        })
        .collect()
}

/// Reads the text object at `address`. `code` is the code object that refers to it; errors name it.
///
/// # Errors
/// [`Rejection::BadCode`] if the object is not compact text of accepted length, [`Rejection::Unreadable`] if a read
/// fails.
pub fn read(
    memory: &mut dyn RemoteMemory,
    layout: &CodeLayout,
    code: Address,
    address: Address,
) -> Result<Arc<str>, Rejection> {
    let bad = |why: String| Rejection::BadCode { code, why };
    let mut header = vec![0; usize::try_from(layout.ascii_data).unwrap_or(0)];
    memory.read(address, &mut header)?;
    let field = |offset: u64| usize::try_from(offset).ok().and_then(|offset| word(&header, offset));
    let (Some(length), Some(state)) = (field(layout.text_length), state(&header, layout)) else {
        return Err(bad("the text header is shorter than its fields".into()));
    };
    let width = if state.is_ascii() { 1 } else { state.width() };
    if !state.is_compact() || !matches!(width, 1 | 2 | 4) || length > LENGTH_LIMIT {
        return Err(bad(format!(
            "{address:#x} is not a text object: state {:#x} from its kind on, length {length}",
            state.0
        )));
    }
    let start = if state.is_ascii() { layout.ascii_data } else { layout.compact_data };
    let mut data = vec![0; usize::try_from(length).unwrap_or(0) * width];
    memory.read(address.wrapping_add(start), &mut data)?;
    let text = decode(&data, width).filter(|text| !state.is_ascii() || text.is_ascii());
    text.map(Into::into)
        .ok_or_else(|| bad(format!("the text at {address:#x} does not have the encoding that its state says")))
}

fn state(header: &[u8], layout: &CodeLayout) -> Option<State> {
    let bytes = header.get(usize::try_from(layout.text_state).ok()?..)?.first_chunk()?;
    Some(State(u32::from_le_bytes(*bytes).checked_shr(layout.text_kind_bit.into())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::release_3_15_2::LAYOUT;
    use crate::memory::image::Image;

    #[test]
    fn all_widths_decode() {
        assert_eq!(decode(b"caf\xe9", 1).as_deref(), Some("café"));
        assert_eq!(decode(&[0x32, 0x04, 0x00, 0xd8], 2).as_deref(), Some("в\u{fffd}"));
        assert_eq!(decode(&[0x00, 0x00, 0x02, 0x00], 4).as_deref(), Some("𠀀"));
        assert_eq!(decode(&[0x00, 0x00, 0x11, 0x00], 4), None);
        assert_eq!(decode(b"abc", 3), None);
    }

    /// The text object that CPython would create for `data`.
    fn read_as(state: u32, start: usize, length: u64, data: &[u8]) -> Result<Arc<str>, Rejection> {
        let layout = LAYOUT.code;
        let mut object = vec![0; start];
        object[16..24].copy_from_slice(&length.to_le_bytes());
        object[32..36].copy_from_slice(&state.to_le_bytes());
        object.extend_from_slice(data);
        let mut image = Image::default();
        image.map(0x100, object);
        read(&mut image, &layout, 0x42, 0x100)
    }

    const COMPACT: u32 = 1 << 5;
    const ASCII: u32 = 1 << 6;
    /// Interned, and another bit that does not affect the representation.
    const OTHER: u32 = 3 | 1 << 7;

    #[test]
    fn text_objects_are_decoded_by_their_state() {
        let text = |width: u32, start, length, data: &[u8]| {
            read_as(OTHER | width << 2 | COMPACT, start, length, data).unwrap()
        };
        assert_eq!(&*read_as(OTHER | 1 << 2 | COMPACT | ASCII, 40, 4, b"name, and no more").unwrap(), "name");
        assert_eq!(&*text(1, 56, 4, b"caf\xe9"), "café");
        assert_eq!(&*text(2, 56, 2, &[0x32, 0x04, b'a', 0]), "вa");
        assert_eq!(&*text(4, 56, 1, &[0, 0, 2, 0]), "𠀀");
    }

    #[test]
    fn objects_that_are_not_text_are_refused() {
        for (state, start, length, data) in [
            (1 << 2 | ASCII, 40, 1, &b"a"[..]),
            (1 << 2, 56, 1, b"a"),
            (COMPACT, 56, 1, b"a"),
            (3 << 2 | COMPACT, 56, 1, b"abc"),
            (1 << 2 | COMPACT | ASCII, 40, 4, b"caf\xe9"),
            (4 << 2 | COMPACT, 56, 1, &[0, 0, 0x11, 0]),
        ] {
            let refused = read_as(state, start, length, data);
            assert!(matches!(refused, Err(Rejection::BadCode { code: 0x42, .. })), "{state:#x}: {refused:?}");
        }
    }

    #[test]
    fn the_length_of_a_name_is_limited() {
        let long = vec![b'a'; usize::try_from(LENGTH_LIMIT).unwrap() + 1];
        let of = |length| read_as(1 << 2 | COMPACT | ASCII, 40, length, &long);
        assert_eq!(of(LENGTH_LIMIT).map(|text| text.len() as u64), Ok(LENGTH_LIMIT));
        assert!(matches!(of(LENGTH_LIMIT + 1), Err(Rejection::BadCode { .. })));
        assert_eq!(LENGTH_LIMIT, 1_048_576);
    }
}
