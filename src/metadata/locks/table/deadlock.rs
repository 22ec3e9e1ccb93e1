//! Whether a lock that is about to wait would wait for itself.

use std::collections::HashSet;

use super::{LockTable, OwnerKey};
use crate::metadata::{LockKind, LockRange};
use crate::types::ObjectId;

/// After so many owners the search is given up, and the lock waits.
const MOST_OWNERS: usize = 1000;

impl LockTable {
    /// Follows those who are in the way, those who are in the way of what they wait for, and so on.
    pub(super) fn would_deadlock(
        &self,
        asker: OwnerKey,
        file: ObjectId,
        range: LockRange,
        kind: LockKind,
    ) -> bool {
        let mut met = HashSet::new();
        let mut next = Vec::new();
        let meet = |met: &mut HashSet<_>, next: &mut Vec<_>, waiter, file, range, kind| {
            let Some(locks) = self.files.get(&file) else { return };
            for other in locks.in_the_way(Some(waiter), range, kind) {
                if met.len() < MOST_OWNERS && met.insert(other.owner()) {
                    next.push(other.owner());
                }
            }
        };
        meet(&mut met, &mut next, asker, file, range, kind);
        while let Some(owner) = next.pop() {
            for (file, key) in self.waiting.get(&owner).into_iter().flatten() {
                meet(&mut met, &mut next, owner, *file, key.range, key.kind);
                if met.contains(&asker) {
                    return true;
                }
            }
        }
        false
    }
}
