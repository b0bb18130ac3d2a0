//! A digest that is the same on every machine and in every process.

/// FNV-1a over 64 bits. It distinguishes runs and need not resist attacks.
///
/// The standard library's hashers are not used: they may change between releases, but digests may be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    /// Adds bytes. Their length is not included. Add it if the bytes of two fields could be confused.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self
    }

    /// Adds a number as 8 little-endian bytes.
    #[must_use]
    pub fn word(self, word: u64) -> Self {
        self.bytes(&word.to_le_bytes())
    }

    /// Adds a text and its length.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        self.word(text.len() as u64).bytes(text.as_bytes())
    }

    /// The digest of everything added so far.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_fnv() {
        // The published test vectors of FNV-1a.
        assert_eq!(Digest::default().value(), 0xcbf2_9ce4_8422_2325);
        assert_eq!(Digest::default().bytes(b"a").value(), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(Digest::default().bytes(b"foobar").value(), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn adjacent_texts_are_separated() {
        let of = |texts: [&str; 2]| texts.iter().fold(Digest::default(), |digest, text| digest.text(text)).value();
        assert_ne!(of(["ab", "c"]), of(["a", "bc"]));
    }
}
