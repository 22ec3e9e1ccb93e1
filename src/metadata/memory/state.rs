//! The tables, and the steps that every operation is made of.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use uuid::Uuid;

use crate::metadata::locks::table::LockTable;
use crate::metadata::single_writer::{Edge, counted_bytes};
use crate::metadata::{
    Answer, Capabilities, Error, LockLimits, Share, ShareSpec, Usage, decide, rules,
};
use crate::types::{
    Attributes, Context, Cookie, Fileid, Fsid, Name, ObjectId, ShareId, SymlinkTarget, Timestamp,
};

/// Everything that the store holds.
#[derive(Debug)]
pub(super) struct MemoryTables {
    /// Set once; no call is answered afterwards.
    pub(super) closed: bool,
    pub(super) shares: BTreeMap<ShareId, Share>,
    /// Kept with every change of `objects`.
    pub(super) usage: HashMap<Fsid, Tally>,
    /// An object belongs to the share whose fsid it bears.
    pub(super) objects: HashMap<ObjectId, Attributes>,
    /// One for every directory.
    pub(super) entries: HashMap<ObjectId, Entries>,
    /// One for every symbolic link.
    pub(super) targets: HashMap<ObjectId, SymlinkTarget>,
    /// EXCLUSIVE's verifiers, of files that nothing was done to since.
    pub(super) verifiers: HashMap<ObjectId, u64>,
    /// What all instances would share.
    pub(super) settings: HashMap<String, String>,
    pub(super) locks: LockTable,
    /// How many objects there may be, each further name of a file counted as one.
    pub(super) max_objects: u64,
    last_share: i16,
    pub(super) last_fileid: Fileid,
    pub(super) last_cookie: Cookie,
}

impl Default for MemoryTables {
    fn default() -> Self {
        Self {
            closed: false,
            shares: BTreeMap::new(),
            usage: HashMap::new(),
            objects: HashMap::new(),
            entries: HashMap::new(),
            targets: HashMap::new(),
            verifiers: HashMap::new(),
            settings: HashMap::new(),
            locks: LockTable::new(Uuid::new_v4(), LockLimits::default()),
            max_objects: u64::MAX,
            last_share: 0,
            last_fileid: Fileid(0),
            last_cookie: Cookie(Cookie::FIRST_ENTRY.0 - 1),
        }
    }
}

/// What a share uses. Sizes go up to 2⁶³−1, so that three files' sum needs more than 64 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    objects: u64,
    /// Names of files beyond each one's first.
    further_names: u64,
    bytes: u128,
}

impl Tally {
    pub(super) fn add(&mut self, object: &Attributes) {
        self.objects += 1;
        self.further_names += further_names(object);
        self.bytes += counted_bytes(object);
    }

    fn subtract(&mut self, object: &Attributes) {
        self.objects -= 1;
        self.further_names -= further_names(object);
        self.bytes -= counted_bytes(object);
    }
}

fn further_names(object: &Attributes) -> u64 {
    if object.file_type.is_directory() { 0 } else { u64::from(object.nlink).saturating_sub(1) }
}

/// A directory's entries, by name and by cookie.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) by_name: BTreeMap<Name, Edge>,
    pub(super) by_cookie: BTreeMap<Cookie, Name>,
}

impl Entries {
    fn insert(&mut self, name: Name, edge: Edge) {
        if let Some(old) = self.by_name.insert(name.clone(), edge) {
            self.by_cookie.remove(&old.cookie);
        }
        self.by_cookie.insert(edge.cookie, name);
    }

    fn remove(&mut self, name: &Name) {
        if let Some(edge) = self.by_name.remove(name) {
            self.by_cookie.remove(&edge.cookie);
        }
    }

    /// Entries after `after`, in cookie order.
    pub(super) fn after(&self, after: Cookie) -> impl Iterator<Item = (&Name, Edge)> {
        self.by_cookie
            .range((Bound::Excluded(after), Bound::Unbounded))
            .filter_map(|(_, name)| Some((name, *self.by_name.get(name)?)))
    }
}

impl MemoryTables {
    /// See [`crate::metadata::MetadataStore::open_share`].
    pub(super) fn open_share(&mut self, spec: &ShareSpec) -> Result<Share, Error> {
        if let Some(share) = self.shares.values().find(|share| share.name == spec.name) {
            return Ok(share.clone());
        }
        let share = Share {
            id: self.next_share()?,
            name: spec.name.clone(),
            root: ObjectId::generate(),
            fsid: self.fresh_fsid(),
            chunk_size: spec.chunk_size,
            capabilities: Capabilities::default(),
        };
        let fileid = self.next_fileid();
        let root = rules::root(share.root, fileid, share.fsid, spec.root, Timestamp::now());
        self.usage.insert(share.fsid, Tally::default());
        self.entries.insert(share.root, Entries::default());
        self.put(root);
        self.shares.insert(share.id, share.clone());
        Ok(share)
    }

