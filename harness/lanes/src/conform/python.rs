//! Translates a program of the simulated interpreter into Python source.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use framewalk::layout::FrameLayout;
use model::workload::grammar::Grammar;
use model::workload::prologue::{GATE, IMPORTS, gate};
use model::workload::{Family, FrameSize, Mode, Names, Parameters, ROUND, Workload};
use sim::program::{SimFunction, SimFunctionId, SimInstruction, SimProgram, Variable};

use crate::conform::family::{MAIN, MODULE, ROUND_LINE};

/// Words of locals and stack that are enough for every function.
const SMALL_FRAME: u64 = 40;
/// The size of a chunk in bytes (`DATA_STACK_CHUNK_SIZE`).
const CHUNK: u64 = 16 << 10;
/// The size of a chunk's header in bytes.
const HEADER: u64 = 24;
/// Generators differ in size by this many words, so that their objects never share a free list: allocators have one for
/// every 16 bytes.
const HEAP_STEP: u64 = 8;
/// Programs with fewer slots per chunk than this get frames so large that no more fit.
const MANY_SLOTS: u8 = 16;

/// A program translated into Python.
#[derive(Clone, Debug)]
pub struct Translated {
    /// The Python program, with a gate at the start of every round.
    pub workload: Workload,
    /// For each line of the Python text, the function and line of the simulated program.
    pub lines: BTreeMap<u32, (SimFunctionId, u8)>,
}

/// Translates `program`. `frame` is the layout of frames in the interpreter that will run it. `seed` is stored in the
/// workload.
#[must_use]
pub fn translate(program: &SimProgram, frame: &FrameLayout, seed: u64) -> Translated {
    let mut text = Text::default();
    text.add(IMPORTS);
    text.add(GATE);
    text.add("");
    text.add("class E(Exception): pass");
    text.add("");
    text.add("g0 = g1 = g2 = None");
    text.add("_one = (1,)");
    text.add("");
    for (id, function) in (0..).zip(&program.functions).skip(usize::from(MAIN) + 1) {
        text.function(program, id, function);
    }
    for (id, function) in (0..).zip(&program.functions) {
        let dies = |one: &SimInstruction| *one == SimInstruction::ReturnRunning(id);
        if program.functions.iter().any(|other| other.body.iter().any(dies)) {
            text.add(&format!("class D{id}: __del__ = {}", function.name));
        }
    }
    text.main(program);
    text.sizes(program, frame);
    text.codes(program);
    text.add("_write(1, b'framdiff')");
    text.add("if _read(0, 1) != b'g': _exit(0)");
    text.on("main()", MODULE, ROUND_LINE);
    let workload = Workload {
        family: Family::Alternating,
        mode: Mode::Rounds,
        seed,
        parameters: Parameters { depth: 1, width: 1, frame_size: FrameSize::Equal(0), speed: 0, names: Names::Ascii },
        source: text.text,
        grammar: Grammar::default(),
        threads: 1,
        shares: Vec::new(),
    };
    Translated { workload, lines: text.lines }
}

#[derive(Default)]
struct Text {
    text: String,
    count: u32,
    indent: usize,
    lines: BTreeMap<u32, (SimFunctionId, u8)>,
}

impl Text {
    /// Adds lines. Returns the number of the last one.
    fn add(&mut self, lines: &str) -> u32 {
        // An empty string adds an empty line.
        for line in lines.split('\n') {
            let indent = if line.is_empty() { 0 } else { self.indent * 4 };
            let _ = writeln!(self.text, "{:indent$}{line}", "");
            self.count += 1;
        }
        self.count
    }

    /// Adds Python lines that correspond to one line of a function.
    fn on(&mut self, lines: &str, function: SimFunctionId, line: u8) {
        let first = self.count + 1;
        for at in first..=self.add(lines) {
            self.lines.insert(at, (function, line));
        }
    }

