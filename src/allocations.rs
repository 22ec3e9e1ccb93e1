//! Counts the memory of a test: the bounds of tables are compared with it.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

thread_local! {
    /// Bytes that this thread has allocated, less those that it has freed.
    static HELD: Cell<isize> = const { Cell::new(0) };
}

/// The allocator `A`, which counts.
pub(crate) struct Counting<A>(pub(crate) A);

/// The bytes that this thread holds, as the allocator rounds them.
pub(crate) fn held() -> usize {
    HELD.with(|held| usize::try_from(held.get()).unwrap_or(0))
}

/// mimalloc's size classes: four between a power of two and the next; large blocks in pages.
fn rounded(bytes: usize) -> usize {
    let step = (bytes.next_power_of_two() / 8).clamp(16, 4096);
    bytes.next_multiple_of(step)
}

fn count(bytes: usize, sign: isize) {
    let bytes = isize::try_from(rounded(bytes)).unwrap_or(isize::MAX);
    // A thread that ends frees what it has kept.
    HELD.try_with(|held| held.set(held.get() + sign * bytes)).ok();
}

#[allow(unsafe_code, reason = "an allocator is unsafe; each call is passed on as it came")]
// SAFETY: all memory is that of `A`; counting allocates nothing.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: as the caller's.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: as the caller's.
        unsafe { self.0.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: as the caller's.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count(layout.size(), -1);
        count(bytes, 1);
        // SAFETY: as the caller's.
        unsafe { self.0.realloc(block, layout, bytes) }
    }
}

#[test]
fn what_is_allocated_is_counted_until_it_is_freed() {
    let before = held();
    let mut bytes = Vec::<u8>::with_capacity(1000);
    assert_eq!(held() - before, 1024);
    bytes.reserve_exact(5000);
    assert!((5000..6000).contains(&(held() - before)));
    drop(bytes);
    assert_eq!(held(), before);
}
