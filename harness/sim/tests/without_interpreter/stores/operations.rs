//! The stores that each operation in `pyscripts/operations` is known to make, in order.

use super::GeneratorState::{Cleared, Created, Delegating, Executing, Suspended};
use super::Store::{
    Anchor, AnchorLoaded, Chunk, CurrentFrame, Executable, Instruction, Owner, Previous, SequenceIncremented, State,
};
use super::{Code, FrameName, GeneratorState, Store};

/// The run mode, on which the order of stores depends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Release,
    /// The release build with the JIT on. Only some operations end up in compiled code.
    Jit,
    Debug,
}

/// An operation and its stores.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    /// The source of the program.
    pub(crate) text: &'static str,
    pub(crate) expected: fn(Mode) -> Vec<Store>,
}

macro_rules! operations {
    ($($name:ident)*) => {
        &[$(Operation {
            name: stringify!($name),
            text: include_str!(concat!("../../../../../pyscripts/operations/", stringify!($name), ".py")),
            expected: $name,
        }),*]
    };
}

pub(crate) const OPERATIONS: &[Operation] = operations! {
    call entry instantiation finalizer exception generator generator_end generator_error send throw throw_delegated
    close close_plain coroutine async_generator failed_bind chunk monitored
};

fn stack(function: &str) -> FrameName {
    FrameName::stack(function)
}

fn generator_of(function: &str) -> FrameName {
    FrameName::generator(function)
}

fn shim(caller: &str) -> FrameName {
    FrameName::shim(caller)
}

fn main() -> FrameName {
    stack("main")
}

/// The stores to the words of a new frame in the order of `fields`: previous, executable, owner, instruction.
fn made(frame: &FrameName, caller: &FrameName, fields: &str) -> Vec<Store> {
    let field = |field| match field {
        'p' => Previous(frame.clone(), caller.clone()),
        'e' => Executable(frame.clone(), Code::Function),
        'o' => Owner(frame.clone(), 0),
        'i' => Instruction(frame.clone()),
        other => panic!("no field {other}"),
    };
    fields.chars().map(field).collect()
}

/// The update of the anchor, when the leaving frame is anchored. The source stores the anchor first. The compiler of
/// the release build swaps the stores; the JIT's templates keep their order.
pub(crate) fn update(mode: Mode, caller: &FrameName) -> Vec<Store> {
    let mut both = vec![SequenceIncremented, Anchor(caller.clone())];
    if mode == Mode::Debug {
        both.reverse();
    }
    both.insert(0, AnchorLoaded);
    both
}

/// The same in compiled code.
fn compiled_update(mode: Mode, caller: &FrameName) -> Vec<Store> {
    update(if mode == Mode::Jit { Mode::Debug } else { mode }, caller)
}

/// A specialised call. `compiled` says whether the JIT compiles it.
fn called(mode: Mode, frame: &FrameName, caller: &FrameName, compiled: bool) -> Vec<Store> {
    let fields = match mode {
        Mode::Release => "peoi",
        Mode::Jit if !compiled => "peoi",
        Mode::Jit | Mode::Debug => "peio",
    };
    [made(frame, caller, fields), vec![CurrentFrame(frame.clone())]].concat()
}

/// A return or an exception: the caller becomes current before the anchor is compared.
fn left(mode: Mode, frame: &FrameName, caller: &FrameName) -> Vec<Store> {
    let mut stores = vec![CurrentFrame(caller.clone())];
    stores.extend(update(mode, caller));
    match frame {
        FrameName::Generator(_) => {
            stores.extend([State(frame.clone(), Cleared), Previous(frame.clone(), FrameName::Null)])
        }
        _ => stores.push(Executable(frame.clone(), Code::Null)),
    }
    stores
}

/// C code called by `caller` runs an existing frame. The shim frame never becomes current.
fn entered(mode: Mode, frame: &FrameName, caller: &FrameName) -> Vec<Store> {
    let name = match caller {
        FrameName::Stack(function) | FrameName::Generator(function) => function,
        other => panic!("{other} calls nothing"),
    };
    let shim = shim(name);
    let linked = Previous(frame.clone(), shim.clone());
    let mut stores = vec![
        Executable(shim.clone(), Code::Other),
        Instruction(shim.clone()),
        Owner(shim.clone(), 3),
        Previous(shim.clone(), caller.clone()),
    ];
    stores.insert(if mode == Mode::Debug { 4 } else { 1 }, linked);
    stores.push(CurrentFrame(frame.clone()));
    stores
}

