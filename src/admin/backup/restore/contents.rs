//! Contents on their way into content stores.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use futures_util::StreamExt as _;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::target::Group;
use super::{Restored, Stores, Wanted, note};
use crate::admin::backup::Error;
use crate::admin::backup::check::{self, Findings};
use crate::admin::backup::list::Entry;
use crate::admin::backup::manifest::{Manifest, Parts};
use crate::admin::transfer::{Store, Transfers, internal};
use crate::content;
use crate::types::{Call, ContentId};

/// A group's contents on their way.
pub(super) struct Bringing<'a> {
    pub(super) folder: &'a Path,
    pub(super) manifest: &'a Manifest,
    pub(super) group: &'a Group,
    pub(super) stores: &'a Stores,
    pub(super) wanted: &'a Wanted,
    pub(super) transfers: &'a Transfers,
    /// Objects of which it was said already that the backup has not their content.
    pub(super) known: &'a HashSet<Uuid>,
}

/// What became of a content.
enum Brought {
    /// There was none, or it is of a share that is not wanted.
    Nothing,
    /// It was there.
    Present,
    /// It was written under the id.
    Written(ContentId),
    /// It was written so, or not at all, and is not what it should be.
    Wrong(Option<ContentId>, String),
}

impl Bringing<'_> {
    /// Brings every content; those that have another id than in the backup.
    pub(super) async fn all(&self, restored: &mut Restored) -> Result<HashMap<Uuid, Uuid>, Error> {
        let from = &self.group.from;
        let (bringing, walking) = check::walk(self.folder, from, |share, entry| async move {
            let brought = self.bring(share, &entry).await;
            brought.map(|brought| (entry, brought))
        });
        let mut bringing = std::pin::pin!(bringing);
        let (mut fresh, mut findings) = (HashMap::new(), Findings::default());
        while let Some(brought) = bringing.next().await {
            self.transfers.progress().check()?;
            let (entry, brought) = brought?;
            let mut moved = |id: ContentId| {
                if id.0 != entry.content {
                    fresh.insert(entry.content, id.0);
                }
            };
            match brought {
                Brought::Nothing => {}
                Brought::Present => restored.present += 1,
                Brought::Written(id) => {
                    moved(id);
                    restored.written += 1;
                    restored.bytes = restored.bytes.saturating_add(entry.length);
                }
                Brought::Wrong(id, what) => {
                    id.map(&mut moved);
                    if !self.known.contains(&entry.object) {
                        findings.add(&entry, what);
                    }
                    if !self.wanted.incomplete {
                        break;
                    }
                }
            }
        }
        let (count, dump) = (findings.count, self.parts().dump);
        let findings = spawn_blocking(move || findings.named(&dump)).await??;
        note(findings, count, self.wanted, restored)?;
        walking.await??;
        Ok(fresh)
    }

    fn call(&self) -> Call {
        internal(self.transfers.progress().cancel())
    }

    fn parts(&self) -> Parts {
        Parts::new(self.folder, &self.group.from.name)
    }

    async fn bring(&self, share: usize, entry: &Entry) -> Result<Brought, Error> {
        let share = self.group.from.shares.get(share).map(|share| share.name.as_str());
        let store = share.and_then(|share| self.stores.get(share));
        let Some((store, _)) = store.filter(|_| entry.length > 0) else {
            self.transfers.progress().skip(entry.length);
            return Ok(Brought::Nothing);
        };
        let there = if self.wanted.name.is_some() {
            // Two shares cannot have the same content.
            There::Other
        } else {
            self.look(store, entry).await?
        };
        match (there, self.manifest.bytes) {
            (There::Same, _) => {
                self.transfers.progress().skip(entry.length);
                Ok(Brought::Present)
            }
            (There::Nothing, false) => {
                let what = format!("missing from the content store {}", store.name);
                Ok(Brought::Wrong(None, what))
            }
            (There::Other, false) => {
                let what = format!("changed in the content store {} since the backup", store.name);
                Ok(Brought::Wrong(None, what))
            }
            (There::Nothing, true) => self.write(store, entry, entry.content_id()).await,
            (There::Other, true) => self.write(store, entry, ContentId::generate()).await,
        }
    }

    /// Whether a content is there already.
    async fn look(&self, store: &Store, entry: &Entry) -> Result<There, Error> {
        let id = entry.content_id();
        let length = match store.content.length(&self.call(), id).await {
            Err(content::Error::Missing(_)) => return Ok(There::Nothing),
            length => length.map_err(store.unread(id))?,
        };
        // Beyond its file's size a content may have bytes that no client sees.
        if length < entry.length {
            return Ok(There::Other);
        }
        let Some(checksum) = entry.checksum() else {
            return Ok(if self.manifest.bytes { There::Other } else { There::Same });
        };
        let (silent, coverage) = (self.transfers.silent(), checksum.coverage());
        let found = silent.read_out(store, id, entry.length, None, coverage).await?;
        if found.checksum != Some(checksum) {
            return Ok(There::Other);
        }
        // A killed restore may have written it without a sync.
        store.content.commit(&self.call(), id).await.map_err(store.unread(id))?;
        Ok(There::Same)
    }

    async fn write(&self, store: &Store, entry: &Entry, id: ContentId) -> Result<Brought, Error> {
        let from = self.parts().content(entry.content);
        let written = self.transfers.write_in(&from, entry.coverage(), store, id).await;
        let Some(what) = check::compare(entry, written)? else { return Ok(Brought::Written(id)) };
        if !self.wanted.incomplete {
            store.content.remove(id).await.map_err(store.unwritten(id))?;
        }
        Ok(Brought::Wrong(Some(id), what))
    }
}

/// What a content store has under an id.
enum There {
    Nothing,
    Same,
    Other,
}
