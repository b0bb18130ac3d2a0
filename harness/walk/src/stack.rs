//! The stack of one thread in a sample.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::frame::Frame;
use crate::shared::Shared;

/// A thread's Python frames, leaf first, without base frame and shim frames.
///
/// A stack assembled from a walker's cache shares its callers with the cache. It is copied into a slice on first
/// access.
#[derive(Clone)]
pub struct Stack(Form);

#[derive(Clone)]
enum Form {
    Slice(Arc<[Frame]>),
    Shared { leaf: Arc<Frame>, callers: Shared<Arc<Frame>>, slice: OnceLock<Arc<[Frame]>> },
}

impl Stack {
    /// A stack of a leaf and its callers. Nothing is copied.
    #[must_use]
    pub fn new(leaf: Arc<Frame>, callers: Shared<Arc<Frame>>) -> Self {
        Self(Form::Shared { leaf, callers, slice: OnceLock::new() })
    }

    /// A stack of `frames`, or `None` if there are none. Nothing is copied.
    #[must_use]
    pub fn of(frames: &Shared<Arc<Frame>>) -> Option<Self> {
        Some(Self::new(Arc::clone(frames.first()?), frames.skip(1)))
    }

    /// Number of frames, counted in constant time.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Slice(frames) => frames.len(),
            Form::Shared { callers, .. } => 1 + callers.len(),
        }
    }

    /// Whether the stack has no frames.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn slice(&self) -> &Arc<[Frame]> {
        match &self.0 {
            Form::Slice(frames) => frames,
            Form::Shared { leaf, callers, slice } => {
                slice.get_or_init(|| std::iter::once(leaf).chain(callers).map(|frame| Frame::clone(frame)).collect())
            }
        }
    }
}

impl Deref for Stack {
    type Target = [Frame];

    fn deref(&self) -> &[Frame] {
        self.slice()
    }
}

impl Default for Stack {
    fn default() -> Self {
        Self::from_iter([])
    }
}

impl From<Vec<Frame>> for Stack {
    fn from(frames: Vec<Frame>) -> Self {
        Self(Form::Slice(frames.into()))
    }
}

impl<const N: usize> From<[Frame; N]> for Stack {
    fn from(frames: [Frame; N]) -> Self {
        Self(Form::Slice(frames.into()))
    }
}

impl FromIterator<Frame> for Stack {
    fn from_iter<I: IntoIterator<Item = Frame>>(frames: I) -> Self {
        Self(Form::Slice(frames.into_iter().collect()))
    }
}

impl<'a> IntoIterator for &'a Stack {
    type Item = &'a Frame;
    type IntoIter = std::slice::Iter<'a, Frame>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for Stack {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && **self == **other
    }
}

impl Eq for Stack {}

impl Hash for Stack {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl Serialize for Stack {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Stack {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Location;

    fn frame(function: &str) -> Frame {
        Frame { function: function.into(), file: "w.py".into(), location: Location::default() }
    }

    #[test]
    fn stacks_with_equal_frames_are_equal() {
        let callers: Shared<Arc<Frame>> = ["b", "c"].map(|name| Arc::new(frame(name))).into_iter().collect();
        let shared = Stack::new(Arc::new(frame("a")), callers);
        let slice = Stack::from(["a", "b", "c"].map(frame));
        assert_eq!((shared.len(), &shared), (3, &slice));
        assert_eq!(shared[1..], [frame("b"), frame("c")]);
        let text = serde_json::to_string(&shared).unwrap();
        assert_eq!(serde_json::from_str::<Stack>(&text).unwrap(), slice);
        assert_ne!(shared, Stack::from(["a", "b"].map(frame)));
        assert!(Stack::default().is_empty());
    }
}
