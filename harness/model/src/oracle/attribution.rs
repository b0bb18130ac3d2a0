//! Finds the cause of an impossible stack from the provenance of its frames and of the frames stored before.

use std::collections::HashMap;

use framewalk::frame::Frame;
use framewalk::sample::{Lookup, Provenance, ThreadSample};

use crate::oracle::cause::Cause;
use crate::workload::grammar::{Grammar, Illegal};

/// Follows one walker's samples and attributes the impossible stacks.
#[derive(Debug, Default)]
pub struct Attribution {
    /// The last stack that the walker stored, if it was impossible, by thread.
    stored: HashMap<u64, Vec<Frame>>,
}

impl Attribution {
    /// Judges the next sample of a thread. A rejected sample has no stack to judge.
    pub fn judge(&mut self, grammar: &Grammar, sample: &ThreadSample) -> Option<(Illegal, Cause)> {
        let stack = sample.outcome.as_ref().ok()?;
        let verdict = grammar.judge(stack).err();
        let cause = verdict.is_some().then(|| self.cause(grammar, sample, stack));
        if sample.provenance.lookup != Lookup::FullHit {
            match verdict {
                Some(_) => self.stored.insert(sample.native_thread_id, stack.to_vec()),
                None => self.stored.remove(&sample.native_thread_id),
            };
        }
        verdict.zip(cause)
    }

    fn cause(&self, grammar: &Grammar, sample: &ThreadSample, stack: &[Frame]) -> Cause {
        let fresh = stack.len().saturating_sub(sample.provenance.from_cache);
        let cached = stack.get(fresh..).unwrap_or_default();
        let by_itself = cause_of(sample.provenance);
        if matches!(by_itself, Cause::TornRead | Cause::Unattributed) {
            return by_itself;
        }
        let served_again = self.stored.get(&sample.native_thread_id).is_some_and(|stored| {
            let same_leaf = stored.first().map(|frame| &frame.function) == stack.first().map(|frame| &frame.function);
            stored.ends_with(cached) && (sample.provenance.lookup == Lookup::FullHit && same_leaf)
        });
        // Callers that are impossible by themselves were already impossible when they were stored.
        let stored_torn = !cached.is_empty() && grammar.judge(cached).is_err();
        if served_again || stored_torn { Cause::StoredTornWalkServedAgain } else { by_itself }
    }
}

/// The cause of an impossible stack, judged only by what the cache answered.
#[must_use]
pub fn cause_of(provenance: Provenance) -> Cause {
    match provenance.lookup {
        Lookup::Uncached | Lookup::Miss(_) => Cause::TornRead,
        Lookup::Unknown => Cause::Unattributed,
        Lookup::FullHit => Cause::StaleFullHit,
        Lookup::PartialHit => Cause::StalePartialHit,
    }
}

#[cfg(test)]
mod tests {
    use framewalk::frame::Location;
    use framewalk::miss::MissReason;

    use super::*;
    use crate::workload::grammar::{CallLines, Function, WORKLOAD_FILE};

    fn grammar() -> Grammar {
        let mut grammar = Grammar::default();
        let [module, a, a_leaf, b, b_leaf] = [("<module>", 1), ("a", 10), ("a_leaf", 20), ("b", 30), ("b_leaf", 40)]
            .map(|(name, first_line)| {
                grammar.function(Function {
                    name: name.into(),
                    file: WORKLOAD_FILE.into(),
                    first_line,
                    last_line: first_line + 5,
                })
            });
        let root = grammar.root(module);
        for (branch, leaf, line) in [(a, a_leaf, 11), (b, b_leaf, 31)] {
            let context = grammar.call(root, branch, CallLines::At(vec![2]));
            grammar.call(context, leaf, CallLines::At(vec![line]));
        }
        grammar
    }

    fn sample(frames: &[(&str, i32)], lookup: Lookup, from_cache: usize) -> ThreadSample {
        let frame = |&(function, line): &(&str, i32)| Frame {
            function: function.into(),
            file: WORKLOAD_FILE.into(),
            location: Location { line: Some(line), ..Location::default() },
        };
        ThreadSample {
            native_thread_id: 1,
            outcome: Ok(frames.iter().map(frame).collect()),
            provenance: Provenance { lookup, from_cache },
        }
    }

    const LEGAL: [(&str, i32); 3] = [("a_leaf", 21), ("a", 11), ("<module>", 2)];
    const MIXED: [(&str, i32); 3] = [("a_leaf", 21), ("b", 31), ("<module>", 2)];
    const TORN: [(&str, i32); 3] = [("b_leaf", 41), ("b", 31), ("a", 11)];

    fn causes(samples: &[ThreadSample]) -> Vec<Option<Cause>> {
        let grammar = grammar();
        let mut attribution = Attribution::default();
        samples.iter().map(|sample| attribution.judge(&grammar, sample).map(|(_, cause)| cause)).collect()
    }

    #[test]
    fn provenance_decides_the_cause() {
        let miss = Lookup::Miss(MissReason::AnchorNotOnChain);
        assert_eq!(
            causes(&[
                sample(&LEGAL, miss, 0),
                sample(&MIXED, Lookup::FullHit, 2),
                sample(&MIXED, Lookup::Uncached, 0),
                sample(&LEGAL, miss, 0),
                sample(&MIXED, Lookup::PartialHit, 2),
                sample(&MIXED, Lookup::FullHit, 2),
                sample(&MIXED, Lookup::Unknown, 2),
            ]),
            [
                None,
                Some(Cause::StaleFullHit),
                Some(Cause::TornRead),
                None,
                Some(Cause::StalePartialHit),
                Some(Cause::StoredTornWalkServedAgain),
                Some(Cause::Unattributed),
            ]
        );
    }

    #[test]
    fn callers_that_never_call_each_other_were_stored_torn() {
        assert_eq!(
            causes(&[sample(&TORN, Lookup::PartialHit, 2), sample(&TORN, Lookup::FullHit, 2)]),
            [Some(Cause::StoredTornWalkServedAgain), Some(Cause::StoredTornWalkServedAgain)]
        );
    }

    #[test]
    fn a_full_hit_on_its_leaf_serves_a_stored_torn_walk_again() {
        const OTHER_LEAF: [(&str, i32); 3] = [("a", 11), ("b", 31), ("<module>", 2)];
        let miss = Lookup::Miss(MissReason::AnchorNull);
        let after = |first, then| causes(&[first, then])[1];
        let torn = || sample(&MIXED, miss, 0);
        assert_eq!(after(torn(), sample(&MIXED, Lookup::FullHit, 2)), Some(Cause::StoredTornWalkServedAgain));
        assert_eq!(after(torn(), sample(&OTHER_LEAF, Lookup::FullHit, 2)), Some(Cause::StaleFullHit));
        // The cached callers of a partial hit are possible by themselves. It is wrong to put them under these frames.
        assert_eq!(after(torn(), sample(&MIXED, Lookup::PartialHit, 1)), Some(Cause::StalePartialHit));
        assert_eq!(after(torn(), sample(&OTHER_LEAF, Lookup::PartialHit, 1)), Some(Cause::StalePartialHit));
        // A full hit stores nothing.
        let stale = || sample(&MIXED, Lookup::FullHit, 2);
        assert_eq!(after(stale(), stale()), Some(Cause::StaleFullHit));
    }

    #[test]
    fn a_rejected_sample_has_no_verdict() {
        let mut rejected = sample(&MIXED, Lookup::Unknown, 0);
        rejected.outcome = Err(framewalk::rejection::Rejection::Moved);
        assert_eq!(causes(&[rejected]), [None]);
    }
}
