//! A second implementation that reads the chains in an image. Checks use it: it is short, returns no errors, and shares
//! no code with the walkers.

use framewalk::memory::Address;
use framewalk::memory::image::Image;
use framewalk::walker::Site;

/// No image has longer lists or chains, except for a cycle that was missed.
const LIMIT: usize = 1 << 17;

/// Reads words of an image.
pub(super) struct Reader<'a>(pub(super) &'a Image);

impl Reader<'_> {
    pub(super) fn word(&self, address: Address) -> Option<u64> {
        Some(u64::from_le_bytes(self.0.get(address, 8)?.try_into().ok()?))
    }
}

/// One frame of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) address: Address,
    pub(super) code: Address,
    pub(super) instr_ptr: Address,
    pub(super) is_python: bool,
}

/// The chain of one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) state: Address,
    pub(super) native_thread_id: u64,
    /// All frames from the current one on, as far as the chain can be followed.
    pub(super) links: Vec<Link>,
    /// Whether the last frame is the base frame.
    pub(super) at_base: bool,
}

impl Chain {
    /// Addresses of the frames that run Python code.
    pub(super) fn python(&self) -> impl Iterator<Item = Address> + '_ {
        self.links.iter().filter(|link| link.is_python).map(|link| link.address)
    }
}

/// Whether a list with the visited items `before` continues at `next` in a cycle. Floyd's algorithm: the item at half
/// the length is the tortoise.
fn loops<T>(before: &[T], address: impl Fn(&T) -> Address, next: Address) -> bool {
    before.len() > LIMIT || before.get(before.len() / 2).is_some_and(|it| address(it) == next)
}

/// The thread states that the lists of the image lead to, as far as they can be followed.
pub(super) fn states(image: &Image, site: &Site) -> Vec<Address> {
    let reader = Reader(image);
    let layout = &site.layout;
    let mut found = Vec::new();
    let mut interpreters: Vec<Address> = Vec::new();
    let mut interpreter = reader.word(site.runtime.wrapping_add(layout.interpreters_head));
    while let Some(address) = interpreter.filter(|&it| it != 0 && !loops(&interpreters, |&it| it, it)) {
        interpreters.push(address);
        let mut threads: Vec<Address> = Vec::new();
        let mut thread = reader.word(address.wrapping_add(layout.interpreter.threads_head));
        while let Some(state) = thread.filter(|&it| it != 0 && !loops(&threads, |&it| it, it)) {
            threads.push(state);
            thread = reader.word(state.wrapping_add(layout.thread.next));
        }
        found.extend(threads);
        interpreter = reader.word(address.wrapping_add(layout.interpreter.next));
    }
    found
}

/// The chains of all threads, in list order.
pub(super) fn chains(image: &Image, site: &Site) -> Vec<Chain> {
    states(image, site).into_iter().map(|state| chain(image, site, state)).collect()
}

fn chain(image: &Image, site: &Site, state: Address) -> Chain {
    let reader = Reader(image);
    let (thread, frame) = (&site.layout.thread, &site.layout.frame);
    let field = |offset: u64| reader.word(state.wrapping_add(offset)).unwrap_or(0);
    let mut links: Vec<Link> = Vec::new();
    let mut complete = true;
    let mut address = field(thread.current_frame);
    while address != 0 {
        // Chains are long, so the whole frame is looked up once.
        let bytes = usize::try_from(frame.size).ok().and_then(|size| image.get(address, size));
        let at = |offset: u64| bytes?.get(usize::try_from(offset).ok()?..)?.first_chunk();
        let word = |offset| at(offset).map(|word| u64::from_le_bytes(*word));
        let owner = bytes.and_then(|bytes| bytes.get(usize::try_from(frame.owner).ok()?)).copied();
        let (Some(previous), Some(executable), Some(instr_ptr), Some(owner)) =
            (word(frame.previous), word(frame.executable), word(frame.instr_ptr), owner)
        else {
            complete = false;
            break;
        };
        if loops(&links, |link| link.address, address) {
            complete = false;
            break;
        }
        let is_python = !frame.owners.is_shim(owner);
        complete &= !is_python || owner <= 2;
        links.push(Link { address, code: executable & !frame.tag_mask, instr_ptr, is_python });
        address = previous;
    }
    let at_base = complete
        && links.last().is_some_and(|last| match thread.cache {
            Some(cache) => last.address == field(cache.base_frame),
            None => !last.is_python,
        });
    Chain { state, native_thread_id: field(thread.native_thread_id), links, at_base }
}
