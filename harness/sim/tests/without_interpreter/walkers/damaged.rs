//! Tests chains and lists that no interpreter produces.

use framewalk::memory::image::Image;
use framewalk::memory::{MemoryError, RemoteMemory};
use framewalk::rejection::Rejection;
use framewalk::uncached::UncachedWalker;
use framewalk::walker::Walker;
use framewalk::weakening::Weakening;

use super::target::*;

#[test]
fn a_chain_that_misses_the_base_frame_is_rejected_by_all() {
    let mut walkers: Vec<Box<dyn Walker>> = vec![Box::new(UncachedWalker::new(site()).unwrap())];
    walkers.extend(cached_walkers());
    for mut walker in walkers {
        let mut target = Target::new();
        let [module, leaf] = ["<module>", "leaf"].map(|name| target.code(name));
        target.push(module);
        target.push(leaf);
        let top = target.top();
        target.put(top + 8, 0);
        let rejected = sample(walker.as_mut(), &mut target).outcome.unwrap_err();
        assert_eq!(rejected, Rejection::NotAtBase { base: BASE, last: top }, "{}", walker.kind());
    }
    let mut target = Target::new();
    let [module, leaf] = ["<module>", "leaf"].map(|name| target.code(name));
    target.push(module);
    target.push(leaf);
    let top = target.top();
    target.put(top + 8, 0);
    let mut weakened = cached(&[Weakening::ChainStoredWithoutBase]);
    assert_eq!(names(&sample(&mut weakened, &mut target)), ["leaf:1"]);
}

#[test]
fn loops_and_garbage_are_rejected() {
    let mut walkers: Vec<Box<dyn Walker>> = vec![Box::new(UncachedWalker::new(site()).unwrap())];
    walkers.extend(cached_walkers());
    for mut walker in walkers {
        let mut target = Target::new();
        let module = target.code("<module>");
        target.push(module);
        let top = target.top();

        target.put(top + 8, top);
        let looping = sample(walker.as_mut(), &mut target).outcome.unwrap_err();
        assert_eq!(looping, Rejection::Loops { frame: top });

        target.put(top + 8, 0xdead_0000);
        let dangling = sample(walker.as_mut(), &mut target).outcome.unwrap_err();
        assert!(matches!(dangling, Rejection::Unreadable(_)), "{dangling:?}");

        target.put(top + 8, BASE);
        target.put(CODES + 24, CODES);
        let no_text = sample(walker.as_mut(), &mut target).outcome.unwrap_err();
        assert!(matches!(no_text, Rejection::BadCode { .. }), "{no_text:?}");

        target.put(CODES + 24, CODES + 0x200);
        target.image.write(top + 74, &[9]).unwrap();
        let no_owner = sample(walker.as_mut(), &mut target).outcome.unwrap_err();
        assert_eq!(no_owner, Rejection::BadOwner { frame: top, owner: 9 });

        target.put(CHUNK + 8, u64::MAX);
        target.image.write(top + 74, &[0]).unwrap();
        let endless = sample(walker.as_mut(), &mut target).outcome.unwrap_err();
        assert!(matches!(endless, Rejection::Unreadable(_)), "{endless:?}");

        target.put(CHUNK + 8, CHUNK_SIZE as u64);
        assert_eq!(names(&sample(walker.as_mut(), &mut target)), ["<module>:1"], "{} recovers", walker.kind());
    }
}

/// Counts the reads of an image.
struct Counted(Image, usize);

impl RemoteMemory for Counted {
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<(), MemoryError> {
        self.1 += 1;
        self.0.read(address, buffer)
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        self.0.write(address, bytes)
    }
}

#[test]
fn looping_lists_are_rejected_early() {
    type Damage = fn(&mut Target);
    let damages: [(Damage, &str); 4] = [
        (|target| target.put(INTERPRETER, INTERPRETER), "list of interpreters loops"),
        (|target| target.put(THREAD + 8, THREAD), "list of threads loops"),
        (|target| target.put(CHUNK, CHUNK), "data stack loops"),
        (|target| target.put(CHUNK + 8, 16 << 20), "not mapped"),
    ];
    for (damage, words) in damages {
        let mut target = Target::new();
        let module = target.code("<module>");
        target.push(module);
        damage(&mut target);
        let mut walkers: Vec<Box<dyn Walker>> = vec![Box::new(UncachedWalker::new(site()).unwrap())];
        walkers.extend(cached_walkers());
        for mut walker in walkers {
            let mut memory = Counted(target.image.clone(), 0);
            let rejection = match walker.sample(&mut memory) {
                Ok(sample) => sample.threads[0].outcome.clone().unwrap_err(),
                Err(rejection) => rejection,
            };
            assert!(matches!(&rejection, Rejection::Unreadable(why) if why.contains(words)), "{rejection}");
            assert!(memory.1 < 40, "{}: {} reads", walker.kind(), memory.1);
        }
    }
}

#[test]
fn an_unreadable_leaf_is_reported() {
    for mut walker in cached_walkers() {
        let mut target = target(&["<module>"]);
        let code = target.code("leaf");
        target.image.map(0x60_0000, vec![0; 88]);
        target.push_at(0x60_0000, code, 0);
        sample(walker.as_mut(), &mut target);
        target.image.unmap(0x60_0000);
        let rejection = sample(walker.as_mut(), &mut target).outcome.unwrap_err();
        assert!(rejection.to_string().contains("88 bytes at 0x600000"), "{}: {rejection}", walker.kind());
    }
}
