//! A batch's changes as the arrays that `apply_rows` takes.

use std::collections::BTreeMap;

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::line::Slot;
use super::tables::{Changes, Overlay, Place};
use crate::metadata::Error;
use crate::metadata::postgres::rows::{Stored, damaged};
use crate::metadata::single_writer::{Edge, counted_bytes};
use crate::types::{Attributes, FileType, ObjectId, SymlinkTarget};

/// The arguments `$1` to `$58`.
pub(super) const APPLY: &str = "
    WITH kept AS (INSERT INTO replies (peer, key, made) SELECT * FROM unnest($56::bigint[], $57::uuid[], $58::uuid[]))
    SELECT apply_rows($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
                      $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42,
                      $43, $44, $45, $46, $47, $48, $49, $50, $51, $52, $53, $54, $55)";

/// Columns of `files` that change.
#[derive(Debug, Default)]
struct Columns {
    id: Vec<Uuid>,
    mode: Vec<i32>,
    uid: Vec<i64>,
    gid: Vec<i64>,
    size: Vec<i64>,
    used: Vec<i64>,
    atime: Vec<i64>,
    mtime: Vec<i64>,
    ctime: Vec<i64>,
    subdirs: Vec<i32>,
    content: Vec<Option<Uuid>>,
    version: Vec<i64>,
    mtime_version: Vec<i32>,
    parent: Vec<Option<Uuid>>,
    verifier: Vec<Option<i64>>,
}

impl Columns {
    fn push(&mut self, stored: &Stored) {
        let it = &stored.attributes;
        let subdirs = if it.file_type.is_directory() { it.nlink.saturating_sub(2) } else { 0 };
        self.id.push(it.id.0);
        self.mode.push(it.mode.cast_signed());
        self.uid.push(it.uid.into());
        self.gid.push(it.gid.into());
        self.size.push(it.size.cast_signed());
        self.used.push(it.used.cast_signed());
        self.atime.push(it.atime.0);
        self.mtime.push(it.mtime.0);
        self.ctime.push(it.ctime.0);
        self.subdirs.push(subdirs.cast_signed());
        self.content.push(it.content.map(|content| content.id.0));
        self.version.push(it.content.map_or(0, |content| content.version.0));
        self.mtime_version.push(it.mtime_version);
        self.parent.push(it.parent.map(|parent| parent.0));
        self.verifier.push(stored.verifier.map(u64::cast_signed));
    }
}

/// Columns of `parent_child_map`.
#[derive(Debug, Default)]
struct Entries {
    parent: Vec<Uuid>,
    name: Vec<Vec<u8>>,
    child: Vec<Uuid>,
    cookie: Vec<i64>,
}

impl Entries {
    fn push(&mut self, (parent, name): &Place, edge: Edge) {
        self.parent.push(parent.0);
        self.name.push(name.as_bytes().to_vec());
        self.child.push(edge.child.0);
        self.cookie.push(edge.cookie.0.cast_signed());
    }
}

/// What a batch comes to. Objects are in the order of their UUIDs, entries in that of their directories'.
#[derive(Debug, Default)]
pub(super) struct Batch {
    shares: Vec<i16>,
    files: Vec<i64>,
    bytes: Vec<String>,
    gone_entries: Entries,
    moved_entries: Entries,
    new_entries: Entries,
    gone: Vec<Uuid>,
    new: Columns,
    new_share: Vec<i16>,
    new_fileid: Vec<i64>,
    new_type: Vec<i16>,
    new_target: Vec<Option<Vec<u8>>>,
    new_rdev: Vec<Option<i64>>,
    changed: Columns,
    linked: Vec<Uuid>,
    link_count: Vec<i32>,
    unlinked: Vec<Uuid>,
    reply_peer: Vec<i64>,
    reply_key: Vec<Uuid>,
    reply_made: Vec<Option<Uuid>>,
}

