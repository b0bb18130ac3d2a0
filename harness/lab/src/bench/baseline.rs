//! Comparison with an earlier run.
//!
//! Times of two runs cannot be compared directly, because the state of the machine differs. So each contender's time is
//! divided by something measured next to it: the plain system call or, in the cost part, the same work without a
//! sampler. This ratio counts as changed only if the interval of the change excludes "no change" by a margin. The
//! interval includes the differences from launch to launch.

use serde::{Deserialize, Serialize};

use crate::bench::document::{BenchDocument, BenchPart, BenchPoint, Launches, NOBODY, PointParameters, Series};
use crate::bench::statistics::{CONFIDENCE, Interval, change, ratios};

/// Changes smaller than this do not count, whatever their interval: a different code layout has effects of this size.
pub const MARGIN: f64 = 0.02;
/// With fewer launches than this on either side, the variation between launches is unknown.
const LEAST_LAUNCHES: usize = 3;

/// The result for a contender at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ComparisonAnswer {
    /// It takes more time than before.
    Slower,
    /// It takes less time than before.
    Faster,
    /// The data show neither.
    CannotTell,
}

impl ComparisonAnswer {
    /// The answer as shown in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Slower => "slower",
            Self::Faster => "faster",
            Self::CannotTell => "undecided",
        }
    }
}

/// One contender at one point, compared with the earlier run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparedPoint {
    /// The build, by its [`BenchedBuild::name`](super::document::BenchedBuild::name).
    pub build: String,
    /// The parameters of the point.
    pub place: PointParameters,
    /// What was measured: a walker, nobody, or a bystander.
    pub contender: String,
    /// The factor by which its time has changed, in units of what was measured next to it. The confidence is that of
    /// the run's intervals, for all comparisons together.
    pub factor: Interval,
    /// The conclusion from the factor.
    pub answer: ComparisonAnswer,
}

/// A comparison of two runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BaselineComparison {
    /// Differences between the two runs that call for caution.
    pub cautions: Vec<String>,
    /// The contenders that were measured in both runs, at the same points of builds with the same name.
    pub compared: Vec<ComparedPoint>,
}

impl BaselineComparison {
    /// Whether any contender is slower.
    #[must_use]
    pub fn is_slower(&self) -> bool {
        self.compared.iter().any(|one| one.answer == ComparisonAnswer::Slower)
    }
}

/// Why two documents cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the baseline and this run have no point in common: the baseline measured {theirs}, this run {ours}; measure the \
     same points, or name another baseline"
)]
pub struct NothingInCommon {
    theirs: String,
    ours: String,
}

/// Compares a run with an earlier one.
///
/// # Errors
/// The runs have no point in common.
pub fn compare(before: &BenchDocument, after: &BenchDocument) -> Result<BaselineComparison, NothingInCommon> {
    let mut pairs: Vec<(&BenchPoint, &Series, Launches, Launches)> = Vec::new();
    for point in &after.points {
        let Some(then) = before.points.iter().find(|then| then.build == point.build && then.place == point.place)
        else {
            continue;
        };
        for series in &point.series {
            if let (Some(then), Some(now)) = (relative(then, &series.contender), relative(point, &series.contender)) {
                pairs.push((point, series, then, now));
            }
        }
    }
    if pairs.is_empty() {
        return Err(NothingInCommon { theirs: contents(before), ours: contents(after) });
    }
    // Divide the permitted error by the number of comparisons (Bonferroni). Otherwise one in twenty would appear
    // changed.
    #[allow(clippy::cast_precision_loss, reason = "a small number")]
    let confidence = 1.0 - (1.0 - CONFIDENCE) / pairs.len() as f64;
    let compared = pairs.iter().filter_map(|(point, series, then, now)| {
        let factor = change(then, now, confidence, after.seed)?;
        Some(ComparedPoint {
            build: point.build.clone(),
            place: point.place,
            contender: series.contender.clone(),
            factor,
            answer: if launches(then).min(launches(now)) < LEAST_LAUNCHES {
                ComparisonAnswer::CannotTell
            } else {
                answer(factor)
            },
        })
    });
    Ok(BaselineComparison { cautions: cautions(before, after), compared: compared.collect() })
}

fn launches(blocks: &Launches) -> usize {
    blocks.iter().filter(|launch| !launch.is_empty()).count()
}

fn answer(factor: Interval) -> ComparisonAnswer {
    if factor.low > 1.0 + MARGIN {
        ComparisonAnswer::Slower
    } else if factor.high < 1.0 - MARGIN {
        ComparisonAnswer::Faster
    } else {
        ComparisonAnswer::CannotTell
    }
}

/// A contender's blocks in units of what was measured next to them.
fn relative(point: &BenchPoint, contender: &str) -> Option<Launches> {
    let blocks = &point.series(contender)?.blocks;
    let unit = match point.place.part {
        BenchPart::Cost if contender == NOBODY => return None,
        BenchPart::Cost => &point.series(NOBODY)?.blocks,
        _ => &point.yardstick,
    };
    let found = ratios(blocks, unit);
    (!found.concat().is_empty()).then_some(found)
}

