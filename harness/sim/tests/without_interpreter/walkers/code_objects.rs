//! Tests code objects that are freed and whose addresses are reused, and unusual code objects.

use framewalk::reference::ReferenceWalker;
use framewalk::rejection::Rejection;
use framewalk::uncached::UncachedWalker;
use framewalk::walker::Walker;
use framewalk::weakening::Weakening;

use super::target::{INTERPRETER, THREAD, Target, cached, names, sample, site};

/// Gives the code object at `code` another name, as if it had been freed and a code object of another function had
/// reused its address.
fn replace(target: &mut Target, code: u64, name: &str) {
    let generation = target.get(INTERPRETER + 24);
    target.put(INTERPRETER + 24, generation + 1);
    target.image.unmap(code + 0x200);
    target.text(code + 0x200, name);
}

/// The stack below a leaf whose code was replaced while the caller stayed.
fn after_a_free(walker: &mut dyn Walker) -> Vec<String> {
    let mut target = Target::new();
    let (caller, code) = (target.code("caller"), target.code("first"));
    walker.attach(&mut target.image).unwrap();
    target.push(caller);
    target.push(code);
    assert_eq!(names(&sample(walker, &mut target)), ["first:1", "caller:1"]);
    target.pop();
    replace(&mut target, code, "second");
    target.push(code);
    names(&sample(walker, &mut target))
}

fn reference(weakenings: &[Weakening]) -> ReferenceWalker {
    ReferenceWalker::new(site()).unwrap().weakened(weakenings.iter().copied().collect())
}

#[test]
fn a_freed_code_object_is_forgotten() {
    let walkers: [Box<dyn Walker>; 3] =
        [Box::new(UncachedWalker::new(site()).unwrap()), Box::new(cached(&[])), Box::new(reference(&[]))];
    for mut walker in walkers {
        assert_eq!(after_a_free(&mut *walker), ["second:1", "caller:1"], "{}", walker.kind());
    }
}

#[test]
fn a_walker_that_keeps_freed_code_names_the_old_function() {
    let weakening = [Weakening::CodeKeptAfterFree];
    let walkers: [Box<dyn Walker>; 2] = [Box::new(cached(&weakening)), Box::new(reference(&weakening))];
    for mut walker in walkers {
        assert_eq!(after_a_free(&mut *walker), ["first:1", "caller:1"], "{}", walker.kind());
    }
}

/// A second thread's interpreter frees a code object, and one of the first thread's interpreter reuses the address.
/// The generation of the first interpreter does not change.
fn in_two_interpreters(walker: &mut dyn Walker) -> Vec<String> {
    const OTHER: u64 = 0x77_0000;
    let mut target = Target::new();
    target.image.map(OTHER, vec![0; 64]);
    target.put(OTHER + 16, 1);
    let (caller, code) = (target.code("caller"), target.code("first"));
    walker.attach(&mut target.image).unwrap();
    target.push(caller);
    target.put(THREAD + 16, OTHER);
    target.push(code);
    walker.sample_thread(&mut target.image, THREAD);
    target.pop();
    target.put(OTHER + 24, 1);
    target.image.unmap(code + 0x200);
    target.text(code + 0x200, "second");
    target.put(THREAD + 16, INTERPRETER);
    target.push(code);
    names(&walker.sample_thread(&mut target.image, THREAD))
}

#[test]
fn code_objects_are_cached_per_interpreter() {
    let shared = [Weakening::GenerationOfAnotherInterpreter];
    assert_eq!(in_two_interpreters(&mut cached(&[])), ["second:1", "caller:1"]);
    assert_eq!(in_two_interpreters(&mut reference(&[])), ["second:1", "caller:1"]);
    assert_eq!(in_two_interpreters(&mut cached(&shared)), ["first:1", "caller:1"]);
    assert_eq!(in_two_interpreters(&mut reference(&shared)), ["first:1", "caller:1"]);
}

#[test]
fn code_without_a_location_has_a_name_and_no_line() {
    let mut target = Target::new();
    let code = target.code("f");
    target.put(code + 0x300 + 16, 0);
    target.push(code);
    for walker in [&mut UncachedWalker::new(site()).unwrap() as &mut dyn Walker, &mut reference(&[])] {
        walker.attach(&mut target.image).unwrap();
        let stack = sample(walker, &mut target).outcome.unwrap();
        assert_eq!((&*stack[0].function, stack[0].location.line), ("f", None));
    }
    // The code object has only sixteen code units.
    target.line(16);
    let rejected = sample(&mut UncachedWalker::new(site()).unwrap(), &mut target).outcome;
    assert!(matches!(rejected, Err(Rejection::BadCode { .. })), "{rejected:?}");
}