/// C code calls a function, whose frame has no caller at first.
fn called_from_c(mode: Mode, frame: &FrameName, caller: &FrameName) -> Vec<Store> {
    let fields = if mode == Mode::Debug { "peio" } else { "peoi" };
    [made(frame, &FrameName::Null, fields), entered(mode, frame, caller)].concat()
}

/// A shim frame exits. The anchor is not compared.
fn exited(caller: &FrameName) -> Vec<Store> {
    vec![CurrentFrame(caller.clone())]
}

/// A frame that was called becomes a generator and leaves the stack.
fn made_generator(mode: Mode, function: &str, caller: &FrameName, compiled: bool) -> Vec<Store> {
    let inner = generator_of(function);
    let copied = vec![
        State(inner.clone(), Cleared),
        Executable(inner.clone(), Code::Other),
        Executable(inner.clone(), Code::Function),
        Previous(inner.clone(), FrameName::Null),
        Instruction(inner.clone()),
        State(inner.clone(), Created),
        Owner(inner, 1),
    ];
    let update = if compiled { compiled_update(mode, caller) } else { update(mode, caller) };
    [copied, update, vec![CurrentFrame(caller.clone())]].concat()
}

fn called_generator(mode: Mode, function: &str, caller: &FrameName, compiled: bool) -> Vec<Store> {
    [called(mode, &stack(function), caller, compiled), made_generator(mode, function, caller, compiled)].concat()
}

fn resumed(generator: &FrameName, caller: &FrameName) -> Vec<Store> {
    vec![
        State(generator.clone(), Executing),
        Previous(generator.clone(), caller.clone()),
        CurrentFrame(generator.clone()),
    ]
}

fn resumed_from_c(mode: Mode, generator: &FrameName, caller: &FrameName) -> Vec<Store> {
    [vec![State(generator.clone(), Executing)], entered(mode, generator, caller)].concat()
}

/// A yield: the anchor is compared before the caller becomes current.
fn yielded(mode: Mode, generator: &FrameName, to: &FrameName, state: GeneratorState, compiled: bool) -> Vec<Store> {
    let update = if compiled { compiled_update(mode, to) } else { update(mode, to) };
    let rest =
        vec![CurrentFrame(to.clone()), Previous(generator.clone(), FrameName::Null), State(generator.clone(), state)];
    [update, rest].concat()
}

fn call(mode: Mode) -> Vec<Store> {
    let leaf = stack("leaf");
    [called(mode, &leaf, &main(), true), left(mode, &leaf, &main())].concat()
}

fn entry(mode: Mode) -> Vec<Store> {
    let key = stack("key");
    [called_from_c(mode, &key, &main()), left(mode, &key, &shim("main")), exited(&main())].concat()
}

fn instantiation(mode: Mode) -> Vec<Store> {
    let (trampoline, init) = (stack("__init__"), stack("Object.__init__"));
    [
        made(&trampoline, &main(), if mode == Mode::Release { "opei" } else { "peio" }),
        made(&init, &trampoline, if mode == Mode::Jit { "peoi" } else { "peio" }),
        vec![CurrentFrame(init.clone())],
        left(mode, &init, &trampoline),
        left(mode, &trampoline, &main()),
    ]
    .concat()
}

/// The finalizer runs after the anchor has moved, while `leaf` still has its storage and its words.
fn finalizer(mode: Mode) -> Vec<Store> {
    let (leaf, finalizer) = (stack("leaf"), stack("Finalized.__del__"));
    let mut return_of_leaf = left(mode, &leaf, &main());
    let cleared = return_of_leaf.pop().unwrap();
    [
        called(mode, &leaf, &main(), true),
        return_of_leaf,
        called_from_c(mode, &finalizer, &main()),
        left(mode, &finalizer, &shim("main")),
        exited(&main()),
        vec![cleared],
    ]
    .concat()
}

fn exception(mode: Mode) -> Vec<Store> {
    let [handler, middle, leaf] = ["handler", "middle", "leaf"].map(stack);
    [
        called(mode, &handler, &main(), false),
        called(mode, &middle, &handler, false),
        called(mode, &leaf, &middle, false),
        left(mode, &leaf, &middle),
        left(mode, &middle, &handler),
        left(mode, &handler, &main()),
    ]
    .concat()
}

fn generator(mode: Mode) -> Vec<Store> {
    let values = generator_of("values");
    [
        called_generator(mode, "values", &main(), true),
        resumed(&values, &main()),
        yielded(mode, &values, &main(), Suspended, true),
    ]
    .concat()
}

