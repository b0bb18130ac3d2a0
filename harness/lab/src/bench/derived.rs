//! Figures derived from blocks: ratios of contenders that were measured next to each other.

use framewalk::sample::WalkerKind;
use serde::Serialize;

use crate::bench::document::{BenchDocument, BenchPart, BenchPoint, NOBODY, PointParameters, Series};
use crate::bench::statistics::{Interval, estimate, ratios};

/// The figures derived from the blocks of one contender at one point.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Derived<'a> {
    /// The build, by its [`BenchedBuild::name`](super::document::BenchedBuild::name).
    pub build: &'a str,
    /// The parameters of the point.
    #[serde(flatten)]
    pub place: PointParameters,
    /// What was measured: a walker, nobody, or a bystander.
    pub contender: &'a str,
    /// Nanoseconds of a block.
    pub nanoseconds: Interval,
    /// How many times faster than the same walker without its cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed_up: Option<Interval>,
    /// How many times slower the target's work is than without a sampler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_down: Option<Interval>,
}

/// All figures that can be derived from a document.
#[must_use]
pub fn derive(document: &BenchDocument) -> Vec<Derived<'_>> {
    let of = |point| move |series| derived(point, series, document.seed);
    document.points.iter().flat_map(|point| point.series.iter().filter_map(of(point))).collect()
}

fn derived<'a>(point: &'a BenchPoint, series: &'a Series, seed: u64) -> Option<Derived<'a>> {
    Some(Derived {
        build: &point.build,
        place: point.place,
        contender: &series.contender,
        nanoseconds: estimate(&series.blocks, seed)?,
        speed_up: speed_up(point, series, seed),
        slow_down: slow_down(point, series, seed),
    })
}

/// The uncached walker that a cached one is compared with.
#[must_use]
pub fn uncached(contender: &str) -> Option<&'static str> {
    WalkerKind::ALL.into_iter().find(|kind| kind.name() == contender)?.uncached().map(WalkerKind::name)
}

/// How many times faster a cached walker is at a point than its uncached counterpart. `None` in the cost part.
#[must_use]
pub fn speed_up(point: &BenchPoint, series: &Series, seed: u64) -> Option<Interval> {
    let other = point.series(uncached(&series.contender)?).filter(|_| point.place.part != BenchPart::Cost)?;
    estimate(&ratios(&other.blocks, &series.blocks), seed)
}

/// How many times slower the target's work is than without a sampler.
#[must_use]
pub fn slow_down(point: &BenchPoint, series: &Series, seed: u64) -> Option<Interval> {
    let other = point.series(NOBODY).filter(|_| series.contender != NOBODY)?;
    estimate(&ratios(&series.blocks, &other.blocks), seed)
}
