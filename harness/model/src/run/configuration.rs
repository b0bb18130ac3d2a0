//! The options that CPython's unwinder is made with.
//!
//! `RemoteUnwinder` has options that change what a sample contains (`gc`, `native`, `opcodes`), which threads it lists
//! (`all_threads`, `only_active_thread`, `skip_non_matching_threads` together with `mode`) and whether it counts
//! (`stats`). Whether it has a cache is not one of them here: that makes two walkers.
//!
//! The number of all combinations is in the hundreds. What goes wrong with options mostly takes one or two of them, so
//! [`covering_array`] has a row for each pair of values, and few rows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};
use thiserror::Error;

/// What a profiler asks about threads (`PROFILING_MODE_...` of `profiling.sampling.constants`, in that order).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, IntoStaticStr, EnumString, VariantArray,
)]
#[strum(serialize_all = "kebab-case")]
pub enum ProfilingMode {
    /// Wall-clock time: every thread matches.
    #[default]
    Wall,
    /// A thread matches while it is on a processor.
    Cpu,
    /// A thread matches while it has the GIL.
    Gil,
    /// Every thread matches, and the status has everything.
    All,
    /// A thread matches while it raises or handles an exception.
    Exception,
}

impl ProfilingMode {
    /// The number that `RemoteUnwinder` takes.
    #[must_use]
    pub fn number(self) -> usize {
        Self::VARIANTS.iter().position(|&mode| mode == self).unwrap_or_default()
    }

    /// Whether a status has the flag for a thread on a processor, and not the one for unknown. The unwinder reads
    /// `/proc` for it.
    #[must_use]
    pub fn looks_at_processor(self) -> bool {
        matches!(self, Self::Cpu | Self::All)
    }
}

/// The threads that an unwinder is asked for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, IntoStaticStr, EnumString, VariantArray,
)]
#[strum(serialize_all = "kebab-case")]
pub enum AskedThreads {
    /// Those of every interpreter (`all_threads=True`).
    #[default]
    All,
    /// The main thread of the newest interpreter at the time when the unwinder is made.
    Main,
    /// The thread that has the GIL (`only_active_thread=True`).
    Active,
}

/// The options of one unwinder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Configuration {
    /// Put a frame `<GC>` where a collection runs.
    pub gc: bool,
    /// Put a frame `<native>` where C called Python.
    pub native: bool,
    /// Read the opcode of each frame.
    pub opcodes: bool,
    /// What the profiler asks about threads.
    pub mode: ProfilingMode,
    /// The threads it asks for.
    pub threads: AskedThreads,
    /// Leave out threads that do not match the mode (`skip_non_matching_threads`).
    pub skip: bool,
    /// Count what the cache does (`stats`).
    pub statistics: bool,
}

impl Default for Configuration {
    /// All threads, and otherwise the defaults of `RemoteUnwinder` with counters. Documents that do not name a
    /// configuration had this one.
    fn default() -> Self {
        Self {
            gc: false,
            native: false,
            opcodes: false,
            mode: ProfilingMode::Wall,
            threads: AskedThreads::All,
            skip: true,
            statistics: true,
        }
    }
}

impl Configuration {
    /// What `profiling.sampling` uses unless its user asks for something else, and counters, which it can do without
    /// (`SampleProfiler.__init__` in `profiling/sampling/sample.py`).
    pub const SAMPLING: Self = Self {
        gc: true,
        native: false,
        opcodes: false,
        mode: ProfilingMode::Wall,
        threads: AskedThreads::Main,
        skip: true,
        statistics: true,
    };

    /// Whether it is the one of documents that name none.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether threads that do not match the mode are left out.
    #[must_use]
    pub fn filters(self) -> bool {
        self.skip && !matches!(self.mode, ProfilingMode::Wall | ProfilingMode::All)
    }

