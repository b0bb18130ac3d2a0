//! Judges the stacks of the shipped profiler by the grammar of the program.

use std::collections::BTreeMap;

use framewalk::frame::{Frame, Location};
use framewalk::printable::excerpt;
use model::oracle::distribution::total_variation;
use model::workload::Workload;
use model::workload::grammar::{WORKLOAD_FILE, is_trampoline};

use super::parse::{CountedStack, ProfiledFrame};

/// The frames below the program's, root first. `profiling.sampling run` starts its target with `python -m
/// profiling.sampling._sync_coordinator`, so `Lib/runpy.py` is at the root. The frames of the coordinator itself come
/// next; the profiler leaves them out of every stack (`_INTERNAL_FRAME_SUFFIXES` in `Lib/profiling/sampling/constants.py`).
const BOOTSTRAP: [&str; 2] = ["_run_module_as_main", "_run_code"];

/// The file of these frames. Debug builds do not use frozen modules.
const BOOTSTRAP_FILES: [&str; 2] = ["<frozen runpy>", "runpy.py"];

/// The files of the Python functions that `_sync_coordinator.py` calls from the moment when it reports that it is ready
/// to the moment when it executes the program: it closes a socket, then `_execute_script` works with paths.
const STARTING: [&str; 5] =
    ["socket.py", "<frozen posixpath>", "posixpath.py", "<frozen genericpath>", "genericpath.py"];

/// The file whose functions run while the program imports a module that is compiled into the interpreter.
const IMPORTING: &str = "<frozen importlib._bootstrap>";

/// The marker that a collection of garbage adds to a stack, at most once. `<native>` is not allowed, because `--native`
/// is not given.
const COLLECTING: &str = "<GC>";

/// What is wrong with a stack, or where the target was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StackVerdict {
    /// The program can have this stack.
    Legal,
    /// The target had not reached the program's own code.
    StartingUp,
    /// The target can never have this stack, for this reason.
    Impossible(String),
}

/// Judges a stack, root first.
pub(super) fn judge(workload: &Workload, stack: &[ProfiledFrame]) -> StackVerdict {
    let impossible = |why: &str| StackVerdict::Impossible(why.to_owned());
    let (markers, stack): (Vec<&ProfiledFrame>, Vec<&ProfiledFrame>) =
        stack.iter().partition(|frame| frame.is_marker());
    if markers.len() > 1 || markers.iter().any(|marker| marker.function != COLLECTING) {
        return impossible("it has a marker that cannot be there");
    }
    let is_bootstrap = |(frame, function): (&&ProfiledFrame, &str)| {
        frame.function == function && BOOTSTRAP_FILES.contains(&frame.file.as_str())
    };
    let rest = match stack.split_at_checked(BOOTSTRAP.len()) {
        Some((root, rest)) if root.iter().zip(BOOTSTRAP).all(is_bootstrap) => rest,
        _ => return impossible("it does not start with the frames of the profiler's bootstrap: callers are missing"),
    };
    if rest.iter().all(|frame| STARTING.contains(&frame.file.as_str())) {
        return StackVerdict::StartingUp;
    }
    if let [module, importing @ ..] = rest
        && (module.file.as_str(), module.function.as_str()) == (WORKLOAD_FILE, "<module>")
        && !importing.is_empty()
        && importing.iter().all(|frame| frame.file == IMPORTING || is_trampoline(&as_frame(frame)))
        && imports(workload, module.line)
    {
        return StackVerdict::StartingUp;
    }
    let frames: Vec<Frame> = rest.iter().rev().map(|frame| as_frame(frame)).collect();
    match workload.grammar.judge(&frames) {
        Ok(()) => StackVerdict::Legal,
        Err(illegal) => StackVerdict::Impossible(illegal.to_string()),
    }
}

/// Whether this line of the program imports a module.
fn imports(workload: &Workload, line: i32) -> bool {
    let index = usize::try_from(line).ok().and_then(|line| line.checked_sub(1));
    let line = index.and_then(|index| workload.source.lines().nth(index)).unwrap_or_default();
    line.starts_with("import ") || line.starts_with("from ")
}

fn as_frame(frame: &ProfiledFrame) -> Frame {
    // The collectors write 0 for a frame without a location. The unwinder gives -1 to an instruction without a line.
    let line = Some(frame.line).filter(|line| ![0, -1].contains(line));
    Frame {
        function: frame.function.as_str().into(),
        file: frame.file.as_str().into(),
        location: Location { line, ..Location::default() },
    }
}

