//! Prints what released builds did in the live lane, as the tables of `corpus/known-failures.toml`:
//! `live_bounds REPORT...`, where each report is that of `framediff check --lane live --format json`.
//!
//! Of each cell, family and walker the largest share of each cause and reason is taken, and the smallest of hits.
//! What counts is not the share itself, which in a short cell is chance, but the bound that it is beyond with [`CERTAIN`].
#![allow(clippy::unwrap_used, reason = "a tool of this repository: what is wrong ends it")]

use std::collections::BTreeMap;
use std::path::Path;

use framediff::report::saved::{Content, Saved};
use framewalk::sample::WalkerKind;
use model::lane::Lane;
use model::oracle::tally::Tally;
use model::run::bounds::{Beside, RowPool, hits};
use model::run::known::KnownFailures;
use model::workload::Family;

/// The probability that the true share is not beyond what is printed.
const CERTAIN: f64 = 0.05;
/// A smaller share of hits is not owed: it is too near to none.
const OWED: f64 = 0.05;

/// With fewer families the rejections of a row say little.
const FAMILIES: usize = 5;

#[derive(Default)]
struct Seen {
    shares: BTreeMap<String, f64>,
    /// The smallest share of hits, of a cached walker.
    hits: Option<f64>,
}

fn main() {
    let known = KnownFailures::kept().unwrap();
    let mut seen: BTreeMap<(usize, u8), (WalkerKind, Seen)> = BTreeMap::new();
    let (mut rejected, mut excess) = (0.0_f64, 0.0_f64);
    let (mut beyond_own, mut beyond_own_stale) = (0.0_f64, 0.0_f64);
    for path in std::env::args().skip(1) {
        let mut rows: BTreeMap<String, RowPool> = BTreeMap::new();
        let Content::Check(document) = Saved::load(Path::new(&path), &known).unwrap().content else { continue };
        for report in document.cells.iter().filter(|report| report.cell.lane == Lane::Live) {
            let Some(family) = Family::ALL.iter().position(|family| family.name() == report.cell.family) else {
                continue;
            };
            let of = |walker| report.tallies.get(&walker).cloned().unwrap_or_default();
            let pool = rows.entry(report.cell.row.clone()).or_default();
            let both = [WalkerKind::CpythonCached, WalkerKind::CpythonUncached].map(of);
            pool.add(&report.cell.family, &both[0], &both[1]);
            pool.add_own(&report.cell.family, &of(WalkerKind::OwnCached), &of(WalkerKind::OwnUncached));
            for (&walker, tally) in report.tallies.iter().filter(|(walker, _)| walker.is_cpythons()) {
                let seen = &mut seen.entry((family, walker.rank())).or_insert_with(|| (walker, Seen::default())).1;
                for (what, share) in tally.shares() {
                    let most = seen.shares.entry(what).or_default();
                    *most = most.max(share.at_least(CERTAIN));
                }
                if walker.is_cached() {
                    seen.hits = Some(seen.hits.unwrap_or(1.0).min(hits(tally).at_most(CERTAIN)));
                }
            }
        }
        // The run judges a row when all its cells are done.
        for pool in rows.values().filter(|pool| pool.families.len() >= FAMILIES) {
            let both: [fn(&Beside) -> &Tally; 2] = [|counted| &counted.cached, |counted| &counted.uncached];
            let shares = both.map(|walker| pool.rejected(walker).at_least(CERTAIN));
            rejected = rejected.max(shares[0]).max(shares[1]);
            excess = pool.rejected_beyond_uncached(FAMILIES, CERTAIN).map_or(excess, |share| share.max(excess));
            let torn = both.into_iter().filter_map(|walker| pool.torn_beyond_own(walker, FAMILIES, CERTAIN));
            beyond_own = torn.fold(beyond_own, f64::max);
            beyond_own_stale =
                pool.stale_beyond_own(FAMILIES, CERTAIN).map_or(beyond_own_stale, |share| share.max(beyond_own_stale));
        }
    }
    println!("[live.row]\nfamilies = {FAMILIES}\nrejected = {}\nexcess = {}", rounded(rejected), rounded(excess));
    println!("beyond_own = {}\nbeyond_own_stale = {}", rounded(beyond_own), rounded(beyond_own_stale));
    for ((family, _), (walker, Seen { shares, hits })) in seen {
        println!("\n[[live.bound]]\nfamily = \"{}\"\nwalker = \"{walker}\"", Family::ALL[family].name());
        let shares: Vec<String> =
            shares.iter().map(|(what, share)| format!("{what:?} = {}", rounded(*share))).collect();
        println!("seen = {{ {} }}", shares.join(", "));
        if let Some(least) = hits.filter(|&least| least >= OWED) {
            println!("hits = {}", rounded(least));
        }
    }
}

/// Two digits that count.
fn rounded(share: f64) -> String {
    let digits = if share > 0.0 { (1.0 - share.log10().floor()).clamp(1.0, 7.0) as usize } else { 1 };
    format!("{share:.digits$}")
}
