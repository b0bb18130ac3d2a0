//! Profiles compared with the truth: how far a profiler's view of a program is from the program. This is advice and
//! never decides a verdict.
//!
//! If the workload was generated to spend its time in known shares, these are the truth. Otherwise, the truth is what
//! an uncached walker saw of the same process, stopped at random moments before and after it was sampled while running.
//! The "Tachyon Oracle" (gh-153804) calls this blocking-nocache.

use std::collections::BTreeMap;

use framewalk::sample::WalkerKind;
use serde::{Deserialize, Serialize};

use crate::oracle::distribution::{Bias, Distance, Slices, sums};
use crate::oracle::profile::{Leaf, Profile};
use crate::run::cell::CellOutcome;
use crate::run::cell_report::CellReport;
use crate::run::observed::Observer;
use crate::schedule::fingerprint::LeafKind;
use crate::workload::SHARES_INEXACT;

/// The name of the samples of the stopped process, as in the Tachyon Oracle.
pub const STOPPED: &str = "blocking-nocache";

/// The profiles of one program on one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgramProfiles {
    /// The name of the row.
    pub row: String,
    /// The family of the program.
    pub family: String,
    /// The seed that generated the program.
    pub seed: u64,
    /// How many stacks were sampled from the stopped process.
    pub stopped: u64,
    /// The distance of these stacks from the shares that the program was generated with. If these shares are known,
    /// they are the truth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<Distance>,
    /// The leaves. The one with the largest true share comes first.
    pub leaves: Vec<LeafShare>,
    /// The profile of each walker.
    pub walkers: Vec<Picture>,
}

/// The true share of a function among the leaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeafShare {
    /// The function, by name and file.
    #[serde(flatten)]
    pub leaf: Leaf,
    /// The kind of leaf that it was most often when the target was stopped.
    pub kind: Option<LeafKind>,
    /// Its share of the true profile.
    pub truth: f64,
}

/// The profile of one walker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    /// The walker that took the profile.
    pub walker: WalkerKind,
    /// Walks of a thread, rejected ones included.
    pub samples: u64,
    /// Microseconds of walking for each sample.
    pub us_per_sample: f64,
    /// The share of samples without a stack.
    pub errors: f64,
    /// The same share by reason, also of all samples.
    #[serde(default)]
    pub rejected: BTreeMap<String, f64>,
    /// How many stacks are not in the grammar.
    pub impossible: u64,
    /// Their share of the stacks.
    pub impossible_share: f64,
    /// The total variation distance from the truth; `None` if there is nothing to compare.
    pub tvd: Option<Distance>,
    /// Whether the distance shows a bias.
    pub bias: Bias,
    /// The share of each leaf, in the order of [`ProgramProfiles::leaves`].
    pub shares: Vec<f64>,
    /// For each kind of leaf, the observed share minus the true share. If it is negative, the walker sees that kind too
    /// rarely.
    pub kinds: Vec<(LeafKind, f64)>,
}

/// The truth that profiles are compared with.
enum Truth {
    /// The known share of each leaf, by its index.
    Known(Vec<f64>),
    Stopped(Slices),
}

impl Truth {
    fn distance(&self, profile: &Slices, seed: u64) -> Option<Distance> {
        match self {
            Self::Known(shares) => Distance::from_known(profile, shares, SHARES_INEXACT, seed),
            Self::Stopped(slices) => Distance::between(profile, slices, seed),
        }
    }
}

