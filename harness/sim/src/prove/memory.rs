//! What a walker remembers from one sample to the next: its cache and, where code objects are freed, what it learnt of them.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use framewalk::cache::FrameCache;
use framewalk::code::{Decoder, KnownCode};
use framewalk::walker::CachingWalker;

/// What a walker learnt of code objects.
#[derive(Clone)]
pub struct Codes {
    decoder: Arc<Decoder>,
    /// All that tells it from another one.
    known: Vec<KnownCode>,
}

impl PartialEq for Codes {
    fn eq(&self, other: &Self) -> bool {
        self.known == other.known
    }
}

impl Eq for Codes {}

impl Hash for Codes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.known.hash(state);
    }
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Memory {
    /// The cache.
    pub cache: FrameCache,
    /// None in programs that free no code object: there what a walker learnt stays right.
    pub codes: Option<Codes>,
}

impl Codes {
    /// Those of a walker.
    #[must_use]
    pub fn of(walker: &dyn CachingWalker) -> Self {
        let decoder = walker.decoder();
        Self { known: decoder.knowledge(), decoder: Arc::new(decoder.clone()) }
    }
}

impl Memory {
    /// Puts it into a walker.
    pub fn restore(&self, walker: &mut dyn CachingWalker) {
        walker.set_cache(self.cache.clone());
        if let Some(codes) = &self.codes {
            walker.set_decoder(Decoder::clone(&codes.decoder));
        }
    }
}
