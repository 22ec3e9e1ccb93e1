//! Copying shares' content from one content store to another, so that they can be served from there.
//!
//! What is copied is what the shares' rows name. A row's ctime tells the states of its file apart, whatever
//! the clocks of the stores say: what was written to a file and made durable is followed by a change of its
//! row. So a file that was copied after its row was read is whole as of that row, and [`journal`] notes that
//! in the store that it was copied to. A further copy skips the files whose rows are as they were. While
//! servers go on a copy is as good as any; one behind their end is the content that they left.
//!
//! A file is written from its front to its end, and made durable before it is noted.

mod error;
mod journal;

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use serde::{Serialize, Serializer};
use tokio::sync::mpsc;

pub use self::error::CopyError;
use self::journal::Journal;
use crate::admin::locate;
use crate::admin::transfer::{self, AT_ONCE, Store, Transfers};
use crate::admin::{Progress, Unit, as_text, share};
use crate::content::{ContentStore, CreateMode};
use crate::metadata::{Record, Share};
use crate::stores::{BoundShare, OfflineStores, Oversized, lasting_metadata};
use crate::types::{Chain, ContentId, ContentIdentity, ObjectId, ShareName, Timestamp};

/// How many portions of a dump may wait.
const WAITING: usize = 16;

/// What is copied.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct CopyHow {
    /// Source content store, by its name in the configuration
    #[arg(long, value_name = "NAME")]
    pub from: String,
    /// Target content store; created if it does not exist
    #[arg(long, value_name = "NAME")]
    pub to: String,
    /// Only this share
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub share: Option<ShareName>,
    /// Compare every byte afterwards, and copy files again that differ
    #[arg(long)]
    pub verify: bool,
}

/// What became of a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CopyOutcome {
    /// The content that was copied to.
    #[serde(rename = "content_identity", serialize_with = "as_text")]
    pub to: ContentIdentity,
    #[serde(serialize_with = "texts")]
    pub shares: Vec<ShareName>,
    /// Their files.
    pub files: u64,
    /// Copied now.
    pub copied: u64,
    /// The bytes of these.
    pub copied_bytes: u64,
    /// Copied before, and not changed since.
    pub present: u64,
    /// Compared byte by byte.
    pub compared: u64,
    /// Of these, files that were not the same and were copied again.
    pub differed: u64,
    /// Changed or removed by clients while they were copied: the next copy has them as they are then.
    pub changed: u64,
    /// Files whose content is missing or corrupt.
    pub damaged: Vec<Damaged>,
    /// Whether it was stopped before its end.
    #[serde(rename = "interrupted")]
    pub stopped: bool,
}

/// A file whose content is missing or corrupt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damaged {
    #[serde(serialize_with = "as_text")]
    pub share: ShareName,
    #[serde(serialize_with = "as_text")]
    pub content: ContentId,
    /// What is wrong with it.
    pub reason: String,
}

fn texts<S: Serializer>(names: &[ShareName], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(names.iter().map(ShareName::as_str))
}

/// A file that is to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    id: ContentId,
    size: u64,
    ctime: Timestamp,
}

/// A share whose content is copied.
struct Source {
    metadata: String,
    share: Share,
    rows: Vec<Row>,
    from: Store,
    to: Store,
}

impl Source {
    async fn copy(
        &self,
        transfers: &Transfers,
        row: Row,
        stale: bool,
    ) -> Result<(), transfer::Error> {
        transfers.progress().check()?;
        self.from.content.observed(row.id, row.ctime);
        transfers.copy(&self.from, &self.to, row.id, row.size, stale).await
    }
}

/// Why a content cannot be read, without its name.
fn reason(error: &transfer::Error) -> String {
    match error {
        transfer::Error::Source { source, .. } => Chain(source).to_string(),
        error => Chain(error).to_string(),
    }
}

