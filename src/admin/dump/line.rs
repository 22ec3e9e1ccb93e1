//! A line's form, and its way from and to the store's records.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::metadata::{Capabilities, EntryRecord, ObjectRecord, Record, Share, rules};
use crate::types::{
    Attributes, ContentId, ContentRef, ContentVersion, Cookie, DeviceNumbers, FileType, Fileid,
    Fsid, Name, ObjectId, ShareId, ShareName, SymlinkTarget, Timestamp,
};

/// What a line says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line<'a> {
    Dump(#[serde(borrow)] Head<'a>),
    Share(#[serde(borrow)] ShareLine<'a>),
    Object(#[serde(borrow)] ObjectLine<'a>),
    Entry(#[serde(borrow)] EntryLine<'a>),
    End(#[serde(borrow)] Tail<'a>),
}

/// The first line. What a later format adds is no error of this line: its number is looked at first.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Head<'a> {
    pub(super) format: u32,
    #[serde(borrow)]
    pub(super) trunkfs: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) created: Cow<'a, str>,
}

/// The last line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tail<'a> {
    pub(super) shares: u64,
    pub(super) objects: u64,
    pub(super) entries: u64,
    #[serde(borrow)]
    pub(super) sha256: Cow<'a, str>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShareLine<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    root: Uuid,
    fsid: u64,
    chunk_size: u32,
    max_read: u32,
    max_write: u32,
    multiple: u32,
    preferred_readdir: u32,
    max_file_size: u64,
    time_delta: u32,
    max_links: u32,
    max_name: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ObjectLine<'a> {
    id: Uuid,
    fileid: u64,
    #[serde(with = "Kind")]
    r#type: FileType,
    mode: u32,
    nlink: u32,
    uid: u32,
    gid: u32,
    size: u64,
    /// Older dumps have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used: Option<u64>,
    atime: i64,
    mtime: i64,
    ctime: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_version: Option<i64>,
    #[serde(default, skip_serializing_if = "is_zero")]
    mtime_version: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<Uuid>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    target: Option<Bytes<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<(u32, u32)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verifier: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EntryLine<'a> {
    directory: Uuid,
    #[serde(borrow)]
    name: Bytes<'a>,
    child: Uuid,
    cookie: u64,
}

/// How a line names a kind.
#[derive(Serialize, Deserialize)]
#[serde(remote = "FileType", rename_all = "snake_case")]
enum Kind {
    #[serde(rename = "file")]
    Regular,
    Directory,
    BlockDevice,
    CharacterDevice,
    Symlink,
    Socket,
    Fifo,
}

/// Bytes that are mostly text.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Bytes<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Other {
        #[serde(borrow)]
        base64: Cow<'a, str>,
    },
}

impl<'a> Bytes<'a> {
    fn from_bytes(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.into()),
            Err(_) => Self::Other { base64: STANDARD.encode(bytes).into() },
        }
    }

    fn to_bytes(&self) -> Result<Cow<'_, [u8]>, String> {
        match self {
            Self::Text(text) => Ok(text.as_bytes().into()),
            Self::Other { base64 } => STANDARD
                .decode(base64.as_bytes())
                .map(Cow::Owned)
                .map_err(|error| format!("{base64:?} is not base64: {error}")),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}

impl<'a> Line<'a> {
    /// A record's line.
    pub(super) fn of(record: &'a Record) -> Self {
        match record {
            Record::Share(share) => Self::Share(share_line(share)),
            Record::Object(object) => Self::Object(object_line(object)),
            Record::Entry(entry) => Self::Entry(EntryLine {
                directory: entry.directory.0,
                name: Bytes::from_bytes(entry.name.as_bytes()),
                child: entry.child.0,
                cookie: entry.cookie.0,
            }),
        }
    }
}

fn share_line(share: &Share) -> ShareLine<'_> {
    let Capabilities {
        max_read,
        max_write,
        multiple,
        preferred_readdir,
        max_file_size,
        time_delta,
        max_links,
        max_name,
    } = share.capabilities;
    ShareLine {
        name: share.name.as_str().into(),
        root: share.root.0,
        fsid: share.fsid.0,
        chunk_size: share.chunk_size,
        max_read,
        max_write,
        multiple,
        preferred_readdir,
        max_file_size,
        time_delta,
        max_links,
        max_name,
    }
}