impl Batch {
    /// What the changes of `overlay` come to.
    ///
    /// # Errors
    /// [`Error::Damaged`] where an object belongs to no share.
    pub(super) fn of(changes: &Changes, overlay: &mut Overlay) -> Result<Self, Error> {
        let mut batch = Self::default();
        let mut usage: BTreeMap<i16, (i64, i128)> = BTreeMap::new();
        let mut objects: Vec<_> = changes.objects.iter().collect();
        objects.sort_unstable_by_key(|(id, _)| **id);
        for (id, before) in objects {
            let after = overlay.stored(*id).cloned();
            let Some(known) = before.as_ref().or(after.as_ref().map(|it| &it.attributes)) else {
                continue;
            };
            let share = overlay.share_of(known).ok_or_else(|| no_share(known))?;
            let used = usage.entry(share.0).or_default();
            for (object, sign) in
                [(before.as_ref(), -1), (after.as_ref().map(|it| &it.attributes), 1)]
            {
                let Some(object) = object else { continue };
                used.0 += sign;
                used.1 += i128::from(sign) * i128::try_from(counted_bytes(object)).unwrap_or(0);
            }
            batch.count_links(before.as_ref(), after.as_ref().map(|it| &it.attributes));
            match (before, &after) {
                (None, Some(made)) => batch.insert(share.0, made, changes.targets.get(id)),
                (Some(_), Some(changed)) => batch.changed.push(changed),
                (Some(_), None) => batch.gone.push(id.0),
                (None, None) => {}
            }
        }
        for (share, (files, bytes)) in usage {
            batch.shares.push(share);
            batch.files.push(files);
            batch.bytes.push(bytes.to_string());
        }
        for (call, made) in &changes.replies {
            batch.reply_peer.push(call.peer);
            batch.reply_key.push(call.key);
            batch.reply_made.push(made.map(|made| made.0));
        }
        batch.add_entries(changes, overlay);
        Ok(batch)
    }

    fn insert(&mut self, share: i16, made: &Stored, target: Option<&SymlinkTarget>) {
        self.new.push(made);
        self.new_share.push(share);
        self.new_fileid.push(made.attributes.fileid.0.cast_signed());
        self.new_type.push(made.attributes.file_type.number());
        self.new_target.push(target.map(|target| target.as_bytes().to_vec()));
        self.new_rdev.push(made.attributes.rdev.to_stored());
    }

    fn count_links(&mut self, before: Option<&Attributes>, after: Option<&Attributes>) {
        let links = |object: Option<&Attributes>| match object {
            Some(object) if object.file_type != FileType::Directory => object.nlink,
            Some(_) | None => 0,
        };
        let (before_links, after_links) = (links(before), links(after));
        let Some(id) = before.or(after).map(|object| object.id.0) else { return };
        if after_links > 1 && after_links != before_links {
            self.linked.push(id);
            self.link_count.push(after_links.cast_signed());
        } else if before_links > 1 && after_links <= 1 {
            self.unlinked.push(id);
        }
    }

    fn add_entries(&mut self, changes: &Changes, overlay: &mut Overlay) {
        let mut entries: Vec<_> = changes.entries.iter().collect();
        entries
            .sort_unstable_by(|(a, _), (b, _)| (a.0, a.1.as_bytes()).cmp(&(b.0, b.1.as_bytes())));
        for (place, before) in entries {
            match (before, overlay.entry(place)) {
                (None, Some(edge)) => self.new_entries.push(place, edge),
                (Some(edge), None) => self.gone_entries.push(place, *edge),
                (Some(before), Some(after)) if *before != after => {
                    self.moved_entries.push(place, after);
                }
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
    }

    /// The arguments of [`APPLY`].
    pub(super) fn arguments<'a>(
        &'a self,
        slot: &'a Slot,
        number: &'a i64,
    ) -> [&'a (dyn ToSql + Sync); 58] {
        let (d, m, e) = (&self.gone_entries, &self.moved_entries, &self.new_entries);
        let (f, u) = (&self.new, &self.changed);
        [
            &slot.number,
            &slot.epoch,
            number,
            &self.shares,
            &self.files,
            &self.bytes,
            &d.parent,
            &d.name,
            &m.parent,
            &m.name,
            &m.child,
            &m.cookie,
            &e.parent,
            &e.name,
            &e.child,
            &e.cookie,
            &self.gone,
            &f.id,
            &self.new_share,
            &self.new_fileid,
            &self.new_type,
            &f.mode,
            &f.uid,
            &f.gid,
            &f.size,
            &f.used,
            &f.atime,
            &f.mtime,
            &f.ctime,
            &f.subdirs,
            &f.content,
            &f.version,
            &f.mtime_version,
            &f.parent,
            &f.verifier,
            &self.new_target,
            &self.new_rdev,
            &u.id,
            &u.mode,
            &u.uid,
            &u.gid,
            &u.size,
            &u.used,
            &u.atime,
            &u.mtime,
            &u.ctime,
            &u.subdirs,
            &u.content,
            &u.version,
            &u.mtime_version,
            &u.parent,
            &u.verifier,
            &self.linked,
            &self.link_count,
            &self.unlinked,
            &self.reply_peer,
            &self.reply_key,
            &self.reply_made,
        ]
    }
}

fn no_share(object: &Attributes) -> Error {
    damaged(format_args!("object {} belongs to no share that is known", ObjectId(object.id.0)))
}
