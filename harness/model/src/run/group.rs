//! Violations that have one probable cause.
//!
//! One fault shows in many ways: a frame that the interpreter does not count is an anchor that does not fit, a cache that misses,
//! and a spliced stack, for each walker with a cache. So that nobody reads six reports of one bug, violations are grouped by what
//! is probably behind them. These are the rules; the first that fits decides:
//!
//! 1. What an entry of the known failures describes goes with what has the same link.
//! 2. What the own cached walker shows while `--weaken` leaves a check out of it is that fault.
//! 3. Anchor and sequence are looked at twice, and between the two looks only the interpreter runs. If they changed as they must
//!    not (`anchor-miscounted`, `sequence-decreased`, `written-while-null`), the interpreter did it, whichever walker was there.
//!    An anchor on no frame (`anchor-off-chain`) is the interpreter's, too, unless the same walker was seen to write a wrong one
//!    (`anchor-not-written`) on the same row.
//! 4. Wrong stacks and missed hits of walkers with a cache follow from that where it was seen, on the same row.
//! 5. Where the own uncached walker, which all others are held against, is wrong by itself, what disagrees with it on that row
//!    goes with it: this project is at fault, or the layout of the interpreter's frames.
//! 6. Where walkers of CPython and of this project break the same clause on the same row, they hardly have the same fault by
//!    chance: it is the interpreter's, or the protocol's that both follow.
//! 7. What only CPython's walkers show is the profiler's; what only this project's walkers show is its own, or the layout's.
//!
//! Where nothing but the culprit is guessed (5 to 7), wrong stacks are one group, and what a cache does wrong besides another.
//!
//! A guess is no verdict: what fails is decided by [`Summary`](crate::run::summary::Summary) alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use framewalk::sample::WalkerKind;
use serde::{Deserialize, Serialize};

use crate::invariants::Violation;
use crate::run::distinct::DistinctViolation;
use crate::run::words::{Sign, broke};

/// What is probably behind some violations.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is", content = "link")]
pub enum ProbableCause {
    /// The interpreter's side of the protocol.
    Interpreter,
    /// The interpreter, or the protocol itself: independent walkers go wrong alike.
    InterpreterOrProtocol,
    /// CPython's profiler.
    Profiler,
    /// This project, or the layout of the interpreter's frames.
    Framediff,
    /// A fault that was put into this project's walker.
    Weakened,
    /// What is discussed at this link.
    Known(String),
}

impl ProbableCause {
    /// Whether it says who did it, and not what.
    fn is_a_culprit(&self) -> bool {
        match self {
            Self::InterpreterOrProtocol | Self::Profiler | Self::Framediff => true,
            Self::Interpreter | Self::Weakened | Self::Known(_) => false,
        }
    }
}

impl fmt::Display for ProbableCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interpreter => f.write_str("probably the interpreter"),
            Self::InterpreterOrProtocol => f.write_str("probably the interpreter, or the protocol itself"),
            Self::Profiler => f.write_str("probably the profiler (_remote_debugging)"),
            Self::Framediff => f.write_str("probably framediff itself, or the interpreter's frame layout"),
            Self::Weakened => f.write_str("the fault that --weaken put into framediff's own-cached walker"),
            Self::Known(link) => match link.strip_prefix("https://github.com/python/cpython/issues/") {
                Some(number) => write!(f, "known, gh-{number}"),
                None => write!(f, "known, {link}"),
            },
        }
    }
}

/// Violations with one probable cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// What is probably behind them.
    pub cause: ProbableCause,
    /// That, and what the first of them shows, in a sentence.
    pub headline: String,
    /// Whether it fails the run.
    pub fails: bool,
    /// The rows on which they occurred.
    pub rows: BTreeSet<String>,
    /// Which, as indices into the document's violations; the simplest one comes first.
    pub members: Vec<usize>,
}

impl Group {
    /// The members among `all` violations of the document, the simplest one first.
    pub fn violations<'a>(&'a self, all: &'a [DistinctViolation]) -> impl Iterator<Item = &'a DistinctViolation> {
        self.members.iter().filter_map(|&index| all.get(index))
    }

    /// How often its members occurred.
    #[must_use]
    pub fn count(&self, all: &[DistinctViolation]) -> u64 {
        self.violations(all).map(|violation| violation.count).fold(0, u64::saturating_add)
    }
}

