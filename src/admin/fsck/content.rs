//! Whether files have their bytes.
//!
//! A size is recorded after its bytes are there, and taken back before they are cut off. So content that is
//! shorter than the size that was read before it, of a file that still has the same content, has lost bytes.
//! Longer content is what a crash, or a write that is not flushed yet, leaves.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::pages::Entries;
use super::repair::CALL_LIMIT;
use super::{Check, Finding, Stopped};
use crate::content::{ContentStore, Error};
use crate::metadata::{EntryState, ObjectState, rules};
use crate::types::{Call, FileType, ObjectId, ShareId, Timestamp};

/// How many files are looked at at once.
const AT_ONCE: usize = 32;
/// How often a content store is asked that is not available.
const ATTEMPTS: u32 = 6;
/// The first pause before it is asked again; then twice as long each time.
const PAUSE: Duration = Duration::from_millis(100);
/// A server may have unflushed writes to content that was changed more recently.
const SETTLED: Duration = Duration::from_secs(600);
/// How often a file is looked at that changes all the time.
const LOOKS: usize = 16;

/// How long a file's content is; 0 where there is none.
async fn length(content: &dyn ContentStore, file: &ObjectState) -> Result<Option<u64>, Error> {
    let Some(bytes) = file.content else { return Ok(None) };
    content.observed(bytes.id, file.ctime);
    let mut attempt = 0;
    loop {
        match content.length(&Call::internal(CALL_LIMIT), bytes.id).await {
            Ok(length) => return Ok(Some(length)),
            Err(Error::Missing(_)) => return Ok(None),
            Err(Error::Unavailable(_)) if attempt < ATTEMPTS => {
                tokio::time::sleep(PAUSE * 2_u32.pow(attempt)).await;
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether the length will do.
fn suffices(content: &dyn ContentStore, file: &ObjectState, length: Option<u64>) -> bool {
    file.size == 0 || length.is_some_and(|length| length >= file.size.min(content.max_length()))
}

type Looked = (EntryState, ObjectState, Result<Option<u64>, Error>);

impl Check<'_> {
    /// Holds the recorded sizes of the shares' files against their content. Shares that are not in `contents`
    /// are left out.
    pub async fn content(
        &mut self,
        contents: &HashMap<ShareId, Arc<dyn ContentStore>>,
    ) -> Result<(), Stopped> {
        if contents.is_empty() {
            return Ok(());
        }
        let mut entries = Entries::default();
        let mut told = HashSet::new();
        loop {
            self.still_wanted()?;
            let Some(page) = entries.next(self.checker, self.extent.page).await? else {
                return Ok(());
            };
            self.report.read(page.len() as u64);
            self.turn(page.len()).await?;
            let mut looking: JoinSet<Looked> = JoinSet::new();
            for entry in page {
                let Some(file) = entry.object.clone() else { continue };
                if file.file_type != FileType::Regular
                    || file.size == 0
                    || !self.covers(Some(file.share))
                {
                    continue;
                }
                let Some(content) = contents.get(&file.share).cloned() else { continue };
                if looking.len() >= AT_ONCE
                    && let Some(looked) = looking.join_next().await
                {
                    self.looked(contents, looked, &mut told).await?;
                }
                self.pace.pace_contents(1).await.map_err(|_| Stopped::Cancelled)?;
                looking.spawn(async move {
                    let length = length(&*content, &file).await;
                    (entry, file, length)
                });
            }
            while let Some(looked) = looking.join_next().await {
                self.looked(contents, looked, &mut told).await?;
            }
        }
    }

    async fn looked(
        &mut self,
        contents: &HashMap<ShareId, Arc<dyn ContentStore>>,
        looked: Result<Looked, tokio::task::JoinError>,
        told: &mut HashSet<ObjectId>,
    ) -> Result<(), Stopped> {
        self.still_wanted()?;
        let (entry, mut file, mut found) = looked.map_err(|panicked| {
            Stopped::Store(crate::metadata::Error::Backend(Box::new(panicked)))
        })?;
        let Some(content) = contents.get(&file.share) else { return Ok(()) };
        self.tally.contents += 1;
        for _ in 0..LOOKS {
            let share = self.share(file.share).map(|share| share.name.clone());
            let length = match (found, share) {
                (Ok(length), _) => length,
                (Err(source), Some(share)) => return Err(Stopped::Content { share, source }),
                (Err(_), None) => return Ok(()),
            };
            if suffices(&**content, &file, length) {
                return self.check_used(&**content, &entry, &file, told).await;
            }
            let now = self.checker.objects_of(&[file.id]).await?.into_iter().next();
            let Some(now) = now else { return Ok(()) };
            if now.content == file.content && now.size >= file.size {
                return self.say_content(&entry, &file, length, told).await;
            }
            file = now;
            found = self::length(&**content, &file).await;
        }
        Ok(())
    }

    /// Whether a file with holes is recorded to take fewer bytes than its content store has allocated.
    async fn check_used(
        &mut self,
        content: &dyn ContentStore,
        entry: &EntryState,
        file: &ObjectState,
        told: &mut HashSet<ObjectId>,
    ) -> Result<(), Stopped> {
        let Some(bytes) = file.content.filter(|_| file.used < file.size) else { return Ok(()) };
        let call = Call::internal(CALL_LIMIT);
        let allocated = match content.allocated(&call, bytes.id, file.size, true).await {
            Ok(allocated) => rules::most_used(allocated.min(file.size)),
            Err(error) => return self.not_measured(file.share, error),
        };
        if allocated <= file.used {
            return Ok(());
        }
        let changed = match content.footprint(bytes.id).await {
            Ok(footprint) => footprint.modified,
            Err(error) => return self.not_measured(file.share, error),
        };
        let settled = i64::try_from(SETTLED.as_nanos()).unwrap_or(i64::MAX);
        let now = self.checker.objects_of(&[file.id]).await?.into_iter().next();
        if changed.0 > Timestamp::now().0.saturating_sub(settled)
            || now.is_none_or(|now| now.ctime != file.ctime)
            || (file.names > 1 && !told.insert(file.id))
        {
            return Ok(());
        }
        let (object, ctime) = (file.id, file.ctime);
        let finding = Finding::UsedTooLittle { object, ctime, recorded: file.used, allocated };
        let path =
            self.paths.entry(self.checker, &self.shares, entry.directory, &entry.name).await?;
        self.settle(finding, Some(file.share), path).await?;
        Ok(())
    }

    /// Content that was removed meanwhile is no failure.
    fn not_measured(&self, share: ShareId, source: Error) -> Result<(), Stopped> {
        match (source, self.share(share)) {
            (Error::Missing(_), _) | (_, None) => Ok(()),
            (source, Some(share)) => Err(Stopped::Content { share: share.name.clone(), source }),
        }
    }

    async fn say_content(
        &mut self,
        entry: &EntryState,
        file: &ObjectState,
        length: Option<u64>,
        told: &mut HashSet<ObjectId>,
    ) -> Result<(), Stopped> {
        // A file of several names is met under each.
        if file.names > 1 && !told.insert(file.id) {
            return Ok(());
        }
        let Some(content) = file.content.map(|content| content.id) else { return Ok(()) };
        let (object, size) = (file.id, file.size);
        let finding = match length {
            None => Finding::ContentMissing { object, content, size },
            Some(length) => Finding::ContentShort { object, content, size, length },
        };
        let path =
            self.paths.entry(self.checker, &self.shares, entry.directory, &entry.name).await?;
        self.settle(finding, Some(file.share), path).await?;
        Ok(())
    }
}
