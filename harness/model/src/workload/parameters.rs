//! The parameters of a workload.

use std::fmt;
use std::str::FromStr;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::Family;

/// The size of the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FrameSize {
    /// Every frame has this many extra locals, so frames of different branches share addresses.
    Equal(u32),
    /// Frames have up to this many extra locals, and each a different number, so addresses of different branches
    /// diverge.
    Unequal(u32),
}

impl FrameSize {
    /// The extra locals of the function with this index.
    #[must_use]
    pub fn locals(self, index: u32) -> u32 {
        match self {
            Self::Equal(locals) => locals,
            Self::Unequal(most) => index.wrapping_mul(7).wrapping_add(index / 3) % most.saturating_add(1),
        }
    }

    /// The largest number of extra locals in a frame.
    #[must_use]
    pub fn most(self) -> u32 {
        match self {
            Self::Equal(locals) | Self::Unequal(locals) => locals,
        }
    }
}

/// `equal:40`, `unequal:40`.
impl fmt::Display for FrameSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal(locals) => write!(f, "equal:{locals}"),
            Self::Unequal(most) => write!(f, "unequal:{most}"),
        }
    }
}

/// `equal:40` or `40` for frames of one size, `unequal:40` for sizes up to that.
impl FromStr for FrameSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, number) = text.split_once(':').unwrap_or(("equal", text));
        let locals = number.parse().map_err(|error| format!("{error}; examples: 40, equal:40, unequal:40"))?;
        match kind {
            "equal" => Ok(Self::Equal(locals)),
            "unequal" => Ok(Self::Unequal(locals)),
            _ => Err("frames are equal:N or unequal:N".to_owned()),
        }
    }
}

/// The width of the text in function names. A walker decodes each kind from a different layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Names {
    /// One byte per character, ASCII.
    Ascii,
    /// One byte per character, beyond ASCII.
    Latin1,
    /// Two bytes per character.
    Wide,
    /// Four bytes per character.
    Astral,
}

impl Names {
    /// All kinds of names, in the order of declaration.
    pub const ALL: [Self; 4] = [Self::Ascii, Self::Latin1, Self::Wide, Self::Astral];

    /// The name on command lines and in saved cases.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ascii => "ascii",
            Self::Latin1 => "latin1",
            Self::Wide => "wide",
            Self::Astral => "astral",
        }
    }

    /// The suffix of identifiers. Its letters are fixed points of NFKC, to which Python normalises identifiers.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Ascii => "",
            Self::Latin1 => "_\u{e9}\u{f8}",
            Self::Wide => "_\u{6f22}\u{3bb}",
            Self::Astral => "_\u{20000}\u{10400}",
        }
    }
}

/// The parameters of a workload. Each family reads those that apply to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Parameters {
    /// The depth of a branch, in frames.
    pub depth: u32,
    /// The number of branches, threads or variants.
    pub width: u32,
    /// The size of the frames.
    pub frame_size: FrameSize,
    /// Iterations of a leaf's loop. With few, calls dominate. With many, leaves dominate and become hot for the JIT.
    pub speed: u32,
    /// The kind of text in function names.
    pub names: Names,
}

/// Values for single parameters. The others stay as drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overrides {
    /// Replaces [`Parameters::depth`] if it is set.
    pub depth: Option<u32>,
    /// Replaces [`Parameters::width`] if it is set.
    pub width: Option<u32>,
    /// Replaces [`Parameters::frame_size`] if it is set.
    pub frame_size: Option<FrameSize>,
    /// Replaces [`Parameters::speed`] if it is set.
    pub speed: Option<u32>,
    /// Replaces [`Parameters::names`] if it is set.
    pub names: Option<Names>,
}

/// The largest depth. Deeper stacks come near the limits of CPython's own walker (1536) and of its recursion check.
pub const MOST_DEEP: u32 = 1400;
/// The smallest width. With one branch there is nothing to mix up.
pub const LEAST_WIDE: u32 = 2;
/// The largest width. More branches, threads or variants make a round longer and show nothing new.
pub const MOST_WIDE: u32 = 8;
/// The largest number of extra locals. With more, a program takes seconds to compile.
pub const MOST_LOCALS: u32 = 1000;
/// The largest number of iterations in a leaf. They take about twenty milliseconds, so the leaf reaches its next gate
/// soon.
pub const MOST_ROUNDS: u32 = 1_000_000;