/// Copies what is missing.
///
/// # Errors
/// What was copied until then stays, and is not copied again.
pub async fn copy_content(
    offline: &mut OfflineStores<'_>,
    how: &CopyHow,
    progress: &Arc<Progress>,
) -> Result<CopyOutcome, CopyError> {
    let stop = progress.cancel();
    let from = offline.content(&how.from, CreateMode::ReadOnly).await?;
    let to = offline.content(&how.to, CreateMode::Allowed).await?;
    let (here, there) = (identity(&how.from, &*from)?, identity(&how.to, &*to)?);
    if here == there {
        let (from, to) = (how.from.clone(), how.to.clone());
        return Err(CopyError::Same { from, to, identity: here });
    }
    let (mut sources, transfers) = (Vec::new(), Transfers::new(progress));
    for (metadata, share) in shares(offline, here, how).await? {
        progress.note(format!("copy: reading the list of files of {}", share.name));
        let (rows, largest) = rows(offline, &metadata, &share.name).await?;
        let [from, to] = [(&how.from, &from), (&how.to, &to)]
            .map(|(name, content)| Store::new(name, content, share.chunk_size));
        let limit = to.content.max_length();
        if let Some((object, size)) = largest
            && size > limit
        {
            let path = path(offline, &metadata, &share.name, object).await?;
            let place = format!("the content store {}", how.to);
            let remedy = "name a content store that holds larger files";
            return Err(Oversized { path, size, place, limit, remedy }.into());
        }
        sources.push(Source { metadata, share, rows, from, to });
    }
    let failed = |source| CopyError::To { name: how.to.clone(), source };
    let listed = to.list(None, usize::MAX).await.map_err(failed)?;
    let journal = Journal::open(to).await.map_err(failed)?;
    let is_ours = |row: Row| listed.binary_search(&row.id).is_ok();
    let is_known = listed.is_empty() || journal.is_begun();
    let is_known = is_known || all(&sources).any(|(_, row)| is_ours(row));
    if !is_known && !offline.bound_shares().await?.iter().any(|share| is_bound(share, there)) {
        return Err(CopyError::Foreign { name: how.to.clone(), identity: there });
    }
    let mut outcome = CopyOutcome {
        to: there,
        shares: sources.iter().map(|source| source.share.name.clone()).collect(),
        files: sources.iter().map(|source| source.rows.len() as u64).sum(),
        copied: 0,
        copied_bytes: 0,
        present: 0,
        compared: 0,
        differed: 0,
        changed: 0,
        damaged: Vec::new(),
        stopped: false,
    };
    let (known, missing): (Vec<_>, Vec<_>) = all(&sources).partition(|(_, row)| {
        // A file without a byte needs no content.
        journal.has(row) && (row.size == 0 || listed.binary_search(&row.id).is_ok())
    });
    outcome.present = known.len() as u64;
    let mut suspects = Vec::new();
    let copied =
        copy_all(&missing, &listed, &journal, &mut outcome, &mut suspects, &transfers).await;
    journal.flush().await.map_err(failed)?;
    copied.map_err(failed)?;
    if how.verify && !stop.is_cancelled() {
        // Of their own, so that what is compared is what is kept, and not what is remembered.
        let mut fresh = OfflineStores::new(offline.config());
        let from = fresh.content(&how.from, CreateMode::ReadOnly).await?;
        let to = fresh.content(&how.to, CreateMode::Never).await?;
        for source in &mut sources {
            let chunk_size = source.share.chunk_size;
            source.from = Store::new(&how.from, &from, chunk_size);
            source.to = Store::new(&how.to, &to, chunk_size);
        }
        let done = compare_all(&sources, &journal, &mut outcome, &mut suspects, &transfers).await;
        journal.flush().await.map_err(failed)?;
        done.map_err(failed)?;
    }
    outcome.stopped = stop.is_cancelled();
    if !outcome.stopped {
        judge(offline, &sources, suspects, &mut outcome).await?;
    }
    Ok(outcome)
}

fn identity(name: &str, store: &dyn ContentStore) -> Result<ContentIdentity, CopyError> {
    store.identity().ok_or_else(|| CopyError::Fleeting(name.to_owned()))
}

/// The shares that have their content there, each with its metadata store.
async fn shares(
    offline: &mut OfflineStores<'_>,
    from: ContentIdentity,
    how: &CopyHow,
) -> Result<Vec<(String, Share)>, CopyError> {
    let wanted = |it: &BoundShare| {
        let is_named = how.share.as_ref().is_none_or(|name| *name == it.share.name);
        is_named && is_bound(it, from)
    };
    let shares = offline.bound_shares().await?.into_iter().filter(wanted);
    let found: Vec<_> = shares.map(|it| (it.metadata, it.share)).collect();
    if found.is_empty() {
        return Err(CopyError::NoShare {
            share: how.share.clone(),
            name: how.from.clone(),
            identity: from,
            metadata: lasting_metadata(offline.config()),
        });
    }
    Ok(found)
}

/// Whether a share has its content there.
fn is_bound(share: &BoundShare, content: ContentIdentity) -> bool {
    share.binding.as_ref().is_some_and(|binding| binding.identity == content)
}

/// The largest file of a share, and its size.
type Largest = Option<(ObjectId, u64)>;

/// The files of a share, as of one moment.
async fn rows(
    offline: &mut OfflineStores<'_>,
    metadata: &str,
    share: &ShareName,
) -> Result<(Vec<Row>, Largest), CopyError> {
    let store = offline.metadata(metadata).await?;
    let (to, from) = mpsc::channel(WAITING);
    let ((rows, largest, enough), dumped) =
        tokio::join!(objects(from), store.dump(Some(share), to));
    match dumped {
        Err(source) if !enough => Err(CopyError::Metadata { name: metadata.to_owned(), source }),
        Ok(()) | Err(_) => Ok((rows, largest)),
    }
}

/// The path of a file, or its id where it has none any more.
async fn path(
    offline: &mut OfflineStores<'_>,
    metadata: &str,
    share: &ShareName,
    object: ObjectId,
) -> Result<String, CopyError> {
    let store = offline.metadata(metadata).await?;
    let found = locate::path(&*store, share, object).await;
    let found =
        found.map_err(|source| CopyError::Metadata { name: metadata.to_owned(), source })?;
    Ok(found.unwrap_or_else(|| format!("the object {object}")))
}