/// The groups of `violations`. `weakened` says that the own cached walker has a fault on purpose.
#[must_use]
pub fn groups(violations: &[DistinctViolation], weakened: bool, strict: bool) -> Vec<Group> {
    let evidence = Evidence::of(violations, weakened);
    let mut found: BTreeMap<(ProbableCause, bool), Vec<usize>> = BTreeMap::new();
    for (index, violation) in violations.iter().enumerate() {
        let cause = evidence.cause(violation);
        let apart = cause.is_a_culprit() && Sign::of(&violation.first.violation) != Sign::WrongStack;
        found.entry((cause, apart)).or_default().push(index);
    }
    let groups = found.into_iter().filter_map(|((cause, _), members)| group(violations, cause, members, strict));
    let mut groups: Vec<Group> = groups.collect();
    groups.sort_by_key(|group| {
        let walker = group.members.first().and_then(|&index| violations.get(index)).map(|one| one.first.walker.rank());
        // Among the known ones that of CPython's walkers first; an order of links means nothing.
        let cause = if matches!(group.cause, ProbableCause::Known(_)) {
            ProbableCause::Known(String::new())
        } else {
            group.cause.clone()
        };
        (!group.fails, cause, walker)
    });
    groups
}

fn group(
    violations: &[DistinctViolation],
    cause: ProbableCause,
    mut members: Vec<usize>,
    strict: bool,
) -> Option<Group> {
    let simplicity = |index: &usize| {
        violations.get(*index).map(|violation| {
            let walker = violation.first.walker;
            // What disagrees with a wrong walker of this project is no fault of CPython's.
            let accused = cause != ProbableCause::Framediff || !walker.is_cpythons();
            (Sign::of(&violation.first.violation), !accused, walker.rank(), violation.first.seen.len(), *index)
        })
    };
    members.sort_by_key(simplicity);
    let all = || members.iter().filter_map(|&index| violations.get(index));
    let simplest = all().next()?;
    Some(Group {
        headline: format!("{cause}: {}", broke(&simplest.first)),
        fails: all().any(|violation| violation.fails(strict)),
        rows: all().flat_map(|violation| violation.rows.iter().cloned()).collect(),
        cause,
        members,
    })
}

/// What all violations together tell of the cause of each; what is known is no evidence against anyone.
struct Evidence<'a> {
    weakened: bool,
    /// Not known, and not of a walker with a fault on purpose.
    new: Vec<&'a DistinctViolation>,
    /// Rows on which the interpreter broke the protocol.
    interpreter: BTreeSet<&'a str>,
    /// Rows on which the own uncached walker is wrong by itself.
    layout: BTreeSet<&'a str>,
}

impl<'a> Evidence<'a> {
    fn of(violations: &'a [DistinctViolation], weakened: bool) -> Self {
        let new: Vec<&DistinctViolation> =
            violations.iter().filter(|one| one.known.is_none() && !is_weakened(one, weakened)).collect();
        let mut evidence = Self { weakened, new, interpreter: BTreeSet::new(), layout: BTreeSet::new() };
        let rows_of = |wanted: &dyn Fn(&DistinctViolation) -> bool| {
            let wanted = evidence.new.iter().filter(|one| wanted(one));
            wanted.flat_map(|one| one.rows.iter().map(String::as_str)).collect::<BTreeSet<&str>>()
        };
        let interpreter = rows_of(&|one| evidence.breaks_protocol(one));
        let layout = rows_of(&|one| one.first.walker == WalkerKind::OwnUncached);
        (evidence.interpreter, evidence.layout) = (interpreter, layout);
        evidence
    }

    fn cause(&self, violation: &DistinctViolation) -> ProbableCause {
        let first = &violation.first;
        let on = |rows: &BTreeSet<&str>| violation.rows.iter().any(|row| rows.contains(row.as_str()));
        if let Some(known) = &violation.known {
            return ProbableCause::Known(known.link.clone());
        }
        if is_weakened(violation, self.weakened) {
            return ProbableCause::Weakened;
        }
        let follows = matches!(Sign::of(&first.violation), Sign::WrongStack | Sign::HitMissed);
        if self.breaks_protocol(violation) || (follows && first.walker.is_cached() && on(&self.interpreter)) {
            return ProbableCause::Interpreter;
        }
        let against_own = matches!(first.violation, Violation::Agreement { other: WalkerKind::OwnUncached, .. });
        if on(&self.layout) && (first.walker == WalkerKind::OwnUncached || against_own) {
            return ProbableCause::Framediff;
        }
        if self.new.iter().any(|other| is_alike(violation, other)) {
            return ProbableCause::InterpreterOrProtocol;
        }
        if first.walker.is_cpythons() { ProbableCause::Profiler } else { ProbableCause::Framediff }
    }

