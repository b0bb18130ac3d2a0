//! Builds a Python program line by line, and its grammar with it.
//!
//! A family *declares* functions, *opens* and *closes* their bodies, and emits every call through a [`Site`]. The line
//! of a call is the line on which its text was emitted, so no line number is ever guessed. At the end, the call sites
//! are unfolded from the roots into the tree of contexts.
//!
//! In a gated program, every function has its context in the variable `c`. A call passes the callee's context as an
//! argument: `_n[c][k]` is the context to which the `k`-th call site leads from here. A callee that is entered without
//! such an argument (a `__del__`, a property) takes its context from the cell `_w`, which its caller has set before.
//! The caller is said to *aim* the call.

use super::grammar::{CallLines, Grammar, TRAMPOLINE, WORKLOAD_FILE};
use super::graph::{Call, Graph, Unfolded};
pub(super) use super::graph::{Fuel, Fun, Site};
use super::parameters::Parameters;
use super::{Mode, ROUND, prologue};

/// The program under construction.
pub(super) struct Program<'a> {
    mode: Mode,
    parameters: &'a Parameters,
    lines: Vec<String>,
    indent: usize,
    graph: Graph,
    module: Fun,
    open: Vec<Fun>,
    locked: bool,
    shares: Vec<(Fun, u32)>,
}

impl<'a> Program<'a> {
    /// A program with its prologue: the imports, and the helpers of gates if it has any.
    pub(super) fn new(mode: Mode, parameters: &'a Parameters) -> Self {
        let mut graph = Graph::default();
        // A module's first instruction is on line 0.
        let module = graph.declare("<module>", WORKLOAD_FILE);
        graph.root(module);
        let (lines, open) = (Vec::new(), vec![module]);
        let mut program =
            Self { mode, parameters, lines, indent: 0, graph, module, open, locked: false, shares: Vec::new() };
        program.text(prologue::IMPORTS);
        match mode {
            Mode::Free => {}
            Mode::Gated => {
                program.text(&prologue::gate_with_places());
            }
            Mode::Rounds | Mode::GatedRounds => {
                program.text(prologue::GATE);
            }
        }
        program.line("");
        program
    }

