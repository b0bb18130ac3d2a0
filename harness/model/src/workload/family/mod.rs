//! The families of workloads: one file each, with all that depends on the family.

use std::fmt;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use super::parts;
use super::program::{self, Fun, Program};

/// What depends on the family of a workload. Each family's file has its own.
#[derive(Clone, Copy, Debug)]
pub struct FamilySpec {
    /// Emits the program from its `main`. Returns the largest number of threads that are alive at the same time.
    pub(super) emit: fn(&mut Program<'_>, Fun, &mut ChaCha8Rng) -> u32,
    /// Draws a depth that shows what the family is about.
    pub(super) draw_depth: fn(&mut ChaCha8Rng) -> u32,
    /// The largest depth with which the program runs within the walkers' limits, in frames.
    pub(super) deepest: u32,
    /// Which threads its programs have.
    pub threads: FamilyThreads,
    /// Whether its stacks, names and threads exceed the limits of CPython's unwinder. Such a program is walked at its
    /// gates alone.
    pub exceeds_limits: bool,
    /// Whether its functions call Python only from Python, without a shim frame, and have no loop outside `main`.
    pub is_straight: bool,
    /// Whether it runs collections.
    pub collects: bool,
    /// Whether generators or coroutines of its run: they yield, await or return.
    pub yields: bool,
    /// Its share of the live lane's time, relative to the other families.
    pub live_weight: f64,
    /// The first minor version that links all of its frames to their callers, and what earlier ones do. `None` if all
    /// supported versions do.
    pub linked_since: Option<((u8, u8), &'static str)>,
}

/// The threads of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyThreads {
    /// Only the main thread.
    Main,
    /// Others, which wait without a gate.
    Waiting,
    /// Others, which run and have gates.
    Running,
}

impl FamilySpec {
    /// Why the live lane does not run the family, if it does not.
    #[must_use]
    pub fn not_live(&self) -> Option<&'static str> {
        match (self.exceeds_limits, self.collects) {
            (true, _) => Some("stacks beyond the limits are only tested while the target is stopped"),
            (false, true) => Some("where a collection stands is only judged while the target is stopped"),
            (false, false) => None,
        }
    }

    /// What most families have.
    const fn new(emit: fn(&mut Program<'_>, Fun, &mut ChaCha8Rng) -> u32) -> Self {
        Self {
            emit,
            draw_depth: |random| random.random_range(1..=6),
            deepest: 200,
            threads: FamilyThreads::Main,
            exceeds_limits: false,
            is_straight: false,
            collects: false,
            yields: false,
            live_weight: 1.0,
            linked_since: None,
        }
    }
}

/// Makes the enum of the families. For each line it declares the module `$module`, and takes [`FamilySpec`] from the
/// module's constant `SPEC`. Saved cases have the name of the variant, in kebab case. `cargo fmt` does not see modules
/// that a macro declares: `.ci/run format` checks them.
macro_rules! families {
    ($($family:ident = $module:ident: $about:literal;)*) => {
        $(mod $module;)*

        /// The behaviour that a workload exercises.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, IntoStaticStr)]
        #[serde(rename_all = "kebab-case")]
        #[strum(serialize_all = "kebab-case")]
        pub enum Family {
            $(#[doc = $about] $family,)*
        }

        impl Family {
            /// Every family, in the order of declaration.
            pub const ALL: [Self; [$(Self::$family),*].len()] = [$(Self::$family),*];

            /// What depends on the family.
            #[must_use]
            pub fn spec(self) -> &'static FamilySpec {
                match self {
                    $(Self::$family => &$module::SPEC,)*
                }
            }
        }
    };
}

families! {
    Alternating = alternating: "Branches called in turn by one caller, with frames at equal or different addresses.";
    Limits = limits: "Stacks, names and threads on both sides of the limits of CPython's unwinder.";
    Deep = deep: "Deep stacks that grow and shrink across the borders of data-stack chunks.";
    Recursion = recursion: "Direct, mutual and branching recursion.";
    Exceptions = exceptions: "Exceptions that unwind through handlers, `finally` blocks and context managers.";
    Generators = generators: "Generators as leaves and as callers, resumed in every way and by different callers.";
    Coroutines = coroutines: "Coroutines and asynchronous generators, driven by hand.";
    ThroughC = through_c: "Python called from C called from Python.";
    FailedBind = failed_bind: "Calls whose arguments do not fit.";
    Finalizers = finalizers: "Python code that runs while a frame is cleared.";
    KeptFrames = kept_frames: "Frames that outlive their call in frame objects and tracebacks.";
    Monitoring = monitoring: "Callbacks of `sys.monitoring`.";
    Threads = threads: "Threads with their own branches. Some of the threads come and go.";
    Construction = construction: "Instances created by a specialised call that sometimes fails.";
    Delegates = delegates: "Generators that delegate to an iterator that is not a generator.";
    Shares = shares: "Leaves of every kind with known shares of the time.";
    Collections = collections: "Python code that a collection runs, next to code that the last reference runs.";
}

/// The largest distance of a program's time from its `Workload::shares`, as a total variation distance.
pub const SHARES_INEXACT: f64 = shares::INEXACT;

impl Family {
    /// The name on command lines, in tables and in saved cases.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The family with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == name)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
