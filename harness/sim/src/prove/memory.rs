//! A walker's memory between samples: its cache and, in programs that free code objects, the code objects it has
//! decoded.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use framewalk::cache::FrameCache;
use framewalk::code::{Decoder, KnownCode};
use framewalk::walker::CachingWalker;

/// The code objects that a walker has decoded.
#[derive(Clone)]
pub struct KnownCodes {
    decoder: Arc<Decoder>,
    /// Everything that distinguishes it from others.
    known: Vec<KnownCode>,
}

impl PartialEq for KnownCodes {
    fn eq(&self, other: &Self) -> bool {
        self.known == other.known
    }
}

impl Eq for KnownCodes {}

impl Hash for KnownCodes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.known.hash(state);
    }
}

/// A walker's memory between samples.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Memory {
    /// The stacks that it has stored.
    pub cache: FrameCache,
    /// `None` in programs that free no code objects: there, decoded code objects stay valid.
    pub codes: Option<KnownCodes>,
}

impl KnownCodes {
    /// The code objects that `walker` has decoded.
    #[must_use]
    pub fn of(walker: &dyn CachingWalker) -> Self {
        let decoder = walker.decoder();
        Self { known: decoder.knowledge(), decoder: Arc::new(decoder.clone()) }
    }
}

impl Memory {
    /// Restores this memory in a walker.
    pub fn restore(&self, walker: &mut dyn CachingWalker) {
        walker.set_cache(self.cache.clone());
        if let Some(codes) = &self.codes {
            walker.set_decoder(Decoder::clone(&codes.decoder));
        }
    }
}
