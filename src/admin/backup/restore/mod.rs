//! A backup becomes shares again: first every byte in a content store, then all names at once.
//!
//! Nothing that is there is written over: content of the same id with other bytes stays, and the backup's
//! gets another id, which no client sees. A restore that ends before its names are in has changed nothing,
//! and left contents that no file has.

mod contents;
mod load;
mod target;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use self::contents::Bringing;
use self::load::Loading;
use self::target::{Group, groups};
use super::check::{self, Finding, Findings};
use super::list::State;
use super::manifest::{Manifest, Parts};
use super::{Error, paths};
use crate::admin::transfer::{self, Found, Store, Transfers};
use crate::admin::{Progress, Unit, as_text, share};
use crate::config::Config;
use crate::content::CreateMode;
use crate::metadata::{Load, LoadError, Share};
use crate::stores::{self, Binding, OfflineStores};
use crate::types::{ContentIdentity, ShareName};

/// How many portions may wait for the store.
const WAITING: usize = 16;

/// What is to be restored, and where to.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Wanted {
    /// Only this share; may be repeated [default: all shares of the backup]
    #[arg(long = "share", value_name = "SHARE", value_parser = share)]
    pub shares: Vec<ShareName>,
    /// Restore the one share under this name [default: its name in the backup]
    #[arg(long = "as", value_name = "SHARE", value_parser = share)]
    pub name: Option<ShareName>,
    /// Metadata store [default: that of the share in the configuration, else the one named in the backup]
    #[arg(long, value_name = "NAME")]
    pub store: Option<String>,
    /// Content store [default: that of the share in the configuration, else the one named in the backup]
    #[arg(long, value_name = "NAME")]
    pub content: Option<String>,
    /// Replace existing shares of the same name, deleting everything in them
    #[arg(long)]
    pub replace: bool,
    /// Restore even if content in the backup is missing or corrupt: such files are restored as far as
    /// possible
    #[arg(long)]
    pub incomplete: bool,
}

/// What was restored.
#[derive(Debug, Default, Serialize)]
pub struct Restored {
    /// Objects that came into metadata stores.
    pub objects: u64,
    /// Entries that came into metadata stores.
    pub entries: u64,
    /// Contents that were written.
    pub written: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Contents that were there already, byte for byte.
    pub present: u64,
    /// How many files were being changed while they were backed up.
    pub moving: u64,
    /// What is not whole, as far as it is named.
    pub findings: Vec<Finding>,
    /// How much is not whole.
    pub wrong: u64,
    /// Where each share is now.
    #[serde(rename = "shares")]
    pub places: Vec<Placed>,
}

/// Where a share is.
#[derive(Clone, Debug, Serialize)]
pub struct Placed {
    #[serde(serialize_with = "as_text")]
    pub share: ShareName,
    /// Its metadata store.
    #[serde(rename = "metadata_store")]
    pub store: String,
    /// Its content store.
    #[serde(rename = "content_store")]
    pub content: String,
}

/// Brings a backup in.
///
/// # Errors
/// No name was changed then, unless several metadata stores were to be: those before the one that failed have
/// theirs.
pub async fn restore(
    config: &Config,
    wanted: &Wanted,
    folder: &Path,
    job: &Arc<Progress>,
) -> Result<Restored, Error> {
    let manifest = {
        let (folder, job) = (folder.to_path_buf(), Arc::clone(job));
        spawn_blocking(move || check::open(&folder, &job)).await??
    };
    let groups = groups(config, wanted, &manifest)?;
    let mut restored = Restored::default();
    let known = examine(folder, &manifest, &groups, wanted, job, &mut restored).await?;
    let opened = open_all(config, &groups).await?;
    let mut offline = OfflineStores::new(config);
    let mut ready = Vec::new();
    for group in &groups {
        let store = &*opened[&group.metadata];
        make_sure(store, folder, group, wanted).await?;
        ready.push((store, prepare(&mut offline, group).await?));
    }
    for (group, (_, stores)) in groups.iter().zip(&ready) {
        refuse_oversized(config, folder, group, stores, job).await?;
    }
    let transfers = Transfers::new(job);
    job.begin(
        "restore",
        Unit::Bytes,
        Some(check::bytes_of(groups.iter().map(|group| &group.from))),
    );
    let mut fresh = Vec::new();
    for (group, (_, stores)) in groups.iter().zip(&ready) {
        let (manifest, known) = (&manifest, &known);
        let bringing =
            Bringing { folder, manifest, group, stores, wanted, transfers: &transfers, known };
        fresh.push(bringing.all(&mut restored).await?);
    }
    for ((group, (store, stores)), fresh) in groups.iter().zip(&ready).zip(fresh) {
        // What has begun to change names goes to its end.
        let last = Arc::new(Progress::default());
        let job = if restored.places.is_empty() { job } else { &last };
        let loading = Loading { folder, group, stores, wanted, job };
        let loaded = loading.load(*store, fresh).await?;
        restored.objects += loaded.objects;
        restored.entries += loaded.entries;
        for target in group.targets.values() {
            let (_, identity) = &stores[&target.share.name];
            let home = Binding { identity: *identity, store: target.content.clone() };
            let settled = stores::settle_binding(*store, &target.name, &home).await;
            settled.map_err(metadata_failed(&group.metadata))?;
            restored.places.push(Placed {
                share: target.name.clone(),
                store: target.metadata.clone(),
                content: target.content.clone(),
            });
        }
    }
    for store in opened.values() {
        store.close().await;
    }
    Ok(restored)
}

