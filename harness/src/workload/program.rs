//! Builds a Python program line by line and its grammar along with it.
//!
//! A family *declares* functions, *opens* and *closes* their bodies, and emits every call through a [`Site`]: the
//! line on which a call lands is the line on which its text was emitted, so no line number is ever guessed. At the end
//! the call sites are unfolded from the roots into the tree of contexts.
//!
//! In a gated program every function knows its context: it is the variable `c`. A call passes the callee its own as
//! an argument (`_n[c][k]`: what the `k`-th call site leads to from here). A callee that is entered without arguments
//! of ours (a `__del__`, a property) takes it from the cell `_w`, at which its caller *aimed* beforehand.

use std::fmt::Write as _;

use super::Mode;
use super::grammar::{CallLines, ContextId, Function, Grammar, TRAMPOLINE, WORKLOAD_FILE};
use super::parameters::Parameters;

/// A function of the program that is being built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fun(usize);

/// A call site: one of its function's calls, on the lines where its text was emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Site {
    owner: Fun,
    number: usize,
}

/// How a bounded recursion goes on through a call site. Fuel mirrors the program's own counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fuel {
    /// The callee inherits the caller's.
    Keep,
    /// The callee starts with this much.
    Set(u32),
    /// Reached only with some left; the callee has one less.
    Spend,
    /// Reached only with none left.
    WhenSpent,
}

struct Call {
    callee: Fun,
    from: CallLines,
    fuel: Fuel,
    /// The callee cannot call anything here: a generator function that only makes its generator.
    barren: bool,
}

struct Draft {
    name: String,
    file: String,
    first_line: u32,
    last_line: u32,
    calls: Vec<Call>,
}

/// The program under construction.
pub(super) struct Program<'a> {
    mode: Mode,
    parameters: &'a Parameters,
    lines: Vec<String>,
    indent: usize,
    functions: Vec<Draft>,
    open: Vec<Fun>,
    roots: Vec<Fun>,
    locked: bool,
    fresh: usize,
}

const MODULE: Fun = Fun(0);

impl<'a> Program<'a> {
    /// A program with its prologue: imports, and for a gated one the gate's helpers.
    pub(super) fn new(mode: Mode, parameters: &'a Parameters) -> Self {
        let module = Draft {
            name: "<module>".into(),
            file: WORKLOAD_FILE.into(),
            // A module's first instruction is on line 0.
            first_line: 0,
            last_line: 0,
            calls: Vec::new(),
        };
        let mut program = Self {
            mode,
            parameters,
            lines: Vec::new(),
            indent: 0,
            functions: vec![module],
            open: vec![MODULE],
            roots: vec![MODULE],
            locked: false,
            fresh: 0,
        };
        program.text(
            "import gc
import itertools
import sys
import _functools
import _operator
import _thread
import _weakref
from posix import _exit, read as _read, write as _write

# A collection runs finalizers under whatever line allocated last: only deliberate ones are wanted.
gc.disable()
sys.setrecursionlimit(10000)
_getframe = sys._getframe
_tid = _thread.get_native_id
_lock = _thread.allocate_lock()
_w = [0, 0]",
        );
        if mode == Mode::Gated {
            program.text(
                r##"
_next = _functools.partial(_read, 0, 1)


def _json(text):
    return '"' + text.replace('\\', '\\\\').replace('"', '\\"') + '"'


def _account(command):
    if command != b"a":
        _exit(0)
    frame = _getframe(1)
    frames = []
    while frame is not None:
        code = frame.f_code
        frames.append(f"[{_json(code.co_qualname)}, {_json(code.co_filename)}, {frame.f_lineno or 'null'}]")
        frame = frame.f_back
    text = ("[" + ", ".join(frames) + "]").encode("utf-8", "replace")
    message = len(text).to_bytes(4, "little") + text
    while message:
        message = message[_write(1, message):]"##,
            );
        }
        program.line("");
        program
    }

