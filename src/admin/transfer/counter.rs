//! The bytes of a content as they go past: how many, and their checksum. Holes are not read; where the
//! checksum is of all bytes they count as the zeros that they read as.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::spawn_blocking;

use super::checksum::{Coverage, Hasher};
use super::{Error, Found};
use crate::admin::{Interrupted, Progress};

/// Zeros that are summed up between two looks at whether the job goes on.
const ZEROS: &[u8] = &[0; 1 << 20];
/// So many bytes are summed up without a thread that may block.
const INLINE: u64 = 64 << 10;

/// A content, from its first byte on.
pub(super) struct Counter {
    hasher: Option<Hasher>,
    length: u64,
    progress: Arc<Progress>,
}

impl Counter {
    pub(super) fn new(coverage: Option<Coverage>, progress: &Arc<Progress>) -> Self {
        let hasher = coverage.map(Hasher::new);
        Self { hasher, length: 0, progress: Arc::clone(progress) }
    }

    /// Bytes at `at`, and zeros before them.
    pub(super) async fn add(self, at: u64, bytes: Bytes) -> Result<Self, Error> {
        let end = at + bytes.len() as u64;
        self.until(end, move |counter| {
            counter.skip(at)?;
            counter.count(&bytes);
            Ok(())
        })
        .await
    }

    /// Zeros up to `end`.
    pub(super) async fn skip_to(self, end: u64) -> Result<Self, Error> {
        self.until(end, move |counter| counter.skip(end)).await
    }

    /// Does what takes the content to `end`, on a thread that may block where that takes long.
    async fn until(
        mut self,
        end: u64,
        work: impl FnOnce(&mut Self) -> Result<(), Interrupted> + Send + 'static,
    ) -> Result<Self, Error> {
        if self.hasher.is_none() || end.saturating_sub(self.length) <= INLINE {
            work(&mut self)?;
            return Ok(self);
        }
        Ok(spawn_blocking(move || work(&mut self).map(|()| self)).await??)
    }

    fn count(&mut self, bytes: &[u8]) {
        if let Some(hasher) = &mut self.hasher {
            hasher.add(self.length, bytes);
        }
        self.length += bytes.len() as u64;
        self.progress.advance(bytes.len() as u64);
    }

    fn skip(&mut self, end: u64) -> Result<(), Interrupted> {
        match self.hasher.as_ref().map(Hasher::coverage) {
            Some(Coverage::All) => {
                while self.length < end {
                    self.progress.check()?;
                    let count = (end - self.length).min(ZEROS.len() as u64);
                    self.count(&ZEROS[..count as usize]);
                }
            }
            Some(Coverage::Data) | None => {
                self.progress.skip(end.saturating_sub(self.length));
                self.length = self.length.max(end);
            }
        }
        Ok(())
    }

    pub(super) fn found(self) -> Found {
        let Self { hasher, length, .. } = self;
        let checksum = hasher.filter(|_| length > 0).map(|hasher| hasher.finish(length));
        Found { length, checksum }
    }
}

#[cfg(test)]
mod tests {
    use super::super::checksum::Checksum;
    use super::*;
    use crate::admin::Unit;

    fn sum(coverage: Coverage, bytes: &[u8]) -> Option<Checksum> {
        let mut hasher = Hasher::new(coverage);
        hasher.add(0, bytes);
        Some(hasher.finish(bytes.len() as u64))
    }

    #[tokio::test]
    async fn a_hole_of_exabytes_takes_no_time() {
        let progress = Arc::new(Progress::default());
        progress.begin("test", Unit::Bytes, Some(u64::MAX));
        let counter = Counter::new(Some(Coverage::Data), &progress);
        let counter = counter.add(0, Bytes::from_static(b"some")).await.unwrap();
        let counter = counter.skip_to(u64::MAX).await.unwrap();
        let reading = progress.reading();
        assert_eq!((reading.done, reading.total), (4, Some(4)));
        assert_eq!(counter.found().length, u64::MAX);
    }

    #[tokio::test]
    async fn zeros_end_when_the_job_does() {
        let progress = Arc::new(Progress::default());
        let mut counter = Counter::new(Some(Coverage::All), &progress);
        counter.count(b"some");
        progress.cancel().cancel();
        assert_eq!(counter.skip(u64::MAX), Err(Interrupted));
        counter.skip(4).unwrap();
        assert_eq!(counter.found(), Found { length: 4, checksum: sum(Coverage::All, b"some") });
    }
}