/// The files of a dump, whose objects come before its entries; and whether it was left there.
async fn objects(mut from: mpsc::Receiver<Vec<Record>>) -> (Vec<Row>, Largest, bool) {
    let (mut rows, mut largest): (_, Largest) = (Vec::new(), None);
    while let Some(records) = from.recv().await {
        for record in records {
            match record {
                Record::Share(_) => {}
                Record::Object(object) => {
                    let it = object.attributes;
                    let row = |id| Row { id, size: it.size, ctime: it.ctime };
                    rows.extend(it.content.map(|content| row(content.id)));
                    if it.content.is_some() && largest.is_none_or(|(_, size)| size < it.size) {
                        largest = Some((it.id, it.size));
                    }
                }
                Record::Entry(_) => return (rows, largest, true),
            }
        }
    }
    (rows, largest, false)
}

/// Every file with its share.
fn all(sources: &[Source]) -> impl Iterator<Item = (&Source, Row)> {
    sources.iter().flat_map(|source| source.rows.iter().map(move |row| (source, *row)))
}

/// Files that have not the bytes that their rows say, which clients may have changed meanwhile.
type Suspects = Vec<(ShareName, Row, String)>;

async fn copy_all(
    rows: &[(&Source, Row)],
    listed: &[ContentId],
    journal: &Journal,
    outcome: &mut CopyOutcome,
    suspects: &mut Suspects,
    transfers: &Transfers,
) -> Result<(), crate::content::Error> {
    let total = rows.iter().map(|(_, row)| row.size).sum();
    transfers.progress().begin("copy", Unit::Bytes, Some(total));
    let each = rows.iter().map(|(source, row)| {
        let stale = listed.binary_search(&row.id).is_ok();
        async move { (source, row, source.copy(transfers, *row, stale).await) }
    });
    let mut each = futures_util::stream::iter(each).buffer_unordered(AT_ONCE);
    while let Some((source, row, copied)) = each.next().await {
        match copied {
            Ok(()) => {
                journal.note(*row).await?;
                outcome.copied += 1;
                outcome.copied_bytes += row.size;
            }
            Err(transfer::Error::Interrupted(_)) => {}
            Err(transfer::Error::Sink { source, .. }) => return Err(source),
            Err(error) => suspects.push((source.share.name.clone(), *row, reason(&error))),
        }
    }
    Ok(())
}

async fn compare_all(
    sources: &[Source],
    journal: &Journal,
    outcome: &mut CopyOutcome,
    suspects: &mut Suspects,
    transfers: &Transfers,
) -> Result<(), crate::content::Error> {
    let lost: Vec<ContentId> = suspects.iter().map(|(_, row, _)| row.id).collect();
    let rows: Vec<_> = all(sources).filter(|(_, row)| !lost.contains(&row.id)).collect();
    let total = rows.iter().map(|(_, row)| row.size).sum();
    transfers.progress().begin("verify", Unit::Bytes, Some(total));
    let silent = &transfers.silent();
    let each = rows.iter().map(|(source, row)| async move {
        source.from.content.observed(row.id, row.ctime);
        let same = transfers.is_same(&source.from, &source.to, row.id, row.size).await;
        let copied = match same {
            Ok(true) => return (source, row, Ok(true)),
            Ok(false) => source.copy(silent, *row, true).await,
            Err(error) => Err(error),
        };
        (source, row, copied.map(|()| false))
    });
    let mut each = futures_util::stream::iter(each).buffer_unordered(AT_ONCE);
    while let Some((source, row, compared)) = each.next().await {
        match compared {
            Ok(same) => {
                outcome.compared += 1;
                if !same {
                    outcome.differed += 1;
                    journal.note(*row).await?;
                }
            }
            Err(transfer::Error::Interrupted(_)) => {}
            Err(transfer::Error::Sink { source, .. }) => return Err(source),
            Err(error) => suspects.push((source.share.name.clone(), *row, reason(&error))),
        }
    }
    Ok(())
}

/// Tells files that clients changed meanwhile from those that have lost their bytes: these have the same row
/// still.
async fn judge(
    offline: &mut OfflineStores<'_>,
    sources: &[Source],
    suspects: Suspects,
    outcome: &mut CopyOutcome,
) -> Result<(), CopyError> {
    let mut suspects: HashMap<ContentId, (ShareName, Row, String)> =
        suspects.into_iter().map(|suspect| (suspect.1.id, suspect)).collect();
    outcome.changed = suspects.len() as u64;
    for Source { metadata, share, .. } in sources {
        if !suspects.values().any(|(name, _, _)| *name == share.name) {
            continue;
        }
        for now in rows(offline, metadata, &share.name).await?.0 {
            if suspects.get(&now.id).is_some_and(|(_, row, _)| *row == now)
                && let Some((share, row, said)) = suspects.remove(&now.id)
            {
                outcome.damaged.push(Damaged { share, content: row.id, reason: said });
                outcome.changed -= 1;
            }
        }
    }
    Ok(())
}