    /// Whether the interpreter wrote what it must not, or did not write what it must.
    fn breaks_protocol(&self, violation: &DistinctViolation) -> bool {
        match Sign::of(&violation.first.violation) {
            Sign::Miscounted => true,
            Sign::OffChain => !self.new.iter().any(|other| {
                Sign::of(&other.first.violation) == Sign::NotWritten
                    && other.first.walker == violation.first.walker
                    && share_a_row(other, violation)
            }),
            Sign::WrongStack | Sign::Died | Sign::HitMissed | Sign::NotWritten | Sign::Cost | Sign::LeftBehind => false,
        }
    }
}

fn is_weakened(violation: &DistinctViolation, weakened: bool) -> bool {
    weakened && violation.first.walker == WalkerKind::OwnCached
}

/// Whether walkers of CPython and of this project break the same clause on the same row.
fn is_alike(one: &DistinctViolation, other: &DistinctViolation) -> bool {
    one.first.walker.is_cpythons() != other.first.walker.is_cpythons()
        && one.first.violation.name() == other.first.violation.name()
        && share_a_row(one, other)
}

fn share_a_row(one: &DistinctViolation, other: &DistinctViolation) -> bool {
    !one.rows.is_disjoint(&other.rows)
}

#[cfg(test)]
mod tests {
    use WalkerKind::{CpythonCached, CpythonUncached, OwnCached, OwnReference, OwnUncached};
    use framewalk::miss::MissReason;

    use super::*;
    use crate::invariants::Difference;
    use crate::run::document::Document;
    use crate::run::event::Event;
    use crate::run::finding::Finding;
    use crate::run::fixtures::{cache_worse, finding, frame, run, summary};
    use crate::workload::grammar::Illegal;

    const UNCOUNTED: Violation = Violation::AnchorMiscounted { before: 8, anchor: 16, counted: 0, left: Some(1) };
    const OFF_CHAIN: Violation = Violation::AnchorOffChain { anchor: 8 };
    const NOT_WRITTEN: Violation = Violation::AnchorNotWritten { current_frame: 8, anchor: 0 };
    const MISSED: Violation =
        Violation::HitMissed { anchor: 8, left: 0, counted: 0, reason: MissReason::SequenceMismatch };
    const SPLICED: Violation = Violation::Legality { illegal: Illegal::MixedBranches { index: 0 } };
    const DISAGREES: Violation =
        Violation::Agreement { other: OwnUncached, difference: Difference::Function { index: 0 } };
    const ACCOUNT: Violation = Violation::Account { difference: Difference::Length };

    fn of(walker: WalkerKind, violation: Violation) -> Finding {
        Finding { walker, violation, cause: None, ..finding() }
    }

    fn document(findings: Vec<Finding>) -> Document {
        let events = findings.into_iter().map(|finding| Event::Violation(Box::new(finding))).collect();
        Document::from(&summary(&run(events), false))
    }

    /// The causes, each with its members as `walker/clause`.
    fn grouped(findings: Vec<Finding>) -> Vec<(ProbableCause, Vec<String>)> {
        let document = document(findings);
        let groups = document.grouped();
        let total: usize = groups.iter().map(|group| group.members.len()).sum();
        assert_eq!(total, document.violations.len(), "none is lost");
        let name =
            |violation: &DistinctViolation| format!("{}/{}", violation.first.walker, violation.first.violation.name());
        let members = |group: &Group| group.violations(&document.violations).map(name).collect();
        groups.iter().map(|group| (group.cause.clone(), members(group))).collect()
    }

    fn group<const N: usize>(cause: ProbableCause, members: [&str; N]) -> (ProbableCause, Vec<String>) {
        (cause, members.map(str::to_owned).into())
    }

    #[test]
    fn a_fault_of_the_interpreter_is_one_group_with_all_that_follows_from_it() {
        let groups = grouped(vec![
            of(OwnCached, MISSED),
            of(OwnReference, UNCOUNTED),
            of(CpythonCached, SPLICED),
            of(OwnCached, UNCOUNTED),
            of(CpythonCached, UNCOUNTED),
            of(CpythonUncached, DISAGREES),
        ]);
        let interpreter = [
            "cpython-cached/anchor-miscounted",
            "own-cached/anchor-miscounted",
            "own-reference/anchor-miscounted",
            "cpython-cached/mixed-branches",
            "own-cached/hit-missed",
        ];
        // A walker without a cache does not look at anchor and sequence.
        let uncached = group(ProbableCause::Profiler, ["cpython-uncached/disagreement"]);
        assert_eq!(groups, [group(ProbableCause::Interpreter, interpreter), uncached]);
    }