/// What came out of one run, judged.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct JudgedStacks {
    /// Stacks of the program, in samples.
    pub(super) legal: u64,
    /// Samples from before the program.
    pub(super) starting: u64,
    /// Samples with an impossible stack.
    pub(super) impossible: u64,
    /// The most frequent impossible stack, and why it is one.
    pub(super) example: Option<String>,
    /// Samples by the functions of their stack. Those from before the program do not count.
    pub(super) shapes: BTreeMap<Vec<String>, u64>,
}

impl JudgedStacks {
    pub(super) fn new(workload: &Workload, stacks: &[CountedStack]) -> Self {
        let mut judged = Self::default();
        let mut most = 0;
        for (stack, count) in stacks {
            match judge(workload, stack) {
                StackVerdict::StartingUp => {
                    judged.starting += count;
                    continue;
                }
                StackVerdict::Legal => judged.legal += count,
                StackVerdict::Impossible(why) => {
                    judged.impossible += count;
                    if *count > most {
                        most = *count;
                        judged.example = Some(format!("{count} x {}: {why}", shown(stack)));
                    }
                }
            }
            let shape = stack.iter().map(|frame| frame.function.clone()).collect();
            *judged.shapes.entry(shape).or_default() += count;
        }
        judged
    }

    /// Samples of the program, right or wrong.
    pub(super) fn samples(&self) -> u64 {
        self.legal + self.impossible
    }

    /// The share of impossible stacks.
    #[allow(clippy::cast_precision_loss, reason = "counts beyond 2^53 do not occur")]
    pub(super) fn share(&self) -> f64 {
        self.impossible as f64 / self.samples().max(1) as f64
    }

    /// The total variation distance from another run, over the functions of the stacks.
    pub(super) fn distance(&self, other: &Self) -> f64 {
        let keys: Vec<&Vec<String>> =
            self.shapes.keys().chain(other.shapes.keys().filter(|key| !self.shapes.contains_key(*key))).collect();
        #[allow(clippy::cast_precision_loss, reason = "counts beyond 2^53 do not occur")]
        let shares = |of: &Self| -> Vec<f64> {
            let all = of.samples().max(1) as f64;
            keys.iter().map(|key| of.shapes.get(*key).copied().unwrap_or_default() as f64 / all).collect()
        };
        total_variation(&shares(self), &shares(other))
    }
}

/// A stack in one line, root first, without the bootstrap.
fn shown(stack: &[ProfiledFrame]) -> String {
    let frames = stack.iter().skip(BOOTSTRAP.len()).map(|frame| format!("{}:{}", frame.function, frame.line));
    excerpt(&frames.collect::<Vec<_>>().join(" > "))
}

#[cfg(test)]
mod tests {
    use model::workload::grammar::{CallLines, Context};
    use model::workload::{Family, FrameSize, Mode, Names, Parameters, generate};

    use super::super::parse::collapsed;
    use super::*;

    const ROOT: &str = "tid:1;<frozen runpy>:_run_module_as_main:201;<frozen runpy>:_run_code:87";

    fn workload() -> Workload {
        let frame_size = FrameSize::Equal(0);
        let parameters = Parameters { depth: 2, width: 2, frame_size, speed: 0, names: Names::Ascii };
        generate(Family::Alternating, Mode::Free, &parameters, 1)
    }

    /// The stack of each context without callees, as the profiler writes it.
    fn deepest(workload: &Workload) -> Vec<Vec<String>> {
        let grammar = &workload.grammar;
        let is_leaf = |id: usize| grammar.contexts.iter().all(|context| context.parent != u32::try_from(id).ok());
        let leaves = (0..grammar.contexts.len()).filter(|&id| is_leaf(id));
        let stack = |leaf| {
            let (mut parts, mut next, mut line) = (Vec::new(), Some(leaf), None::<u32>);
            while let Some(id) = next {
                let context: &Context = &grammar.contexts[id];
                let function = &grammar.functions[context.function as usize];
                parts.push(format!("w/workload.py:{}:{}", function.name, line.unwrap_or(function.last_line)));
                line = match &context.called_from {
                    CallLines::At(lines) => lines.first().copied(),
                    CallLines::Anywhere => None,
                };
                next = context.parent.map(|parent| parent as usize);
            }
            parts.reverse();
            parts
        };
        leaves.map(stack).collect()
    }

