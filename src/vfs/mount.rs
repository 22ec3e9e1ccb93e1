//! From a path to a handle, for MOUNT (RFC 1813 appendix I).

use tokio::time::Instant;

use super::export::Export;
use super::{ClientRule, Vfs};
use crate::metadata;
use crate::types::{
    Caller, Component, Context, Credentials, FileHandle, NameError, ObjectId, ShareName, Timestamp,
};

/// Why a path cannot be mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// No share, or nothing in it, has the path.
    #[error("no such path")]
    NotFound,
    /// The share's rules do not admit the client.
    #[error("the share's rules do not admit the client")]
    AccessDenied,
    /// The path leads to, or through, what is no directory.
    #[error("not a directory")]
    NotDirectory,
    /// A component of the path is over 255 bytes.
    #[error("a component of the path is too long")]
    NameTooLong,
    /// The namespace cannot answer now; a repeat may succeed.
    #[error("the metadata store is not available")]
    Unavailable(#[source] metadata::Error),
    /// The namespace cannot answer.
    #[error("the metadata store failed")]
    Failed(#[source] metadata::Error),
}

/// A share and who may mount it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportEntry {
    pub name: ShareName,
    /// The networks that it admits.
    pub networks: Vec<String>,
}

impl Vfs {
    /// The handle of a directory by its path: the longest share that the path starts with, then
    /// step by step with root's rights. No symbolic link is followed. A directory inside a share is no
    /// security border.
    pub async fn mount(&self, caller: &Caller, path: &[u8]) -> Result<FileHandle, MountError> {
        let all = self.exports.all();
        let found = ShareName::longest_in(path, all.iter(), |it| &it.share.name);
        let (export, below) = found.ok_or(MountError::NotFound)?;
        caller.call.timing.set_share(export.number);
        {
            let rules = export.rules.read();
            let rule = ClientRule::find(&rules, caller.address.ip());
            let rule = rule.ok_or(MountError::AccessDenied)?;
            rule.check_port(caller).map_err(|_| MountError::AccessDenied)?;
        }
        let mut call = caller.call.clone();
        call.deadline = call.deadline.max(Instant::now());
        let context = Context {
            replay: None,
            credentials: Credentials::ROOT,
            client: caller.address,
            share: export.share.id,
            now: Timestamp::now(),
            call,
        };
        let object = walk(export, &context, &below).await?;
        Ok(FileHandle { share: export.share.name.clone(), object })
    }

    /// The shares, in the order of their names.
    #[must_use]
    pub fn exports(&self) -> Vec<ExportEntry> {
        self.exports
            .all()
            .iter()
            .map(|export| ExportEntry {
                name: export.share.name.clone(),
                networks: export.rules.read().iter().map(|rule| rule.network.to_string()).collect(),
            })
            .collect()
    }
}

async fn walk(export: &Export, context: &Context, path: &[&[u8]]) -> Result<ObjectId, MountError> {
    let mut here = export.metadata.getattr(context, export.share.root).await.map_err(refused)?;
    for step in path {
        let found = match Component::parse(step).map_err(unnamed)? {
            Component::Current => continue,
            Component::Parent => export.metadata.lookup_parent(context, here.id).await,
            Component::Name(name) => export.metadata.lookup(context, here.id, &name).await,
        };
        here =
            found.map_err(|refusal| refused(refusal.error))?.object.ok_or(MountError::NotFound)?;
    }
    if !here.file_type.is_directory() {
        return Err(MountError::NotDirectory);
    }
    Ok(here.id)
}

fn unnamed(error: NameError) -> MountError {
    match error {
        NameError::TooLong => MountError::NameTooLong,
        NameError::Empty | NameError::Forbidden | NameError::Dots => MountError::NotFound,
    }
}

fn refused(error: metadata::Error) -> MountError {
    match error {
        metadata::Error::NotDirectory => MountError::NotDirectory,
        metadata::Error::NotFound | metadata::Error::Stale => MountError::NotFound,
        error @ (metadata::Error::Unavailable(_) | metadata::Error::Cancelled) => {
            MountError::Unavailable(error)
        }
        error @ (metadata::Error::Exists
        | metadata::Error::IsDirectory
        | metadata::Error::NotEmpty
        | metadata::Error::AccessDenied
        | metadata::Error::NotPermitted
        | metadata::Error::Invalid
        | metadata::Error::BadType
        | metadata::Error::TooManyLinks
        | metadata::Error::NotSync
        | metadata::Error::TooLarge
        | metadata::Error::NoSpace(_)
        | metadata::Error::ReadOnly(_)
        | metadata::Error::Damaged(_)
        | metadata::Error::Schema(_)
        | metadata::Error::Superseded
        | metadata::Error::Backend(_)) => MountError::Failed(error),
    }
}