/// Refuses files that their share does not take, before a byte of any is written.
async fn refuse_oversized(
    config: &Config,
    folder: &Path,
    group: &Group,
    stores: &Stores,
    job: &Arc<Progress>,
) -> Result<(), Error> {
    let limit = |target: &target::Target| {
        let (store, _) = stores.get(&target.share.name)?;
        Some(stores::largest_file(config, &target.name, &*store.content))
    };
    let shares = group.from.shares.iter().map(|share| group.targets.get(&share.name));
    let limits: Vec<u64> = shares.map(|it| it.and_then(limit).unwrap_or(u64::MAX)).collect();
    if limits.iter().all(|limit| *limit >= i64::MAX as u64) {
        return Ok(());
    }
    let (folder, from, job) = (folder.to_path_buf(), group.from.clone(), Arc::clone(job));
    let looking = spawn_blocking(move || {
        let mut found = None;
        check::contents(&folder, &from, |share, entry| {
            job.check()?;
            let limit = limits.get(share).copied().unwrap_or(u64::MAX);
            if found.is_none() && entry.size > limit {
                found = Some((entry.object, entry.size, share, limit));
            }
            Ok(())
        })?;
        let Some((object, size, share, limit)) = found else { return Ok(None) };
        let paths = paths::of(&Parts::new(&folder, &from.name).dump, &[object])?;
        let path = paths.get(&object).cloned();
        Ok::<_, Error>(Some((path.unwrap_or(format!("the object {object}")), size, share, limit)))
    });
    let Some((path, size, share, limit)) = looking.await?? else { return Ok(()) };
    let target = group.from.shares.get(share).and_then(|share| group.targets.get(&share.name));
    let place = target.map_or_else(String::new, |target| {
        format!("the share {} with its content in {}", target.name, target.content)
    });
    let remedy = "raise max_file_size of the share, or choose a content store for larger files";
    Err(stores::Oversized { path, size, place, limit, remedy }.into())
}

/// The metadata stores that names go into, by name; several groups may go into one.
type Opened = BTreeMap<String, Box<dyn Load>>;

async fn open_all(config: &Config, groups: &[Group]) -> Result<Opened, Error> {
    let mut opened = Opened::new();
    for name in groups.iter().map(|group| &group.metadata) {
        if !opened.contains_key(name) {
            opened.insert(name.clone(), stores::open_for_load(config, name).await?);
        }
    }
    Ok(opened)
}

fn metadata_failed(name: &str) -> impl Fn(crate::metadata::Error) -> Error + use<> {
    let name = name.to_owned();
    move |source| Error::Metadata { name: name.clone(), source }
}

