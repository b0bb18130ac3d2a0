//! The outcome of a mutant, judged from a hunt.

use serde::{Deserialize, Serialize};

use super::coverage::Reached;
use super::fault::Fault;
use super::hunt::{Hunted, Kill};
use super::subject::{Mutant, Reach};

/// The outcome for one mutant after the hunt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Judged {
    /// A clause broke that the original does not break.
    Killed(Kill),
    /// No clause broke, although one could have: the harness missed the fault.
    Survived {
        /// Number of walks, counted per thread.
        samples: u64,
    },
    /// No clause broke, and none can.
    Equivalent {
        /// Why no clause can break.
        argument: String,
        /// Number of walks, counted per thread.
        samples: u64,
    },
    /// The mutant cannot be made, or does not start.
    NotViable {
        /// Why it is not viable.
        why: String,
    },
    /// The target died, which shows nothing about its stacks.
    Died {
        /// How the process ended, in words.
        how: String,
    },
    /// The hunt shows nothing.
    Inconclusive {
        /// Why the hunt was inconclusive.
        why: String,
    },
}

impl Judged {
    /// The outcome in one or two words.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Killed(_) => "killed",
            Self::Survived { .. } => "survived",
            Self::Equivalent { .. } => "equivalent",
            Self::NotViable { .. } => "not viable",
            Self::Died { .. } => "died",
            Self::Inconclusive { .. } => "inconclusive",
        }
    }

    /// The outcome of a hunt for `mutant`.
    #[must_use]
    pub fn of(hunted: Hunted, mutant: &Mutant, reach: &Reach) -> Self {
        match hunted {
            Hunted::Killed(kill) => Self::Killed(kill),
            Hunted::Died { how } => Self::Died { how },
            Hunted::Inconclusive { why } => Self::Inconclusive { why },
            Hunted::Passed { samples } => match equivalent(mutant, reach) {
                Some(argument) => Self::Equivalent { argument, samples },
                None => Self::Survived { samples },
            },
        }
    }
}

/// The reason why `mutant` cannot be distinguished from the original, or `None` if it can.
#[must_use]
pub fn equivalent(mutant: &Mutant, reach: &Reach) -> Option<String> {
    if mutant.fault == Fault::StoresSwapped {
        return Some(
            "debug builds and code compiled by the JIT store in the other order, and pass: a read of both words in the \
             middle of an update gets one new and one old value, and no cache entry matches both"
                .into(),
        );
    }
    let Reached { guards, updates } = reach.total(&mutant.sites);
    (mutant.fault.needs_update() && guards > 0 && updates == 0).then(|| {
        format!(
            "the guard was evaluated {guards} times and was never true, whichever frame the anchor was set to: a frame \
             that leaves here was never the current frame, so no profiler can have set the anchor to it"
        )
    })
}
