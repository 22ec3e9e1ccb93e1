//! Log lines that come in bursts: the first are said, the others counted, and the count is said.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

/// Lines by kind. A kind's first line opens a window, in which a few are let through; when the window ends,
/// how many were held back is told, and where there were any another window follows.
pub struct Bursts<K> {
    allowed: u64,
    window: Duration,
    tell: fn(K, u64),
    kinds: Arc<Mutex<HashMap<K, u64>>>,
}

impl<K> fmt::Debug for Bursts<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bursts").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

impl<K: Copy + Eq + Hash + Send + 'static> Bursts<K> {
    /// Lets `allowed` lines of a kind through in a `window`; `tell` says how many more there were.
    #[must_use]
    pub fn new(allowed: u64, window: Duration, tell: fn(K, u64)) -> Self {
        Self { allowed: allowed.max(1), window, tell, kinds: Arc::default() }
    }

    /// Whether a line of this kind is said now.
    pub fn admit(&self, kind: K) -> bool {
        let seen = {
            let mut kinds = self.kinds.lock();
            let seen = kinds.entry(kind).or_default();
            *seen += 1;
            *seen
        };
        if seen == 1 {
            self.close_later(kind);
        }
        seen <= self.allowed
    }

    /// Ends the kind's window in time.
    fn close_later(&self, kind: K) {
        let Self { allowed, window, tell, .. } = *self;
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            self.kinds.lock().remove(&kind);
            return;
        };
        let kinds = Arc::clone(&self.kinds);
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(window).await;
                let held = {
                    let mut kinds = kinds.lock();
                    let held = kinds.get(&kind).map_or(0, |seen| seen.saturating_sub(allowed));
                    if held == 0 {
                        kinds.remove(&kind);
                        return;
                    }
                    // The burst goes on: what follows is counted at once.
                    kinds.insert(kind, allowed);
                    held
                };
                tell(kind, held);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static TOLD: Mutex<Vec<(u8, u64)>> = Mutex::new(Vec::new());
    const WINDOW: Duration = Duration::from_secs(10);

    fn tell(kind: u8, held: u64) {
        TOLD.lock().push((kind, held));
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_a_few_lines_and_a_count() {
        let bursts = Bursts::new(2, WINDOW, tell);
        let said = (0..10).filter(|_| bursts.admit(1)).count();
        assert_eq!((said, bursts.admit(2)), (2, true));
        tokio::time::sleep(WINDOW + Duration::from_secs(1)).await;
        assert_eq!(*TOLD.lock(), [(1, 8)]);
        // One that was alone is over; the other goes on for as long as it is seen.
        assert!(bursts.admit(2) && !bursts.admit(1));
        tokio::time::sleep(WINDOW).await;
        assert_eq!(*TOLD.lock(), [(1, 8), (1, 1)]);
        tokio::time::sleep(WINDOW).await;
        assert!(bursts.admit(1));
    }

    #[test]
    fn without_a_runtime_every_line_is_said() {
        let bursts = Bursts::new(1, WINDOW, tell);
        assert!(bursts.admit(3) && bursts.admit(3));
    }
}
