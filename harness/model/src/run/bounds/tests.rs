//! Tests of the live lane's bounds.

use framewalk::miss::MissReason;

use super::*;
use crate::workload::Family;

const KNOWN: &str = "raised RuntimeError: Frame chain consistency check failed";

fn bounds() -> LiveBounds {
    let text = format!(
        r#"
        margin = {{ versions = ">=3.15.0, <=3.15.2", times = 3.0, torn = 0.01, impossible = 0.01, rejected = 0.01, rest = 0.5, excess = 0.08, part = 0.5, raises = ["Cannot read non-compact"] }}
        [[bound]]
        family = "alternating"
        walker = "cpython-cached"
        seen = {{ torn-read = 0.02, "{KNOWN}" = 0.1 }}
        hits = 0.8
        [[bound]]
        family = "deep"
        walker = "cpython-cached"
        seen = {{ torn-read = 0.1 }}
        "#
    );
    toml::from_str(&text).unwrap()
}

fn judged(family: &str) -> BoundJudgement<'_> {
    BoundJudgement { family, walker: WalkerKind::CpythonCached, version: "3.15.2" }
}

fn tally(samples: u64) -> Tally {
    let misses = [(MissReason::Unspecified, samples / 100)].into();
    Tally { samples, full_hits: samples / 10 * 9, misses, ..Tally::default() }
}

fn broken(family: &str, tally: &Tally, uncached: &Tally) -> Vec<String> {
    let found = bounds().judge(judged(family), tally, uncached, Demand::new(0.9999, 10));
    let what = |violation| match violation {
        Violation::MoreThanReleased { what, .. } => format!("more {what}"),
        Violation::LessThanReleased { what, .. } => format!("less {what}"),
        other => other.name().to_owned(),
    };
    found.into_iter().map(what).collect()
}

#[test]
fn a_share_beyond_its_ceiling_is_a_violation() {
    let torn = |count| Tally {
        impossible: [(Cause::TornRead, count)].into(),
        impossible_episodes: [(Cause::TornRead, count)].into(),
        ..tally(10_000)
    };
    let none = Tally::default();
    assert_eq!(broken("alternating", &torn(650), &none), Vec::<String>::new());
    assert_eq!(broken("alternating", &torn(900), &none), ["more torn-read"]);
    assert_eq!(broken("deep", &torn(900), &none), Vec::<String>::new());
    // A cause that was never seen may reach the margin and no more.
    let stale = |count| Tally { impossible_episodes: [(Cause::StaleFullHit, count)].into(), ..torn(0) };
    assert_eq!(broken("deep", &stale(90), &none), Vec::<String>::new());
    assert_eq!(broken("deep", &stale(200), &none), ["more stale-full-hit"]);
}

/// The tally of a walker that rejects this share of its samples, spread over the run, for a reason that releases
/// have.
fn rejecting(share: f64, samples: u64, reason: &str) -> Tally {
    let rejected = (samples as f64 * share) as u64;
    Tally {
        rejected: [("raised".to_owned(), rejected)].into(),
        rejected_episodes: [(reason.to_owned(), rejected.min(samples - rejected))].into(),
        full_hits: samples - rejected,
        ..Tally { samples, ..Tally::default() }
    }
}

/// The tally of a walker that returns this share of torn stacks.
fn torn(share: f64) -> Tally {
    let torn = (8_000.0 * share) as u64;
    let torn = [(Cause::TornRead, torn)];
    Tally { impossible: torn.into(), impossible_episodes: torn.into(), ..tally(8_000) }
}

/// The walkers that return too many torn stacks on a row of these families.
fn torn_beyond_own(bounds: &LiveBounds, families: &[&str], cached: f64, uncached: f64, own: f64) -> Vec<WalkerKind> {
    let mut pool = RowPool::default();
    for family in families {
        pool.add(family, &torn(cached), &torn(uncached));
        pool.add_own(family, &torn(0.0), &torn(own));
    }
    bounds.judge_row(&pool, Demand::new(0.9999, 40)).into_iter().map(|(walker, _)| walker).collect()
}

