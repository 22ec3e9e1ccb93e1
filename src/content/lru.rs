//! A map that knows in which order its keys were used, and what its values weigh.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

#[derive(Debug)]
struct Entry<V> {
    value: V,
    weight: u64,
    last_use: u64,
}

/// The map. It grows until its owner evicts.
#[derive(Debug)]
pub(super) struct LruMap<K, V> {
    entries: BTreeMap<K, Entry<V>>,
    /// The keys, the one that was used longest ago first.
    by_use: BTreeMap<u64, K>,
    weight: u64,
    uses: u64,
}

impl<K, V> Default for LruMap<K, V> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), by_use: BTreeMap::new(), weight: 0, uses: 0 }
    }
}

impl<K: Ord + Copy, V> LruMap<K, V> {
    /// The sum of all weights.
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    /// A value, which counts as used from now on.
    pub(super) fn get(&mut self, key: K) -> Option<&V> {
        let entry = self.entries.get_mut(&key)?;
        self.by_use.remove(&entry.last_use);
        self.uses += 1;
        entry.last_use = self.uses;
        self.by_use.insert(self.uses, key);
        Some(&entry.value)
    }

    /// A value, without a use.
    pub(super) fn peek(&self, key: K) -> Option<&V> {
        self.entries.get(&key).map(|entry| &entry.value)
    }

    /// The same, to be changed.
    pub(super) fn peek_mut(&mut self, key: K) -> Option<&mut V> {
        self.entries.get_mut(&key).map(|entry| &mut entry.value)
    }

    /// Puts a value, and answers with the one that it replaces.
    pub(super) fn insert(&mut self, key: K, value: V, weight: u64) -> Option<V> {
        let replaced = self.remove(key);
        self.uses += 1;
        self.weight += weight;
        self.by_use.insert(self.uses, key);
        self.entries.insert(key, Entry { value, weight, last_use: self.uses });
        replaced
    }

    pub(super) fn remove(&mut self, key: K) -> Option<V> {
        let entry = self.entries.remove(&key)?;
        self.by_use.remove(&entry.last_use);
        self.weight -= entry.weight;
        Some(entry.value)
    }

    /// Removes the values of a range of keys.
    pub(super) fn remove_range(&mut self, keys: RangeInclusive<K>) -> Vec<V> {
        let keys: Vec<_> = self.entries.range(keys).map(|(key, _)| *key).collect();
        keys.into_iter().filter_map(|key| self.remove(key)).collect()
    }

    /// The values, the one that was used longest ago first.
    pub(super) fn oldest(&self) -> impl Iterator<Item = &V> {
        self.by_use.values().filter_map(|key| self.peek(*key))
    }

    /// Removes those that were used longest ago, until the rest weighs at most `most`.
    pub(super) fn evict(&mut self, most: u64) -> Vec<(K, V)> {
        let mut evicted = Vec::new();
        while self.weight > most
            && let Some((_, key)) = self.by_use.pop_first()
        {
            evicted.extend(self.remove(key).map(|value| (key, value)));
        }
        evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_in_the_order_of_their_last_use() {
        let mut map = LruMap::default();
        for key in 0..4 {
            assert_eq!(map.insert(key, key * 10, 2), None);
        }
        assert_eq!(map.get(0), Some(&0));
        assert_eq!((map.peek(1), map.peek(9)), (Some(&10), None));
        assert_eq!(map.insert(2, 21, 3), Some(20));
        assert_eq!(map.oldest().collect::<Vec<_>>(), [&10, &30, &0, &21]);
        assert_eq!(map.weight(), 9);
        assert_eq!(map.evict(5), [(1, 10), (3, 30)]);
        assert_eq!(map.remove_range(0..=1), [0]);
        assert_eq!((map.weight(), map.remove(2), map.weight()), (3, Some(21), 0));
        assert_eq!(map.by_use.len(), 0);
    }
}
