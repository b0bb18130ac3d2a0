//! Parses single values of the command line.

use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use framewalk::sample::WalkerKind;
use framewalk::weakening::Weakening;
use lanes::profile::is_profiled;
use model::lane::Lane;
use model::run::configuration::{BadConfiguration, Configuration, covering_array};
use model::run::finding::Fingerprint;
use model::schedule::AccessKind;
use model::workload::parameters::MOST_LOCALS;
use model::workload::{Family, FrameSize, Names};
use rand_chacha::ChaCha8Rng;
use sim::variation::Variation;
use sim::workloads;
use strum::{EnumMessage, VariantArray};

/// A parser for a fixed set of named values.
fn one_of<T>(all: impl IntoIterator<Item = T>, name: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    let all: Vec<T> = all.into_iter().collect();
    PossibleValuesParser::new(all.iter().copied().map(name).collect::<Vec<_>>())
        .try_map(move |text| all.iter().copied().find(|&value| name(value) == text).ok_or("unknown name"))
}

/// A parser for the variants of an enum, by name. The help text is the documentation of each variant.
pub(super) fn named<T>() -> impl TypedValueParser<Value = T>
where
    T: VariantArray + EnumMessage + Into<&'static str> + Copy + Send + Sync,
{
    let described = |value: &T| {
        let help = value.get_documentation().unwrap_or_default();
        PossibleValue::new((*value).into()).help(help.trim_end_matches('.'))
    };
    PossibleValuesParser::new(T::VARIANTS.iter().map(described).collect::<Vec<_>>())
        .try_map(|text| T::VARIANTS.iter().copied().find(|&value| value.into() == text).ok_or("unknown name"))
}

pub(super) fn lanes() -> impl TypedValueParser<Value = Lane> {
    one_of(Lane::ALL, Lane::name)
}

pub(super) fn walkers() -> impl TypedValueParser<Value = WalkerKind> {
    one_of(WalkerKind::ALL, WalkerKind::name)
}

pub(super) fn accesses() -> impl TypedValueParser<Value = AccessKind> {
    one_of(AccessKind::ALL, AccessKind::name)
}

pub(super) fn families() -> impl TypedValueParser<Value = Family> {
    one_of(Family::ALL, Family::name)
}

/// The families whose programs the shipped profiler is judged on.
pub(super) fn profiled_families() -> impl TypedValueParser<Value = Family> {
    one_of(Family::ALL.into_iter().filter(|&family| is_profiled(family)), Family::name)
}

/// A value of `--configuration`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Configurations {
    /// Those of the covering array.
    All,
    /// This one.
    One(Configuration),
}

impl Configurations {
    /// The configurations that the values of the option name, each once, in their order.
    pub(super) fn named(values: &[Self]) -> Vec<Configuration> {
        let mut named: Vec<Configuration> = Vec::new();
        for value in values {
            let of = match value {
                Self::All => covering_array(),
                Self::One(configuration) => vec![*configuration],
            };
            for configuration in of {
                if !named.contains(&configuration) {
                    named.push(configuration);
                }
            }
        }
        named
    }
}

/// Parses `--configuration`.
pub(super) fn configuration(text: &str) -> Result<Configurations, BadConfiguration> {
    if text == "all" { Ok(Configurations::All) } else { text.parse().map(Configurations::One) }
}

pub(super) fn weakenings() -> impl TypedValueParser<Value = Weakening> {
    let checked = Weakening::ALL.into_iter().filter(|weakening| weakening.applies_to(WalkerKind::OwnCached));
    one_of(checked, Weakening::name)
}

pub(super) fn all_weakenings() -> impl TypedValueParser<Value = Weakening> {
    one_of(Weakening::ALL, Weakening::name)
}

pub(super) fn variations() -> impl TypedValueParser<Value = Variation> {
    one_of(Variation::ALL, Variation::name)
}

pub(super) fn simulated_workloads() -> impl TypedValueParser<Value = &'static str> {
    one_of(workloads::ALL.map(|workload| workload.name), |name| name)
}

pub(super) fn names() -> impl TypedValueParser<Value = Names> {
    one_of(Names::ALL, Names::name)
}

/// This many targets for each core keep it busy, whatever the targets wait for. More of them take memory and time from
/// each other, and far more make the machine unusable.
const MOST_JOBS_PER_CORE: usize = 8;

fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// The default number of jobs of `check`. It exceeds the number of cores because a stopped target leaves its core
/// idle.
pub(super) fn check_jobs_by_default() -> usize {
    cores() + cores() / 2
}

/// The default number of jobs of `explore`.
pub(super) fn explore_jobs_by_default() -> usize {
    cores()
}

/// Parses `--jobs` of `check`.
pub(super) fn check_jobs(text: &str) -> Result<NonZeroUsize, String> {
    jobs(text, cores(), check_jobs_by_default())
}

/// Parses `--jobs` of `explore`.
pub(super) fn explore_jobs(text: &str) -> Result<NonZeroUsize, String> {
    jobs(text, cores(), explore_jobs_by_default())
}

/// Parses a number of jobs that `cores` cores can run. The error message names the default.
fn jobs(text: &str, cores: usize, by_default: usize) -> Result<NonZeroUsize, String> {
    let most = cores.saturating_mul(MOST_JOBS_PER_CORE);
    match text.parse::<NonZeroUsize>() {
        Ok(jobs) if jobs.get() <= most => Ok(jobs),
        Ok(_) => Err(format!(
            "at most {MOST_JOBS_PER_CORE} jobs for each core are allowed, here {most}; the default is {by_default}"
        )),
        Err(error) => Err(format!("{error}; the default is {by_default}")),
    }
}

/// Parses a frame size that the generator can make.
pub(super) fn frame_size(text: &str) -> Result<FrameSize, String> {
    let size: FrameSize = text.parse()?;
    if size.most() > MOST_LOCALS {
        return Err(format!("a frame has at most {MOST_LOCALS} extra locals"));
    }
    Ok(size)
}

/// Parses a number below 2^64, decimal or hexadecimal.
pub(super) fn seed(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| format!("{error}; a seed is a number below 2^64, in decimal or with 0x in hexadecimal"))
}

/// Adding a duration to a clock can overflow, so longer times are rejected.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// Parses a time above zero and up to a year: "90s", "1m 30s". A bare number means seconds.
pub(super) fn budget(text: &str) -> Result<Duration, String> {
    let time = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => humantime::parse_duration(text).map_err(|error| format!("{error}; examples: 90s, 5m"))?,
    };
    if time.is_zero() {
        Err("a budget of no time proves nothing".to_owned())
    } else if time > LONGEST {
        Err("a budget of more than a year is not accepted".to_owned())
    } else {
        Ok(time)
    }
}

/// Parses the fingerprint of a violation of `check`.
pub(super) fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    Fingerprint::try_from(text.to_owned()).map_err(|error| error.to_string())
}

/// Parses a probability other than 0 and 1.
pub(super) fn confidence(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value < 1.0 => Ok(value),
        Ok(_) => Err("a confidence must be above 0 and below 1".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A random seed that is short enough to type.
pub(super) fn random_seed() -> u64 {
    use rand::{RngExt, SeedableRng};
    // It only has to differ between runs.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seed = u64::try_from(now.as_nanos() & u128::from(u64::MAX)).unwrap_or(0) ^ u64::from(std::process::id());
    ChaCha8Rng::seed_from_u64(seed).random_range(0..1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_jobs_are_refused_and_the_default_is_named() {
        assert_eq!(jobs("16", 2, 3).map(NonZeroUsize::get), Ok(16));
        for bad in ["17", "100000", "0", "-1", "18446744073709551616", "all"] {
            let why = jobs(bad, 2, 3).unwrap_err();
            assert!(why.contains("the default is 3"), "{why}");
        }
        assert!(jobs("17", 2, 3).unwrap_err().contains("here 16"));
    }

    #[test]
    fn frame_sizes_above_the_generator_limit_are_refused() {
        assert_eq!(frame_size("unequal:1000"), Ok(FrameSize::Unequal(1000)));
        for bad in ["1001", "equal:4294967295", "unequal:1001"] {
            assert!(frame_size(bad).unwrap_err().contains("at most 1000"), "{bad}");
        }
    }

    #[test]
    fn a_time_of_zero_is_refused() {
        assert_eq!(budget("60"), budget("1m"));
        assert_eq!(budget("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(budget("250ms"), Ok(Duration::from_millis(250)));
        for bad in ["", "0", "0s", "-1s", "soon", "99999999999999999999", "10000h"] {
            assert!(budget(bad).is_err(), "{bad:?}");
        }
    }
}