#[test]
fn one_noisy_family_is_no_torn_row() {
    let kept = crate::run::known::KnownFailures::kept().unwrap();
    let found = |pool: &RowPool| {
        let found = kept.live().judge_row(pool, Demand::new(0.9999, 40));
        found.into_iter().map(|(walker, _)| walker).collect::<Vec<_>>()
    };
    let mut pool = RowPool::default();
    for (family, uncached) in
        [("alternating", 0.6), ("deep", 0.04), ("recursion", 0.4), ("exceptions", 0.02), ("generators", 0.02)]
    {
        pool.add(family, &torn(0.0), &torn(uncached));
        pool.add_own(family, &torn(0.0), &torn(0.002));
    }
    assert_eq!(found(&pool), []);
    pool.add("coroutines", &torn(0.0), &torn(0.12));
    assert_eq!(found(&pool), [], "the own walker was not there");
    pool.add_own("coroutines", &torn(0.0), &torn(0.0));
    assert_eq!(found(&pool), [WalkerKind::CpythonUncached], "three families of six");
    // A family with few stacks does not count.
    pool.families.values_mut().for_each(|counted| counted.own_uncached = Tally { samples: 90, ..Tally::default() });
    assert_eq!(found(&pool), []);
}

/// The tally of a cached walker that returns this share of stale stacks.
fn stale(share: f64) -> Tally {
    let stale = [(Cause::StalePartialHit, (8_000.0 * share) as u64)];
    Tally { impossible: stale.into(), impossible_episodes: stale.into(), ..tally(8_000) }
}

#[test]
fn stale_stacks_of_a_row_are_compared_with_those_of_the_own_cached_walker() {
    let kept = crate::run::known::KnownFailures::kept().unwrap();
    let found = |shares: &[(f64, f64)]| {
        let mut pool = RowPool::default();
        for (family, (cached, own)) in Family::ALL.into_iter().zip(shares) {
            pool.add(family.name(), &stale(*cached), &tally(8_000));
            pool.add_own(family.name(), &stale(*own), &tally(8_000));
        }
        let found = kept.live().judge_row(&pool, Demand::new(0.9999, 40));
        found.into_iter().map(|(walker, _)| walker).collect::<Vec<_>>()
    };
    assert_eq!(found(&[(0.01, 0.004); 8]), [], "what releases do");
    assert_eq!(found(&[(0.1, 0.09); 8]), [], "what the protocol makes stale on this machine");
    assert_eq!(found(&[(0.08, 0.004); 8]), [WalkerKind::CpythonCached]);
    assert_eq!(found(&[(0.3, 0.0), (0.2, 0.0), (0.09, 0.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0)]), []);
    assert_eq!(found(&[(0.3, 0.0); 4]), [], "too few families");
    assert_eq!(bounds().judge_row(&RowPool::default(), Demand::new(0.9999, 40)), []);
}

#[test]
fn what_a_row_shows_one_family_cannot() {
    let more = |what: &str| Violation::MoreThanReleased { what: what.into(), at_least: 0.5, most: 0.1 };
    assert!([REJECTIONS, EXCESS, TORN, STALE].iter().all(|what| is_of_row(&more(what))));
    assert!(!is_of_row(&more("torn-read")));
}

#[test]
fn half_of_many_bounds_are_rarely_wrong_at_once() {
    for (error, count) in [(1e-7, 5), (1e-7, 8), (1e-9, 16)] {
        let each = each_of_half(error, count);
        let choices = 2_f64.powi(count as i32);
        assert!(each > error && choices * each.powf(count as f64 / 2.0) <= error * 1.0001, "{count}: {each}");
    }
    assert_eq!(each_of_half(0.5, 1), 0.05);
}