fn generator_end(mode: Mode) -> Vec<Store> {
    let values = generator_of("values");
    [resumed(&values, &main()), left(mode, &values, &main())].concat()
}

fn generator_error(mode: Mode) -> Vec<Store> {
    generator_end(mode)
}

fn send(mode: Mode) -> Vec<Store> {
    let values = generator_of("values");
    [resumed_from_c(mode, &values, &main()), yielded(mode, &values, &shim("main"), Suspended, false), exited(&main())]
        .concat()
}

fn throw(mode: Mode) -> Vec<Store> {
    send(mode)
}

/// The outer generator is current while C code throws into the inner one.
fn throw_delegated(mode: Mode) -> Vec<Store> {
    let [outer, inner] = ["outer", "inner"].map(generator_of);
    [
        resumed(&outer, &main()),
        resumed_from_c(mode, &inner, &outer),
        yielded(mode, &inner, &shim("outer"), Suspended, false),
        exited(&outer),
        yielded(mode, &outer, &main(), Delegating, false),
    ]
    .concat()
}

fn close(mode: Mode) -> Vec<Store> {
    let values = generator_of("values");
    [resumed_from_c(mode, &values, &main()), left(mode, &values, &shim("main")), exited(&main())].concat()
}

/// The frame is cleared in place. The anchor is compared, although this frame is not anchored.
fn close_plain(mode: Mode) -> Vec<Store> {
    let values = generator_of("values");
    let cleared = vec![
        State(values.clone(), Executing),
        State(values.clone(), Cleared),
        AnchorLoaded,
        Previous(values, FrameName::Null),
    ];
    [generator(mode), cleared].concat()
}

fn coroutine(mode: Mode) -> Vec<Store> {
    let [outer, inner, awaitable] = ["outer", "inner", "Awaitable.__await__"].map(generator_of);
    [
        resumed_from_c(mode, &outer, &main()),
        called_generator(mode, "inner", &outer, false),
        resumed(&inner, &outer),
        called_from_c(mode, &stack("Awaitable.__await__"), &inner),
        made_generator(mode, "Awaitable.__await__", &shim("inner"), false),
        exited(&inner),
        resumed(&awaitable, &inner),
        yielded(mode, &awaitable, &inner, Suspended, false),
        yielded(mode, &inner, &outer, Delegating, false),
        yielded(mode, &outer, &shim("main"), Delegating, false),
        exited(&main()),
    ]
    .concat()
}

fn async_generator(mode: Mode) -> Vec<Store> {
    let [consumer, values] = ["consumer", "values"].map(generator_of);
    [
        resumed_from_c(mode, &consumer, &main()),
        called_generator(mode, "values", &consumer, false),
        resumed_from_c(mode, &values, &consumer),
        yielded(mode, &values, &shim("consumer"), Suspended, false),
        exited(&consumer),
        resumed_from_c(mode, &values, &consumer),
        left(mode, &values, &shim("consumer")),
        exited(&consumer),
        vec![Executable(values, Code::Null)],
        left(mode, &consumer, &shim("main")),
        exited(&main()),
    ]
    .concat()
}

/// The frame of the second call is made and discarded, and never becomes current.
fn failed_bind(mode: Mode) -> Vec<Store> {
    let leaf = stack("leaf");
    [
        called(mode, &leaf, &main(), false),
        left(mode, &leaf, &main()),
        made(&leaf, &main(), if mode == Mode::Debug { "peio" } else { "poei" }),
        vec![AnchorLoaded, Executable(leaf, Code::Null)],
    ]
    .concat()
}

fn chunk(mode: Mode) -> Vec<Store> {
    let leaf = stack("leaf");
    [
        vec![Chunk(1)],
        made(&leaf, &main(), if mode == Mode::Debug { "peio" } else { "poei" }),
        vec![CurrentFrame(leaf.clone())],
        left(mode, &leaf, &main()),
        vec![Chunk(0)],
    ]
    .concat()
}

fn monitored(mode: Mode) -> Vec<Store> {
    let values = generator_of("values");
    [resumed(&values, &main()), yielded(mode, &values, &main(), Suspended, false)].concat()
}

/// Compares line by line, so that a failure shows the first difference.
pub(crate) fn assert_same(what: &str, seen: &[Store], expected: &[Store]) {
    let lines = |stores: &[Store]| stores.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (seen, expected) = (lines(seen), lines(expected));
    let same = seen.iter().zip(&expected).take_while(|(seen, expected)| seen == expected).count();
    assert!(seen == expected, "{what}: after {same} equal stores\nseen     {seen:#?}\nexpected {expected:#?}");
}
