//! A map whose keys come and go nearly in order.

use std::{cmp::Ordering, collections::VecDeque, ops::RangeInclusive};

/// Room for so many is kept, however few there are.
const ROOM: usize = 64;

/// A map as a queue in the order of its keys. Where they mostly come at the upper end and go at the lower one, as the
/// numbers of groups do, it touches few lines of the cache. Elsewhere it moves what lies between a key and the nearer
/// end: for maps with a limit.
#[derive(Clone, Debug)]
pub(crate) struct Sorted<K, V>(VecDeque<(K, V)>);

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<K: Ord + Copy, V> Sorted<K, V> {
    /// Where a key is, or would be.
    #[inline]
    fn find(&self, key: K) -> Result<usize, usize> {
        let Some((last, _)) = self.0.back() else { return Err(0) };
        match key.cmp(last) {
            Ordering::Greater => Err(self.0.len()),
            Ordering::Equal => Ok(self.0.len() - 1),
            Ordering::Less => self.find_below(key),
        }
    }

    /// The same for a key below the last.
    #[inline(never)]
    fn find_below(&self, key: K) -> Result<usize, usize> {
        match self.0.front() {
            Some((first, _)) if *first == key => Ok(0),
            _ => self.0.binary_search_by_key(&key, |(key, _)| *key),
        }
    }

    /// The first place at or above a key.
    fn place(&self, key: K) -> usize {
        self.find(key).unwrap_or_else(|at| at)
    }

    fn places(&self, keys: &RangeInclusive<K>) -> std::ops::Range<usize> {
        let first = self.place(*keys.start());
        first..self.find(*keys.end()).map_or_else(|at| at, |at| at + 1).max(first)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, key: K) -> bool {
        self.find(key).is_ok()
    }

    pub(crate) fn get(&self, key: K) -> Option<&V> {
        self.0.get(self.find(key).ok()?).map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let at = self.find(key).ok()?;
        self.0.get_mut(at).map(|(_, value)| value)
    }

    /// Returns what was there under the same key.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.find(key) {
            Ok(at) => self.0.get_mut(at).map(|(_, place)| std::mem::replace(place, value)),
            Err(at) => {
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        let at = self.find(key).ok()?;
        let (_, value) = self.0.remove(at)?;
        if self.0.is_empty() {
            // It begins anew, so that one of which little is in use stays in few lines of the cache.
            self.0.clear();
        }
        self.give_back();
        Some(value)
    }

    /// Lets go of room that is not needed any more: what was much once is not kept for good.
    #[inline]
    fn give_back(&mut self) {
        if self.0.capacity() > ROOM && self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to(ROOM.max(self.0.len() * 2));
        }
    }

    pub(crate) fn first(&self) -> Option<(K, &V)> {
        self.0.front().map(|(key, value)| (*key, value))
    }

    pub(crate) fn last(&self) -> Option<(K, &V)> {
        self.0.back().map(|(key, value)| (*key, value))
    }

    /// All in order.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (K, &V)> {
        self.0.iter().map(|(key, value)| (*key, value))
    }

    pub(crate) fn keys(&self) -> impl DoubleEndedIterator<Item = K> {
        self.0.iter().map(|(key, _)| *key)
    }

    pub(crate) fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    pub(crate) fn values_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    pub(crate) fn into_values(self) -> impl DoubleEndedIterator<Item = V> {
        self.0.into_iter().map(|(_, value)| value)
    }

    /// Those at or above a key, in order.
    pub(crate) fn from(&self, key: K) -> impl Iterator<Item = (K, &V)> {
        self.0.range(self.place(key)..).map(|(key, value)| (*key, value))
    }

    /// Those within some keys, in order; none where these are none.
    pub(crate) fn range(&self, keys: RangeInclusive<K>) -> impl Iterator<Item = (K, &V)> {
        self.0.range(self.places(&keys)).map(|(key, value)| (*key, value))
    }

    pub(crate) fn range_mut(&mut self, keys: RangeInclusive<K>) -> impl Iterator<Item = (K, &mut V)> {
        let places = self.places(&keys);
        self.0.range_mut(places).map(|(key, value)| (*key, value))
    }

    /// Those below a key, in order.
    pub(crate) fn below_mut(&mut self, key: K) -> impl Iterator<Item = (K, &mut V)> {
        let end = self.place(key);
        self.0.range_mut(..end).map(|(key, value)| (*key, value))
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(K, &mut V) -> bool) {
        self.0.retain_mut(|(key, value)| keep(*key, value));
        self.give_back();
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
        self.give_back();
    }

    /// Keeps room for so many, and not for what was much.
    pub(crate) fn shrink_to(&mut self, room: usize) {
        self.0.shrink_to(room);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_map_that_it_stands_for(
            steps in proptest::collection::vec((0..24_u64, 0..3_u8), 0..60),
            (first, last) in (0..26_u64, 0..26_u64),
        ) {
            let (mut sorted, mut model) = (Sorted::default(), BTreeMap::new());
            for (value, (key, step)) in steps.into_iter().enumerate() {
                match step {
                    0 => prop_assert_eq!(sorted.remove(key), model.remove(&key)),
                    _ => prop_assert_eq!(sorted.insert(key, value), model.insert(key, value)),
                }
                prop_assert_eq!(sorted.get(key), model.get(&key));
                prop_assert_eq!((sorted.len(), sorted.is_empty()), (model.len(), model.is_empty()));
                prop_assert_eq!(sorted.first(), model.first_key_value().map(|(&key, value)| (key, value)));
                prop_assert_eq!(sorted.last(), model.last_key_value().map(|(&key, value)| (key, value)));
            }
            fn pairs<'a>(all: impl Iterator<Item = (&'a u64, &'a usize)>) -> Vec<(u64, usize)> {
                all.map(|(&key, &value)| (key, value)).collect()
            }
            let ours = |all: &mut dyn Iterator<Item = (u64, &usize)>| -> Vec<(u64, usize)> {
                all.map(|(key, &value)| (key, value)).collect()
            };
            prop_assert_eq!(ours(&mut sorted.iter()), pairs(model.iter()));
            prop_assert_eq!(ours(&mut sorted.from(first)), pairs(model.range(first..)));
            let within = if first <= last { pairs(model.range(first..=last)) } else { Vec::new() };
            prop_assert_eq!(ours(&mut sorted.range(first..=last)), within.clone());
            prop_assert_eq!(sorted.range_mut(first..=last).map(|(key, value)| (key, *value)).collect::<Vec<_>>(), within);
            prop_assert_eq!(sorted.below_mut(first).count(), model.range(..first).count());
            prop_assert_eq!(sorted.contains(first), model.contains_key(&first));
        }
    }

    #[test]
    fn room_for_what_was_much_once_is_not_kept() {
        let filled = || {
            let mut sorted = Sorted::default();
            (0..2000_u64).for_each(|key| assert_eq!(sorted.insert(key, [0_u64; 4]), None));
            sorted
        };
        let (mut removed, mut retained, mut cleared) = (filled(), filled(), filled());
        (0..1990).for_each(|key| assert!(removed.remove(key).is_some()));
        retained.retain(|key, _| key < 10);
        cleared.clear();
        for sorted in [&removed, &retained, &cleared] {
            assert!(sorted.0.capacity() <= 2 * ROOM, "{}", sorted.0.capacity());
        }
        assert_eq!(removed.keys().collect::<Vec<_>>(), (1990..2000).collect::<Vec<_>>());
    }
}
