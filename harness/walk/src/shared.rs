//! A persistent list with shared tails: items can be put on top without copying those below.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A list with shared tails. Cloning it increments a reference count, whatever its length.
pub struct Shared<T> {
    top: Option<Arc<Segment<T>>>,
    /// Number of items skipped at the start of the top segment.
    from: usize,
    /// Number of items. The segments can hold more.
    len: usize,
}

struct Segment<T> {
    items: Box<[T]>,
    below: Shared<T>,
}

impl<T> Shared<T> {
    /// Number of items, counted in constant time.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the list has no items.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// This list with `items` on top, the first of them topmost.
    #[must_use]
    pub fn below(self, items: Vec<T>) -> Self {
        if items.is_empty() {
            return self;
        }
        let len = items.len() + self.len;
        Self { top: Some(Arc::new(Segment { items: items.into(), below: self })), from: 0, len }
    }

    /// The list without its first `count` items. Empty if it has no more than that.
    #[must_use]
    pub fn skip(&self, count: usize) -> Self {
        let Some(len) = self.len.checked_sub(count) else { return Self::default() };
        let (mut top, mut from, mut left) = (&self.top, self.from, count);
        while let Some(segment) = top.as_ref().filter(|_| len > 0) {
            let here = segment.items.len().saturating_sub(from);
            if left < here {
                return Self { top: Some(Arc::clone(segment)), from: from + left, len };
            }
            left -= here;
            (top, from) = (&segment.below.top, segment.below.from);
        }
        Self::default()
    }

    /// Keeps the first `len` items and drops the rest.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        if self.len == 0 {
            *self = Self::default();
        }
    }

    /// The first item, or `None` if the list is empty.
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.iter().next()
    }

    /// An iterator over all items, first to last.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { items: [].iter(), next: Some(self), left: self.len }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (&self.top, &other.top) {
            (Some(one), Some(another)) => Arc::ptr_eq(one, another) && (self.from, self.len) == (other.from, other.len),
            (None, None) => true,
            _ => false,
        }
    }
}

/// An iterator over the items of a [`Shared`] list.
#[derive(Clone, Debug)]
pub struct Iter<'a, T> {
    items: std::slice::Iter<'a, T>,
    next: Option<&'a Shared<T>>,
    left: usize,
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        if self.left == 0 {
            return None;
        }
        loop {
            if let Some(item) = self.items.next() {
                self.left -= 1;
                return Some(item);
            }
            let Shared { top, from, .. } = self.next?;
            let segment = top.as_deref()?;
            self.items = segment.items.get(*from..).unwrap_or_default().iter();
            self.next = Some(&segment.below);
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T> ExactSizeIterator for Iter<'_, T> {}

/// Drops segments in a loop, because a list can have as many segments as items and recursion could overflow the stack.
impl<T> Drop for Segment<T> {
    fn drop(&mut self) {
        let mut next = self.below.top.take();
        while let Some(mut segment) = next.and_then(Arc::into_inner) {
            next = segment.below.top.take();
        }
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self { top: None, from: 0, len: 0 }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self { top: self.top.clone(), from: self.from, len: self.len }
    }
}

impl<T> From<Vec<T>> for Shared<T> {
    fn from(items: Vec<T>) -> Self {
        Self::default().below(items)
    }
}

impl<T> FromIterator<T> for Shared<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Vec::from_iter(items).into()
    }
}

impl<'a, T> IntoIterator for &'a Shared<T> {
    type Item = &'a T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && (self.is_same(other) || self.iter().eq(other))
    }
}

impl<T: Eq> Eq for Shared<T> {}

impl<T: Hash> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.len);
        self.iter().for_each(|item| item.hash(state));
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(list: &Shared<u32>) -> Vec<u32> {
        list.iter().copied().collect()
    }

    /// 1, 2, 3, 4, 5 in three segments. Items of the lower two were skipped.
    fn three() -> Shared<u32> {
        let low = Shared::from(vec![9, 4, 5]).skip(1);
        let middle = low.below(vec![8, 8, 2, 3]).skip(2);
        middle.below(vec![1])
    }

    #[test]
    fn a_list_contains_its_parts_in_order() {
        let list = three();
        assert_eq!((items(&list), list.len(), list.first()), (vec![1, 2, 3, 4, 5], 5, Some(&1)));
        for count in 0..8 {
            let rest = list.skip(count);
            assert_eq!(items(&rest), [1, 2, 3, 4, 5][count.min(5)..]);
            assert_eq!(rest.iter().len(), rest.len());
        }
        assert!(list.skip(5).is_empty() && Shared::<u32>::default().first().is_none());
    }

    #[test]
    fn a_truncated_tail_stays_truncated_under_new_items() {
        let mut list = three();
        list.truncate(4);
        assert_eq!(items(&list), [1, 2, 3, 4]);
        assert_eq!(items(&list.skip(2).below(vec![7])), [7, 3, 4]);
        list.truncate(9);
        assert_eq!(list.len(), 4);
        list.truncate(0);
        assert_eq!(list, Shared::default());
    }

    #[test]
    fn lists_with_equal_items_are_equal() {
        let flat = Shared::from(vec![1, 2, 3, 4, 5]);
        let hash = |list: &Shared<u32>| {
            let mut hasher = std::hash::DefaultHasher::new();
            list.hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!((&flat, hash(&flat)), (&three(), hash(&three())));
        assert_ne!(flat, flat.skip(1));
        assert_ne!(flat, Shared::from(vec![1, 2, 3, 4, 6]));
        assert_eq!(format!("{flat:?}"), "[1, 2, 3, 4, 5]");
    }

    #[test]
    fn tails_are_shared() {
        let tail = Shared::from(vec![Arc::new(1), Arc::new(2)]);
        let lists = [tail.clone().below(vec![Arc::new(0)]), tail.skip(1), tail.clone()];
        assert_eq!(tail.iter().map(Arc::strong_count).collect::<Vec<_>>(), [1, 1]);
        drop(lists);
    }

    #[test]
    fn a_list_of_very_many_segments_is_dropped_without_a_deep_stack() {
        let mut list = Shared::default();
        for item in 0..1_000_000 {
            list = list.below(vec![item]);
        }
        let other = list.skip(500_000);
        drop(list);
        assert_eq!(other.first(), Some(&499_999));
    }
}
