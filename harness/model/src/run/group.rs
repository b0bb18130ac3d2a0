//! Groups of violations with the same probable cause.
//!
//! One fault has many symptoms. If the interpreter does not count a frame, the anchor does not fit, the cache misses,
//! and stacks are spliced, and all of this happens for each cached walker. To avoid six reports of one bug, violations
//! are grouped by probable cause. The first rule that applies decides:
//!
//! 1. Known failures with the same link form one group.
//! 2. If `--weaken` removes a check from framediff's cached walker, every violation of that walker is attributed to it.
//! 3. Anchor and sequence are read twice, and between the two reads only the interpreter runs. If they changed in a way
//!    the protocol forbids (`anchor-miscounted`, `sequence-decreased`, `written-while-null`), the interpreter is at
//!    fault, whichever walker was used. An anchor outside the chain (`anchor-off-chain`) is also the interpreter's
//!    fault, unless the same walker was seen to leave a wrong anchor (`anchor-not-written`) on the same row.
//! 4. Wrong stacks and missed hits of cached walkers follow from rule 3 if its violations occurred on the same row.
//! 5. All other walkers are compared with framediff's uncached walker. If that walker is wrong itself, every
//!    disagreement with it on that row joins its group: framediff is at fault, or the frame layout it uses is wrong.
//! 6. If walkers of CPython and of framediff break the same clause on the same row, they are unlikely to have the same
//!    bug by chance. The interpreter is at fault, or the protocol that both follow.
//! 7. What only CPython's walkers show is the profiler's fault. What only framediff's walkers show is framediff's
//!    fault, or a wrong layout.
//!
//! Rules 5 to 7 say only which side is at fault. There, wrong stacks form one group and all other violations a second
//! one.
//!
//! The probable cause does not influence the verdict. [`Summary`](crate::run::summary::Summary) alone decides what
//! fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use framewalk::sample::WalkerKind;
use serde::{Deserialize, Serialize};

use crate::invariants::Violation;
use crate::run::distinct::DistinctViolation;
use crate::run::words::{Sign, broke};

/// The probable cause of some violations.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is", content = "link")]
pub enum ProbableCause {
    /// The interpreter's side of the protocol.
    Interpreter,
    /// The interpreter, or the protocol itself: independent walkers show the same violation.
    InterpreterOrProtocol,
    /// CPython's profiler, the module `_remote_debugging`.
    Profiler,
    /// framediff, or the frame layout it uses.
    Framediff,
    /// A fault that `--weaken` put into framediff's cached walker.
    Weakened,
    /// The issue at this link.
    Known(String),
}

impl ProbableCause {
    /// Whether the cause names only the side at fault, not the fault.
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

/// Violations with the same probable cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// What its members probably have in common.
    pub cause: ProbableCause,
    /// The cause and the simplest violation, in one sentence.
    pub headline: String,
    /// Whether the group fails the run.
    pub fails: bool,
    /// The rows on which they occurred.
    pub rows: BTreeSet<String>,
    /// The violations, as indices into the document's list. The simplest one comes first.
    pub members: Vec<usize>,
}

impl Group {
    /// The members of this group among `all` violations of the document, the simplest one first.
    pub fn violations<'a>(&'a self, all: &'a [DistinctViolation]) -> impl Iterator<Item = &'a DistinctViolation> {
        self.members.iter().filter_map(|&index| all.get(index))
    }

    /// How often its members occurred.
    #[must_use]
    pub fn count(&self, all: &[DistinctViolation]) -> u64 {
        self.violations(all).map(|violation| violation.count).fold(0, u64::saturating_add)
    }
}

/// Groups the violations. `weakened` says that framediff's cached walker has a deliberate fault.
#[must_use]
pub fn groups(violations: &[DistinctViolation], weakened: bool, strict: bool) -> Vec<Group> {
    let evidence = Evidence::of(violations, weakened);
    let mut found: BTreeMap<(ProbableCause, bool, bool), Vec<usize>> = BTreeMap::new();
    for (index, violation) in violations.iter().enumerate() {
        let cause = evidence.cause(violation);
        let apart = cause.is_a_culprit() && Sign::of(&violation.first.violation) != Sign::WrongStack;
        // Against a base, what is new does not belong to what is not.
        found.entry((cause, apart, violation.fails(strict))).or_default().push(index);
    }
    let groups = found.into_iter().filter_map(|((cause, ..), members)| group(violations, cause, members, strict));
    let mut groups: Vec<Group> = groups.collect();
    groups.sort_by_key(|group| {
        let walker = group.members.first().and_then(|&index| violations.get(index)).map(|one| one.first.walker.rank());
        // Known groups are sorted by the walker of their simplest member. Sorting them by link would be arbitrary.
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
            // If a walker of framediff is wrong, a walker of CPython that disagrees with it is not at fault.
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

/// The facts from all violations that decide the cause of each. Known violations are not evidence against anyone.
struct Evidence<'a> {
    weakened: bool,
    /// Violations that are neither known nor shown by a deliberately weakened walker.
    new: Vec<&'a DistinctViolation>,
    /// Rows on which the interpreter broke the protocol.
    interpreter: BTreeSet<&'a str>,
    /// Rows on which framediff's uncached walker is wrong itself.
    layout: BTreeSet<&'a str>,
}

impl<'a> Evidence<'a> {
    fn of(violations: &'a [DistinctViolation], weakened: bool) -> Self {
        let new: Vec<&DistinctViolation> =
            violations.iter().filter(|one| one.fails(false) && !is_weakened(one, weakened)).collect();
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
        if let Some(known) = violation.known.as_ref().filter(|_| !violation.fails(false)) {
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

    /// Whether the interpreter wrote something it must not write, or failed to write something it must.
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

/// Whether one violation is of a CPython walker and one of a framediff walker, and both break the same clause on the
/// same row.
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
        // An uncached walker does not use anchor and sequence.
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
        // Two faults of one side: a cache miss does not explain a wrong stack.
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