fn object_line(object: &ObjectRecord) -> ObjectLine<'_> {
    let attributes = &object.attributes;
    let DeviceNumbers { major, minor } = attributes.rdev;
    ObjectLine {
        id: attributes.id.0,
        fileid: attributes.fileid.0,
        r#type: attributes.file_type,
        mode: attributes.mode,
        nlink: attributes.nlink,
        uid: attributes.uid,
        gid: attributes.gid,
        size: attributes.size,
        used: (attributes.used != usual_used(attributes.file_type, attributes.size))
            .then_some(attributes.used),
        atime: attributes.atime.0,
        mtime: attributes.mtime.0,
        ctime: attributes.ctime.0,
        content: attributes.content.map(|content| content.id.0),
        content_version: attributes.content.map(|content| content.version.0),
        mtime_version: attributes.mtime_version,
        parent: attributes.parent.map(|parent| parent.0),
        target: object.target.as_ref().map(|target| Bytes::from_bytes(target.as_bytes())),
        device: (attributes.rdev != DeviceNumbers::default()).then_some((major, minor)),
        verifier: object.verifier,
    }
}

/// What an object takes that does not say it: a file its size in whole blocks, any other its size.
fn usual_used(file_type: FileType, size: u64) -> u64 {
    match file_type {
        FileType::Regular => rules::most_used(size),
        FileType::Directory
        | FileType::BlockDevice
        | FileType::CharacterDevice
        | FileType::Symlink
        | FileType::Socket
        | FileType::Fifo => size,
    }
}

impl ShareLine<'_> {
    pub(super) fn record(&self) -> Result<Share, String> {
        Ok(Share {
            id: ShareId(0),
            name: ShareName::parse(&self.name)
                .map_err(|error| format!("the share {:?}: {error}", self.name))?,
            root: ObjectId(self.root),
            fsid: Fsid(self.fsid),
            chunk_size: self.chunk_size,
            capabilities: Capabilities {
                max_read: self.max_read,
                max_write: self.max_write,
                multiple: self.multiple,
                preferred_readdir: self.preferred_readdir,
                max_file_size: self.max_file_size,
                time_delta: self.time_delta,
                max_links: self.max_links,
                max_name: self.max_name,
            },
        })
    }
}

impl ObjectLine<'_> {
    /// The object, in the share of `fsid`.
    pub(super) fn record(&self, fsid: Fsid) -> Result<ObjectRecord, String> {
        let content = match (self.content, self.content_version) {
            (Some(id), Some(version)) => {
                Some(ContentRef { id: ContentId(id), version: ContentVersion(version) })
            }
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                return Err("content and content_version must be set together".to_owned());
            }
        };
        let target = self
            .target
            .as_ref()
            .map(|target| {
                SymlinkTarget::parse(&target.to_bytes()?).map_err(|error| error.to_string())
            })
            .transpose()?;
        let (major, minor) = self.device.unwrap_or_default();
        let file_type = self.r#type;
        let fits = content.is_some() == (file_type == FileType::Regular)
            && target.is_some() == (file_type == FileType::Symlink)
            && self.parent.is_some() == file_type.is_directory();
        if !fits {
            return Err(format!("{} lacks a field of its type", self.id));
        }
        Ok(ObjectRecord {
            attributes: Attributes {
                id: ObjectId(self.id),
                fileid: Fileid(self.fileid),
                fsid,
                file_type,
                mode: self.mode,
                nlink: self.nlink,
                uid: self.uid,
                gid: self.gid,
                size: self.size,
                used: self.used.unwrap_or_else(|| usual_used(file_type, self.size)),
                atime: Timestamp(self.atime),
                mtime: Timestamp(self.mtime),
                ctime: Timestamp(self.ctime),
                rdev: DeviceNumbers { major, minor },
                content,
                mtime_version: self.mtime_version,
                parent: self.parent.map(ObjectId),
            },
            target,
            verifier: self.verifier,
        })
    }
}

impl EntryLine<'_> {
    pub(super) fn record(&self) -> Result<EntryRecord, String> {
        let name = self.name.to_bytes()?;
        Ok(EntryRecord {
            directory: ObjectId(self.directory),
            name: Name::parse(&name).map_err(|error| error.to_string())?,
            child: ObjectId(self.child),
            cookie: Cookie(self.cookie),
        })
    }
}
