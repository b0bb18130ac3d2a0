//! How single values are written on the command line.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::report::cell::Lane;
use crate::report::finding::WALKERS;
use crate::sample::WalkerKind;
use crate::schedule::AccessKind;
use crate::sim::variation::Variation;
use crate::sim::workloads;
use crate::walk::weakening::Weakening;
use crate::workload::{Family, Names};

/// One of a fixed set of things that have names.
fn one_of<T>(all: impl IntoIterator<Item = T>, name: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    let all: Vec<T> = all.into_iter().collect();
    PossibleValuesParser::new(all.iter().copied().map(name).collect::<Vec<_>>())
        .try_map(move |text| all.iter().copied().find(|&value| name(value) == text).ok_or("there is no such name"))
}

pub(super) fn lanes() -> impl TypedValueParser<Value = Lane> {
    one_of(Lane::ALL, Lane::name)
}

pub(super) fn walkers() -> impl TypedValueParser<Value = WalkerKind> {
    one_of(WALKERS, WalkerKind::name)
}

pub(super) fn accesses() -> impl TypedValueParser<Value = AccessKind> {
    one_of(AccessKind::ALL, AccessKind::name)
}

pub(super) fn families() -> impl TypedValueParser<Value = Family> {
    one_of(Family::ALL, Family::name)
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

/// A number below 2^64, decimal or hexadecimal.
pub(super) fn seed(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| format!("{error}; a seed is a number below 2^64, decimal or 0x..."))
}

/// A time above zero: "90s", "1m 30s"; a bare number means seconds.
pub(super) fn budget(text: &str) -> Result<Duration, String> {
    let time = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => humantime::parse_duration(text).map_err(|error| format!("{error}; write it like 90s or 5m"))?,
    };
    if time.is_zero() { Err("no time at all proves nothing".to_owned()) } else { Ok(time) }
}

/// A probability that is neither 0 nor 1.
pub(super) fn confidence(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value < 1.0 => Ok(value),
        Ok(_) => Err("a confidence lies between 0 and 1, both excluded".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_above_zero() {
        assert_eq!(budget("60"), budget("1m"));
        assert_eq!(budget("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(budget("250ms"), Ok(Duration::from_millis(250)));
        for bad in ["", "0", "0s", "-1s", "soon", "99999999999999999999"] {
            assert!(budget(bad).is_err(), "{bad:?}");
        }
    }
}
