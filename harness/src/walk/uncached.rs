//! The walker without a cache: it copies the data stack, follows the chain, and writes nothing.

use crate::memory::{Address, RemoteMemory};
use crate::sample::{Lookup, Provenance, WalkerKind};
use crate::walk::chain::{DEPTH_LIMIT, End, Known, follow_knowing};
use crate::walk::chunks::Chunks;
use crate::walk::code::Decoder;
use crate::walk::rejection::Rejection;
use crate::walk::thread_state::{ThreadState, Window};
use crate::walk::walker::{Site, ThreadWalk, Unsupported, Walked, decode, read_thread};

/// See the module. On a running target its stacks can be torn: the frames are read at different times.
pub struct UncachedWalker {
    site: Site,
    as_cpython: bool,
    decoder: Decoder,
}

impl UncachedWalker {
    /// A walker for any supported build.
    ///
    /// # Errors
    /// The layout cannot be walked.
    pub fn new(site: Site) -> Result<Self, Unsupported> {
        site.layout.walkable()?;
        Ok(Self { site, as_cpython: false, decoder: Decoder::new(site.layout) })
    }

    /// The same walker in what CPython's unwinder does otherwise: it reads the address of the newest chunk anew, with the
    /// page that the thread state is in, and takes chains as [`Chain::as_cpython`] has it.
    ///
    /// [`Chain::as_cpython`]: super::chain::Chain::as_cpython
    #[must_use]
    pub fn as_cpython(self) -> Self {
        Self { as_cpython: true, ..self }
    }

    fn frames(&mut self, memory: &mut dyn RemoteMemory, thread: &ThreadState) -> Result<Walked, Rejection> {
        if thread.current_frame == 0 {
            return Err(Rejection::Empty);
        }
        let newest = if self.as_cpython {
            Window::new(&self.site.layout).read(memory, &self.site.layout, thread.address)?
        } else {
            *thread
        };
        let chunks = Chunks::copy(memory, newest.datastack_chunk)?;
        let known = Known { chunks: Some(&chunks), frame: None, starts_with_python: self.as_cpython };
        let layout = &self.site.layout;
        let chain = follow_knowing(memory, layout, thread, known, thread.current_frame, None, DEPTH_LIMIT)?;
        if chain.end != End::Base {
            return Err(chain.not_at_base(thread));
        }
        let chain = if self.as_cpython { chain.as_cpython()? } else { chain };
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