    fn stacks(text: &str) -> Vec<CountedStack> {
        collapsed(&format!("{ROOT}{text} 3")).unwrap()
    }

    fn verdict(workload: &Workload, text: &str) -> StackVerdict {
        judge(workload, &stacks(text)[0].0)
    }

    /// A frame of one branch under the callers of another.
    fn mixed(all: &[Vec<String>]) -> String {
        let (one, other) = (&all[0], &all[all.len() - 1]);
        let index = (0..one.len().min(other.len())).find(|&index| {
            let name = |part: &str| part.split(':').nth(1).map(str::to_owned);
            name(&one[index]) != name(&other[index])
        });
        let index = index.unwrap();
        let mut parts = one[..=index].to_vec();
        parts.extend_from_slice(&other[index + 1..]);
        format!(";{}", parts.join(";"))
    }

    #[test]
    fn legal_stacks_pass_and_mixed_branches_do_not() {
        let workload = workload();
        let all = deepest(&workload);
        assert!(all.len() >= 2);
        for stack in &all {
            assert_eq!(verdict(&workload, &format!(";{}", stack.join(";"))), StackVerdict::Legal);
        }
        let mixed = mixed(&all);
        assert!(matches!(verdict(&workload, &mixed), StackVerdict::Impossible(_)), "{mixed}");
        let judged = JudgedStacks::new(&workload, &stacks(&mixed));
        assert_eq!((judged.impossible, judged.legal, judged.starting), (3, 0, 0));
        assert!(judged.example.unwrap().starts_with("3 x <module>:"));
    }

    #[test]
    fn only_the_frames_of_the_bootstrap_are_allowed_below_the_program() {
        let workload = workload();
        let whole = deepest(&workload)[0].join(";");
        let import = 1 + workload.source.lines().position(|line| line.starts_with("from ")).unwrap();
        let importing = format!(";w/workload.py:<module>:{import};<frozen importlib._bootstrap>:_find_and_load:1");
        for (text, expected) in [
            (String::new(), Some(StackVerdict::StartingUp)),
            (";posixpath.py:realpath:460".into(), Some(StackVerdict::StartingUp)),
            (";<frozen posixpath>:realpath:460".into(), Some(StackVerdict::StartingUp)),
            (importing.clone(), Some(StackVerdict::StartingUp)),
            // The interpreter's trampoline to the `__init__` of a module lock.
            (format!("{importing};__init__:__init__:-1"), Some(StackVerdict::StartingUp)),
            (importing.replace(&format!("<module>:{import}"), "<module>:1000"), None),
            (format!(";<frozen posixpath>:realpath:460;{whole}"), None),
            (format!(";{whole};<GC>"), Some(StackVerdict::Legal)),
            (format!(";{whole};<GC>;<GC>"), None),
            (format!(";{whole};<native>"), None),
            (format!(";{whole};other.py:f:1"), None),
            (";other.py:f:1".into(), None),
            // Torn reads of the code object and of the instruction give such lines.
            (";w/workload.py:<module>:-3".into(), None),
            (";w/workload.py:<module>:-1".into(), Some(StackVerdict::Legal)),
        ] {
            let seen = verdict(&workload, &text);
            match expected {
                Some(expected) => assert_eq!(seen, expected, "{text}"),
                None => assert!(matches!(seen, StackVerdict::Impossible(_)), "{text}"),
            }
        }
        for without in [format!("tid:1;{whole} 1"), "tid:1;<frozen runpy>:_run_module_as_main:201 1".into()] {
            let stacks = collapsed(&without).unwrap();
            assert!(matches!(judge(&workload, &stacks[0].0), StackVerdict::Impossible(_)), "{without}");
        }
    }

    #[test]
    fn the_distance_of_a_run_from_itself_is_zero() {
        let workload = workload();
        let all = deepest(&workload);
        let run = |index: usize| JudgedStacks::new(&workload, &stacks(&format!(";{}", all[index].join(";"))));
        assert!(run(0).distance(&run(0)).abs() < 1e-12);
        assert!((run(0).distance(&run(all.len() - 1)) - 1.0).abs() < 1e-12);
    }
}
