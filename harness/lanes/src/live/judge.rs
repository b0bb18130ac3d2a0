//! Judges the samples of one walker by what the grammar allows.

use std::collections::{BTreeMap, HashMap};

use framewalk::frame::Frame;
use framewalk::rejection::Rejection;
use framewalk::sample::{Counters, Sample, WalkerKind};
use framewalk::stack::Stack;
use model::oracle::attribution::Attribution;
use model::oracle::cause::Cause;
use model::oracle::episodes::Episodes;
use model::oracle::tally::Tally;
use model::run::finding::Possible;
use model::workload::grammar::{Grammar, Illegal};

use crate::recorder::CellRecorder;

/// Judges one walker's samples as they come.
pub(super) struct Judge<'a> {
    pub(super) grammar: &'a Grammar,
    attribution: Attribution,
    episodes: Episodes,
    /// The counts of what was judged.
    pub(super) tally: Tally,
    /// The leaf of each thread's last stack.
    leaves: HashMap<u64, Frame>,
    /// The first impossible stack of each cause.
    pub(super) examples: BTreeMap<Cause, (Vec<Frame>, Illegal)>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(grammar: &'a Grammar) -> Self {
        Self {
            grammar,
            attribution: Attribution::default(),
            episodes: Episodes::default(),
            tally: Tally::default(),
            leaves: HashMap::new(),
            examples: BTreeMap::new(),
        }
    }

    /// The walker was replaced by a new one, whose cache is empty.
    pub(super) fn forget_cache(&mut self) {
        self.attribution = Attribution::default();
    }

    /// Counts a sample. Returns the rules that its stacks break.
    pub(super) fn judge(
        &mut self,
        recorder: &mut CellRecorder<'_>,
        sample: &Sample,
    ) -> Vec<(Illegal, Cause, Vec<Frame>)> {
        let mut broken = Vec::new();
        for thread in &sample.threads {
            recorder.count(sample.walker, thread);
            self.tally.count(thread);
            let verdict = self.attribution.judge(self.grammar, thread);
            if let Some(leaf) = thread.outcome.as_ref().ok().and_then(|stack| stack.first())
                && self.leaves.insert(thread.native_thread_id, leaf.clone()).is_some_and(|before| before != *leaf)
            {
                self.tally.leaf_changes += 1;
                recorder.leaf_changed(sample.walker);
            }
            match &thread.outcome {
                Err(rejection) => self.rejected(recorder, sample.walker, thread.native_thread_id, rejection),
                Ok(stack) => match verdict {
                    None => self.episodes.good(thread.native_thread_id),
                    Some((illegal, cause)) => {
                        self.impossible(recorder, sample.walker, thread.native_thread_id, cause, stack);
                        let stack = stack.to_vec();
                        self.examples.entry(cause).or_insert_with(|| (stack.clone(), illegal.clone()));
                        broken.push((illegal, cause, stack));
                    }
                },
            }
        }
        broken
    }

    fn rejected(&mut self, recorder: &mut CellRecorder<'_>, walker: WalkerKind, thread: u64, rejection: &Rejection) {
        let reason = rejection.reason();
        if self.episodes.is_new_rejection(thread, &reason) {
            recorder.rejected_episode(walker, &reason);
            *self.tally.rejected_episodes.entry(reason).or_default() += 1;
        }
    }

    fn impossible(
        &mut self,
        recorder: &mut CellRecorder<'_>,
        walker: WalkerKind,
        thread: u64,
        cause: Cause,
        stack: &Stack,
    ) {
        recorder.impossible(walker, cause);
        self.tally.count_impossible(cause);
        if self.episodes.is_new_impossible(thread, stack) {
            recorder.impossible_episode(walker, cause);
            *self.tally.impossible_episodes.entry(cause).or_default() += 1;
        }
    }

    /// Counts lookups that CPython's unwinder reports for several threads together, so that they cannot be assigned to
    /// a thread.
    pub(super) fn lookups(&mut self, recorder: &mut CellRecorder<'_>, walker: WalkerKind, counters: &Counters) {
        recorder.lookups(walker, counters);
        self.tally.count_lookups(counters.full_hits, counters.partial_hits, counters.misses);
    }
}

/// A description of what the grammar allows in place of an impossible stack.
pub(super) fn possible(grammar: &Grammar, stack: &[Frame], illegal: &Illegal) -> Possible {
    let index = match illegal {
        Illegal::MixedBranches { index } | Illegal::ForeignFrame { index } => *index,
        Illegal::WrongPosition { index } => {
            let frame = stack.get(*index).map(Frame::name).unwrap_or_default();
            return Possible::Text(format!("{frame} at a line and columns that its code object has"));
        }
        Illegal::WrongLine { index } => {
            let frame = stack.get(*index).map(Frame::name).unwrap_or_default();
            let callee = index.checked_sub(1).and_then(|index| stack.get(index));
            let callee = callee.map_or("nothing".to_owned(), Frame::name);
            return Possible::Text(format!("{frame} on a line from which it calls {callee}"));
        }
        Illegal::CutShort => {
            return Possible::Text("a stack that goes on to the root of its thread".into());
        }
        Illegal::Empty => return Possible::Text("a stack with frames".into()),
    };
    let Some(frame) = stack.get(index) else { return Possible::Text("nothing".into()) };
    let mut callers: Vec<String> = grammar
        .contexts
        .iter()
        .filter(|context| {
            grammar.functions.get(context.function as usize).is_some_and(|function| *function.name == *frame.function)
        })
        .filter_map(|context| grammar.contexts.get(context.parent? as usize))
        .filter_map(|parent| grammar.functions.get(parent.function as usize))
        .map(|function| function.name.clone())
        .collect();
    callers.sort();
    callers.dedup();
    let text = if callers.is_empty() {
        format!("{} as the root of its thread", frame.name())
    } else {
        format!("{} under {}, along one branch to the root", frame.name(), callers.join(" or "))
    };
    Possible::Text(text)
}
