//! Removes a directory with all that is in it.

use std::time::Duration;

use bytes::Bytes;

use super::call::Call;
use super::error::Error;
use super::fault::Fault;
use super::link::Link;
use super::reply::{Entry, Reply};

/// Calls in flight while removing.
const DEPTH: usize = 32;
/// READDIRPLUS's dircount and maxcount: about a thousand entries.
const PAGE_BYTES: (u32, u32) = (64 << 10, 256 << 10);
/// How often a directory is listed from its beginning: entries may move while others are removed.
const PASSES: usize = 5;
/// After each attempt: a call whose connection was given up may still make a file.
const PAUSES_MS: [u64; 4] = [100, 500, 2000, 0];
const NOENT: u32 = 2;
const NOTEMPTY: u32 = 66;

const REMOVING: &str = "removing what the measurement made";

/// Removes everything in a directory, which stays.
pub(super) async fn empty(link: &mut Link, directory: &Bytes) -> Result<(), Error> {
    for _ in 0..PASSES {
        let (mut cookie, mut verifier, mut removed) = (0, 0, 0);
        loop {
            let page = page(link, directory, cookie, verifier).await?;
            if let Some(last) = page.entries.last() {
                cookie = last.cookie;
            }
            verifier = page.verifier;
            let is_end = page.is_end || page.entries.is_empty();
            removed += remove(link, directory, page.entries).await?;
            if is_end {
                break;
            }
        }
        if removed == 0 {
            return Ok(());
        }
    }
    Ok(())
}

struct Page {
    entries: Vec<Entry>,
    verifier: u64,
    is_end: bool,
}

async fn page(
    link: &mut Link,
    directory: &Bytes,
    cookie: u64,
    verifier: u64,
) -> Result<Page, Error> {
    let (dircount, maxcount) = PAGE_BYTES;
    let call = Call::readdirplus(directory, cookie, verifier, dircount, maxcount);
    let reply = link.one(call).await?.and_then(Reply::succeeded);
    let mut results = reply.map_err(|fault| Error::Refused { doing: REMOVING, fault })?;
    results.attributes()?;
    let verifier = results.hyper()?;
    let mut entries = Vec::new();
    while let Some(entry) = results.entry(true)? {
        entries.push(entry);
    }
    Ok(Page { entries, verifier, is_end: results.is_end()? })
}

/// Removes entries, and tells how many there were besides `.` and `..`.
async fn remove(link: &mut Link, directory: &Bytes, entries: Vec<Entry>) -> Result<usize, Error> {
    let (mut files, mut directories) = (Vec::new(), Vec::new());
    for entry in entries.into_iter().filter(|entry| !matches!(&entry.name[..], b"." | b"..")) {
        let is_directory = match entry.is_directory {
            Some(is_directory) => is_directory,
            None => look_up(link, directory, &entry.name).await?.0 == Some(true),
        };
        if is_directory { directories.push(entry) } else { files.push(entry.name) }
    }
    let count = files.len() + directories.len();
    let calls = files.iter().map(|name| Call::remove(directory, name)).collect();
    let replies = link.all(calls, DEPTH).await?;
    for reply in replies {
        removed(reply)?;
    }
    let calls = directories.iter().map(|entry| Call::rmdir(directory, &entry.name)).collect();
    let replies = link.all(calls, DEPTH).await?;
    for (entry, reply) in directories.into_iter().zip(replies) {
        if !matches!(&reply, Ok(reply) if reply.status == NOTEMPTY) {
            removed(reply)?;
            continue;
        }
        let handle = match entry.handle {
            Some(handle) => Some(handle),
            None => look_up(link, directory, &entry.name).await?.1,
        };
        if let Some(handle) = handle {
            Box::pin(empty(link, &handle)).await?;
            removed(link.one(Call::rmdir(directory, &entry.name)).await?)?;
        }
    }
    Ok(count)
}

/// Whether a name is a directory's, and its handle.
async fn look_up(
    link: &mut Link,
    directory: &Bytes,
    name: &[u8],
) -> Result<(Option<bool>, Option<Bytes>), Error> {
    let reply = link.one(Call::lookup(directory, name)).await?.and_then(Reply::succeeded);
    let Ok(mut results) = reply else { return Ok((None, None)) };
    let handle = results.handle()?;
    Ok((results.attributes()?, Some(handle)))
}

fn removed(reply: Result<Reply, Fault>) -> Result<(), Error> {
    match reply {
        Ok(reply) if reply.status == NOENT => Ok(()),
        reply => {
            let refused = |fault| Error::Refused { doing: REMOVING, fault };
            reply.and_then(Reply::succeeded).map(drop).map_err(refused)
        }
    }
}

/// Removes a directory with all that is in it. Names of directories below it are shared out among the
/// connections.
pub(super) async fn remove_tree(
    links: &mut [Link],
    parent: &Bytes,
    name: &str,
    directory: &Bytes,
    branches: &[Bytes],
) -> Result<(), Error> {
    let count = links.len();
    let work = links.iter_mut().enumerate().map(|(index, link)| async move {
        for branch in branches.iter().skip(index).step_by(count) {
            empty(link, branch).await?;
        }
        Ok::<_, Error>(())
    });
    futures_util::future::try_join_all(work).await?;
    let Some(link) = links.first_mut() else { return Ok(()) };
    for pause in PAUSES_MS {
        empty(link, directory).await?;
        let reply = link.one(Call::rmdir(parent, name)).await?;
        if !matches!(&reply, Ok(reply) if reply.status == NOTEMPTY) {
            return removed(reply);
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    Err(Error::Refused { doing: REMOVING, fault: Fault::status(NOTEMPTY) })
}
