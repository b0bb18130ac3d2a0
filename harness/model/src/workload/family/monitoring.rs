//! Callbacks of `sys.monitoring`: Python code that runs under any line of the watched functions.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::FamilySpec;
use super::parts;
use super::program::{Fun, Program};

/// The events with a callback, the callback's name, and its parameters.
const EVENTS: [(&str, &str, &str); 4] = [
    ("PY_START", "on_start", "code, offset"),
    ("PY_RETURN", "on_return", "code, offset, value"),
    ("PY_YIELD", "on_yield", "code, offset, value"),
    ("LINE", "on_line", "code, number"),
];

pub(super) const SPEC: FamilySpec = FamilySpec { yields: true, ..FamilySpec::new(emit) };

/// Emits `main`, the watched functions and the callbacks; returns the number of threads.
fn emit(p: &mut Program<'_>, main: Fun, random: &mut ChaCha8Rng) -> u32 {
    // The helper is not watched: otherwise its events would call the callback again, without end.
    let helper = parts::leaf(p, "helper", 0);
    p.line("_mon = sys.monitoring");
    p.line("_mon.use_tool_id(4, 'framediff')");
    p.line("");
    let disabling = random.random_range(0..=EVENTS.len());
    let callbacks: Vec<_> =
        (0..).zip(EVENTS).map(|(index, event)| callback(p, index, event, helper, disabling)).collect();
    p.line("");

    let mut watched = Vec::new();
    let leaf = open(p, "leaf", 1, &callbacks, &mut watched);
    p.gate();
    p.work();
    p.gate();
    p.close();
    let generator = open(p, "generator", 2, &callbacks, &mut watched);
    p.block("for j in range(2):");
    p.gate();
    p.invoke(leaf);
    p.line("yield j");
    p.end();
    p.close();
    let generator_name = p.identifier(generator);
    let width = p.parameters().width;
    let depth = p.parameters().depth;
    let branches: Vec<_> = (0..width)
        .map(|branch| {
            let mut below = leaf;
            for level in 0..depth {
                let fun = open(p, &format!("m{branch}_{level}"), 3 + level, &callbacks, &mut watched);
                if level == 0 && branch % 2 == 0 {
                    let site = p.site(generator);
                    p.makes(generator);
                    p.through(site, &format!("for j in {generator_name}(@):"));
                    p.makes(generator);
                    p.line("    g = j");
                }
                p.invoke(below);
                p.gate();
                p.close();
                below = fun;
            }
            below
        })
        .collect();

    let events = EVENTS.map(|(event, ..)| format!("_mon.events.{event}")).join(" | ");
    p.line(&format!("_all = {events}"));
    let codes: Vec<_> = watched.iter().map(|&fun| p.identifier(fun)).collect();
    let toggle = p.define("toggle", "c, events");
    p.gate();
    p.block(&format!("for f in ({},):", codes.join(", ")));
    p.line("_mon.set_local_events(4, f.__code__, events)");
    p.end();
    p.line("_mon.restart_events()");
    p.gate();
    p.close();

    let toggle_name = p.identifier(toggle);
    p.open(main, "def main(c):");
    p.call(toggle, &format!("{toggle_name}(@, _all)"));
    p.rounds();
    for (index, branch) in branches.into_iter().enumerate() {
        p.invoke(branch);
        if index == 0 && random.random_bool(0.5) {
            // Instrumentation is removed and added again.
            p.call(toggle, &format!("{toggle_name}(@, 0)"));
            p.invoke(branch);
            p.call(toggle, &format!("{toggle_name}(@, _all)"));
        }
    }
    p.line("_mon.restart_events()");
    p.end();
    p.close();
    1
}

/// Opens a watched function. Its first call sites are those of the callbacks, in the order of the events.
fn open(p: &mut Program<'_>, base: &str, index: u32, callbacks: &[Fun], watched: &mut Vec<Fun>) -> Fun {
    let fun = p.define(base, "c");
    for &callback in callbacks {
        p.anywhere(callback);
    }
    p.locals(p.parameters().frame_size.locals(index));
    watched.push(fun);
    fun
}

fn callback(p: &mut Program<'_>, index: usize, event: (&str, &str, &str), helper: Fun, disabling: usize) -> Fun {
    let (event, name, arguments) = event;
    let fun = p.define(name, arguments);
    let name = p.identifier(fun);
    // A watched function has its context in `c` from its first instruction on.
    p.take_from(&format!("_n[_getframe(1).f_locals['c']][{index}]"));
    p.gate();
    if index.is_multiple_of(2) {
        p.invoke(helper);
    }
    if index == disabling {
        p.line("return _mon.DISABLE");
    }
    p.close();
    p.line(&format!("_mon.register_callback(4, _mon.events.{event}, {name})"));
    fun
}