impl Parameters {
    /// Draws parameters that suit a family.
    #[must_use]
    pub fn draw(family: Family, random: &mut ChaCha8Rng) -> Self {
        let depth = (family.spec().draw_depth)(random);
        let width = random.random_range(2..=8);
        let most = match random.random_range(0..4) {
            0 => 0,
            1 => random.random_range(1..=8),
            2 => random.random_range(9..=60),
            _ => random.random_range(61..=250),
        };
        let frame_size = if random.random_bool(0.5) { FrameSize::Equal(most) } else { FrameSize::Unequal(most) };
        let speed = match random.random_range(0..4) {
            0 => 0,
            1 => random.random_range(1..=20),
            2 => random.random_range(21..=300),
            _ => random.random_range(301..=3000),
        };
        // All families of a run are drawn from one seed, but each kind of text must occur in every run.
        let of_family = family.name().bytes().fold(0, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let names = match (random.random_range(0..8_u32) + of_family % 8) % 8 {
            0 => Names::Latin1,
            1 => Names::Wide,
            2 => Names::Astral,
            _ => Names::Ascii,
        };
        Self { depth, width, frame_size, speed, names }.within_bounds(family)
    }

    /// These parameters with the given values replaced.
    #[must_use]
    pub fn overridden(self, family: Family, wishes: Overrides) -> Self {
        Self {
            depth: wishes.depth.unwrap_or(self.depth),
            width: wishes.width.unwrap_or(self.width),
            frame_size: wishes.frame_size.unwrap_or(self.frame_size),
            speed: wishes.speed.unwrap_or(self.speed),
            names: wishes.names.unwrap_or(self.names),
        }
        .within_bounds(family)
    }

    /// The nearest parameters with which the family's program still runs within the walkers' limits.
    #[must_use]
    pub fn within_bounds(self, family: Family) -> Self {
        Self {
            depth: self.depth.clamp(1, family.spec().deepest),
            width: self.width.clamp(LEAST_WIDE, MOST_WIDE),
            frame_size: match self.frame_size {
                FrameSize::Equal(locals) => FrameSize::Equal(locals.min(MOST_LOCALS)),
                FrameSize::Unequal(locals) => FrameSize::Unequal(locals.min(MOST_LOCALS)),
            },
            speed: self.speed.min(MOST_ROUNDS),
            names: self.names,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    /// A walker that reads one kind of text wrongly must be noticed with every seed.
    #[test]
    fn the_families_of_one_seed_have_names_of_every_kind() {
        for seed in 0..20 {
            let names = |family| Parameters::draw(family, &mut ChaCha8Rng::seed_from_u64(seed)).names;
            for kind in Names::ALL {
                let count = Family::ALL.into_iter().filter(|&family| names(family) == kind).count();
                assert!(count > 0, "no {} with seed {seed}", kind.name());
            }
        }
    }

    #[test]
    fn overrides_replace_only_their_own_parameters() {
        for family in Family::ALL {
            let drawn = Parameters::draw(family, &mut ChaCha8Rng::seed_from_u64(5));
            assert_eq!(drawn, drawn.clone().within_bounds(family), "{family}");
            assert_eq!(drawn, drawn.clone().overridden(family, Overrides::default()), "{family}");
            let wish = Overrides { depth: Some(2), names: Some(Names::Wide), ..Overrides::default() };
            let expected = Parameters { depth: 2, names: Names::Wide, ..drawn.clone() };
            assert_eq!(drawn.overridden(family, wish), expected, "{family}");
        }
    }

    #[test]
    fn frame_sizes_round_trip() {
        for size in [FrameSize::Equal(0), FrameSize::Equal(40), FrameSize::Unequal(250)] {
            assert_eq!(size.to_string().parse(), Ok(size));
        }
        assert_eq!("40".parse(), Ok(FrameSize::Equal(40)));
        for bad in ["", "equal:", "odd:3", "-1", "unequal:4294967296", "equal:1:2"] {
            assert!(bad.parse::<FrameSize>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn unequal_frames_differ_and_equal_ones_do_not() {
        assert!((0..8).any(|index| FrameSize::Unequal(9).locals(index) != FrameSize::Unequal(9).locals(0)));
        assert!((0..8).all(|index| FrameSize::Equal(9).locals(index) == 9));
    }
}
