//! Python called from C called from Python. Every way to enter Python puts a shim frame into the chain.

use rand_chacha::ChaCha8Rng;

use super::FamilySpec;
use super::parts;
use super::program::{Fun, Program};

/// A way to enter Python from C.
#[derive(Clone, Copy, Debug)]
enum Entry {
    SortedKey,
    Map,
    Reduce,
    Partial,
    OperatorCall,
    /// A statement that calls these methods of a `Box`. The second method takes its context from the second cell.
    Methods(&'static str, &'static [&'static str]),
    Init,
    New,
    Exec,
    Eval,
    ClassBody,
}

const METHODS: [(&str, &str, &str); 17] = [
    ("__getattr__", "self, name", "return 1"),
    ("__setattr__", "self, name, value", ""),
    ("__eq__", "self, other", "return True"),
    ("__hash__", "self", "return 5"),
    ("__lt__", "self, other", "return False"),
    ("__getitem__", "self, key", "return 1"),
    ("__setitem__", "self, key, value", ""),
    ("__contains__", "self, key", "return True"),
    ("__len__", "self", "return 1"),
    ("__call__", "self", ""),
    ("__add__", "self, other", "return 1"),
    ("__bool__", "self", "return True"),
    ("__repr__", "self", "return 'box'"),
    ("__format__", "self, wish", "return 'box'"),
    ("__index__", "self", "return 1"),
    ("attribute", "self", "return 1"),
    ("__get__", "self, thing, kind", "return 1"),
];

const ENTRIES: [Entry; 26] = [
    Entry::SortedKey,
    Entry::Map,
    Entry::Reduce,
    Entry::Partial,
    Entry::OperatorCall,
    Entry::Init,
    Entry::New,
    Entry::Exec,
    Entry::Eval,
    Entry::ClassBody,
    Entry::Methods("_box.missing", &["__getattr__"]),
    Entry::Methods("getattr(_box, 'missing')", &["__getattr__"]),
    Entry::Methods("_box.x = 1", &["__setattr__"]),
    Entry::Methods("_table.get(_other)", &["__hash__", "__eq__"]),
    Entry::Methods("_box == _other", &["__eq__"]),
    Entry::Methods("sorted((_box, _other))", &["__lt__"]),
    Entry::Methods("_box[1]", &["__getitem__"]),
    Entry::Methods("_box[1] = 2", &["__setitem__"]),
    Entry::Methods("3 in _box", &["__contains__"]),
    Entry::Methods("len(_box)", &["__len__"]),
    Entry::Methods("_box()", &["__call__"]),
    Entry::Methods("_box + 1", &["__add__"]),
    Entry::Methods("not _box", &["__bool__"]),
    Entry::Methods("f'{_box!r} {_other}'", &["__repr__", "__format__"]),
    Entry::Methods("_box.attribute", &["attribute"]),
    Entry::Methods("_box.described; (1, 2)[_box]", &["__get__", "__index__"]),
];

/// The functions that the entries reach.
struct Reached {
    leaf: Fun,
    callback: Fun,
    methods: Vec<(&'static str, Fun)>,
    init: Fun,
    trampoline: Fun,
    new: Fun,
    exec: Fun,
    eval: Fun,
}

pub(super) const SPEC: FamilySpec = FamilySpec::new(emit);

/// Emits `main` and one function for each way into Python; returns the number of threads.
fn emit(p: &mut Program<'_>, main: Fun, random: &mut ChaCha8Rng) -> u32 {
    let reached = reached(p);
    let mut entries = ENTRIES;
    parts::shuffle(&mut entries, random);
    let count = (p.parameters().width * 3) as usize;
    let depth = p.parameters().depth;
    let mut ways = Vec::new();
    for (index, entry) in (0..).zip(entries.into_iter().take(count)) {
        let top = way(p, &format!("way_{index}"), index, entry, &reached);
        // The chains have different lengths, so the shim frames of different ways are sometimes at different addresses.
        ways.push(parts::chain(p, &format!("to_{index}"), if index % 2 == 0 { 0 } else { depth.min(12) }, top));
        if index % 3 == 0 {
            // A twin on the same frames. Its shim frame is where the other's was. An anchor left on that one, because
            // leaving a shim frame does not move it, seems to be alive again.
            ways.push(way(p, &format!("twin_{index}"), index, entry, &reached));
        }
    }
    p.open(main, "def main(c):");
    p.rounds();
    for way in ways {
        p.invoke(way);
    }
    p.gate();
    p.end();
    p.close();
    1
}

fn reached(p: &mut Program<'_>) -> Reached {
    let leaf = parts::leaf(p, "leaf", 0);
    let callback = p.define("callback", "a, b=0");
    p.take();
    p.gate();
    p.invoke(leaf);
    p.gate();
    p.close();

    p.class("Box");
    let mut methods = Vec::new();
    for (index, (name, arguments, result)) in (0..).zip(METHODS) {
        if name == "__get__" {
            continue;
        }
        let fun = method(p, "Box", name, arguments, result, index, leaf);
        methods.push((name, fun));
    }
    p.end();
    p.class("Descriptor");
    for (index, (name, arguments, result)) in (0..).zip(METHODS) {
        if name == "__get__" {
            methods.push((name, method(p, "Descriptor", name, arguments, result, index, leaf)));
        }
    }
    p.end();
    p.line("Box.described = Descriptor()");
    p.line("_box, _other = Box(), Box()");
    p.class("Made");
    let init = p.method("Made", "__init__", "self, c");
    p.gate();
    p.invoke(leaf);
    p.close();
    p.end();
    let trampoline = p.trampoline(init);
    p.class("Thin");
    let new = p.method("Thin", "__new__", "kind, c");
    p.gate();
    p.invoke(leaf);
    p.line("return object.__new__(kind)");
    p.close();
    p.end();

    let exec = compiled(p, "_exec", "exec", leaf);
    let eval = compiled(p, "_eval", "eval", leaf);
    p.line("_table = {}");
    p.line("");
    Reached { leaf, callback, methods, init, trampoline, new, exec, eval }
}

/// A code object that is compiled at the start and kept.
fn compiled(p: &mut Program<'_>, variable: &str, mode: &str, leaf: Fun) -> Fun {
    let file = format!("<{mode}>");
    let fun = p.declare_in("<module>", &file);
    let site = p.site_of(fun, leaf);
    let context = p.context_from("_w[0]", site);
    let name = p.identifier(leaf);
    let (text, line) =
        if mode == "exec" { (format!("g = 1\\n{name}({context})\\n"), 2) } else { (format!("{name}({context})"), 1) };
    p.line(&format!("{variable} = compile(\"{text}\", '{file}', '{mode}')"));
    p.at_line(site, line);
    p.compiled(fun, line);
    fun
}

fn method(
    p: &mut Program<'_>,
    class: &str,
    name: &'static str,
    arguments: &str,
    result: &str,
    index: u32,
    leaf: Fun,
) -> Fun {
    let fun = p.declare(&format!("{class}.{name}"));
    // A decorated function begins on the line of its decorator.
    let decorator = if name == "attribute" { "@property\n" } else { "" };
    p.open(fun, &format!("{decorator}def {name}({arguments}):"));
    p.locals(p.parameters().frame_size.locals(index));
    // Only the second method of a statement uses the second cell.
    p.take_from(if matches!(name, "__eq__" | "__format__" | "__index__") { "_w[1]" } else { "_w[0]" });
    p.gate();
    p.invoke(leaf);
    p.gate();
    if !result.is_empty() {
        p.line(result);
    }
    p.close();
    fun
}

/// A function that enters Python in one way.
fn way(p: &mut Program<'_>, base: &str, index: u32, entry: Entry, reached: &Reached) -> Fun {
    let name = p.name(base);
    let fun = p.declare(&name);
    p.open(fun, &format!("def {name}(c):"));
    p.locals(p.parameters().frame_size.locals(20 + index));
    p.gate();
    match entry {
        Entry::SortedKey => {
            let lambda = p.declare(&format!("{name}.<locals>.<lambda>"));
            let outer = p.site(lambda);
            let inner = p.site_of(lambda, reached.leaf);
            let context = p.context_from(&p.context(outer), inner);
            let leaf = p.identifier(reached.leaf);
            let line = p.line(&format!("sorted((3, 1, 2), key=lambda v: ({leaf}({context}), v)[1])"));
            p.here(&[outer, inner]);
            p.on_line(lambda, line);
        }
        Entry::Map => called_back(p, reached.callback, "any(map(#, (1, 2, 3)))"),
        Entry::Reduce => called_back(p, reached.callback, "_functools.reduce(#, (1, 2, 3))"),
        Entry::Partial => called_back(p, reached.callback, "_functools.partial(#, 1)()"),
        Entry::OperatorCall => called_back(p, reached.callback, "_operator.call(#, 1, b=2)"),
        Entry::Methods(statement, names) => {
            let methods: Vec<_> = names
                .iter()
                .filter_map(|name| reached.methods.iter().find(|(other, _)| other == name))
                .map(|(name, fun)| (*name, p.site(*fun)))
                .collect();
            for (name, site) in &methods {
                if matches!(*name, "__eq__" | "__format__" | "__index__") {
                    p.aim_second(*site);
                } else {
                    p.aim(*site);
                }
            }
            if statement.starts_with("_table") {
                // Hash 5 is that of the boxes, so the lookup must ask whether 5 is equal to the box.
                p.line("_table[5] = 1");
            }
            p.line(statement);
            p.here(&methods.iter().map(|(_, site)| *site).collect::<Vec<_>>());
        }
        Entry::Init => {
            p.call(reached.init, "Made(@)");
            p.instantiates(reached.trampoline);
        }
        Entry::New => {
            p.call(reached.new, "Thin(@)");
        }
        Entry::Exec => {
            p.aimed(reached.exec, "exec(_exec)");
        }
        Entry::Eval => {
            p.aimed(reached.eval, "eval(_eval)");
        }
        Entry::ClassBody => {
            let class = p.declare(&format!("{name}.<locals>.K"));
            let site = p.site(class);
            p.aim(site);
            // A real class, made in every round, would be kept alive by reference cycles. The object that `zip` makes
            // of it is not.
            p.open(class, "class K(metaclass=zip):");
            p.here(&[site]);
            p.take();
            p.gate();
            p.invoke(reached.leaf);
            p.close();
        }
    }
    p.gate();
    p.close();
    fun
}

/// Emits a statement in which C calls the callback. `#` in the text is its name.
fn called_back(p: &mut Program<'_>, callback: Fun, text: &str) {
    let name = p.identifier(callback);
    p.aimed(callback, &text.replace('#', &name));
}
