//! Proving a backup: its parts are as they were written, they fit each other, and every byte is there.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _, stream};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use uuid::Uuid;

use super::diff::{self, Old, Step, open_dump};
use super::list::{Entry, State};
use super::manifest::{Inventory, Manifest, Parts, StoreManifest};
use super::{Error, paths};
use crate::admin::transfer::{self, AT_ONCE, Found, Transfers};
use crate::admin::{Progress, Unit};
use crate::metadata::{Record, Share};

/// So many findings are named; the rest are counted.
const NAMED: usize = 50;
/// How many portions may wait for those who look at them.
const WAITING: usize = 16;

/// What is wrong with a file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file, with its share's name in front.
    pub path: String,
    /// What is wrong.
    pub what: String,
}

/// What a proof came to.
#[derive(Debug, Serialize)]
pub struct Proof {
    /// What the backup says of itself.
    #[serde(flatten)]
    pub inventory: Inventory,
    /// How many contents were verified.
    pub contents: u64,
    /// How many bytes.
    pub bytes: u64,
    /// What is wrong, as far as it is named.
    pub findings: Vec<Finding>,
    /// How much is wrong.
    pub wrong: u64,
    /// Files that were being changed when they were backed up, as far as they are named.
    pub moving: Vec<Finding>,
}

/// The contents that a verification reads.
#[derive(Clone, Copy, Debug)]
pub struct Portion {
    pub number: u32,
    pub of: u32,
}

impl Portion {
    pub const ALL: Self = Self { number: 0, of: 1 };

    /// Whether a content is read: where no other backup has the file, where it is missing, or by its turn.
    fn has(self, content: Uuid, path: &Path) -> bool {
        let alone = || path.symlink_metadata().map_or(true, |found| found.nlink() == 1);
        content.as_u128() % u128::from(self.of) == u128::from(self.number) || alone()
    }
}

/// What is to be known of a file that was being changed when it was backed up.
pub(super) fn motion(entry: &Entry) -> Option<String> {
    match entry.state {
        State::Moving => Some(format!(
            "changed while it was backed up: {} of {} bytes, possibly of different times",
            entry.length, entry.size
        )),
        State::Steady | State::Lost | State::Copied { .. } => None,
    }
}

/// Findings as they come, by object.
#[derive(Debug, Default)]
pub(super) struct Findings {
    some: Vec<(Uuid, String)>,
    pub(super) count: u64,
}

impl Findings {
    pub(super) fn add(&mut self, entry: &Entry, what: String) {
        self.count += 1;
        if self.some.len() < NAMED {
            self.some.push((entry.object, what));
        }
    }

    /// The findings by path.
    pub(super) fn named(self, dump: &Path) -> Result<Vec<Finding>, Error> {
        let objects: Vec<_> = self.some.iter().map(|(object, _)| *object).collect();
        let paths = paths::of(dump, &objects)?;
        let named = self.some.into_iter().map(|(object, what)| {
            let path = paths.get(&object).cloned();
            Finding { path: path.unwrap_or_else(|| format!("the object {object}")), what }
        });
        Ok(named.collect())
    }
}

/// The sentence of an error that names some findings.
pub(super) fn sentence(findings: &[Finding], count: u64, remedy: &str) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<_> =
        findings.iter().take(SHOWN).map(|it| format!("{} ({})", it.path, it.what)).collect();
    let more = count.saturating_sub(shown.len() as u64);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("missing or corrupt content: {}{more}; {remedy}", shown.join(", "))
}

/// The bytes of some metadata stores' contents.
pub(super) fn bytes_of<'a>(stores: impl IntoIterator<Item = &'a StoreManifest>) -> u64 {
    stores.into_iter().fold(0, |sum, store| sum.saturating_add(store.content_bytes))
}

/// Opens a backup: the manifest, and each dump and list as it was written.
pub(super) fn open(folder: &Path, job: &Progress) -> Result<Manifest, Error> {
    let manifest = Manifest::read(folder)?;
    let parts = |store: &StoreManifest| store.dump.size + store.list.size;
    job.begin("check", Unit::Bytes, Some(manifest.stores.iter().map(parts).sum()));
    for store in &manifest.stores {
        let parts = Parts::new(folder, &store.name);
        for (part, path) in [(&store.dump, &parts.dump), (&store.list, &parts.list)] {
            job.check()?;
            part.check(path)?;
            job.advance(part.size);
        }
    }
    Ok(manifest)
}

/// The shares of a dump, which has `count` of them.
pub(super) fn shares(dump: &Path, count: usize) -> Result<Vec<Share>, Error> {
    let failed = Error::unreadable(dump);
    let mut reader = open_dump(dump)?;
    let mut shares = Vec::with_capacity(count);
    while shares.len() < count
        && let Some(record) = reader.record().map_err(&failed)?
    {
        match record {
            Record::Share(share) => shares.push(share),
            Record::Object(_) | Record::Entry(_) => {}
        }
    }
    Ok(shares)
}

/// Sends each content of a store's list with the share that it is of; ends with an error where list and dump
/// are not of the same moment.
pub(super) fn contents(
    folder: &Path,
    store: &StoreManifest,
    mut see: impl FnMut(usize, Entry) -> Result<(), Error>,
) -> Result<(), Error> {
    let parts = Parts::new(folder, &store.name);
    let old = Old { list: parts.list.clone(), cut: false };
    let unfit =
        |what: String| Error::damaged(&parts.list, format!("does not match the dump: {what}"));
    let mut share = None;
    diff::each(&parts.dump, Some(&old), None, |step| match step {
        Step::Share(found, _) => {
            let known = store.shares.iter().position(|it| it.name == found.name.as_str());
            share = Some(known.ok_or_else(|| unfit(format!("the share {}", found.name)))?);
            Ok(())
        }
        Step::Same(entry) => match share {
            Some(share) => see(share, entry),
            None => Err(unfit(format!("the object {}", entry.object))),
        },
        Step::Changed(entry, _) | Step::Based(entry) | Step::Gone(entry) => {
            Err(unfit(format!("the object {}", entry.object)))
        }
        Step::New(row) => Err(unfit(format!("the object {}", row.object))),
    })
}