    fn globals(&mut self, program: &SimProgram, id: SimFunctionId, function: &SimFunction) {
        let made = |one: &SimInstruction| match *one {
            SimInstruction::Create(made, _) | SimInstruction::Drop(made) => vec![variable(made)],
            SimInstruction::Compile(made) => takers(program, made).map(name).collect(),
            SimInstruction::Line(_)
            | SimInstruction::Jump(_)
            | SimInstruction::Branch(_)
            | SimInstruction::Call(_)
            | SimInstruction::CallFromC(_)
            | SimInstruction::FailedCall(_)
            | SimInstruction::Return
            | SimInstruction::ReturnRunning(_)
            | SimInstruction::Raise
            | SimInstruction::Resume(_)
            | SimInstruction::ResumeFromC(_)
            | SimInstruction::Yield
            | SimInstruction::Delegate(_)
            | SimInstruction::Throw(_)
            | SimInstruction::StartThread(_)
            | SimInstruction::EndThread
            | SimInstruction::Free(_) => Vec::new(),
        };
        let mut names: Vec<String> = function.body.iter().flat_map(made).collect();
        names.sort();
        names.dedup();
        if !names.is_empty() {
            self.on(&format!("global {}", names.join(", ")), id, 1);
        }
    }

    fn function(&mut self, program: &SimProgram, id: SimFunctionId, function: &SimFunction) {
        self.on(&format!("def {}(x=1):", function.name), id, 1);
        self.indent += 1;
        self.globals(program, id, function);
        if program.is_generator(id) && !function.body.contains(&SimInstruction::Yield) {
            // Any `yield` makes the function a generator.
            self.add("if 0: yield");
        }
        self.body(program, id, function);
        self.indent -= 1;
        self.add("");
    }

    fn main(&mut self, program: &SimProgram) {
        let Some(main) = program.functions.get(usize::from(MAIN)) else { return };
        self.on("def main():", MAIN, 1);
        self.indent += 1;
        self.globals(program, MAIN, main);
        self.add("while True:");
        self.indent += 1;
        self.body(program, MAIN, main);
        self.indent -= 2;
        self.add("");
    }

    fn body(&mut self, program: &SimProgram, id: SimFunctionId, function: &SimFunction) {
        let mut line = 1;
        if function.handler.is_some() {
            self.add("try:");
            self.indent += 1;
        }
        let body = &function.body;
        for (index, &instruction) in body.iter().enumerate() {
            if function.handler.map(usize::from) == Some(index) {
                self.handler();
            }
            if let SimInstruction::Line(next) = instruction {
                line = next;
                let alone = matches!(body.get(index + 1), None | Some(SimInstruction::Line(_)));
                if id == MAIN && index == 0 {
                    self.on(&gate(&ROUND.to_string()), id, line);
                } else if alone {
                    self.on(if index + 1 == body.len() && id > MAIN { "return" } else { "x = 0" }, id, line);
                }
            } else {
                let text = statement(program, instruction);
                self.on(&text, id, line);
            }
        }
        if function.handler.map(usize::from) == Some(body.len()) {
            self.handler();
        }
    }

    fn handler(&mut self) {
        self.indent -= 1;
        self.add("except E: pass");
    }

    /// Gives all frames except the module's the frame size of the simulated interpreter. Equal sizes let a frame take
    /// the address of the one that ended before it. The module's frame is small but takes a slot all the same: where
    /// few frames fit into a chunk, they fill it.
    fn sizes(&mut self, program: &SimProgram, frame: &FrameLayout) {
        // `FRAME_SPECIALS_SIZE` (`pycore_interpframe_structs.h`): the words of a frame before its locals.
        let specials = (frame.size - 1) / 8;
        let slot = if program.slots_per_chunk < MANY_SLOTS {
            (CHUNK - HEADER) / u64::from(program.slots_per_chunk.max(1)) / 8
        } else {
            SMALL_FRAME + specials
        };
        let mut generators = 0;
        for (id, function) in (0..).zip(&program.functions).skip(1) {
            let mut words = slot * u64::from(function.slots) - specials;
            if program.is_generator(id) {
                // On the data stack, nothing is ever above this frame. On the heap, it has a size of its own, so that
                // the function's next generator gets the address of its last one.
                generators += 1;
                words += HEAP_STEP * generators;
            }
            let (name, code) = (&function.name, format!("{}.__code__", function.name));
            let room = format!("{words} - {code}.co_nlocals");
            if function.slots > 1 {
                // Locals cover what other frames left in this memory.
                self.add(&format!("_names = tuple(f'v{{i}}' for i in range({room} - {code}.co_stacksize))"));
                self.add(&format!(
                    "{name}.__code__ = {code}.replace(co_varnames={code}.co_varnames + _names, \
                     co_nlocals={code}.co_nlocals + len(_names))"
                ));
            } else {
                self.add(&format!("{name}.__code__ = {code}.replace(co_stacksize={room})"));
            }
        }
    }

