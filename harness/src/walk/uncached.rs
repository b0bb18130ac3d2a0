//! The walker without a cache: it copies the data stack, follows the chain, and writes nothing.

use crate::memory::{Address, RemoteMemory};
use crate::sample::{Lookup, Provenance, WalkerKind};
use crate::walk::chain::{DEPTH_LIMIT, End, follow};
use crate::walk::chunks::Chunks;
use crate::walk::code::Decoder;
use crate::walk::rejection::Rejection;
use crate::walk::thread_state::ThreadState;
use crate::walk::walker::{Site, ThreadWalk, Unsupported, Walked, decode, read_thread};

/// See the module. On a running target its stacks can be torn: the frames are read at different times.
pub struct UncachedWalker {
    site: Site,
    decoder: Decoder,
}

impl UncachedWalker {
    /// A walker for any supported build.
    ///
    /// # Errors
    /// The layout cannot be walked.
    pub fn new(site: Site) -> Result<Self, Unsupported> {
        site.layout.walkable()?;
        Ok(Self { site, decoder: Decoder::new(site.layout) })
    }

    fn frames(&mut self, memory: &mut dyn RemoteMemory, thread: &ThreadState) -> Result<Walked, Rejection> {
        if thread.current_frame == 0 {
            return Err(Rejection::Empty);
        }
        let chunks = Chunks::copy(memory, thread.datastack_chunk)?;
        let chain = follow(memory, &self.site.layout, thread, Some(&chunks), thread.current_frame, None, DEPTH_LIMIT)?;
        if chain.end != End::Base {
            return Err(chain.not_at_base(thread));
        }
        let frames = decode(memory, &mut self.decoder, chain.python())?;
        if frames.is_empty() {
            return Err(Rejection::Empty);
        }
        Ok(Walked { frames, provenance: Provenance { lookup: Lookup::Uncached, from_cache: 0 } })
    }
}

impl ThreadWalk for UncachedWalker {
    const KIND: WalkerKind = WalkerKind::OwnUncached;

    fn site(&self) -> &Site {
        &self.site
    }

    fn walk(&mut self, memory: &mut dyn RemoteMemory, thread: Address) -> (ThreadState, Result<Walked, Rejection>) {
        match read_thread(memory, &self.site, thread) {
            Ok(state) => {
                let walked = self.frames(memory, &state);
                if walked.is_ok() {
                    self.decoder.keep();
                } else {
                    self.decoder.forget_fresh();
                }
                (state, walked)
            }
            Err((state, rejection)) => (state, Err(rejection)),
        }
    }

    fn sweep(&mut self, _threads: &[ThreadState]) {}
}
