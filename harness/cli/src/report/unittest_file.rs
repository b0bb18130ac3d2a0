//! Writes a standalone `unittest` file for CPython's own tree: the deterministic part of this project, in a place
//! where only the standard library may be used.
//!
//! The file holds generated programs with their legal stacks. It samples them with CPython's own unwinder at gates,
//! where the target is stopped. It therefore finds faults of anchor, sequence and cache between samples. Faults during
//! a sample are left to the stepped lane.

use model::workload::prologue::{IMPORTS, gate_with_places};
use model::workload::{Family, FrameSize, Mode, Names, Parameters, Workload, generate};

use crate::report::python::{contexts, functions, program};

/// The Python code around the data.
const TEMPLATE: &str = include_str!("../../pyscripts/test_frame_cache.py");

/// Number of gates at which each program is sampled.
const GATES: u32 = 160;
/// Number of gates before the first sample.
const WARM_UP: u32 = 40;
/// The same on a JIT build: the JIT needs longer to compile the hot code.
const WARM_UP_WITH_JIT: u32 = 1500;

/// A program in the file.
struct Chosen {
    /// The name of its test class.
    name: &'static str,
    /// The docstring of the test class: what it tests.
    about: &'static str,
    family: Family,
    seed: u64,
    depth: u32,
    width: u32,
    frame_size: FrameSize,
}

/// Small programs that together reach every site at which CPython updates the anchor, and whose stacks reuse
/// addresses.
const CHOSEN: [Chosen; 14] = [
    Chosen {
        name: "TestAlternating",
        about: "Branches that alternate under one caller, on the same addresses.",
        family: Family::Alternating,
        seed: 3,
        depth: 4,
        width: 3,
        frame_size: FrameSize::Equal(0),
    },
    Chosen {
        name: "TestAlternatingOfManySizes",
        about: "Branches that alternate under one caller, on addresses that drift apart.",
        family: Family::Alternating,
        seed: 8,
        depth: 3,
        width: 4,
        frame_size: FrameSize::Unequal(40),
    },
    Chosen {
        name: "TestRecursion",
        about: "Direct, mutual and branching recursion.",
        family: Family::Recursion,
        seed: 1,
        depth: 5,
        width: 3,
        frame_size: FrameSize::Equal(2),
    },
    Chosen {
        name: "TestDeep",
        about: "A deep stack that swings across the borders of data-stack chunks.",
        family: Family::Deep,
        seed: 1,
        depth: 120,
        width: 3,
        frame_size: FrameSize::Equal(9),
    },
    Chosen {
        name: "TestExceptions",
        about: "Exceptions that unwind through handlers, finally blocks and context managers.",
        family: Family::Exceptions,
        seed: 1,
        depth: 4,
        width: 4,
        frame_size: FrameSize::Equal(0),
    },
    Chosen {
        name: "TestGenerators",
        about: "Generators as leaves and as callers, resumed in every possible way by different callers.",
        family: Family::Generators,
        seed: 1,
        depth: 3,
        width: 5,
        frame_size: FrameSize::Equal(0),
    },
    Chosen {
        name: "TestCoroutines",
        about: "Coroutines and asynchronous generators, driven by hand.",
        family: Family::Coroutines,
        seed: 1,
        depth: 3,
        width: 5,
        frame_size: FrameSize::Equal(0),
    },
    Chosen {
        name: "TestThroughC",
        about: "Python called from C called from Python.",
        family: Family::ThroughC,
        seed: 1,
        depth: 2,
        width: 8,
        frame_size: FrameSize::Equal(0),
    },
    Chosen {
        name: "TestFailedBind",
        about: "Calls with wrong arguments.",
        family: Family::FailedBind,
        seed: 1,
        depth: 3,
        width: 4,
        frame_size: FrameSize::Equal(0),
    },
    Chosen {
        name: "TestFinalizers",
        about: "Python code that runs while a frame dies.",
        family: Family::Finalizers,
        seed: 1,
        depth: 3,
        width: 8,
        frame_size: FrameSize::Equal(0),
    },
    Chosen {
        name: "TestKeptFrames",
        about: "Frames that outlive their call in frame objects and tracebacks.",
        family: Family::KeptFrames,
        seed: 1,
        depth: 3,
        width: 4,
        frame_size: FrameSize::Equal(0),
    },
    Chosen {
        name: "TestMonitoring",
        about: "Callbacks of sys.monitoring.",
        family: Family::Monitoring,
        seed: 1,
        depth: 3,
        width: 4,
        frame_size: FrameSize::Equal(0),
    },
    Chosen {
        name: "TestConstruction",
        about: "Instances created by a specialised call, which fails for some of them.",
        family: Family::Construction,
        seed: 1,
        depth: 3,
        width: 4,
        frame_size: FrameSize::Equal(0),
    },
    Chosen {
        name: "TestDelegates",
        about: "Generators that delegate to an iterator that is not a generator.",
        family: Family::Delegates,
        seed: 1,
        depth: 3,
        width: 4,
        frame_size: FrameSize::Equal(0),
    },
];

impl Chosen {
    fn workload(&self) -> Workload {
        let Self { depth, width, frame_size, .. } = *self;
        let parameters = Parameters { depth, width, frame_size, speed: 0, names: Names::Ascii };
        generate(self.family, Mode::Gated, &parameters, self.seed)
    }

    /// The program, with the class that tests it.
    fn text(&self) -> String {
        let Workload { source, grammar, .. } = self.workload();
        let tests = if self.family.spec().is_straight { "TwoUnwinders" } else { "OneUnwinder" };
        // Line numbers count from the first line of the prologue.
        let rest = source.strip_prefix(&prologue()).unwrap_or(&source);
        format!(
            "class {}({tests}, unittest.TestCase):\n    \"\"\"{}\"\"\"\n\n    program = Program(\n        functions={},\n        contexts={},\n        text={},\n    )\n",
            self.name,
            self.about,
            functions(&grammar),
            contexts(&grammar),
            program(rest),
        )
    }
}

/// The beginning of every gated program.
fn prologue() -> String {
    format!("{IMPORTS}\n{}\n", gate_with_places())
}

/// The text of the `unittest` file.
#[must_use]
pub fn unittest_file() -> String {
    let programs: Vec<String> = CHOSEN.iter().map(Chosen::text).collect();
    let mut text = TEMPLATE.to_owned();
    for (name, value) in [
        ("FRAMEDIFF", env!("CARGO_PKG_VERSION").to_owned()),
        ("WARM_UP", WARM_UP.to_string()),
        ("WARM_UP_JIT", WARM_UP_WITH_JIT.to_string()),
        ("GATES", GATES.to_string()),
        ("PROLOGUE", program(&prologue())),
        // Last, because the programs' text must not be searched for placeholders.
        ("PROGRAMS", programs.join("\n\n")),
    ] {
        text = text.replacen(&format!("@@{name}@@"), &value, 1);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_starts_with_the_same_prologue() {
        for chosen in &CHOSEN {
            assert!(chosen.workload().source.starts_with(&prologue()), "{}", chosen.name);
        }
    }
}