/// The profiles of a cell, if it has any.
#[must_use]
pub fn of_cell(report: &CellReport) -> Option<ProgramProfiles> {
    let of = |wanted: Observer| {
        report.profiles.iter().find(|observed| observed.observer == wanted).map(|observed| &observed.profile)
    };
    let stopped = of(Observer::Stopped)?;
    if report.outcome != CellOutcome::Ran {
        return None;
    }
    let cell = &report.cell;
    let mut leaves = stopped.leaves.clone();
    let known = of(Observer::Generator).map(|known| known.by(&mut leaves));
    let mut walkers: Vec<_> = (report.profiles.iter())
        .filter_map(|observed| match observed.observer {
            Observer::Walker(walker) => Some((walker, observed.profile.by(&mut leaves), &observed.profile)),
            Observer::Generator | Observer::Stopped => None,
        })
        .collect();
    walkers.sort_by_key(|(walker, ..)| walker.rank());
    let width = leaves.len();
    let true_shares = shares(&sums(known.as_ref().unwrap_or(&stopped.slices), width), width);
    let truth =
        if known.is_some() { Truth::Known(true_shares.clone()) } else { Truth::Stopped(stopped.slices.clone()) };
    let kinds: Vec<Option<LeafKind>> = (0..width).map(|at| kind(stopped, at)).collect();
    let mut order: Vec<usize> = (0..width).collect();
    let true_share = |at: usize| true_shares.get(at).copied().unwrap_or(0.0);
    order.sort_by(|&one, &other| true_share(other).total_cmp(&true_share(one)));
    let pictures = walkers.into_iter().map(|(walker, slices, profile)| {
        let shares = shares(&sums(&slices, width), width);
        let tvd = truth.distance(&slices, cell.seed);
        let by_kind = |kind: LeafKind| {
            let of_kind = |at: &usize| kinds.get(*at).copied().flatten() == Some(kind);
            let excess = |at: usize| shares.get(at).copied().unwrap_or(0.0) - true_share(at);
            let here: Vec<usize> = (0..width).filter(of_kind).collect();
            (!here.is_empty() && profile.stacks() > 0).then(|| (kind, here.into_iter().map(excess).sum()))
        };
        let tally = report.tallies.get(&walker).cloned().unwrap_or_default();
        Picture {
            walker,
            samples: tally.samples,
            us_per_sample: tally.per_second().map_or(0.0, |rate| 1e6 / rate),
            errors: share(tally.rejected(), tally.samples),
            rejected: (tally.rejected.iter())
                .map(|(reason, &count)| (reason.clone(), share(count, tally.samples)))
                .collect(),
            impossible: tally.impossible(),
            impossible_share: share(tally.impossible(), tally.accepted()),
            bias: tvd.map_or(Bias::CannotTell, Distance::bias),
            tvd,
            shares: order.iter().map(|&at| shares.get(at).copied().unwrap_or(0.0)).collect(),
            kinds: LeafKind::ALL.into_iter().filter_map(by_kind).collect(),
        }
    });
    let pictures = pictures.collect();
    let leaf = |&at: &usize| {
        let kind = kinds.get(at).copied().flatten();
        Some(LeafShare { leaf: leaves.get(at)?.clone(), kind, truth: true_share(at) })
    };
    Some(ProgramProfiles {
        row: cell.row.clone(),
        family: cell.family.clone(),
        seed: cell.seed,
        stopped: stopped.stacks(),
        known: known.and_then(|_| truth.distance(&stopped.slices, cell.seed)),
        leaves: order.iter().filter_map(leaf).collect(),
        walkers: pictures,
    })
}

/// The kind that a leaf was most often.
fn kind(profile: &Profile, at: usize) -> Option<LeafKind> {
    let counts = profile.kinds.get(at)?;
    let (at, &most) = counts.iter().enumerate().max_by_key(|(_, count)| **count)?;
    if most > 0 { LeafKind::ALL.get(at).copied() } else { None }
}

fn shares(counts: &[u64], width: usize) -> Vec<f64> {
    let total: u64 = counts.iter().sum();
    (0..width).map(|at| share(counts.get(at).copied().unwrap_or(0), total)).collect()
}

#[allow(clippy::cast_precision_loss, reason = "a share for people")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// One row of the table: a cell for each title in [`HEADER`].
#[must_use]
pub fn figures(picture: &Picture) -> [String; HEADER.len()] {
    let percent = |share: f64| format!("{:.2}", 100.0 * share);
    let kinds: Vec<String> = (picture.kinds.iter())
        .filter(|(_, excess)| excess.abs() >= 0.005)
        .map(|(kind, excess)| format!("{kind} {:+.1}", 100.0 * excess))
        .collect();
    let reasons: Vec<String> = (picture.rejected.iter())
        .filter(|(_, share)| **share >= 0.005)
        .map(|(reason, share)| format!("{reason} {:.1}", 100.0 * share))
        .collect();
    [
        picture.walker.to_string(),
        picture.samples.to_string(),
        format!("{:.1}", picture.us_per_sample),
        percent(picture.errors),
        picture.impossible.to_string(),
        percent(picture.impossible_share),
        distance(picture.tvd),
        picture.bias.words().to_owned(),
        if kinds.is_empty() { "as in truth".to_owned() } else { kinds.join(", ") },
        if reasons.is_empty() { "-".to_owned() } else { reasons.join(", ") },
    ]
}

