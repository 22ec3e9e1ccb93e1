//! The shares that a server exports. They come and go while it runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use parking_lot::RwLock;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::export::{Export, ExportSettings};
use super::{ClientRule, Vfs};
use crate::log_limit::{About, limited};
use crate::types::ShareName;

/// Between two looks at whether the calls of a share that goes have ended, and its data is flushed.
const LOOK: Duration = Duration::from_millis(20);
/// Between two attempts to flush it.
const RETRY: Duration = Duration::from_millis(500);

/// The shares by name.
#[derive(Debug, Default)]
pub(super) struct Exports {
    /// Held only to look shares up.
    now: RwLock<Table>,
    /// Woken where a share comes.
    added: Notify,
}

#[derive(Debug, Default)]
struct Table {
    by_name: BTreeMap<ShareName, Arc<Export>>,
    /// Every share that there was since the start: its number is its place here, from 1.
    numbered: Vec<ShareName>,
}

impl Exports {
    /// A share. Whoever holds it uses it: it goes with the last.
    pub(super) fn get(&self, name: &ShareName) -> Option<Arc<Export>> {
        self.now.read().by_name.get(name).cloned()
    }

    /// Every share, in the order of their names.
    pub(super) fn all(&self) -> Vec<Arc<Export>> {
        self.now.read().by_name.values().cloned().collect()
    }

    /// The name of a share by its number, also of one that is gone.
    pub(super) fn name(&self, number: u32) -> Option<ShareName> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.now.read().numbered.get(index).cloned()
    }

    /// Adds shares, all or none. One that comes again has its number again.
    fn add(&self, shares: Vec<ExportSettings>) -> std::io::Result<()> {
        let mut table = self.now.write();
        let mut numbered = table.numbered.clone();
        let mut exports = Vec::with_capacity(shares.len());
        for settings in shares {
            let name = settings.share.name.clone();
            let index = numbered.iter().position(|it| *it == name).unwrap_or_else(|| {
                numbered.push(name.clone());
                numbered.len() - 1
            });
            let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
            exports.push((name, Arc::new(Export::new(settings, number)?)));
        }
        table.numbered = numbered;
        table.by_name.extend(exports);
        drop(table);
        self.added.notify_one();
        Ok(())
    }
}

impl Vfs {
    /// Exports further shares, from the next call on, each with a fresh write verifier: all or none.
    ///
    /// # Errors
    /// Where the system has no random numbers.
    pub fn add_shares(&self, shares: Vec<ExportSettings>) -> std::io::Result<()> {
        self.exports.add(shares)
    }

    /// Ends a share: from the next call on its handles are stale. Calls under way may go on for `calls`;
    /// then, and for at most `flush` longer, what is not flushed is. What could not be is logged.
    pub async fn remove_share(&self, share: &ShareName, calls: Duration, flush: Duration) {
        let removed = self.exports.now.write().by_name.remove(share);
        let Some(export) = removed else { return };
        export.ended.cancel();
        let end = Instant::now() + calls;
        export.flush_everything(end).await;
        // One is this function's, and one that of `maintain`, until it sees the end.
        while Arc::strong_count(&export) > 1 && Instant::now() < end {
            sleep(LOOK).await;
        }
        let end = Instant::now() + flush;
        loop {
            export.flush_everything(end).await;
            let left = export.files.unflushed().files;
            if left == 0 {
                return;
            }
            if Instant::now() >= end {
                limited!(warn, About::default(),
                    "a share was removed whose data could not be flushed in time; what was not committed is lost",
                    share = %share, files = left);
                return;
            }
            sleep(RETRY).await;
        }
    }

    /// Replaces a share's rules, from the next call on: those under way were admitted by the rules before.
    /// Nothing where there is no such share.
    pub fn set_rules(&self, share: &ShareName, rules: Vec<ClientRule>) {
        if let Some(export) = self.exports.get(share) {
            *export.rules.write() = rules;
        }
    }

    /// Writes behind: flushes what is old, until `shutdown` fires.
    pub async fn maintain(&self, shutdown: CancellationToken) {
        // A share whose stores are slow or away holds up no other.
        let mut maintained = FuturesUnordered::new();
        loop {
            for export in self.exports.all() {
                if export.is_maintained.swap(true, Ordering::Relaxed) {
                    continue;
                }
                let shutdown = shutdown.clone();
                maintained.push(async move { export.maintain(&shutdown).await });
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.exports.added.notified() => {}
                Some(()) = maintained.next() => {}
            }
        }
        while maintained.next().await.is_some() {}
    }

    /// Flushes everything, for at most until `deadline`. What could not be flushed is logged; its
    /// clients send it again.
    pub async fn flush_all(&self, deadline: Instant) {
        let all = self.exports.all();
        join_all(all.iter().map(|export| export.flush_everything(deadline))).await;
    }
}
