//! Where a content has bytes, in bounded memory.

use std::ops::Range;

/// DataExtents that there are at most. Where a content has more, those that lie near each other are told as
/// one.
const MOST: usize = 4096;
/// What extents are rounded to first where there are too many.
const GRAIN: u64 = 64 << 10;

/// DataExtents as they are found, in any order.
#[derive(Debug)]
pub(super) struct DataExtents {
    extents: Vec<Range<u64>>,
    grain: u64,
}

impl Default for DataExtents {
    fn default() -> Self {
        Self { extents: Vec::new(), grain: GRAIN }
    }
}

impl DataExtents {
    pub(super) fn add(&mut self, extent: Range<u64>) {
        if extent.is_empty() {
            return;
        }
        if let Some(last) = self.extents.last_mut()
            && extent.start <= last.end
            && last.start <= extent.end
        {
            *last = last.start.min(extent.start)..last.end.max(extent.end);
            return;
        }
        self.extents.push(extent);
        if self.extents.len() >= 2 * MOST {
            self.settle();
        }
    }

    /// All of them: in order, apart from each other, and not too many.
    pub(super) fn all(mut self) -> Vec<Range<u64>> {
        self.settle();
        self.extents
    }

    fn settle(&mut self) {
        self.join();
        while self.extents.len() > MOST {
            for extent in &mut self.extents {
                let end = extent.end.checked_next_multiple_of(self.grain).unwrap_or(u64::MAX);
                *extent = extent.start - extent.start % self.grain..end;
            }
            self.grain = self.grain.saturating_mul(2);
            self.join();
        }
    }

    fn join(&mut self) {
        self.extents.sort_unstable_by_key(|extent| extent.start);
        self.extents.dedup_by(|next, before| {
            let touches = next.start <= before.end;
            if touches {
                before.end = before.end.max(next.end);
            }
            touches
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(extents: impl IntoIterator<Item = Range<u64>>) -> Vec<Range<u64>> {
        let mut found = DataExtents::default();
        extents.into_iter().for_each(|extent| found.add(extent));
        found.all()
    }

    #[test]
    fn regions_are_in_order_and_apart() {
        let none: [Range<u64>; 0] = [];
        assert_eq!(all([]), none);
        assert_eq!(all([5..5, 9..10]), std::slice::from_ref(&(9..10)));
        assert_eq!(all([7..9, 3..4, 0..2, 2..3, 8..12]), [0..4, 7..12]);
        // As a bucket is listed, the last chunk first.
        assert_eq!(
            all((0..10_000).rev().map(|at| at * 8..(at + 1) * 8)),
            std::slice::from_ref(&(0..80_000))
        );
    }

    #[test]
    fn too_many_are_told_as_fewer_that_hold_them() {
        let extent = |at: u64| at * 1_000_000..at * 1_000_000 + 10;
        let many = 50_000;
        for found in [all((0..many).map(extent)), all((0..many).rev().map(extent))] {
            assert!((MOST / 8..=MOST).contains(&found.len()), "{}", found.len());
            assert!(found.is_sorted_by(|one, next| one.end < next.start));
            for number in 0..many {
                let it = extent(number);
                let holds = |held: &&Range<u64>| held.start <= it.start && it.end <= held.end;
                assert_eq!(found.iter().filter(holds).count(), 1, "{it:?}");
            }
        }
        let far = (0..many).map(|at| (u64::MAX >> 16) * at..(u64::MAX >> 16) * at + 1);
        assert!(all(far).len() <= MOST);
    }
}
