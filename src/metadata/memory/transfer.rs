//! The whole content out and in.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::MemoryStore;
use super::state::{Entries, MemoryTables};
use crate::metadata::single_writer::Edge;
use crate::metadata::{
    Dump, EntryRecord, Error, FENCED, LOADED, Load, LoadError, LoadFence, LoadHow, Loaded,
    ObjectRecord, PORTION, Portion, Record, Share, claim_key,
};
use crate::types::{ContentId, Fsid, ShareName};

#[async_trait::async_trait]
impl Dump for MemoryStore {
    async fn dump(
        &self,
        share: Option<&ShareName>,
        to: mpsc::Sender<Vec<Record>>,
    ) -> Result<(), Error> {
        let records = self.open()?.records(share);
        let mut records = records.into_iter().peekable();
        while records.peek().is_some() {
            let portion = records.by_ref().take(PORTION).collect();
            to.send(portion).await.map_err(|_| Error::Cancelled)?;
        }
        Ok(())
    }

    async fn fence_loads(&self) -> Result<Box<dyn LoadFence>, Error> {
        let held = Arc::clone(&self.loads).try_read_owned();
        let held = held.map_err(|_| {
            Error::Unavailable(
                "trunkfs load is running on this store; retry when it has finished".into(),
            )
        })?;
        Ok(Box::new(MemoryFence { state: Arc::clone(&self.state), _held: held }))
    }
}

/// See [`LoadFence`].
#[derive(Debug)]
struct MemoryFence {
    state: Arc<Mutex<MemoryTables>>,
    _held: tokio::sync::OwnedRwLockReadGuard<()>,
}

#[async_trait::async_trait]
impl LoadFence for MemoryFence {
    async fn named(&self) -> Result<Vec<ContentId>, Error> {
        let state = self.state.lock();
        let named = state.objects.values().filter_map(|object| object.content);
        Ok(named.map(|content| content.id).collect())
    }

    async fn confirm(&self) -> Result<(), Error> {
        Ok(())
    }
}

#[async_trait::async_trait]
impl Load for MemoryStore {
    async fn admits(&self, _share: &ShareName) -> Result<(), LoadError> {
        Ok(())
    }

    async fn load(
        &self,
        how: &LoadHow,
        mut from: mpsc::Receiver<Portion>,
    ) -> Result<Loaded, LoadError> {
        let _alone = self.loads.try_write().map_err(|_| Error::Unavailable(FENCED.into()))?;
        // What comes in is a store of its own until it is whole and sound.
        let mut incoming = MemoryTables::default();
        let mut loaded = Loaded::default();
        loop {
            match from.recv().await {
                Some(Portion::Records(records)) => {
                    for record in records {
                        incoming.take_in(how, record, &mut loaded)?;
                    }
                }
                Some(Portion::End) => break,
                None => return Err(LoadError::Incomplete),
            }
        }
        loaded.finish(how)?;
        if let Some(first) = incoming.inconsistencies().first() {
            return Err(LoadError::Unsound(first.clone()));
        }
        self.open()?.merge(incoming, how.replace)?;
        Ok(loaded)
    }
}

impl MemoryTables {
    /// Everything that there is of the share, or of all.
    fn records(&self, only: Option<&ShareName>) -> Vec<Record> {
        let mut records = Vec::new();
        for share in
            self.shares.values().filter(|share| only.is_none_or(|name| *name == share.name))
        {
            records.push(Record::Share(share.clone()));
            let mut objects: Vec<_> =
                self.objects.values().filter(|object| object.fsid == share.fsid).collect();
            objects.sort_by_key(|object| object.id);
            records.extend(objects.iter().map(|object| {
                Record::Object(ObjectRecord {
                    attributes: (*object).clone(),
                    target: self.targets.get(&object.id).cloned(),
                    verifier: self.verifiers.get(&object.id).copied(),
                })
            }));
            for object in objects {
                let Some(entries) = self.entries.get(&object.id) else { continue };
                records.extend(entries.by_name.iter().map(|(name, edge)| {
                    Record::Entry(EntryRecord {
                        directory: object.id,
                        name: name.clone(),
                        child: edge.child,
                        cookie: edge.cookie,
                    })
                }));
            }
        }
        records
    }