/// The same for the samples of the stopped process. If the shares of the program are not known, these samples are the
/// truth and are compared with nothing.
#[must_use]
pub fn figures_of_stopped(program: &ProgramProfiles) -> [String; HEADER.len()] {
    let says = program.known.map_or("the truth", |known| known.bias().words());
    std::array::from_fn(|column| match column {
        0 => STOPPED.to_owned(),
        1 => program.stopped.to_string(),
        6 => distance(program.known),
        7 => says.to_owned(),
        _ => "-".to_owned(),
    })
}

fn distance(tvd: Option<Distance>) -> String {
    tvd.map_or_else(
        || "-".to_owned(),
        |tvd| match tvd.interval() {
            Some((low, high)) => format!("{:.3} [{low:.3}, {high:.3}]", tvd.distance),
            None => format!("{:.3}", tvd.distance),
        },
    )
}

/// The titles of [`figures`]: the Tachyon Oracle's columns, then whether the walker is biased, the kinds of leaf it
/// sees too often or too rarely, and why samples gave no stack.
pub const HEADER: [&str; 10] = [
    "walker",
    "samples",
    "us/sample",
    "errors %",
    "impossible",
    "impossible %",
    "TVD",
    "says",
    "leaves by kind, points",
    "errors by reason, %",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::Lane;
    use crate::run::document::Document;
    use crate::run::event::Event;
    use crate::run::fixtures;
    use crate::run::observed::Observed;

    fn profile(leaves: [&str; 2], counts: [u64; 2], kinds: bool) -> Profile {
        let leaf = |function: &str| Leaf { function: function.into(), file: "w.py".into() };
        let kinds = if kinds { vec![[9, 0, 0, 0], [0, 0, 9, 0]] } else { vec![[0; 4]; 2] };
        Profile { leaves: leaves.map(leaf).into(), kinds, slices: vec![counts.into(); 20] }
    }

    fn document(profiles: bool) -> Document {
        let cell = fixtures::cell(Lane::Live);
        let event = |observer, profile| Event::Profile { cell: cell.clone(), observed: Observed { observer, profile } };
        let extra = vec![
            event(Observer::Stopped, profile(["f", "g"], [30, 10], true)),
            event(Observer::Walker(WalkerKind::CpythonCached), profile(["g", "f"], [20, 20], false)),
            event(Observer::Walker(WalkerKind::CpythonUncached), profile(["f", "g"], [30, 10], false)),
        ];
        Document::from(&fixtures::summary(&fixtures::run(if profiles { extra } else { vec![] }), false))
    }

    #[test]
    fn a_profile_is_compared_with_the_truth() {
        let document = document(true);
        let [program] = document.profiles.as_slice() else { panic!("{:?}", document.profiles) };
        assert_eq!((program.stopped, program.leaves[0].leaf.function.as_str()), (800, "f"));
        assert_eq!(program.leaves[1].kind, Some(LeafKind::Generator));
        let [cached, uncached] = program.walkers.as_slice() else { panic!("{program:?}") };
        assert_eq!(
            (cached.walker, cached.bias, cached.shares.as_slice()),
            (WalkerKind::CpythonCached, Bias::Seen, [0.5, 0.5].as_slice())
        );
        assert!((cached.tvd.unwrap().distance - 0.25).abs() < 1e-9);
        assert_eq!(cached.kinds, [(LeafKind::Function, -0.25), (LeafKind::Generator, 0.25)]);
        assert_eq!((uncached.bias, uncached.tvd.unwrap().distance), (Bias::NotSeen, 0.0));
        assert_eq!(figures(cached)[6..9], ["0.250 [0.250, 0.250]", "biased", "function -25.0, generator +25.0"]);
    }

    #[test]
    fn profiles_never_affect_the_verdict() {
        assert_eq!(document(true).judgement, document(false).judgement);
        assert!(document(false).profiles.is_empty());
    }

    #[test]
    fn documents_with_and_without_profiles_load() {
        for profiles in [true, false] {
            let document = document(profiles);
            let text = serde_json::to_string(&document).unwrap();
            assert_eq!(serde_json::from_str::<Document>(&text).unwrap(), document);
            assert_eq!(text.contains("profiles"), profiles);
        }
    }
}
