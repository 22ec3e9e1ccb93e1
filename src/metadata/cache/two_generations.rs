//! A bounded map.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

/// The most keys of a generation: as many as a table of 32,768 places takes (seven of eight). One more key
/// makes the table twice as large.
pub(in crate::metadata) const GENERATION: usize = 7 << 12;

/// Keeps the keys that were put last: when the newer generation is full, it becomes the older, which is
/// dropped.
#[derive(Debug)]
pub(in crate::metadata) struct TwoGenerationMap<K, V, S> {
    newer: HashMap<K, V, S>,
    older: HashMap<K, V, S>,
    most: usize,
    /// What a key and its value take beside their place in the table, in bytes.
    beside: fn(&K, &V) -> usize,
    /// What those take that were put into the newer generation.
    bytes: usize,
    most_bytes: usize,
}

/// Whether a generation of `most` keys is full. So is one whose table would become twice as large for the
/// places that removed keys have left.
pub(in crate::metadata) fn is_full<K, V, S>(generation: &HashMap<K, V, S>, most: usize) -> bool {
    let keys = generation.len();
    keys >= most || keys > most / 2 && keys == generation.capacity()
}

impl<K: Hash + Eq, V, S: BuildHasher + Default> TwoGenerationMap<K, V, S> {
    /// A map of `most` keys, which take nothing beside the table.
    pub(in crate::metadata) fn new(most: usize) -> Self {
        Self::bounded(most, usize::MAX, |_, _| 0)
    }

    /// A map of `most` keys, which take `most_bytes` beside the table, as `beside` says of each.
    pub(super) fn bounded(most: usize, most_bytes: usize, beside: fn(&K, &V) -> usize) -> Self {
        let (newer, older) = (HashMap::default(), HashMap::default());
        Self { newer, older, most, beside, bytes: 0, most_bytes }
    }

    pub(in crate::metadata) fn get(&self, key: &K) -> Option<&V> {
        self.newer.get(key).or_else(|| self.older.get(key))
    }

    pub(in crate::metadata) fn put(&mut self, key: K, value: V) {
        if is_full(&self.newer, self.most / 2) || self.bytes >= self.most_bytes / 2 {
            self.older = std::mem::take(&mut self.newer);
            self.bytes = 0;
        }
        self.bytes += (self.beside)(&key, &value);
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