    /// The program's parameters.
    pub(super) fn parameters(&self) -> &'a Parameters {
        self.parameters
    }

    /// Whether the program has gates.
    pub(super) fn gated(&self) -> bool {
        self.mode == Mode::Gated
    }

    /// Gates are taken under the program's lock from here on: several threads have them.
    pub(super) fn lock_gates(&mut self) {
        self.locked = true;
    }

    /// The identifier for `base` in the wished-for width of text.
    pub(super) fn name(&self, base: &str) -> String {
        format!("{base}{}", self.parameters.names.suffix())
    }

    /// Declares a function of the workload's file by its `co_qualname`.
    pub(super) fn declare(&mut self, qualname: &str) -> Fun {
        self.declare_in(qualname, WORKLOAD_FILE)
    }

    /// Declares a code object of another file name.
    pub(super) fn declare_in(&mut self, qualname: &str, file: &str) -> Fun {
        let fun = Fun(self.functions.len());
        self.functions.push(Draft {
            name: qualname.into(),
            file: file.into(),
            first_line: 0,
            last_line: 0,
            calls: Vec::new(),
        });
        fun
    }

    /// Declares the function that a thread starts with.
    pub(super) fn declare_root(&mut self, qualname: &str) -> Fun {
        let fun = self.declare(qualname);
        self.roots.push(fun);
        fun
    }

    /// The text of a root's context, for handing it to a new thread.
    pub(super) fn root_context(&self, root: Fun) -> String {
        match (self.mode, self.roots.iter().position(|&other| other == root)) {
            (Mode::Gated, Some(position)) => format!("_r[{position}]"),
            _ => "0".into(),
        }
    }

    /// Declares a function named for `base` and opens its body.
    pub(super) fn define(&mut self, base: &str, arguments: &str) -> Fun {
        let name = self.name(base);
        let fun = self.declare(&name);
        self.open(fun, &format!("def {name}({arguments}):"));
        fun
    }

    /// Emits `class` and the header of a class at module level; its methods are declared with [`Self::method`].
    pub(super) fn class(&mut self, name: &str) {
        self.block(&format!("class {name}:"));
    }

    /// Declares and opens a method of a class at module level.
    pub(super) fn method(&mut self, class: &str, name: &str, arguments: &str) -> Fun {
        let fun = self.declare(&format!("{class}.{name}"));
        self.open(fun, &format!("def {name}({arguments}):"));
        fun
    }

    /// The identifier by which a module-level function is called.
    pub(super) fn identifier(&self, fun: Fun) -> String {
        self.functions.get(fun.0).map_or_else(String::new, |draft| draft.name.clone())
    }

    /// Emits a plain call: `name(context)`.
    pub(super) fn invoke(&mut self, fun: Fun) -> Site {
        let name = self.identifier(fun);
        self.call(fun, &format!("{name}(@)"))
    }

    /// Emits `header` (`def`, `class`, its decorators) and opens the body of `fun`.
    pub(super) fn open(&mut self, fun: Fun, header: &str) {
        let first = self.text(header);
        if let Some(draft) = self.functions.get_mut(fun.0) {
            draft.first_line = first;
        }
        self.open.push(fun);
        self.indent += 1;
    }

    /// Closes the body that was opened last.
    pub(super) fn close(&mut self) {
        let last = self.last_line();
        self.indent = self.indent.saturating_sub(1);
        if let Some(draft) = self.open.pop().and_then(|fun| self.functions.get_mut(fun.0)) {
            draft.last_line = last;
        }
        if self.indent == 0 {
            self.line("");
        }
    }

    /// A code object that is compiled from text of its own: its lines are `1..=last`.
    pub(super) fn compiled(&mut self, fun: Fun, last: u32) {
        if let Some(draft) = self.functions.get_mut(fun.0) {
            (draft.first_line, draft.last_line) = (0, last);
        }
    }

    /// The trampoline to an `__init__` written in Python: a specialised instantiation pushes a frame of the interpreter's
    /// own between caller and `__init__`. Walkers see it; `f_back`, hence the account, skips it.
    pub(super) fn trampoline(&mut self, init: Fun) -> Fun {
        let fun = self.declare_in(TRAMPOLINE, TRAMPOLINE);
        self.open.push(fun);
        self.anywhere(init);
        self.open.pop();
        fun
    }

    /// The last emitted line instantiates a class, perhaps through this trampoline.
    pub(super) fn instantiates(&mut self, trampoline: Fun) {
        let site = self.site(trampoline);
        self.here(&[site]);
    }

    /// A function that lies on a single line, such as a lambda.
    pub(super) fn on_line(&mut self, fun: Fun, line: u32) {
        if let Some(draft) = self.functions.get_mut(fun.0) {
            (draft.first_line, draft.last_line) = (line, line);
        }
    }

    /// Emits a line that opens a block of no function: `while`, `try`, `class` at module level.
    pub(super) fn block(&mut self, header: &str) -> u32 {
        let line = self.line(header);
        self.indent += 1;
        line
    }

    /// Ends a block.
    pub(super) fn end(&mut self) {
        self.indent = self.indent.saturating_sub(1);
    }

    /// Ends a block and opens the next one beside it: `except`, `finally`, `else`.
    pub(super) fn beside(&mut self, header: &str) -> u32 {
        self.end();
        self.block(header)
    }

    /// Emits one line and returns its number.
    pub(super) fn line(&mut self, text: &str) -> u32 {
        let mut line = "    ".repeat(if text.is_empty() { 0 } else { self.indent });
        line.push_str(text);
        self.lines.push(line);
        self.last_line()
    }

    /// Emits several lines and returns the number of the first.
    pub(super) fn text(&mut self, text: &str) -> u32 {
        let first = self.last_line() + 1;
        for line in text.lines() {
            self.line(line);
        }
        first
    }

    fn last_line(&self) -> u32 {
        u32::try_from(self.lines.len()).unwrap_or(u32::MAX)
    }

    /// A new call site of the open function, on no line yet.
    pub(super) fn site(&mut self, callee: Fun) -> Site {
        self.site_with(callee, CallLines::At(Vec::new()), Fuel::Keep, false)
    }

    /// A new call site of a function that is written inside a line of another: a generator expression, a lambda.
    pub(super) fn site_of(&mut self, owner: Fun, callee: Fun) -> Site {
        self.open.push(owner);
        let site = self.site(callee);
        self.open.pop();
        site
    }

    /// Two new call sites of a recursive function that is written inside a line.
    pub(super) fn sites_of(&mut self, owner: Fun, callees: [(Fun, Fuel); 2]) -> (Site, Site) {
        self.open.push(owner);
        let [first, second] = callees.map(|(callee, fuel)| self.fuelled(callee, fuel));
        self.open.pop();
        (first, second)
    }

    /// A new call site that takes part in a bounded recursion.
    pub(super) fn fuelled(&mut self, callee: Fun, fuel: Fuel) -> Site {
        self.site_with(callee, CallLines::At(Vec::new()), fuel, false)
    }

    /// A call site of the open function that may be reached from any of its lines.
    pub(super) fn anywhere(&mut self, callee: Fun) -> Site {
        self.site_with(callee, CallLines::Anywhere, Fuel::Keep, false)
    }

    fn site_with(&mut self, callee: Fun, from: CallLines, fuel: Fuel, barren: bool) -> Site {
        let owner = self.open.last().copied().unwrap_or(MODULE);
        let mut number = 0;
        if let Some(draft) = self.functions.get_mut(owner.0) {
            number = draft.calls.len();
            draft.calls.push(Call { callee, from, fuel, barren });
        }
        Site { owner, number }
    }

    /// The last emitted line can call through these sites.
    pub(super) fn here(&mut self, sites: &[Site]) {
        for &site in sites {
            self.at_line(site, self.last_line());
        }
    }

    /// The call site lies on this line of a text that is compiled apart.
    pub(super) fn at_line(&mut self, site: Site, line: u32) {
        let call = self.functions.get_mut(site.owner.0).and_then(|draft| draft.calls.get_mut(site.number));
        if let Some(CallLines::At(lines)) = call.map(|call| &mut call.from) {
            lines.push(line);
        }
    }

    /// Emits a line that calls through `site`; `@` in it stands for the callee's context.
    pub(super) fn through(&mut self, site: Site, text: &str) {
        let context = self.context(site);
        self.line(&text.replace('@', &context));
        self.here(&[site]);
    }

    /// Emits a line with a call of its own; `@` in it stands for the callee's context.
    pub(super) fn call(&mut self, callee: Fun, text: &str) -> Site {
        let site = self.site(callee);
        self.through(site, text);
        site
    }

    /// Emits a line that makes a generator or coroutine: the new frame is on the stack until it has made its object.
    pub(super) fn make(&mut self, generator: Fun, text: &str) {
        let site = self.site_with(generator, CallLines::At(Vec::new()), Fuel::Keep, true);
        self.line(text);
        self.here(&[site]);
    }

    /// Like [`Self::make`] for a line that was emitted already.
    pub(super) fn makes(&mut self, generator: Fun) {
        let site = self.site_with(generator, CallLines::At(Vec::new()), Fuel::Keep, true);
        self.here(&[site]);
    }

    /// The text of the context that `site` leads to from the context in `c`.
    pub(super) fn context(&self, site: Site) -> String {
        self.context_from("c", site)
    }

    /// The text of the context that `site` leads to from the context that `base` evaluates to.
    pub(super) fn context_from(&self, base: &str, site: Site) -> String {
        match self.mode {
            Mode::Gated => format!("_n[{base}][{}]", site.number),
            Mode::Free => "0".into(),
        }
    }

    /// Emits a line that leaves the callee's context in the cell, for a callee that gets no argument of ours.
    pub(super) fn aim(&mut self, site: Site) {
        if self.gated() {
            let line = format!("_w[0] = {}", self.context(site));
            self.line(&line);
        }
    }

    /// Like [`Self::aim`] with the second cell, for a line that enters two callees.
    pub(super) fn aim_second(&mut self, site: Site) {
        if self.gated() {
            let line = format!("_w[1] = {}", self.context(site));
            self.line(&line);
        }
    }

    /// Emits an aimed call: the aim, then the line.
    pub(super) fn aimed(&mut self, callee: Fun, text: &str) -> Site {
        let site = self.site(callee);
        self.aim(site);
        self.line(text);
        self.here(&[site]);
        site
    }

    /// Emits the line by which a callee takes its context from the cell.
    pub(super) fn take(&mut self) {
        self.take_from("_w[0]");
    }

    /// Emits the line by which a callee takes its context from an expression.
    pub(super) fn take_from(&mut self, context: &str) {
        if self.gated() {
            self.line(&format!("c = {context}"));
        }
    }

    /// Emits a gate at the context in `c`.
    ///
    /// Message, wait and account are one statement on one line: whoever looks between the message and the answer sees
    /// the line that the account tells.
    pub(super) fn gate(&mut self) {
        self.gate_at("c");
    }

    /// Emits a gate at the context that `context` evaluates to.
    pub(super) fn gate_at(&mut self, context: &str) {
        match self.mode {
            Mode::Free => self.line("g = 1"),
            Mode::Gated => {
                let (before, after) = if self.locked { ("_lock.acquire(); ", "; _lock.release()") } else { ("", "") };
                self.line(&format!(
                    "{before}_write(1, ({context} | _tid() << 32).to_bytes(8, 'little')); \
                     any(map(_account, iter(_next, b'g'))){after}"
                ))
            }
        };
    }

    /// Emits the work of a leaf.
    pub(super) fn work(&mut self) {
        match self.parameters.speed {
            0 => {
                self.line("x = 0");
            }
            speed => {
                self.block(&format!("for i in range({speed}):"));
                self.line("x = i ^ 5");
                self.end();
            }
        }
    }

    /// Emits one line that gives the function `count` more locals, hence a larger frame.
    pub(super) fn locals(&mut self, count: u32) {
        if count > 0 {
            let mut line = String::new();
            for _ in 0..count {
                // Writing to a String cannot fail.
                let _ = write!(line, "v{} = ", self.fresh);
                self.fresh += 1;
            }
            self.fresh = 0;
            line.push('0');
            self.line(&line);
        }
    }

    /// Ends the program: the tables, the greeting, the wait, and the call of `main`.
    pub(super) fn finish(mut self, main: Fun) -> (String, Grammar) {
        let gated = self.gated();
        let tables = self.lines.len();
        if gated {
            self.text("_n = ()\n_r = ()");
        }
        self.line("c = 0");
        self.line("_write(1, b'framdiff')");
        self.line("if _read(0, 1) != b'g': _exit(0)");
        self.call(main, "main(@)");
        let last = self.last_line();
        if let Some(module) = self.functions.first_mut() {
            module.last_line = last;
        }
        let (grammar, next, roots) = self.unfold();
        if gated {
            for (line, (name, table)) in self.lines.iter_mut().skip(tables).zip([("_n", next), ("_r", roots)]) {
                *line = format!("{name} = {table}");
            }
        }
        let mut source = self.lines.join("\n");
        source.push('\n');
        (source, grammar)
    }

    /// The tree of contexts, what each call site leads to from each of them, and the roots.
    fn unfold(&self) -> (Grammar, String, String) {
        let mut grammar = Grammar::default();
        for draft in &self.functions {
            grammar.function(Function {
                name: draft.name.clone(),
                file: draft.file.clone(),
                first_line: draft.first_line,
                last_line: draft.last_line,
            });
        }
        let roots: Vec<ContextId> = self.roots.iter().map(|root| grammar.root(number(root.0))).collect();
        let mut queue: std::collections::VecDeque<(ContextId, Fun, u32, bool)> =
            roots.iter().zip(&self.roots).map(|(&id, &fun)| (id, fun, 0, false)).collect();
        let mut next = String::from("(");
        while let Some((id, fun, fuel, barren)) = queue.pop_front() {
            next.push('(');
            for call in self.functions.get(fun.0).filter(|_| !barren).map_or(&[][..], |draft| &draft.calls) {
                let below = match call.fuel {
                    Fuel::Keep => Some(fuel),
                    Fuel::Set(fuel) => Some(fuel),
                    Fuel::Spend => fuel.checked_sub(1),
                    Fuel::WhenSpent => (fuel == 0).then_some(0),
                };
                if let Some(below) = below {
                    let child = grammar.call(id, number(call.callee.0), call.from.clone());
                    queue.push_back((child, call.callee, below, call.barren));
                    let _ = write!(next, "{child},");
                } else {
                    next.push_str("0,");
                }
            }
            next.push_str("),");
        }
        next.push(')');
        let roots = roots.iter().fold(String::from("("), |text, root| format!("{text}{root},")) + ")";
        (grammar, next, roots)
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
