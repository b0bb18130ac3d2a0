//! The call sites of each function, and their unfolding into the tree of contexts.

use std::collections::VecDeque;
use std::fmt::Write as _;

use super::grammar::{CallLines, ContextId, Function, FunctionId, Grammar};

/// A function of the program under construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fun(usize);

/// A call site of a function, with the lines on which its text was emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Site {
    owner: Fun,
    /// Its index among the sites of its function, in the order of creation.
    pub(super) number: usize,
}

/// The role of a call site in a bounded recursion. Fuel mirrors the program's own counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fuel {
    /// The callee inherits the caller's fuel.
    Keep,
    /// The callee starts with this much.
    Set(u32),
    /// Reached only if the caller has fuel left. The callee has one unit less.
    Spend,
    /// Reached only if the caller has no fuel left.
    WhenSpent,
}

/// The call at a call site.
pub(super) struct Call {
    pub(super) callee: Fun,
    /// The lines of the call.
    pub(super) from: CallLines,
    /// Its role in a recursion.
    pub(super) fuel: Fuel,
    /// Whether the callee calls nothing here, because it is a generator that is only created or closed.
    pub(super) barren: bool,
}

impl Call {
    /// A plain call that is on no line yet.
    pub(super) fn of(callee: Fun) -> Self {
        Self { callee, from: CallLines::At(Vec::new()), fuel: Fuel::Keep, barren: false }
    }
}

struct Node {
    function: Function,
    calls: Vec<Call>,
    /// Whether a collection calls it, and nothing else does.
    in_collection: bool,
}

/// The functions and their call sites.
#[derive(Default)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    roots: Vec<Fun>,
}

/// The tree of contexts, with the tables that a gated program needs, as Python tuples.
pub(super) struct Unfolded {
    pub(super) grammar: Grammar,
    /// For each context, the contexts to which the call sites of its function lead.
    pub(super) next: String,
    /// The context of each root.
    pub(super) roots: String,
}

impl Graph {
    /// Declares a code object by its `co_qualname` and `co_filename`.
    pub(super) fn declare(&mut self, name: &str, file: &str) -> Fun {
        let fun = Fun(self.nodes.len());
        let function = Function { name: name.into(), file: file.into(), first_line: 0, last_line: 0 };
        self.nodes.push(Node { function, calls: Vec::new(), in_collection: false });
        fun
    }

    /// Declares that a thread starts with `fun`.
    pub(super) fn root(&mut self, fun: Fun) {
        self.roots.push(fun);
    }

    /// Declares that a collection calls `fun`, and nothing else does.
    pub(super) fn runs_in_collection(&mut self, fun: Fun) {
        if let Some(node) = self.nodes.get_mut(fun.0) {
            node.in_collection = true;
        }
    }

    /// The index of `fun` among the roots.
    pub(super) fn root_number(&self, fun: Fun) -> Option<usize> {
        self.roots.iter().position(|&root| root == fun)
    }

    /// The `co_qualname` of `fun`.
    pub(super) fn name(&self, fun: Fun) -> &str {
        self.nodes.get(fun.0).map_or("", |node| &node.function.name)
    }

    /// Sets the first line of `fun`.
    pub(super) fn begins(&mut self, fun: Fun, line: u32) {
        if let Some(node) = self.nodes.get_mut(fun.0) {
            node.function.first_line = line;
        }
    }

    /// Sets the last line of `fun`.
    pub(super) fn ends(&mut self, fun: Fun, line: u32) {
        if let Some(node) = self.nodes.get_mut(fun.0) {
            node.function.last_line = line;
        }
    }

    /// Adds a call site to `owner`.
    pub(super) fn add(&mut self, owner: Fun, call: Call) -> Site {
        let mut number = 0;
        if let Some(node) = self.nodes.get_mut(owner.0) {
            number = node.calls.len();
            node.calls.push(call);
        }
        Site { owner, number }
    }

    /// Adds a line to the lines of `site`.
    pub(super) fn at_line(&mut self, site: Site, line: u32) {
        let call = self.nodes.get_mut(site.owner.0).and_then(|node| node.calls.get_mut(site.number));
        if let Some(CallLines::At(lines)) = call.map(|call| &mut call.from) {
            lines.push(line);
        }
    }

    /// Unfolds the calls, starting from the roots.
    pub(super) fn unfold(&self) -> Unfolded {
        let mut grammar = Grammar::default();
        for node in &self.nodes {
            let id = grammar.function(node.function.clone());
            grammar.collected.extend(node.in_collection.then_some(id));
        }
        let ids: Vec<ContextId> = self.roots.iter().map(|&root| grammar.root(function_id(root))).collect();
        let mut queue: VecDeque<(ContextId, Fun, u32, bool)> =
            ids.iter().zip(&self.roots).map(|(&id, &fun)| (id, fun, 0, false)).collect();
        let mut next = String::from("(");
        // The queue is first in, first out, so the rows of the table are in the order of the contexts.
        while let Some((id, fun, fuel, barren)) = queue.pop_front() {
            next.push('(');
            for call in self.nodes.get(fun.0).filter(|_| !barren).map_or(&[][..], |node| &node.calls) {
                let below = match call.fuel {
                    Fuel::Keep => Some(fuel),
                    Fuel::Set(fuel) => Some(fuel),
                    Fuel::Spend => fuel.checked_sub(1),
                    Fuel::WhenSpent => (fuel == 0).then_some(0),
                };
                let child = below.map_or(0, |below| {
                    let child = grammar.call(id, function_id(call.callee), call.from.clone());
                    queue.push_back((child, call.callee, below, call.barren));
                    child
                });
                // Writing to a String cannot fail.
                let _ = write!(next, "{child},");
            }
            next.push_str("),");
        }
        next.push(')');
        let roots = ids.iter().fold(String::from("("), |text, root| format!("{text}{root},")) + ")";
        Unfolded { grammar, next, roots }
    }
}

fn function_id(fun: Fun) -> FunctionId {
    FunctionId::try_from(fun.0).unwrap_or(FunctionId::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuel_limits_a_recursion() {
        let mut graph = Graph::default();
        let [main, f, leaf] = ["main", "f", "leaf"].map(|name| graph.declare(name, "workload.py"));
        graph.root(main);
        graph.add(main, Call { fuel: Fuel::Set(2), ..Call::of(f) });
        graph.add(f, Call { fuel: Fuel::Spend, ..Call::of(f) });
        graph.add(f, Call { fuel: Fuel::WhenSpent, ..Call::of(leaf) });
        let unfolded = graph.unfold();
        let deepest = unfolded.grammar.contexts.len() - 1;
        let path: Vec<_> =
            unfolded.grammar.path(deepest.try_into().unwrap()).iter().map(|function| function.name.clone()).collect();
        assert_eq!(path, ["leaf", "f", "f", "f", "main"]);
        assert_eq!(unfolded.next, "((1,),(2,0,),(3,0,),(0,4,),(),)");
        assert_eq!(unfolded.roots, "(0,)");
    }

    #[test]
    fn creating_a_generator_is_not_a_call() {
        let mut graph = Graph::default();
        let [main, generator, leaf] = ["main", "generator", "leaf"].map(|name| graph.declare(name, "workload.py"));
        graph.root(main);
        graph.add(generator, Call::of(leaf));
        graph.add(main, Call { barren: true, ..Call::of(generator) });
        assert_eq!(graph.unfold().grammar.contexts.len(), 2);
    }
}
