//! Making a backup while servers go on.
//!
//! A dump says what files there are at one moment; their bytes are read after it, and may have been changed
//! by then. So another dump is taken, and what is not as it was in the one before is copied again, until
//! nothing is left to be copied: then the last dump is of the moment of which all is. Under writers that
//! never rest the last files are called moving.

mod dump;
mod pass;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use self::dump::write_dump;
use super::diff::Old;
use super::folder::Folder;
use super::list::Counts;
use super::locate::{self, Place};
use super::manifest::{Inventory, Manifest, Part, Parts, ShareManifest, StoreManifest};
use super::{Error, FORMAT};
use crate::admin::transfer::{self, Transfers};
use crate::admin::{Progress, Unit, share};
use crate::config::Config;
use crate::metadata::{Loaded, Share};
use crate::stores::OfflineStores;
use crate::types::{ShareName, utc_now};

/// How often what was changed meanwhile is copied again.
const PASSES: u32 = 4;
/// How many portions may wait for the file. The store's snapshot does not wait for a slow disk long.
const WAITING: usize = 64;

/// What is to be backed up, and how.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Wanted {
    /// Only this share; may be repeated [default: all shares of the metadata stores in use]
    #[arg(long = "share", value_name = "SHARE", value_parser = share)]
    pub shares: Vec<ShareName>,
    /// Back up names and attributes, and the size and checksum of each content, but no content: for content
    /// with a backup of its own
    #[arg(long)]
    pub metadata_only: bool,
    /// Do not read content to compute checksums
    #[arg(long, requires = "metadata_only")]
    pub no_checksums: bool,
    /// Incremental: reuse unchanged files of this earlier backup by hard links
    #[arg(long, value_name = "DIR")]
    pub base: Option<PathBuf>,
    /// Resume an unfinished backup in the folder
    #[arg(long)]
    pub resume: bool,
}

/// What became of it.
#[derive(Debug, Serialize)]
pub struct Created {
    /// What the backup has.
    #[serde(flatten)]
    pub inventory: Inventory,
    /// Contents that were copied or read, some perhaps several times.
    pub copied: u64,
    /// Contents that were taken over from the base, or from what was there.
    pub kept: u64,
}

/// Makes a backup in `folder`.
///
/// # Errors
/// What is there then is no backup; another call with `resume` goes on with it.
pub async fn create(
    config: &Config,
    wanted: &Wanted,
    folder: &Path,
    job: &Arc<Progress>,
) -> Result<Created, Error> {
    let stores = stores(config, wanted)?;
    let base =
        wanted.base.as_deref().map(|path| Manifest::read(path).map(|manifest| (path, manifest)));
    let base = base.transpose()?;
    look(config, wanted, &stores).await?;
    let folder = Folder::take(folder, wanted.resume)?;
    let transfers = Transfers::new(job);
    let begun = utc_now();
    let (mut copied, mut kept, mut made) = (0, 0, Vec::new());
    for name in stores {
        let of_store = |manifest: &Manifest| manifest.stores.iter().any(|it| it.name == name);
        let has = |manifest: &Manifest| manifest.bytes || wanted.metadata_only;
        let base = base.as_ref().filter(|(_, manifest)| of_store(manifest) && has(manifest));
        let base = base.map(|(path, _)| Parts::new(path, &name));
        let mut making = Making {
            config,
            wanted,
            parts: Parts::new(folder.path(), &name),
            name,
            job,
            transfers: &transfers,
            copied: 0,
            kept: 0,
        };
        made.push(making.store(base).await?);
        copied += making.copied;
        kept += making.kept;
    }
    job.check()?;
    let manifest = Manifest {
        format: FORMAT,
        trunkfs: env!("CARGO_PKG_VERSION").to_owned(),
        begun,
        ended: utc_now(),
        bytes: !wanted.metadata_only,
        checksums: !wanted.no_checksums,
        stores: made,
    };
    job.begin("sync", Unit::Records, None);
    let manifest = spawn_blocking(move || folder.finish(&manifest).map(|()| manifest)).await??;
    Ok(Created { inventory: manifest.into(), copied, kept })
}