    /// Adds a record as it is. What is there twice is refused; the rest is checked at the end.
    fn take_in(
        &mut self,
        how: &LoadHow,
        record: Record,
        loaded: &mut Loaded,
    ) -> Result<(), LoadError> {
        let twice = |what: String| LoadError::Unsound(format!("{what} is there twice"));
        match record {
            Record::Share(mut share) => {
                share.name = loaded.add_share(how, share.name)?;
                if self
                    .shares
                    .values()
                    .any(|other| other.name == share.name || other.fsid == share.fsid)
                {
                    return Err(twice(format!("share {}", share.name)));
                }
                share.id = self.next_share()?;
                self.usage.entry(share.fsid).or_default();
                self.shares.insert(share.id, share);
            }
            Record::Object(ObjectRecord { attributes, target, verifier }) => {
                let id = attributes.id;
                if self.objects.contains_key(&id) {
                    return Err(twice(format!("object {id}")));
                }
                self.last_fileid = self.last_fileid.max(attributes.fileid);
                if attributes.file_type.is_directory() {
                    self.entries.entry(id).or_default();
                }
                self.put(attributes);
                self.targets.extend(target.map(|target| (id, target)));
                self.verifiers.extend(verifier.map(|verifier| (id, verifier)));
                loaded.objects += 1;
            }
            Record::Entry(EntryRecord { directory, name, child, cookie }) => {
                let entries = self.entries.entry(directory).or_default();
                if entries.by_name.contains_key(&name) || entries.by_cookie.contains_key(&cookie) {
                    return Err(twice(format!("the entry {name} of {directory}, or its cookie,")));
                }
                self.last_cookie = self.last_cookie.max(cookie);
                self.put_edge(directory, &name, Edge { child, cookie });
                loaded.entries += 1;
            }
        }
        Ok(())
    }

    /// Makes what came in part of the store. Everything is checked before anything is changed.
    fn merge(&mut self, incoming: Self, replace: bool) -> Result<(), LoadError> {
        let names: HashSet<&ShareName> =
            incoming.shares.values().map(|share| &share.name).collect();
        let gone: Vec<Share> =
            self.shares.values().filter(|share| names.contains(&share.name)).cloned().collect();
        if let Some(share) = gone.first().filter(|_| !replace) {
            return Err(LoadError::Present(share.name.clone()));
        }
        let gone: HashSet<Fsid> = gone.iter().map(|share| share.fsid).collect();
        let stays = |fsid: &Fsid| !gone.contains(fsid);
        let collides =
            self.usage.keys().any(|fsid| stays(fsid) && incoming.usage.contains_key(fsid))
                || self
                    .objects
                    .values()
                    .any(|it| stays(&it.fsid) && incoming.objects.contains_key(&it.id));
        if collides {
            return Err(LoadError::Collides);
        }
        let Self { shares, usage, objects, entries, targets, verifiers, .. } = incoming;
        let mut shares: Vec<Share> = shares.into_values().collect();
        for share in &mut shares {
            share.id = self.next_share()?;
        }
        self.drop_shares(&gone);
        let claims = shares.iter().map(|share| (claim_key(&share.name), LOADED.to_owned()));
        self.settings.extend(claims);
        self.shares.extend(shares.into_iter().map(|share| (share.id, share)));
        self.usage.extend(usage);
        self.objects.extend(objects);
        self.entries.extend(entries);
        self.targets.extend(targets);
        self.verifiers.extend(verifiers);
        self.last_fileid = self.last_fileid.max(incoming.last_fileid);
        self.last_cookie = self.last_cookie.max(incoming.last_cookie);
        Ok(())
    }

    fn drop_shares(&mut self, gone: &HashSet<Fsid>) {
        self.shares.retain(|_, share| !gone.contains(&share.fsid));
        self.usage.retain(|fsid, _| !gone.contains(fsid));
        self.objects.retain(|_, object| !gone.contains(&object.fsid));
        let objects = &self.objects;
        self.entries.retain(|id, _: &mut Entries| objects.contains_key(id));
        self.targets.retain(|id, _| objects.contains_key(id));
        self.verifiers.retain(|id, _| objects.contains_key(id));
    }
}