    /// Whether samples show, for every thread, what the cache answered.
    #[must_use]
    pub fn shows_hits(self) -> bool {
        self.statistics && !self.filters() && self.threads != AskedThreads::Active
    }

    /// Whether every thread is listed.
    #[must_use]
    pub fn lists_all(self) -> bool {
        self.threads == AskedThreads::All && !self.filters()
    }

    /// The part of a fingerprint for the options that change what is read. `None` if there are none: a violation is
    /// then the same bug whatever the other options are.
    #[must_use]
    pub fn fingerprint(self) -> Option<String> {
        let mut words = Vec::new();
        words.extend(self.native.then(|| "native".to_owned()));
        words.extend(self.opcodes.then(|| "opcodes".to_owned()));
        words.extend((self.mode != ProfilingMode::Wall).then(|| format!("mode-{}", <&str>::from(self.mode))));
        (!words.is_empty()).then(|| words.join("+"))
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = [(self.gc, "gc,"), (self.native, "native,"), (self.opcodes, "opcodes,")];
        flags.into_iter().filter(|(is_on, _)| *is_on).try_for_each(|(_, word)| f.write_str(word))?;
        write!(f, "threads={}", <&str>::from(self.threads))?;
        if self.mode != ProfilingMode::Wall {
            write!(f, ",mode={}", <&str>::from(self.mode))?;
        }
        f.write_str(if self.skip { "" } else { ",no-skip" })?;
        f.write_str(if self.statistics { "" } else { ",no-statistics" })
    }
}

/// A text that is no configuration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{word:?} is no option of an unwinder: give some of gc, native, opcodes, threads=all|main|active, \
     mode=wall|cpu|gil|all|exception, no-skip, no-statistics, separated by commas"
)]
pub struct BadConfiguration {
    word: String,
}

impl FromStr for Configuration {
    type Err = BadConfiguration;

    fn from_str(text: &str) -> Result<Self, BadConfiguration> {
        let mut configuration = Self::default();
        for word in text.split(',') {
            let bad = || BadConfiguration { word: word.chars().take(80).collect() };
            match word.split_once('=') {
                None if word == "gc" => configuration.gc = true,
                None if word == "native" => configuration.native = true,
                None if word == "opcodes" => configuration.opcodes = true,
                None if word == "no-skip" => configuration.skip = false,
                None if word == "no-statistics" => configuration.statistics = false,
                Some(("threads", value)) => configuration.threads = value.parse().map_err(|_| bad())?,
                Some(("mode", value)) => configuration.mode = value.parse().map_err(|_| bad())?,
                None | Some(_) => return Err(bad()),
            }
        }
        Ok(configuration)
    }
}

impl TryFrom<String> for Configuration {
    type Error = BadConfiguration;

    fn try_from(text: String) -> Result<Self, BadConfiguration> {
        text.parse()
    }
}

impl From<Configuration> for String {
    fn from(configuration: Configuration) -> Self {
        configuration.to_string()
    }
}

const OPTIONS: usize = 7;

/// Every configuration, as the number of each option's value.
fn every() -> Vec<([usize; OPTIONS], Configuration)> {
    let mut all = vec![([0; OPTIONS], Configuration::default())];
    let mut vary = |option: usize, count: usize, set: fn(&mut Configuration, usize)| {
        let values = |&(numbers, configuration): &([usize; OPTIONS], Configuration)| {
            (0..count).map(move |value| {
                let (mut numbers, mut configuration) = (numbers, configuration);
                if let Some(number) = numbers.get_mut(option) {
                    *number = value;
                }
                set(&mut configuration, value);
                (numbers, configuration)
            })
        };
        all = all.iter().flat_map(values).collect();
    };
    let (modes, threads) = (ProfilingMode::VARIANTS.len(), AskedThreads::VARIANTS.len());
    vary(0, modes, |it, value| it.mode = ProfilingMode::VARIANTS.get(value).copied().unwrap_or_default());
    vary(1, threads, |it, value| it.threads = AskedThreads::VARIANTS.get(value).copied().unwrap_or_default());
    vary(2, 2, |it, value| it.gc = value == 0);
    vary(3, 2, |it, value| it.native = value == 0);
    vary(4, 2, |it, value| it.opcodes = value == 0);
    vary(5, 2, |it, value| it.skip = value == 0);
    vary(6, 2, |it, value| it.statistics = value == 0);
    all
}