/// The metadata stores that have what is wanted.
fn stores(config: &Config, wanted: &Wanted) -> Result<Vec<String>, Error> {
    let mut stores = Vec::new();
    let known = || config.shares.iter().map(|share| share.name.to_string()).collect::<Vec<_>>();
    for share in &wanted.shares {
        let found = config.shares.iter().find(|known| known.name == *share);
        let found = found.ok_or_else(|| Error::NoShare {
            share: share.clone(),
            place: "the configuration".to_owned(),
            known: known().join(", "),
        })?;
        stores.push(found.metadata_store.clone());
    }
    if wanted.shares.is_empty() {
        stores.extend(config.shares.iter().map(|share| share.metadata_store.clone()));
    }
    stores.sort();
    stores.dedup();
    Ok(stores)
}

/// Finds every store, before anything is made: what is mistaken leaves nothing behind.
async fn look(config: &Config, wanted: &Wanted, stores: &[String]) -> Result<(), Error> {
    for name in stores {
        let mut offline = OfflineStores::new(config);
        let store = offline.metadata(name).await?;
        let shares = store.shares().await;
        let shares = shares.map_err(|source| Error::Metadata { name: name.clone(), source })?;
        let only = wanted_of(config, wanted, name);
        check_shares(&only, name, &shares)?;
        for share in shares.iter().filter(|share| only.is_empty() || only.contains(&share.name)) {
            locate::find(&mut offline, name, share).await?;
        }
    }
    Ok(())
}

/// The shares of a metadata store that are wanted; none: all.
fn wanted_of(config: &Config, wanted: &Wanted, store: &str) -> Vec<ShareName> {
    let of_store = |share: &&ShareName| {
        let known = config.shares.iter().find(|known| known.name == **share);
        known.is_some_and(|known| known.metadata_store == store)
    };
    wanted.shares.iter().filter(of_store).cloned().collect()
}

fn check_shares(wanted: &[ShareName], store: &str, there: &[Share]) -> Result<(), Error> {
    let there: Vec<_> = there.iter().map(|share| &share.name).collect();
    let Some(missing) = wanted.iter().find(|name| !there.contains(name)) else { return Ok(()) };
    let known: Vec<_> = there.iter().map(ToString::to_string).collect();
    Err(Error::NoShare {
        share: missing.clone(),
        place: format!("the metadata store {store}"),
        known: if known.is_empty() { "none of those wanted".to_owned() } else { known.join(", ") },
    })
}

/// A metadata store, and the contents that it names, on their way into the backup.
struct Making<'a> {
    config: &'a Config,
    wanted: &'a Wanted,
    name: String,
    parts: Parts,
    job: &'a Arc<Progress>,
    transfers: &'a Transfers,
    copied: u64,
    kept: u64,
}

/// One pass: which list it begins from, and what it does about what is not in it.
#[derive(Clone, Debug)]
enum Pass {
    /// The first: files of the base, or of an attempt before, are taken over.
    First { base: Option<Parts>, salvaged: Option<Old> },
    /// What was changed since the last list is copied again.
    Again,
    /// What was changed since the last list is called moving.
    Settle,
}

/// What a pass came to.
struct Passed {
    copied: u64,
    kept: u64,
    counts: Counts,
}

/// What a dump has.
struct Dumped {
    moment: String,
    counts: Loaded,
    bytes: u64,
    shares: Vec<Share>,
}