/// No margin may be so wide that a profiler that misbehaves like this passes.
#[test]
fn the_bounds_of_the_released_builds_leave_no_room_for_a_broken_profiler() {
    let known = crate::run::known::KnownFailures::kept().unwrap();
    let bounds = known.live();
    let usual = "raised RuntimeError: Failed to parse initial frame in chain";
    let families =
        ["alternating", "deep", "recursion", "exceptions", "generators", "coroutines", "through-c", "failed-bind"];
    for family in families {
        let found = |walker, tally: &Tally, uncached: &Tally| {
            let judged = BoundJudgement { family, walker, version: "3.15.2" };
            bounds.judge(judged, tally, uncached, Demand::new(0.9999, 40))
        };
        let quiet = rejecting(0.2, 8_000, usual);
        let cached = |tally: &Tally| found(WalkerKind::CpythonCached, tally, &quiet);
        assert_eq!(cached(&quiet), [], "{family}: what releases do");
        let lost = Tally { full_hits: 0, misses: [(MissReason::Unspecified, 6_400)].into(), ..quiet.clone() };
        assert_ne!(cached(&lost), [], "{family}: no hits");
        for cause in [Cause::StaleFullHit, Cause::StoredTornWalkServedAgain] {
            let stale = Tally {
                impossible: [(cause, 1_000)].into(),
                impossible_episodes: [(cause, 1_000)].into(),
                ..quiet.clone()
            };
            assert_ne!(cached(&stale), [], "{family}: {cause} at every sixth stack");
        }
    }
    let of_row = |cached: f64, uncached: f64| {
        let mut pool = RowPool::default();
        for family in families {
            pool.add(family, &rejecting(cached, 8_000, usual), &rejecting(uncached, 8_000, usual));
        }
        bounds.judge_row(&pool, Demand::new(0.9999, 40)).into_iter().map(|(walker, _)| walker).collect::<Vec<_>>()
    };
    let (cached, uncached) = (WalkerKind::CpythonCached, WalkerKind::CpythonUncached);
    assert_eq!(of_row(0.4, 0.4), []);
    assert_eq!(of_row(0.99, 0.99), [cached, uncached], "nearly all samples raise");
    assert_eq!(of_row(0.2, 0.99), [uncached]);
    assert_eq!(of_row(0.2 + 0.8 * 0.3, 0.2), [cached], "three samples of ten raise with the cache only");
    assert_eq!(of_row(0.25, 0.2), [], "what releases do");
    let torn = |cached: f64, uncached: f64, own: f64| torn_beyond_own(bounds, &families, cached, uncached, own);
    assert_eq!(torn(0.01, 0.02, 0.005), [], "what releases do");
    assert_eq!(torn(0.1, 0.18, 0.16), [], "what is noise for the own walker is noise for CPython's");
    assert_eq!(torn(0.01, 0.13, 0.004), [uncached], "one stack of eight is torn without the cache");
    assert_eq!(torn(0.13, 0.13, 0.004), [cached, uncached], "and with it");
    assert_eq!(torn_beyond_own(bounds, &families[..4], 0.13, 0.13, 0.004), [], "too few families");
    let demand = Demand::new(0.9999, 40);
    for family in ["alternating", "deep"] {
        let judged = |walker| BoundJudgement { family, walker, version: "3.15.2" };
        let torn = [(Cause::TornRead, 2_200)];
        let torn = Tally { impossible: torn.into(), impossible_episodes: torn.into(), ..rejecting(0.2, 8_000, usual) };
        for walker in [WalkerKind::CpythonCached, WalkerKind::CpythonUncached] {
            assert_ne!(bounds.judge(judged(walker), &torn, &torn, demand), [], "{family}, {walker}: a third is torn");
        }
    }
}

#[test]
fn few_samples_never_accuse() {
    let wrong = Tally {
        impossible: [(Cause::TornRead, 3)].into(),
        impossible_episodes: [(Cause::TornRead, 3)].into(),
        ..tally(4)
    };
    assert_eq!(broken("alternating", &wrong, &Tally::default()), Vec::<String>::new());
}

