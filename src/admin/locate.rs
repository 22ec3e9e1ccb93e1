//! From an object to its path, by the records of its share, which have each name beside its directory alone
//! and are gone through once or a few times; and from a path to its object, by the keys of entries.

use tokio::sync::mpsc;

use crate::metadata::{Checker, Dump, EntryState, Error, ObjectState, PathFinder, Record};
use crate::types::{FileType, MAX_NAME_BYTES, ObjectId, ShareName};

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

/// The object that a path below a root leads to, and its kind; none where a name of it is missing.
///
/// # Errors
/// Those of the store.
pub async fn object(
    checker: &dyn Checker,
    root: ObjectId,
    path: &[impl AsRef<[u8]>],
) -> Result<Option<(ObjectId, FileType)>, Error> {
    let mut at = (root, FileType::Directory);
    for name in path {
        match child(checker, at.0, name.as_ref()).await? {
            Some(child) => at = (child.id, child.file_type),
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

/// The object of a name.
async fn child(
    checker: &dyn Checker,
    directory: ObjectId,
    name: &[u8],
) -> Result<Option<ObjectState>, Error> {
    let first = checker.entries(Some((directory, &before(name))), 1).await?.pop();
    let is_it = |it: &EntryState| it.directory == directory && *it.name == *name;
    Ok(first.filter(is_it).and_then(|it| it.object))
}

/// The last bytes in front of a name that a name may have.
fn before(name: &[u8]) -> Vec<u8> {
    let mut before = name.to_vec();
    match before.pop() {
        None | Some(..=1) => {}
        Some(last) => {
            before.push(last - 1);
            before.resize(MAX_NAME_BYTES, u8::MAX);
        }
    }
    before
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_between_a_name_and_the_one_before() {
        assert_eq!(before(b"b"), [&b"a"[..], &[u8::MAX; 254]].concat());
        assert_eq!(before(b"a\x01"), b"a");
        assert_eq!(before(&[b'b'; 255]), [&[b'b'; 254][..], b"a"].concat());
    }
}
