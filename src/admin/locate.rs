//! From an object to its path and back, by the records of a store: it has each name beside its directory
//! alone, so that they are gone through once or a few times.

use tokio::sync::mpsc;

use crate::metadata::{Dump, Error, PathFinder, Record, Share};
use crate::types::{Name, ObjectId, ShareName};

/// Batches of records on their way.
const WAITING: usize = 4;

/// The path of an object, its share's name in front; none where it has no name.
///
/// # Errors
/// Those of the store.
pub async fn path(
    store: &(impl Dump + ?Sized),
    share: &ShareName,
    object: ObjectId,
) -> Result<Option<String>, Error> {
    let mut finder = PathFinder::new([object]);
    while finder.begin_round() {
        show(store, share, |record| finder.see(record)).await?;
    }
    Ok(finder.paths().remove(&object))
}

/// The object that a path below a share's root leads to; none where a name of it is missing.
///
/// # Errors
/// Those of the store.
pub async fn object(
    store: &(impl Dump + ?Sized),
    share: &Share,
    path: &[Name],
) -> Result<Option<ObjectId>, Error> {
    let (mut at, mut left) = (share.root, path);
    while !left.is_empty() {
        let before = left.len();
        show(store, &share.name, |record| {
            if let (Record::Entry(entry), Some((first, rest))) = (record, left.split_first())
                && entry.directory == at
                && entry.name == *first
            {
                (at, left) = (entry.child, rest);
            }
        })
        .await?;
        if left.len() == before {
            return Ok(None);
        }
    }
    Ok(Some(at))
}

/// Shows every record of a share, as of one moment.
async fn show(
    store: &(impl Dump + ?Sized),
    share: &ShareName,
    mut see: impl FnMut(&Record),
) -> Result<(), Error> {
    let (to, mut from) = mpsc::channel::<Vec<Record>>(WAITING);
    let seeing = async {
        while let Some(records) = from.recv().await {
            records.iter().for_each(&mut see);
        }
    };
    let ((), dumped) = tokio::join!(seeing, store.dump(Some(share), to));
    dumped
}
