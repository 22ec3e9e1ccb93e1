//! A bounded map.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

/// Keeps the keys that were put last: when the newer generation is full, it becomes the older, which is
/// dropped.
#[derive(Debug)]
pub(in crate::metadata) struct TwoGenerationMap<K, V, S> {
    newer: HashMap<K, V, S>,
    older: HashMap<K, V, S>,
    most: usize,
}

impl<K: Hash + Eq, V, S: BuildHasher + Default> TwoGenerationMap<K, V, S> {
    /// A map of `most` keys.
    pub(in crate::metadata) fn new(most: usize) -> Self {
        Self { newer: HashMap::default(), older: HashMap::default(), most }
    }

    pub(in crate::metadata) fn get(&self, key: &K) -> Option<&V> {
        self.newer.get(key).or_else(|| self.older.get(key))
    }

    pub(in crate::metadata) fn put(&mut self, key: K, value: V) {
        if self.newer.len() >= self.most / 2 {
            self.older = std::mem::take(&mut self.newer);
        }
        self.older.remove(&key);
        self.newer.insert(key, value);
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.newer.len() + self.older.len()
    }

    pub(super) fn remove(&mut self, key: &K) {
        self.newer.remove(key);
        self.older.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;

    use super::*;

    #[test]
    fn the_number_of_keys_is_bounded() {
        const MOST: usize = 64;
        let mut map = TwoGenerationMap::<_, _, RandomState>::new(MOST);
        for number in 0..2 * MOST {
            map.put(number, number);
            assert!(map.len() <= MOST);
        }
        assert!(map.get(&(2 * MOST - 1)).is_some() && map.get(&0).is_none());
    }
}