    /// Gives functions that share an address code objects of equal size, to which nothing else holds a reference. So
    /// each new code object takes the address of the freed one. At first, only the first function has one.
    fn codes(&mut self, program: &SimProgram) {
        let taking = (0..).zip(&program.functions).filter(|(_, function)| function.place.is_some());
        let taking: Vec<SimFunctionId> = taking.filter(|_| program.frees_code()).map(|(id, _)| id).collect();
        for &id in taking.iter().filter(|&&id| takers(program, id).next() == Some(id)) {
            let lengths: Vec<_> = takers(program, id).map(|id| format!("len({}.__code__.co_code)", name(id))).collect();
            self.add(&format!("_size = max({})", lengths.join(", ")));
            for name in takers(program, id).map(name) {
                // Pad with copies of the last instruction, a return.
                self.add(&format!("_code = {name}.__code__.co_code"));
                self.add(&format!(
                    "_code_{name} = {name}.__code__.replace(co_code=_code + _code[-2:] * ((_size - len(_code)) // 2))"
                ));
            }
        }
        if !taking.is_empty() {
            self.add("_function = type(main)");
        }
        for id in taking {
            let is_first = takers(program, id).next() == Some(id);
            self.add(&if is_first { compiled(id) } else { format!("{} = None", name(id)) });
        }
    }
}

/// All functions that share an address with this one, including itself.
fn takers(program: &SimProgram, function: SimFunctionId) -> impl Iterator<Item = SimFunctionId> {
    let place = program.functions.get(usize::from(function)).and_then(|function| function.place);
    let all = (0..).zip(&program.functions);
    all.filter(move |(_, other)| place.is_some() && other.place == place).map(|(id, _)| id)
}

/// A statement that creates a function with a code object of its own, without entering a frame.
fn compiled(function: SimFunctionId) -> String {
    let name = name(function);
    format!("{name} = _function(_code_{name}.replace(), globals(), '{name}', _one)")
}

/// The Python name of a function other than `main`.
fn name(id: SimFunctionId) -> String {
    format!("f{id}")
}

fn variable(variable: Variable) -> String {
    format!("g{variable}")
}

fn statement(program: &SimProgram, instruction: SimInstruction) -> String {
    match instruction {
        SimInstruction::Call(callee) => format!("{}()", name(callee)),
        SimInstruction::CallFromC(callee) => format!("any(map({}, _one))", name(callee)),
        SimInstruction::FailedCall(callee) => format!("try: {}(1, 2)\nexcept TypeError: pass", name(callee)),
        SimInstruction::Return => "return".to_owned(),
        SimInstruction::ReturnRunning(finalizer) => format!("d = D{finalizer}(); return"),
        SimInstruction::Raise => "raise E".to_owned(),
        // Release the previous generator first.
        SimInstruction::Create(at, function) => format!("{0} = None; {0} = {1}()", variable(at), name(function)),
        SimInstruction::Resume(at) => format!("for _ in {}: break", variable(at)),
        SimInstruction::ResumeFromC(at) => format!("next({}, None)", variable(at)),
        SimInstruction::Yield => "yield".to_owned(),
        SimInstruction::Delegate(at) => format!("yield from {}", variable(at)),
        SimInstruction::Throw(at) => format!("try: {}.throw(E)\nexcept StopIteration: pass", variable(at)),
        SimInstruction::Drop(at) => format!("{} = None", variable(at)),
        SimInstruction::Compile(function) => {
            let freed = takers(program, function).map(|function| format!("{} = None; ", name(function)));
            freed.chain([compiled(function)]).collect()
        }
        SimInstruction::Line(_)
        | SimInstruction::Jump(_)
        | SimInstruction::Branch(_)
        | SimInstruction::StartThread(_)
        | SimInstruction::EndThread
        | SimInstruction::Free(_) => "pass".to_owned(),
    }
}