    /// The number of one more share.
    pub(super) fn next_share(&mut self) -> Result<ShareId, Error> {
        let number = self.last_share.checked_add(1);
        self.last_share =
            number.ok_or_else(|| Error::NoSpace("the store holds no more shares".into()))?;
        Ok(ShareId(self.last_share))
    }

    /// 63 random bits, so that stores which know nothing of each other give different ones; never 0.
    fn fresh_fsid(&self) -> Fsid {
        loop {
            let fsid = Fsid(rand::random_range(1..=i64::MAX as u64));
            if !self.usage.contains_key(&fsid) {
                return fsid;
            }
        }
    }

    /// See [`crate::metadata::MetadataStore::set_setting`].
    pub(super) fn set_setting(
        &mut self,
        key: &str,
        seen: Option<&str>,
        value: &str,
    ) -> Option<String> {
        if self.settings.get(key).map(String::as_str) == seen {
            self.settings.insert(key.to_owned(), value.to_owned());
        }
        self.settings.get(key).cloned()
    }

    pub(super) fn usage(&self, share: ShareId) -> Result<Usage, Error> {
        let share = self.shares.get(&share).ok_or(Error::Stale)?;
        let tally = self.usage.get(&share.fsid).copied().unwrap_or_default();
        Ok(Usage { objects: tally.objects, bytes: u64::try_from(tally.bytes).unwrap_or(u64::MAX) })
    }

    /// The share that a call is about.
    pub(super) fn share(&self, cx: &Context) -> Result<&Share, Error> {
        self.shares.get(&cx.share).ok_or(Error::Stale)
    }

    /// An object of the call's share; another share's is as good as gone.
    pub(super) fn object(&self, cx: &Context, id: ObjectId) -> Result<&Attributes, Error> {
        let fsid = self.share(cx)?.fsid;
        self.objects.get(&id).filter(|object| object.fsid == fsid).ok_or(Error::Stale)
    }

    /// A directory of the call's share.
    pub(super) fn directory(&self, cx: &Context, id: ObjectId) -> Answer<Attributes> {
        decide::directory(Some(self.object(cx, id)?.clone()))
    }

    /// The entry of that name.
    pub(super) fn edge(&self, directory: ObjectId, name: &Name) -> Option<Edge> {
        self.entries.get(&directory)?.by_name.get(name).copied()
    }

    /// What a directory has under a name.
    pub(super) fn child(&self, directory: ObjectId, name: &Name) -> Option<&Attributes> {
        self.objects.get(&self.edge(directory, name)?.child)
    }

    pub(super) fn next_fileid(&mut self) -> Fileid {
        self.last_fileid.0 += 1;
        self.last_fileid
    }

    pub(super) fn next_cookie(&mut self) -> Cookie {
        self.last_cookie.0 += 1;
        self.last_cookie
    }

    /// Whether an object, or a name, may be added.
    pub(super) fn has_room(&self) -> bool {
        let held = self.usage.values().map(|tally| tally.objects + tally.further_names);
        held.sum::<u64>() < self.max_objects
    }

    /// Records an object as it is now.
    pub(super) fn put(&mut self, object: Attributes) {
        let usage = self.usage.entry(object.fsid).or_default();
        usage.add(&object);
        if let Some(old) = self.objects.insert(object.id, object) {
            usage.subtract(&old);
        }
    }

    /// Drops an object and all that belongs to it.
    pub(super) fn discard(&mut self, id: ObjectId) {
        if let Some(old) = self.objects.remove(&id) {
            self.usage.entry(old.fsid).or_default().subtract(&old);
        }
        self.entries.remove(&id);
        self.targets.remove(&id);
        self.verifiers.remove(&id);
    }

    /// Puts an entry; one of the same name gives way.
    pub(super) fn put_edge(&mut self, directory: ObjectId, name: &Name, edge: Edge) {
        self.entries.entry(directory).or_default().insert(name.clone(), edge);
    }

    pub(super) fn remove_edge(&mut self, directory: ObjectId, name: &Name) {
        if let Some(entries) = self.entries.get_mut(&directory) {
            entries.remove(name);
        }
    }
}
