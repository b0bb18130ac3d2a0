//! Splits a search into parts that can run on their own.

use std::fmt;
use std::str::FromStr;

/// Part `index` (from 1) of `count`. The text form is `INDEX/COUNT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: u64,
    count: u64,
}

impl Shard {
    /// The only part of one.
    pub const WHOLE: Self = Self { index: 1, count: 1 };

    /// Part `index` (from 1) of `count`; `None` if there is no such part.
    #[must_use]
    pub fn new(index: u64, count: u64) -> Option<Self> {
        (1..=count).contains(&index).then_some(Self { index, count })
    }

    /// The number of this part, counted from 1.
    #[must_use]
    pub fn index(self) -> u64 {
        self.index
    }

    /// The number of parts.
    #[must_use]
    pub fn count(self) -> u64 {
        self.count
    }

    /// Splits this part further: part `index` (from 0) of `count`.
    #[must_use]
    pub fn part(self, index: u64, count: u64) -> Self {
        Self { index: self.index + self.count * (index % count.max(1)), count: self.count * count.max(1) }
    }

    /// Whether this is the first part. It also gets everything that belongs to no part in particular.
    #[must_use]
    pub fn is_first(self) -> bool {
        self.index == 1
    }

    /// Whether item `number` (from 0) is in this part.
    #[must_use]
    pub fn holds(self, number: u64) -> bool {
        number % self.count == self.index - 1
    }

    /// How many of `things` items are in this part.
    #[must_use]
    pub fn share(self, things: u64) -> u64 {
        (things + self.count - self.index) / self.count
    }
}

impl Default for Shard {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = || {
            let (index, count) = text.split_once('/')?;
            Self::new(index.parse().ok()?, count.parse().ok()?)
        };
        parsed().ok_or_else(|| format!("`{text}` is not a shard: 2/3 is the second of three shards"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_the_number_of_held_items() {
        for count in 1..5 {
            for things in 0..12 {
                let shards: Vec<Shard> = (1..=count).filter_map(|index| Shard::new(index, count)).collect();
                assert_eq!(shards.iter().map(|shard| shard.share(things)).sum::<u64>(), things);
                for shard in shards {
                    let held = (0..things).filter(|&thing| shard.holds(thing)).count() as u64;
                    assert_eq!(held, shard.share(things), "{shard} of {things}");
                }
            }
        }
    }

    #[test]
    fn the_parts_of_a_shard_cover_it_exactly() {
        let whole: Shard = "2/3".parse().unwrap();
        let parts: Vec<Shard> = (0..4).map(|index| whole.part(index, 4)).collect();
        for thing in 0..50 {
            let holders = parts.iter().filter(|part| part.holds(thing)).count();
            assert_eq!(holders, usize::from(whole.holds(thing)), "{thing}");
        }
        assert!(Shard::WHOLE.part(0, 2).is_first() && !Shard::WHOLE.part(1, 2).is_first());
    }

    #[test]
    fn invalid_shards_are_refused() {
        assert_eq!("2/3".parse::<Shard>().unwrap().to_string(), "2/3");
        for text in ["", "1", "0/1", "3/2", "1/0", "a/b", "1/2/3"] {
            assert!(text.parse::<Shard>().unwrap_err().contains("second of three"), "{text}");
        }
    }
}
