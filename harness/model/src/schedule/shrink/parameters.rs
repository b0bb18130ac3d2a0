//! Finds the smallest workload that still fails in the same way.

use crate::workload::{Family, FrameSize, Names, Parameters};

/// The result of shrinking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShrunkParameters<T> {
    /// The smallest parameters found.
    pub parameters: Parameters,
    /// What `fails` returned for them; `None` if no smaller parameters failed.
    pub found: Option<T>,
    /// How many searches were made.
    pub searches: u32,
    /// Whether no tried candidate that is smaller fails. If false, the budget was spent first.
    pub is_minimal: bool,
}

/// Makes the workload of a family smaller as long as it fails, within a budget of searches.
///
/// A different workload does different steps, so a schedule has a different meaning in it. `fails` must therefore
/// search for a new schedule and return what it found, or `None` if it did not find the same bug.
///
/// Each parameter is made smaller separately: less depth, less width, fewer locals, a shorter loop in the leaves, plain
/// names.
pub fn shrink<T>(
    family: Family,
    parameters: &Parameters,
    budget: u32,
    mut fails: impl FnMut(&Parameters) -> Option<T>,
) -> ShrunkParameters<T> {
    let mut shrunk = ShrunkParameters { parameters: parameters.clone(), found: None, searches: 0, is_minimal: false };
    let mut passed: Vec<Parameters> = Vec::new();
    loop {
        let mut smaller = None;
        for candidate in candidates(family, &shrunk.parameters) {
            if passed.contains(&candidate) {
                continue;
            }
            if shrunk.searches == budget {
                return shrunk;
            }
            shrunk.searches += 1;
            if let Some(found) = fails(&candidate) {
                smaller = Some((candidate, found));
                break;
            }
            passed.push(candidate);
        }
        match smaller {
            Some((candidate, found)) => (shrunk.parameters, shrunk.found) = (candidate, Some(found)),
            None => {
                shrunk.is_minimal = true;
                return shrunk;
            }
        }
    }
}

/// Smaller parameters, large changes first. Each is within the bounds of the generator.
fn candidates(family: Family, from: &Parameters) -> Vec<Parameters> {
    let mut found: Vec<Parameters> = Vec::new();
    let mut add = |parameters: Parameters| {
        let parameters = parameters.within_bounds(family);
        if parameters != *from && !found.contains(&parameters) {
            found.push(parameters);
        }
    };
    let with = |change: &dyn Fn(&mut Parameters)| {
        let mut parameters = from.clone();
        change(&mut parameters);
        parameters
    };
    add(Parameters { depth: 1, width: 2, frame_size: FrameSize::Equal(0), speed: 0, names: Names::Ascii });
    add(with(&|smaller| smaller.names = Names::Ascii));
    for depth in less(from.depth) {
        add(with(&|smaller| smaller.depth = depth));
    }
    for width in less(from.width) {
        add(with(&|smaller| smaller.width = width));
    }
    for speed in less(from.speed) {
        add(with(&|smaller| smaller.speed = speed));
    }
    let most = from.frame_size.most();
    add(with(&|smaller| smaller.frame_size = FrameSize::Equal(0)));
    if matches!(from.frame_size, FrameSize::Unequal(_)) {
        add(with(&|smaller| smaller.frame_size = FrameSize::Equal(most)));
    }
    for locals in less(most) {
        add(with(&|smaller| {
            smaller.frame_size = match smaller.frame_size {
                FrameSize::Equal(_) => FrameSize::Equal(locals),
                FrameSize::Unequal(_) => FrameSize::Unequal(locals),
            };
        }));
    }
    found
}

/// Smaller numbers to try: zero, a few, half, and one less.
fn less(number: u32) -> impl Iterator<Item = u32> {
    [0, 1, 2, 3, 5, number / 2, number.saturating_sub(1)].into_iter().filter(move |&smaller| smaller < number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn large() -> Parameters {
        Parameters { depth: 9, width: 7, frame_size: FrameSize::Unequal(200), speed: 2500, names: Names::Astral }
    }

    #[test]
    fn each_parameter_becomes_as_small_as_allowed() {
        let fails = |parameters: &Parameters| {
            let unequal = matches!(parameters.frame_size, FrameSize::Unequal(2..));
            (parameters.depth >= 4 && parameters.width >= 3 && unequal).then(|| parameters.clone())
        };
        let shrunk = shrink(Family::Alternating, &large(), 500, fails);
        let expected =
            Parameters { depth: 4, width: 3, frame_size: FrameSize::Unequal(2), speed: 0, names: Names::Ascii };
        assert_eq!((&shrunk.parameters, shrunk.is_minimal), (&expected, true));
        assert_eq!(shrunk.found, Some(expected));
    }

    #[test]
    fn a_failure_of_every_workload_shrinks_to_the_smallest_immediately() {
        for family in Family::ALL {
            let shrunk = shrink(family, &large().within_bounds(family), 500, |_| Some(()));
            assert_eq!((shrunk.parameters.depth, shrunk.parameters.width), (1, 2), "{family}");
            assert_eq!((shrunk.searches, shrunk.is_minimal), (1, true), "{family}");
        }
    }

    #[test]
    fn a_failure_of_one_workload_only_stays_within_the_budget() {
        let mut searches = 0;
        let mut fails = |_: &Parameters| {
            searches += 1;
            None::<()>
        };
        let shrunk = shrink(Family::Deep, &large(), 5, &mut fails);
        assert_eq!((shrunk.searches, shrunk.is_minimal), (5, false));
        let shrunk = shrink(Family::Deep, &large(), 1000, &mut fails);
        assert_eq!((shrunk.parameters, shrunk.found, shrunk.is_minimal), (large(), None, true));
        assert_eq!(searches, 5 + shrunk.searches);
    }
}