/// Does `look` for each content of a store's list, several at once and in their order; and the reading of the
/// list, which ends as [`contents`] does.
pub(super) fn walk<'a, T: 'a, F: Future<Output = T> + 'a>(
    folder: &Path,
    store: &StoreManifest,
    mut look: impl FnMut(usize, Entry) -> F + 'a,
) -> (impl Stream<Item = T> + 'a, JoinHandle<Result<(), Error>>) {
    let (send, receive) = mpsc::channel(WAITING);
    let (folder, store) = (folder.to_path_buf(), store.clone());
    let walking = spawn_blocking(move || {
        contents(&folder, &store, |share, entry| {
            send.blocking_send((share, entry)).map_err(|_| Error::Interrupted)
        })
    });
    let entries = stream::unfold(receive, async |mut receive| {
        receive.recv().await.map(|entry| (entry, receive))
    });
    (entries.map(move |(share, entry)| look(share, entry)).buffered(AT_ONCE), walking)
}

/// What a backup made without is known to lack.
pub(super) fn lack(entry: &Entry) -> Option<String> {
    match entry.state {
        State::Lost => Some(format!(
            "the content store had {} of {} bytes when the backup was made",
            entry.length, entry.size
        )),
        State::Steady | State::Moving | State::Copied { .. } => None,
    }
}

/// What is wrong with a file of a backup.
pub(super) fn compare(
    entry: &Entry,
    found: Result<Found, transfer::Error>,
) -> Result<Option<String>, Error> {
    match found {
        Ok(found) if found.length != entry.length => {
            Ok(Some(format!("corrupt in the backup: {} of {} bytes", found.length, entry.length)))
        }
        Ok(found) if entry.checksum().is_some() && found.checksum != entry.checksum() => {
            Ok(Some("corrupt in the backup: the checksum does not match".to_owned()))
        }
        Ok(_) => Ok(None),
        Err(transfer::Error::File { source, .. })
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(Some("missing from the backup".to_owned()))
        }
        Err(transfer::Error::File { source, .. }) => {
            Ok(Some(format!("cannot be read in the backup: {source}")))
        }
        Err(error) => Err(error.into()),
    }
}

/// Reads the names of a backup and a portion of its contents, and says what is not as it was written.
///
/// # Errors
/// The folder is no backup, or its parts are damaged.
pub async fn prove(folder: &Path, portion: Portion, job: &Arc<Progress>) -> Result<Proof, Error> {
    let manifest = {
        let (folder, job) = (folder.to_path_buf(), Arc::clone(job));
        spawn_blocking(move || open(&folder, &job)).await??
    };
    let mut proof = Proof {
        inventory: manifest.into(),
        contents: 0,
        bytes: 0,
        findings: Vec::new(),
        wrong: 0,
        moving: Vec::new(),
    };
    let transfers = Transfers::new(job);
    job.begin("verify", Unit::Bytes, Some(bytes_of(&proof.inventory.stores)));
    for store in proof.inventory.stores.clone() {
        let parts = Parts::new(folder, &store.name);
        let bytes = proof.inventory.bytes_included;
        let (parts, transfers) = (&parts, &transfers);
        let (looks, walking) = walk(folder, &store, |_, entry| async move {
            let path = parts.content(entry.content);
            let is_chosen = portion.has(entry.content, &path);
            let wrong = match lack(&entry) {
                None if bytes && entry.length > 0 && is_chosen => {
                    compare(&entry, transfers.hash_file(&path, entry.coverage()).await)?
                }
                lack => lack,
            };
            Ok::<_, Error>((entry, is_chosen, wrong))
        });
        let mut looks = std::pin::pin!(looks);
        let (mut findings, mut moving) = (Findings::default(), Findings::default());
        while let Some(looked) = looks.next().await {
            let (entry, is_chosen, wrong) = looked?;
            if is_chosen {
                proof.contents += 1;
                proof.bytes = proof.bytes.saturating_add(entry.length);
            }
            if let Some(what) = wrong {
                findings.add(&entry, what);
            }
            if let Some(what) = motion(&entry) {
                moving.add(&entry, what);
            }
        }
        walking.await??;
        proof.wrong += findings.count;
        let dump = parts.dump.clone();
        let named =
            spawn_blocking(move || Ok::<_, Error>((findings.named(&dump)?, moving.named(&dump)?)));
        let (findings, moving) = named.await??;
        proof.findings.extend(findings);
        proof.moving.extend(moving);
    }
    Ok(proof)
}

/// The contents that a whole backup is known to lack, as far as they are named.
pub async fn lost(folder: &Path, job: &Arc<Progress>) -> Result<Vec<Finding>, Error> {
    let (folder, job) = (folder.to_path_buf(), Arc::clone(job));
    let looking = spawn_blocking(move || {
        let mut all = Vec::new();
        for store in Manifest::read(&folder)?.stores {
            let mut findings = Findings::default();
            contents(&folder, &store, |_, entry| {
                job.check()?;
                lack(&entry).into_iter().for_each(|what| findings.add(&entry, what));
                Ok(())
            })?;
            all.extend(findings.named(&Parts::new(&folder, &store.name).dump)?);
        }
        Ok(all)
    });
    looking.await?
}
