//! Reads the stack of a stopped target.

use std::sync::Arc;

use framewalk::chain::DEPTH_LIMIT;
use framewalk::code::{CodeGeneration, Decoder, Lines};
use framewalk::frame::Frame;
use framewalk::memory::{Address, RemoteMemory, Segment};
use framewalk::raw_frame::RawFrame;
use framewalk::rejection::Rejection;
use framewalk::stack::Stack;
use framewalk::walker::Site;
use model::schedule::event::ChainFrame;
use model::schedule::fingerprint::LeafKind;

use crate::leaf;

/// The state of the chain between two stores to `current_frame`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The chain, leaf first, including the base frame and shim frames.
    pub chain: Vec<ChainFrame>,
    /// The stack. The leaf's position is the one at the beginning: the leaf moves on without a store.
    pub stack: Stack,
    /// The lines that the leaf can move to.
    pub leaf_lines: Lines,
    /// The kind of the leaf. It may be a shim frame, which is not in the stack.
    pub leaf: LeafKind,
}

/// Reads the chain of one thread whenever its current frame has changed. It caches nothing but decoded code objects.
pub(super) struct TruthReader {
    site: Site,
    decoder: Decoder,
    /// The addresses of the last chain. Most of them are also in the next one, so they are read in one call.
    last: Vec<Address>,
}

impl TruthReader {
    pub(super) fn new(site: Site) -> Self {
        Self { site, decoder: Decoder::new(site.layout), last: Vec::new() }
    }

    /// Reads and decodes the chain from `current` to `base`, with the code objects of `interpreter`. The target must be
    /// stopped.
    pub(super) fn look(
        &mut self,
        memory: &mut dyn RemoteMemory,
        interpreter: Address,
        current: Address,
        base: Option<Address>,
    ) -> Result<(Vec<RawFrame>, Moment), Rejection> {
        self.decoder.enter(CodeGeneration::read(memory, &self.site.layout, interpreter));
        let links = self.chain(memory, current)?;
        let last = links.last().map_or(0, |frame| frame.address);
        if base.is_some_and(|base| base != last) {
            return Err(Rejection::NotAtBase { base: base.unwrap_or(0), last });
        }
        let mut chain = Vec::with_capacity(links.len());
        let mut frames: Vec<Frame> = Vec::with_capacity(links.len());
        for raw in &links {
            let frame = if raw.is_python() { Some(self.decoder.frame(memory, raw)?) } else { None };
            let frame = frame.map(Arc::unwrap_or_clone);
            frames.extend(frame.clone());
            chain.push(ChainFrame { address: raw.address, frame });
        }
        let leaf = links.iter().find(|raw| raw.is_python()).ok_or(Rejection::Empty)?;
        let leaf_lines = self.decoder.lines(memory, leaf.code)?;
        let leaf = leaf::kind(memory, &mut self.decoder, links.first())?;
        self.decoder.keep();
        Ok((links, Moment { chain, stack: frames.into(), leaf_lines, leaf }))
    }

    fn chain(&mut self, memory: &mut dyn RemoteMemory, current: Address) -> Result<Vec<RawFrame>, Rejection> {
        let layout = &self.site.layout;
        let mut guessed = std::mem::take(&mut self.last);
        match guessed.iter().position(|&address| address == current) {
            Some(position) => drop(guessed.drain(..position)),
            None => guessed.insert(0, current),
        }
        let size = RawFrame::buffer(layout).len();
        let mut bytes = vec![0; size * guessed.len()];
        let mut segments: Vec<Segment<'_>> = guessed
            .iter()
            .zip(bytes.chunks_exact_mut(size.max(1)))
            .map(|(&address, buffer)| Segment { address, buffer })
            .collect();
        let filled = memory.read_vectored(&mut segments)?;
        let mut read = guessed.iter().zip(bytes.chunks_exact(size.max(1))).take(filled).peekable();
        let mut links: Vec<RawFrame> = Vec::with_capacity(guessed.len());
        let mut next = current;
        while next != 0 {
            if links.len() == DEPTH_LIMIT {
                return Err(Rejection::TooDeep(DEPTH_LIMIT));
            }
            // A guess is used while the chain follows it. From the first frame that does not match, frames are read one by one.
            let frame = match read.peek() {
                Some(&(&address, bytes)) if address == next => {
                    read.next();
                    RawFrame::parse(layout, address, bytes)?
                }
                _ => RawFrame::read(memory, layout, next)?,
            };
            links.push(frame);
            next = frame.previous;
        }
        self.last = links.iter().map(|frame| frame.address).collect();
        Ok(links)
    }
}