/// Whether the backup has every content that is wanted, as far as that can be said without reading it.
/// Answers with the objects whose content it has not, where that is accepted.
async fn examine(
    folder: &Path,
    manifest: &Manifest,
    groups: &[Group],
    wanted: &Wanted,
    job: &Arc<Progress>,
    restored: &mut Restored,
) -> Result<HashSet<Uuid>, Error> {
    let mut known = HashSet::new();
    for group in groups {
        let (path, from, job) = (folder.to_path_buf(), group.from.clone(), Arc::clone(job));
        let names: Vec<String> = group.targets.keys().cloned().collect();
        let bytes = manifest.bytes;
        let looking = spawn_blocking(move || {
            let parts = Parts::new(&path, &from.name);
            let (mut findings, mut moving, mut wrong_ones) = (Findings::default(), 0, Vec::new());
            check::contents(&path, &from, |share, entry| {
                job.check()?;
                if !from.shares.get(share).is_some_and(|share| names.contains(&share.name)) {
                    return Ok(());
                }
                moving += u64::from(entry.state == State::Moving);
                let wrong = match check::lack(&entry) {
                    Some(lack) => Some(lack),
                    None if bytes && entry.length > 0 => {
                        let path = parts.content(entry.content);
                        let there = fs::metadata(&path).map_err(transfer::Error::at(&path));
                        let checksum = entry.checksum();
                        let there = there.map(|there| Found { length: there.len(), checksum });
                        check::compare(&entry, there)?
                    }
                    None => None,
                };
                if let Some(what) = wrong {
                    findings.add(&entry, what);
                    wrong_ones.push(entry.object);
                }
                Ok(())
            })?;
            let count = findings.count;
            Ok::<_, Error>((findings.named(&parts.dump)?, count, moving, wrong_ones))
        });
        let (findings, count, moving, wrong_ones) = looking.await??;
        restored.moving += moving;
        note(findings, count, wanted, restored)?;
        known.extend(wrong_ones);
    }
    Ok(known)
}

/// Keeps findings where they are accepted, and ends with them where not.
fn note(
    findings: Vec<Finding>,
    count: u64,
    wanted: &Wanted,
    restored: &mut Restored,
) -> Result<(), Error> {
    if count > 0 && !wanted.incomplete {
        let remedy = "no share was changed; with --incomplete these files are restored as far as possible, \
                      and everything else completely";
        return Err(Error::Incomplete(check::sentence(&findings, count, remedy)));
    }
    restored.wrong += count;
    restored.findings.extend(findings);
    Ok(())
}

/// The content store of each share, by its name in the backup.
type Stores = HashMap<String, (Store, ContentIdentity)>;

/// Makes sure that a metadata store will take a group's names in, before a byte of theirs is written.
async fn make_sure(
    store: &dyn Load,
    folder: &Path,
    group: &Group,
    wanted: &Wanted,
) -> Result<(), Error> {
    let refused = |source| Error::Load { name: group.metadata.clone(), source };
    let there = store.shares().await.map_err(metadata_failed(&group.metadata))?;
    let names: Vec<_> = group.targets.values().map(|target| &target.name).collect();
    for name in there.iter().map(|known| &known.name).filter(|name| names.contains(name)) {
        if !wanted.replace {
            return Err(refused(LoadError::Present(name.clone())));
        }
    }
    for name in &names {
        store.admits(name).await.map_err(refused)?;
    }
    let (parts, count) = (Parts::new(folder, &group.from.name), group.from.shares.len());
    let coming = spawn_blocking(move || check::shares(&parts.dump, count)).await??;
    let coming = coming.iter().filter(|share| group.targets.contains_key(share.name.as_str()));
    for share in coming {
        // What has another name and stays has the same objects.
        let stays = |known: &&Share| known.fsid == share.fsid && !names.contains(&&known.name);
        if there.iter().any(|known| stays(&known)) {
            return Err(refused(LoadError::Collides));
        }
    }
    Ok(())
}

/// Opens the content stores that a group's contents go into.
async fn prepare(offline: &mut OfflineStores<'_>, group: &Group) -> Result<Stores, Error> {
    let mut stores = Stores::new();
    for target in group.targets.values() {
        let name = target.content.clone();
        let content = offline.content(&name, CreateMode::Allowed).await?;
        let identity = content.identity().ok_or_else(|| {
            Error::Unfit(format!("the content store {name} is in memory: use --content NAME"))
        })?;
        let store = Store::new(&name, &content, target.share.chunk_size);
        stores.insert(target.share.name.clone(), (store, identity));
    }
    Ok(stores)
}