fn contents(document: &BenchDocument) -> String {
    let names: Vec<&str> = document.builds.iter().map(|build| build.name.as_str()).collect();
    let mut parts: Vec<&str> = document.points.iter().map(|point| point.place.part.name()).collect();
    parts.dedup();
    format!("{} of {}", if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }, names.join(", "))
}

fn cautions(before: &BenchDocument, after: &BenchDocument) -> Vec<String> {
    let mut cautions = Vec::new();
    let mut differs = |what: &str, then: &str, now: &str| {
        if then != now {
            cautions.push(format!("{what}: {then} then, {now} now"));
        }
    };
    differs("a different processor", &before.machine.cpu, &after.machine.cpu);
    differs("a different number of cores", &before.machine.cores.to_string(), &after.machine.cores.to_string());
    differs("a different kernel", &before.machine.kernel, &after.machine.kernel);
    differs("a different version of framediff", &before.framediff, &after.framediff);
    let optimised = |document: &BenchDocument| if document.optimised { "optimised" } else { "not optimised" };
    differs("a different build of framediff", optimised(before), optimised(after));
    for build in &after.builds {
        if let Some(then) = before.builds.iter().find(|then| then.name == build.name) {
            let about = |build: &crate::bench::document::BenchedBuild| {
                format!("{} {}{}", build.version, build.flavour, if build.jit { " JIT" } else { "" })
            };
            differs(&format!("a different build with the name {}", build.name), &about(then), &about(build));
        }
    }
    cautions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::fixtures::document;

    fn answers(slower: f64) -> Vec<(String, ComparisonAnswer)> {
        let found = compare(&document(1.0, 1), &document(slower, 50)).unwrap();
        found.compared.into_iter().map(|one| (format!("{} {:?}", one.contender, one.place.part), one.answer)).collect()
    }

    #[test]
    fn an_identical_run_is_neither_slower_nor_faster() {
        let found = answers(1.0);
        assert_eq!(found.len(), 12);
        assert!(found.iter().all(|(_, answer)| *answer == ComparisonAnswer::CannotTell), "{found:?}");
    }

    #[test]
    fn only_points_that_take_longer_are_slower() {
        for (factor, expected) in [(1.3, ComparisonAnswer::Slower), (0.7, ComparisonAnswer::Faster)] {
            for (who, answer) in answers(factor) {
                let changed = who == "own-cached SpeedUp";
                assert_eq!(answer, if changed { expected } else { ComparisonAnswer::CannotTell }, "{who} at {factor}");
            }
        }
    }

    #[test]
    fn a_change_below_the_margin_does_not_count_even_if_certain() {
        let exact = |factor: f64| vec![vec![factor; 20]; 5];
        let (before, after) = (exact(1.0), exact(1.01));
        let found = change(&before, &after, 0.999, 1).unwrap();
        assert_eq!((found.low, found.high), (1.01, 1.01));
        assert_eq!(answer(found), ComparisonAnswer::CannotTell);
        assert_eq!(answer(change(&before, &exact(1.03), 0.999, 1).unwrap()), ComparisonAnswer::Slower);
    }

    #[test]
    fn two_launches_are_too_few_to_decide() {
        let mut before = document(1.0, 1);
        for point in &mut before.points {
            point.yardstick.truncate(2);
            point.series.iter_mut().for_each(|series| series.blocks.truncate(2));
        }
        let found = compare(&before, &document(2.0, 50)).unwrap();
        assert!(!found.compared.is_empty() && !found.is_slower());
    }

    #[test]
    fn a_faster_machine_changes_only_the_cautions() {
        let before = document(1.0, 1);
        let mut after = document(1.0, 50);
        after.machine.cpu = "Another CPU".into();
        for point in &mut after.points {
            point.yardstick.iter_mut().flatten().for_each(|time| *time /= 2.0);
            for series in &mut point.series {
                series.blocks.iter_mut().flatten().for_each(|time| *time /= 2.0);
            }
        }
        let found = compare(&before, &after).unwrap();
        assert!(found.compared.iter().all(|one| one.answer == ComparisonAnswer::CannotTell), "{found:?}");
        assert_eq!(found.cautions, ["a different processor: A CPU then, Another CPU now"]);
    }

    #[test]
    fn a_baseline_of_other_builds_is_refused() {
        let mut before = document(1.0, 1);
        before.builds.iter_mut().for_each(|build| build.name = "3.15.2 debug".into());
        before.points.iter_mut().for_each(|point| point.build = "3.15.2 debug".into());
        let error = compare(&before, &document(1.0, 1)).unwrap_err().to_string();
        assert!(error.contains("no point in common") && error.contains("of 3.15.2 debug"), "{error}");
    }
}