#[test]
fn what_no_release_raises_is_new_at_once() {
    let raised = |what: &str, version| {
        let tally = Tally { rejected_episodes: [(what.to_owned(), 1)].into(), ..tally(10_000) };
        let judged = BoundJudgement { version, ..judged("deep") };
        bounds().judge(judged, &tally, &Tally::default(), Demand::new(0.9999, 10)).len()
    };
    assert_eq!(raised("raised RuntimeError: frame moved", "3.15.2"), 1);
    assert_eq!(raised(KNOWN, "3.15.2"), 0);
    assert_eq!(raised("raised RuntimeError: Cannot read non-compact Unicode object at N", "3.15.2"), 0);
    // Other releases may word their errors differently.
    assert_eq!(raised("raised RuntimeError: frame moved", "3.15.3"), 0);
    assert_eq!(raised("moved", "3.15.2"), 0);
}

#[test]
fn a_cached_walker_that_always_returns_the_same_stack_is_noticed() {
    let kept = crate::run::known::KnownFailures::kept().unwrap();
    let found = |cached, uncached| {
        let seen = |leaf_changes| Tally { leaf_changes, ..tally(10_000) };
        let mut pool = RowPool::default();
        for family in Family::ALL.into_iter().take(8) {
            pool.add(family.name(), &seen(cached), &seen(uncached));
        }
        kept.live().judge_row(&pool, Demand::new(0.9999, 10)).len()
    };
    assert_eq!((found(0, 400), found(2, 400)), (1, 1));
    assert_eq!((found(40, 400), found(4_000, 10)), (0, 0), "slower, or faster");
    assert_eq!((found(0, 0), found(0, 20)), (0, 0), "too few to say");
}

#[test]
fn hits_are_owed_where_they_were_seen() {
    let none = Tally::default();
    let missed = Tally { full_hits: 3_000, misses: [(MissReason::Unspecified, 7_000)].into(), ..tally(10_000) };
    assert_eq!(broken("alternating", &missed, &none), ["less hits"]);
    assert_eq!(broken("deep", &missed, &none), Vec::<String>::new());
    assert_eq!(broken("alternating", &Tally { partial_hits: 7_000, ..missed }, &none), Vec::<String>::new());
    // A few samples prove nothing here. The plan says what a line must show at all.
    let few = Tally { full_hits: 0, misses: [(MissReason::Unspecified, 5)].into(), ..tally(5) };
    assert_eq!(broken("alternating", &few, &none), Vec::<String>::new());
}

#[test]
fn own_walkers_have_no_bounds() {
    let judged = BoundJudgement { walker: WalkerKind::OwnCached, ..judged("alternating") };
    let wrong = Tally { rejected_episodes: [("moved".to_owned(), 9_000)].into(), ..tally(10_000) };
    assert_eq!(bounds().judge(judged, &wrong, &Tally::default(), Demand::new(0.9999, 10)), []);
}

#[test]
fn a_process_without_a_family_has_the_loosest_bounds_and_owes_no_hits() {
    let bounds = bounds();
    assert_eq!(bounds.most(judged("attached"), "torn-read"), 0.1_f64.mul_add(3.0, 0.01));
    assert_eq!(bounds.least(judged("attached")), None);
    let rejected = |count| Tally { rejected_episodes: [(KNOWN.to_owned(), count)].into(), ..tally(10_000) };
    assert_eq!(broken("attached", &rejected(9_000), &Tally { samples: 1_000, ..rejected(900) }), Vec::<String>::new());
    assert_eq!(broken("attached", &rejected(9_000), &rejected(10)), [format!("more {KNOWN}")]);
    assert_eq!(broken("attached", &Tally { full_hits: 0, ..tally(10_000) }, &rejected(10)), Vec::<String>::new());
}