/// The pairs of values of a configuration.
fn pairs(numbers: [usize; OPTIONS]) -> impl Iterator<Item = [(usize, usize); 2]> {
    let values = move |first| numbers.into_iter().enumerate().skip(first);
    values(0).flat_map(move |one| values(one.0 + 1).map(move |other| [one, other]))
}

/// Few configurations, in which every pair of values of two options occurs. Each one covers as many new pairs as any
/// can. The result is the same each time.
#[must_use]
pub fn covering_array() -> Vec<Configuration> {
    let every = every();
    let mut left: std::collections::HashSet<_> = every.iter().flat_map(|&(numbers, _)| pairs(numbers)).collect();
    let mut array = Vec::new();
    while !left.is_empty() {
        let new = |numbers| pairs(numbers).filter(|pair| left.contains(pair)).count();
        // Of several, the first.
        let Some(&(numbers, best)) = every.iter().rev().max_by_key(|&&(numbers, _)| new(numbers)) else { break };
        left.retain(|&pair| pairs(numbers).all(|other| other != pair));
        array.push(best);
    }
    array
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_configuration_parses_back_from_its_text() {
        let every = every();
        assert_eq!(every.len(), 5 * 3 * 32);
        let texts: BTreeSet<String> = every.iter().map(|(_, it)| it.to_string()).collect();
        assert_eq!(texts.len(), every.len());
        assert!(every.iter().all(|(_, it)| it.to_string().parse() == Ok(*it)));
        assert_eq!(Configuration::SAMPLING.to_string(), "gc,threads=main");
        assert_eq!("gc,native,threads=main,mode=cpu".parse::<Configuration>().unwrap().mode.number(), 1);
        for bad in ["", "all", "gc,", "gc=1", "mode=some", "threads=", "native,gcc"] {
            assert!(bad.parse::<Configuration>().is_err(), "{bad}");
        }
    }

    /// Described by options, not by the numbers that the generator uses.
    #[test]
    fn every_pair_of_values_is_in_the_array() {
        let values = |it: &Configuration| {
            let Configuration { gc, native, opcodes, mode, threads, skip, statistics } = *it;
            let flags = [gc, native, opcodes, skip, statistics].into_iter().enumerate();
            let flags = flags.map(|(option, value)| format!("{option}:{value}"));
            flags.chain([format!("{mode:?}"), format!("{threads:?}")]).collect::<Vec<_>>()
        };
        let pairs = |all: &[Configuration]| {
            let of = |it: &Configuration| {
                let values = values(it);
                let pair = |one: &String| values.iter().map(|other| [one.clone(), other.clone()]).collect::<Vec<_>>();
                values.iter().flat_map(pair).collect::<Vec<_>>()
            };
            all.iter().flat_map(of).collect::<BTreeSet<_>>()
        };
        let array = covering_array();
        let every: Vec<Configuration> = every().into_iter().map(|(_, it)| it).collect();
        assert_eq!(pairs(&array), pairs(&every));
        assert!((15..=20).contains(&array.len()), "{}", array.len());
        assert_eq!(array, covering_array());
    }

    #[test]
    fn only_what_changes_the_content_of_samples_makes_another_bug() {
        assert_eq!(Configuration::default().fingerprint(), None);
        assert_eq!(Configuration::SAMPLING.fingerprint(), None);
        let it: Configuration = "native,opcodes,threads=main,mode=cpu".parse().unwrap();
        assert_eq!(it.fingerprint().as_deref(), Some("native+opcodes+mode-cpu"));
    }
}