    #[test]
    fn what_follows_on_one_row_does_not_follow_on_another() {
        let elsewhere = Finding { row: "3.15.3 release".into(), ..of(CpythonCached, SPLICED) };
        let groups = grouped(vec![of(CpythonCached, UNCOUNTED), elsewhere]);
        assert_eq!(groups.len(), 2, "{groups:?}");
        assert_eq!(groups[1].0, ProbableCause::Profiler);
    }

    #[test]
    fn a_wrong_anchor_is_of_the_walker_that_was_seen_to_write_it() {
        let groups = grouped(vec![of(OwnCached, OFF_CHAIN)]);
        assert_eq!(groups, [group(ProbableCause::Interpreter, ["own-cached/anchor-off-chain"])]);
        let groups = grouped(vec![of(CpythonCached, OFF_CHAIN), of(CpythonCached, NOT_WRITTEN)]);
        let members = ["cpython-cached/anchor-off-chain", "cpython-cached/anchor-not-written"];
        assert_eq!(groups, [group(ProbableCause::Profiler, members)]);
    }

    #[test]
    fn one_sides_walkers_alone_are_that_sides() {
        for (walker, cause) in [
            (CpythonCached, ProbableCause::Profiler),
            (CpythonUncached, ProbableCause::Profiler),
            (OwnUncached, ProbableCause::Framediff),
            (OwnCached, ProbableCause::Framediff),
            (OwnReference, ProbableCause::Framediff),
        ] {
            assert_eq!(grouped(vec![of(walker, SPLICED)])[0].0, cause, "{walker}");
        }
        let both = grouped(vec![of(CpythonCached, SPLICED), of(OwnCached, SPLICED)]);
        let members = ["cpython-cached/mixed-branches", "own-cached/mixed-branches"];
        assert_eq!(both, [group(ProbableCause::InterpreterOrProtocol, members)]);
        // Two faults of one side: that a cache misses explains no wrong stack.
        assert_eq!(grouped(vec![of(CpythonCached, SPLICED), of(CpythonCached, MISSED)]).len(), 2);
    }

    #[test]
    fn what_disagrees_with_a_wrong_walker_is_not_accused() {
        let groups = grouped(vec![of(CpythonUncached, DISAGREES), of(OwnUncached, ACCOUNT)]);
        let members = ["own-uncached/account", "cpython-uncached/disagreement"];
        assert_eq!(groups, [group(ProbableCause::Framediff, members)]);
    }

    #[test]
    fn a_fault_on_purpose_is_nobody_elses() {
        let document = document(vec![of(OwnCached, SPLICED), of(CpythonCached, SPLICED)]);
        let causes = |weakened| {
            let groups = groups(&document.violations, weakened, false);
            groups.into_iter().map(|group| group.cause).collect::<Vec<_>>()
        };
        assert_eq!(causes(true), [ProbableCause::Profiler, ProbableCause::Weakened]);
        assert_eq!(causes(false), [ProbableCause::InterpreterOrProtocol]);
    }

    #[test]
    fn what_is_known_is_grouped_by_its_link_and_comes_last() {
        let own = Finding { walker: OwnCached, ..cache_worse("stale-full-hit") };
        let findings = vec![cache_worse("stale-full-hit"), own, cache_worse("stale-partial-hit"), finding()];
        let (mild, strict) = (document(findings.clone()), {
            let events = findings.into_iter().map(|finding| Event::Violation(Box::new(finding))).collect();
            Document::from(&summary(&run(events), true))
        });
        let [new, known] = &mild.grouped()[..] else { panic!("{mild:?}") };
        assert_eq!((new.fails, known.fails, known.members.as_slice()), (true, false, &[0, 2, 1][..]));
        let text = "known, gh-151613: cpython-cached returns impossible stacks";
        assert!(known.headline.starts_with(text), "{}", known.headline);
        assert!(strict.grouped().iter().all(|group| group.fails));
    }

    #[test]
    fn the_simplest_comes_first() {
        let deep = Finding { seen: vec![frame("f", 1); 90], ..of(CpythonCached, SPLICED) };
        let cut = Violation::Legality { illegal: Illegal::CutShort };
        let groups = grouped(vec![deep, of(CpythonCached, cut)]);
        assert_eq!(groups[0].1, ["cpython-cached/cut-short", "cpython-cached/mixed-branches"]);
    }
}