    pub(super) fn parameters(&self) -> &'a Parameters {
        self.parameters
    }

    /// Whether the program has all gates.
    pub(super) fn gated(&self) -> bool {
        matches!(self.mode, Mode::Gated | Mode::GatedRounds)
    }

    /// Whether every round of `main` starts with a gate. All rounds should be alike.
    pub(super) fn has_rounds(&self) -> bool {
        matches!(self.mode, Mode::Rounds | Mode::GatedRounds)
    }

    /// From here on, gates hold the program's lock, because several threads have gates.
    pub(super) fn lock_gates(&mut self) {
        self.locked = true;
    }

    /// The identifier for `base`, with the suffix for the chosen width of text.
    pub(super) fn name(&self, base: &str) -> String {
        format!("{base}{}", self.parameters.names.suffix())
    }

    /// Declares a function of the workload's file by its `co_qualname`.
    pub(super) fn declare(&mut self, qualname: &str) -> Fun {
        self.declare_in(qualname, WORKLOAD_FILE)
    }

    /// Declares a code object with another file name.
    pub(super) fn declare_in(&mut self, qualname: &str, file: &str) -> Fun {
        self.graph.declare(qualname, file)
    }

    /// Declares the function that a thread starts with.
    pub(super) fn declare_root(&mut self, qualname: &str) -> Fun {
        let fun = self.declare(qualname);
        self.graph.root(fun);
        fun
    }

    /// The text of a root's context, to be passed to a new thread.
    pub(super) fn root_context(&self, root: Fun) -> String {
        match (self.gated(), self.graph.root_number(root)) {
            (true, Some(position)) => format!("_r[{position}]"),
            _ => "0".into(),
        }
    }

    /// Declares a function named after `base` and opens its body.
    pub(super) fn define(&mut self, base: &str, arguments: &str) -> Fun {
        let name = self.name(base);
        let fun = self.declare(&name);
        self.open(fun, &format!("def {name}({arguments}):"));
        fun
    }

    /// Opens a class at module level. Its methods are declared with [`Self::method`].
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
        self.graph.name(fun).into()
    }

    /// Emits lines without code, so that location tables must skip far.
    pub(super) fn gap(&mut self, lines: u32) {
        for _ in 0..lines {
            self.line("#");
        }
    }

    /// Emits `header` (`def`, `class`, its decorators) and opens the body of `fun`.
    pub(super) fn open(&mut self, fun: Fun, header: &str) {
        let first = self.text(header);
        self.graph.begins(fun, first);
        self.open.push(fun);
        self.indent += 1;
    }

    /// Closes the body that was opened last.
    pub(super) fn close(&mut self) {
        let last = self.last_line();
        self.indent = self.indent.saturating_sub(1);
        if let Some(fun) = self.open.pop() {
            self.graph.ends(fun, last);
        }
        if self.indent == 0 {
            self.line("");
        }
    }

    /// Declares that a collection calls this function, and nothing else does.
    pub(super) fn runs_in_collection(&mut self, fun: Fun) {
        self.graph.runs_in_collection(fun);
    }

    /// Sets the lines of a code object that is compiled from a separate text: `0..=last`.
    pub(super) fn compiled(&mut self, fun: Fun, last: u32) {
        self.graph.ends(fun, last);
    }

    /// The trampoline to an `__init__` written in Python. A specialised instantiation pushes a frame of the interpreter
    /// between the caller and `__init__`. Walkers see it, but `f_back` and so the account skip it.
    pub(super) fn trampoline(&mut self, init: Fun) -> Fun {
        let fun = self.declare_in(TRAMPOLINE, TRAMPOLINE);
        self.open.push(fun);
        self.anywhere(init);
        self.open.pop();
        fun
    }

    /// Records that the last emitted line instantiates a class, possibly through this trampoline.
    pub(super) fn instantiates(&mut self, trampoline: Fun) {
        let site = self.site(trampoline);
        self.here(&[site]);
    }

    /// Sets the line of a function that is on a single line, such as a lambda.
    pub(super) fn on_line(&mut self, fun: Fun, line: u32) {
        self.graph.begins(fun, line);
        self.graph.ends(fun, line);
    }

    /// Emits a line that opens a block other than a function: `while`, `try`, a class at module level.
    pub(super) fn block(&mut self, header: &str) -> u32 {
        let line = self.line(header);
        self.indent += 1;
        line
    }

    pub(super) fn end(&mut self) {
        self.indent = self.indent.saturating_sub(1);
    }

    /// Ends a block and opens its next clause: `except`, `finally`, `else`.
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

    /// A new call site of the open function. It is on no line yet.
    pub(super) fn site(&mut self, callee: Fun) -> Site {
        self.add(Call::of(callee))
    }

    /// A new call site of a function that is written inside a line of another function: a generator expression, a
    /// lambda.
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

    /// A new call site with a role in a bounded recursion.
    pub(super) fn fuelled(&mut self, callee: Fun, fuel: Fuel) -> Site {
        self.add(Call { fuel, ..Call::of(callee) })
    }

    /// A call site of the open function that can be reached from any of its lines.
    pub(super) fn anywhere(&mut self, callee: Fun) -> Site {
        self.add(Call { from: CallLines::Anywhere, ..Call::of(callee) })
    }

    /// Adds a call site to the open function.
    pub(super) fn add(&mut self, call: Call) -> Site {
        let owner = self.open.last().copied().unwrap_or(self.module);
        self.graph.add(owner, call)
    }

    /// Records that the last emitted line can call through these sites.
    pub(super) fn here(&mut self, sites: &[Site]) {
        for &site in sites {
            self.at_line(site, self.last_line());
        }
    }

    /// Records that the call site is on this line of a separately compiled text.
    pub(super) fn at_line(&mut self, site: Site, line: u32) {
        self.graph.at_line(site, line);
    }

    /// Emits a gate at the context in `c`.
    pub(super) fn gate(&mut self) {
        self.gate_at("c");
    }

    /// Emits a gate at the context that `context` evaluates to.
    pub(super) fn gate_at(&mut self, context: &str) {
        if self.gated() {
            self.gate_line(context);
        } else {
            self.line("g = 1");
        }
    }

    fn gate_line(&mut self, context: &str) {
        let (before, after) = if self.locked { ("_lock.acquire(); ", "; _lock.release()") } else { ("", "") };
        self.line(&format!("{before}{}{after}", prologue::gate(context)));
    }

    /// Opens the loop of `main`. If the program has rounds, emits the gate at their start.
    pub(super) fn rounds(&mut self) {
        self.block("while True:");
        if self.has_rounds() {
            self.gate_line(&ROUND.to_string());
        }
    }

    /// Records that `fun` spends time in proportion to `weight`. Functions without a weight spend none.
    pub(super) fn spends(&mut self, fun: Fun, weight: u32) {
        self.shares.push((fun, weight));
    }

    /// The recorded weights, by function.
    pub(super) fn shares(&self) -> Vec<(String, u32)> {
        self.shares.iter().map(|&(fun, weight)| (self.identifier(fun), weight)).collect()
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
            let names: Vec<_> = (0..count).map(|index| format!("v{index}")).collect();
            self.line(&format!("{} = 0", names.join(" = ")));
        }
    }

    /// Finishes the program: the tables, the greeting, the wait, and the call of `main`.
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
        self.graph.ends(self.module, last);
        let Unfolded { grammar, next, roots } = self.graph.unfold();
        if gated {
            for (line, (name, table)) in self.lines.iter_mut().skip(tables).zip([("_n", next), ("_r", roots)]) {
                *line = format!("{name} = {table}");
            }
        }
        let mut source = self.lines.join("\n");
        source.push('\n');
        (source, grammar)
    }
}
