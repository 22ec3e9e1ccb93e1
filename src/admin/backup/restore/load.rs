//! Names on their way into a metadata store.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::target::Group;
use super::{Stores, WAITING, Wanted};
use crate::admin::backup::diff::open_dump;
use crate::admin::backup::list::{Entry, Item, ListReader, Row, State};
use crate::admin::backup::manifest::Parts;
use crate::admin::backup::{Error, check};
use crate::admin::transfer::internal;
use crate::admin::{Progress, Unit};
use crate::content;
use crate::metadata::{Load, LoadHow, Loaded, ObjectRecord, PORTION, Portion, Record, rules};
use crate::types::ContentId;

/// A group's names on their way.
pub(super) struct Loading<'a> {
    pub(super) folder: &'a Path,
    pub(super) group: &'a Group,
    pub(super) stores: &'a Stores,
    pub(super) wanted: &'a Wanted,
    pub(super) job: &'a Arc<Progress>,
}

impl Loading<'_> {
    /// Brings the names in, and says that they are whole when every content is found to be there still: as
    /// long as a load is under way trunkfs gc does not run, and before it may have.
    pub(super) async fn load(
        &self,
        store: &dyn Load,
        fresh: HashMap<Uuid, Uuid>,
    ) -> Result<Loaded, Error> {
        self.job.check()?;
        self.job.begin("load", Unit::Records, None);
        let (to, from) = mpsc::channel(WAITING);
        let fresh = Arc::new(fresh);
        let sending = async move {
            let parts = Parts::new(self.folder, &self.group.from.name);
            let names: Vec<String> = self.group.targets.keys().cloned().collect();
            let feeding = {
                let (to, job) = (to.clone(), Arc::clone(self.job));
                let remap = Remap { fresh: Arc::clone(&fresh), copies: self.wanted.name.is_some() };
                spawn_blocking(move || feed(&parts, &names, &remap, &to, &job))
            };
            feeding.await??;
            // A receiver that is gone has an error of its own.
            if to.is_closed() {
                return Ok(());
            }
            self.still_there(&fresh).await?;
            self.job.check()?;
            to.send(Portion::End).await.ok();
            Ok::<_, Error>(())
        };
        let how = LoadHow { name: self.wanted.name.clone(), replace: self.wanted.replace };
        let (loaded, sent) = tokio::join!(store.load(&how, from), sending);
        // What cannot be read is why the records ended early.
        sent?;
        loaded.map_err(|source| Error::Load { name: self.group.metadata.clone(), source })
    }

    async fn still_there(&self, fresh: &HashMap<Uuid, Uuid>) -> Result<(), Error> {
        let from = &self.group.from;
        let (looks, walking) = check::walk(self.folder, from, |share, entry| async move {
            let share = self.group.from.shares.get(share).map(|share| share.name.as_str());
            let store = share.and_then(|share| self.stores.get(share));
            let Some((store, _)) = store.filter(|_| entry.length > 0) else {
                return Ok::<_, Error>(true);
            };
            let id = fresh.get(&entry.content).copied().unwrap_or(entry.content);
            match store.content.length(&internal(self.job.cancel()), ContentId(id)).await {
                Ok(length) => Ok(length >= entry.length),
                Err(content::Error::Missing(_)) => Ok(false),
                Err(error) => Err(store.unread(ContentId(id))(error).into()),
            }
        });
        let mut looks = std::pin::pin!(looks);
        while let Some(there) = looks.next().await {
            self.job.check()?;
            if !there? && !self.wanted.incomplete {
                let text = "content was removed during the restore: no share was changed; make sure that \
                            trunkfs gc does not run meanwhile, and restore again";
                return Err(Error::Incomplete(text.to_owned()));
            }
        }
        walking.await?
    }
}

/// Sends the records of the shares, as their contents came in, without the end.
fn feed(
    parts: &Parts,
    names: &[String],
    remap: &Remap,
    to: &mpsc::Sender<Portion>,
    job: &Progress,
) -> Result<(), Error> {
    let failed = Error::unreadable(&parts.dump);
    let mut reader = open_dump(&parts.dump)?;
    let mut list = ListReader::open(&parts.list)?;
    let (mut wanted, mut portion) = (false, Vec::with_capacity(PORTION));
    loop {
        let record = reader.record().map_err(&failed)?;
        let ended = record.is_none();
        match record {
            Some(Record::Share(share)) => {
                wanted = names.iter().any(|name| name == share.name.as_str());
                if wanted {
                    portion.push(Record::Share(share));
                }
            }
            Some(Record::Object(mut object)) => {
                let row = Row::of(&object);
                let entry = row.map(|row| content_of(&mut list, parts, row)).transpose()?;
                remap.lay(&mut object, entry.as_ref());
                if wanted {
                    portion.push(Record::Object(object));
                }
            }
            Some(Record::Entry(entry)) if wanted => portion.push(Record::Entry(entry)),
            Some(Record::Entry(_)) | None => {}
        }
        if portion.len() == PORTION || ended {
            job.check()?;
            job.advance(portion.len() as u64);
            let records = std::mem::replace(&mut portion, Vec::with_capacity(PORTION));
            // A receiver that is gone has an error of its own.
            if to.blocking_send(Portion::Records(records)).is_err() {
                return Ok(());
            }
        }
        if ended {
            return Ok(());
        }
    }
}

/// The list's entry for a row: they are in the same order.
fn content_of(list: &mut ListReader, parts: &Parts, row: Row) -> Result<Entry, Error> {
    loop {
        match list.next()? {
            Some(Item::Share(_)) => {}
            Some(Item::Content(entry)) if entry.row() == row => return Ok(entry),
            Some(Item::Content(_)) | None => {
                let what = format!("does not match the dump: the object {}", row.object);
                return Err(Error::damaged(&parts.list, what));
            }
        }
    }
}

/// How objects are made to fit the contents that came in.
struct Remap {
    /// The contents that have another id.
    fresh: Arc<HashMap<Uuid, Uuid>>,
    /// Whether the share is another beside its original.
    copies: bool,
}

impl Remap {
    fn lay(&self, object: &mut ObjectRecord, entry: Option<&Entry>) {
        let attributes = &mut object.attributes;
        // Bytes that a file lost while it was copied are no bytes of the backup.
        if let Some(entry) = entry.filter(|entry| entry.state == State::Moving) {
            attributes.size = attributes.size.min(entry.length);
            attributes.used = attributes.used.min(rules::most_used(attributes.size));
        }
        let Some(content) = &mut attributes.content else { return };
        match self.fresh.get(&content.id.0) {
            Some(id) => content.id = ContentId(*id),
            // It has no bytes yet. Those that it gets must not be the original's too.
            None if self.copies => content.id = ContentId::generate(),
            None => {}
        }
    }
}