impl Making<'_> {
    async fn store(&mut self, base: Option<Parts>) -> Result<StoreManifest, Error> {
        self.parts.make(!self.wanted.metadata_only)?;
        let salvaged = if self.wanted.resume { self.salvage()? } else { None };
        let mut pass = Pass::First { base, salvaged };
        let mut last = None;
        for _ in 0..PASSES {
            let dump = new(&self.parts.dump);
            let (dumped, mut offline) = self.dump(dump.clone()).await?;
            let places = self.places(&mut offline, &dumped.shares).await?;
            let passed = self.run(&pass, &dump, &dumped, &places).await?;
            self.copied += passed.copied;
            if let Pass::First { .. } = pass {
                self.kept = passed.kept;
            }
            rename(&dump, &self.parts.dump)?;
            rename(&new(&self.parts.list), &self.parts.list)?;
            last = Some((dumped, places));
            if passed.copied == 0 {
                return self.manifest(last, passed.counts).await;
            }
            pass = Pass::Again;
        }
        let dump = self.parts.dump.with_extension("check");
        let (dumped, mut offline) = self.dump(dump.clone()).await?;
        let places = self.places(&mut offline, &dumped.shares).await?;
        let counts = self.run(&Pass::Settle, &dump, &dumped, &places).await?.counts;
        rename(&new(&self.parts.list), &self.parts.list)?;
        transfer::remove(&dump).map_err(Error::at(&dump))?;
        self.manifest(last, counts).await
    }

    /// The list that an attempt before left, whole or not: it says what was copied.
    fn salvage(&self) -> Result<Option<Old>, Error> {
        if self.parts.list.exists() {
            return Ok(Some(Old { list: self.parts.list.clone(), cut: false }));
        }
        let (new, old) = (new(&self.parts.list), self.parts.list.with_extension("old"));
        let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
        if size(&new) > size(&old) {
            rename(&new, &old)?;
        }
        Ok(old.exists().then_some(Old { list: old, cut: true }))
    }

    /// Takes a dump. The stores are opened anew for each: nothing that was read before is taken for what is
    /// there now.
    async fn dump(&self, to: PathBuf) -> Result<(Dumped, OfflineStores<'_>), Error> {
        let mut offline = OfflineStores::new(self.config);
        let store = offline.metadata(&self.name).await?;
        self.job.begin("dump", Unit::Records, None);
        let only = wanted_of(self.config, self.wanted, &self.name);
        let (send, receive) = mpsc::channel(WAITING);
        let writing = {
            let (only, job) = (only.clone(), Arc::clone(self.job));
            spawn_blocking(move || write_dump(&to, receive, &only, &job))
        };
        let one = if let [one] = only.as_slice() { Some(one) } else { None };
        let sent = store.dump(one, send).await;
        // The error of a file that cannot be written comes before that of its closed channel.
        let dumped = writing.await??;
        sent.map_err(|source| Error::Metadata { name: self.name.clone(), source })?;
        check_shares(&only, &self.name, &dumped.shares)?;
        Ok((dumped, offline))
    }

    async fn places(
        &self,
        offline: &mut OfflineStores<'_>,
        shares: &[Share],
    ) -> Result<Vec<Option<Place>>, Error> {
        let mut places = Vec::with_capacity(shares.len());
        for share in shares {
            places.push(locate::find(offline, &self.name, share).await?);
        }
        Ok(places)
    }

    /// What the finished parts are, with everything else removed.
    async fn manifest(
        &self,
        last: Option<(Dumped, Vec<Option<Place>>)>,
        counts: Counts,
    ) -> Result<StoreManifest, Error> {
        for left in ["old", "new"] {
            let path = self.parts.list.with_extension(left);
            transfer::remove(&path).map_err(Error::at(&path))?;
        }
        let (dumped, places) = last.ok_or(Error::Interrupted)?;
        let parts = self.parts.clone();
        let both = spawn_blocking(move || {
            Ok::<_, Error>((Part::of(&parts.dump)?, Part::of(&parts.list)?))
        });
        let (dump, list) = both.await??;
        let shares = dumped.shares.iter().zip(places).map(|(share, place)| ShareManifest {
            name: share.name.as_str().to_owned(),
            content_store: place.as_ref().map(|place| place.store.name.clone()),
            content_identity: place.as_ref().map(|place| place.identity.0),
            chunk_size: share.chunk_size,
        });
        Ok(StoreManifest {
            name: self.name.clone(),
            moment: dumped.moment,
            shares: shares.collect(),
            objects: dumped.counts.objects,
            contents: counts.contents,
            content_bytes: counts.bytes,
            moving: counts.moving,
            lost: counts.lost,
            dump,
            list,
        })
    }
}

/// While it is being written.
fn new(path: &Path) -> PathBuf {
    path.with_extension("new")
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(Error::at(to))
}
