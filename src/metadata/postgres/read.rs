//! What changes nothing: each call is one statement, so one snapshot and one round trip.
//!
//! An edge is found by its place in the primary key's order, and the child of an edge by a subquery of its
//! own (`OFFSET 0` keeps the planner from joining it otherwise): no statistics lead to another plan. Both
//! bounds of the name are there: without the upper one, the search for an absent name reads every dead index
//! entry up to the next live name.

use tokio_postgres::Row;

use super::PostgresStore;
use super::execute::{Read, arguments};
use super::rows::{self, BEHIND_OBJECT, Stored, column, damaged, object_columns};
use crate::metadata::{Answer, DirectoryEntry, Error, Link, Lookup, Page, Refusal, Share, decide};
use crate::types::{Attributes, Context, Cookie, Fileid, Fsid, Name, ObjectId, SymlinkTarget};

pub(super) const GETATTR: &str = concat!(
    "SELECT 0::smallint, ",
    object_columns!("o"),
    " FROM objects o WHERE o.id = $1 AND o.share_id = $2"
);

const READLINK: &str = concat!(
    "SELECT 0::smallint, ",
    object_columns!("o"),
    ", o.link_target
       FROM objects o WHERE o.id = $1 AND o.share_id = $2"
);

/// The object that the directory `$directory` has under `$name`, as a row of number `$role`.
macro_rules! child {
    ($role:literal, $directory:literal, $name:literal) => {
        concat!(
            "SELECT ",
            $role,
            "::smallint, ",
            object_columns!("o"),
            " FROM (SELECT m.child_id, m.child_name FROM parent_child_map m
                     WHERE m.parent_id = ",
            $directory,
            " AND m.child_name >= ",
            $name,
            " AND m.child_name <= ",
            $name,
            "
                     ORDER BY m.child_name LIMIT 1) e,
              LATERAL (SELECT * FROM objects c WHERE c.id = e.child_id OFFSET 0) o"
        )
    };
}

/// An object of the share `$share`, as a row of number `$role`.
macro_rules! named {
    ($role:literal, $id:literal, $share:literal) => {
        concat!(
            "SELECT ",
            $role,
            "::smallint, ",
            object_columns!("o"),
            " FROM objects o WHERE o.id = ",
            $id,
            " AND o.share_id = ",
            $share
        )
    };
}

macro_rules! lookup {
    () => {
        concat!(named!("0", "$1", "$2"), " UNION ALL ", child!("1", "$1", "$3"))
    };
}

pub(super) const LOOKUP: &str = lookup!();

const LOOKUP_PARENT: &str = concat!(
    named!("0", "$1", "$2"),
    " UNION ALL SELECT 1::smallint, ",
    object_columns!("o"),
    " FROM (SELECT f.parent_id FROM files f WHERE f.id = $1 OFFSET 0) d,
      LATERAL (SELECT * FROM objects p WHERE p.id = d.parent_id OFFSET 0) o"
);

/// 0: the directory, 1: what it has under the name, 2: the object that is to get the name.
pub(super) const LOOK_LINK: &str = concat!(lookup!(), " UNION ALL ", named!("2", "$4", "$2"));

/// 0 and 1: the source directory and what it has under the old name; 2 and 3: the target directory and the
/// new.
macro_rules! look_rename {
    () => {
        concat!(
            lookup!(),
            " UNION ALL ",
            named!("2", "$4", "$2"),
            " UNION ALL ",
            child!("3", "$4", "$5")
        )
    };
}

pub(super) const LOOK_RENAME: &str = look_rename!();

/// A row of number `$role` without an object: as many columns as one has.
macro_rules! without_object {
    ($role:literal) => {
        concat!(
            "SELECT ",
            $role,
            "::smallint, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
             NULL, NULL, NULL"
        )
    };
}

/// The id of what the directory `$directory` has under `$name`.
macro_rules! child_id {
    ($directory:literal, $name:literal) => {
        concat!(
            "SELECT m.child_id FROM parent_child_map m WHERE m.parent_id = ",
            $directory,
            " AND m.child_name >= ",
            $name,
            " AND m.child_name <= ",
            $name,
            " ORDER BY m.child_name LIMIT 1"
        )
    };
}

/// A row of number 4 where what the directory `$directory` has under `$name` has entries itself.
macro_rules! has_entries {
    ($directory:literal, $name:literal) => {
        concat!(
            without_object!("4"),
            " WHERE EXISTS (SELECT FROM parent_child_map n WHERE n.parent_id = (",
            child_id!($directory, $name),
            "))"
        )
    };
}

/// [`LOOKUP`] of a directory that is to be removed, and a row of number 4 where it is not empty.
pub(super) const LOOK_RMDIR: &str = concat!(lookup!(), " UNION ALL ", has_entries!("$1", "$3"));

/// [`LOOK_RENAME`], and a row of number 4 where what has the new name is a directory that is not empty, and
/// of number 5 where what has the old name would come to lie below itself.
pub(super) const LOOK_MOVE: &str = concat!(
    look_rename!(),
    " UNION ALL ",
    has_entries!("$4", "$5"),
    " UNION ALL ",
    without_object!("5"),
    " WHERE EXISTS (
        WITH RECURSIVE way(id) AS (
            SELECT $4 UNION
            SELECT d.parent_id FROM way w, LATERAL (SELECT f.parent_id FROM files f WHERE f.id = w.id OFFSET 0) d)
        SELECT FROM way w WHERE $1 <> $4 AND w.id = (",
    child_id!("$1", "$3"),
    "))"
);

/// The directory with its parent's fileid, then the entries with their cookies and names.
macro_rules! page {
    ($columns:expr, $child:literal) => {
        concat!(
            "SELECT 0::smallint, ",
            object_columns!("o"),
            ", NULL::bigint AS cookie, NULL::bytea,
                    (SELECT p.fileid FROM files p WHERE p.id = o.parent_id)
               FROM objects o WHERE o.id = $1 AND o.share_id = $2
             UNION ALL
             SELECT 1::smallint, ",
            $columns,
            ", e.cookie, e.child_name, NULL::bigint
               FROM (SELECT m.child_id, m.child_name, m.cookie FROM parent_child_map m
                      WHERE m.parent_id = $1 AND m.cookie > $3
                      ORDER BY m.cookie LIMIT $4) e,
                    LATERAL (SELECT * FROM ",
            $child,
            " c WHERE c.id = e.child_id OFFSET 0) o
              ORDER BY cookie NULLS FIRST"
        )
    };
}

const READDIR: &str = page!(
    "o.id, o.fileid, NULL::smallint, NULL::integer, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, \
     NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::uuid, NULL::bigint, NULL::integer, \
     NULL::uuid, NULL::bigint, NULL::bigint",
    "files"
);
const READDIR_ATTRIBUTES: &str = page!(object_columns!("o"), "objects");

/// What a mutation decides on: the objects of a statement's rows, by their numbers.
#[derive(Debug, Default)]
pub(super) struct View([Option<Stored>; 4]);

/// What an operation is refused by that needs more than a few objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// A directory that must be empty is not.
    NotEmpty,
    /// A directory would become its own descendant.
    Loop,
}

impl Ground {
    pub(super) fn error(self) -> Error {
        match self {
            Self::NotEmpty => Error::NotEmpty,
            Self::Loop => Error::Invalid,
        }
    }
}

impl View {
    /// The objects of [`LOOK_RMDIR`] or [`LOOK_MOVE`], and what the operation is refused by at that moment.
    pub(super) fn with_ground(rows: &[Row], fsid: Fsid) -> Result<(Self, Option<Ground>), Error> {
        let (mut ground, mut objects) = (None, Vec::new());
        for row in rows {
            match rows::number(row)? {
                5 => ground = Some(Ground::Loop),
                4 => ground = ground.or(Some(Ground::NotEmpty)),
                _ => objects.push(row),
            }
        }
        Ok((Self::from_rows(objects, fsid)?, ground))
    }

    pub(super) fn from_rows<'a>(
        rows: impl IntoIterator<Item = &'a Row>,
        fsid: Fsid,
    ) -> Result<Self, Error> {
        let mut view = Self::default();
        for row in rows {
            let number = rows::number(row)?;
            let place = usize::try_from(number).ok().and_then(|number| view.0.get_mut(number));
            *place.ok_or_else(|| damaged(format_args!("row {number} of a look-up")))? =
                rows::object(row, fsid)?;
        }
        Ok(view)
    }

    /// Objects in the order of their numbers.
    pub(super) fn of(objects: impl Iterator<Item = Option<Stored>>) -> Self {
        let mut view = Self::default();
        view.0.iter_mut().zip(objects).for_each(|(place, object)| *place = object);
        view
    }

    /// An object alone.
    pub(super) fn seen(object: Attributes) -> Self {
        Self::of(std::iter::once(Some(Stored { attributes: object, verifier: None })))
    }

    /// Takes an object out.
    pub(super) fn take(&mut self, number: usize) -> Option<Stored> {
        self.0.get_mut(number).and_then(Option::take)
    }

    /// The same, without a verifier.
    pub(super) fn attributes(&mut self, number: usize) -> Option<Attributes> {
        self.take(number).map(|stored| stored.attributes)
    }
}

pub(super) async fn getattr(
    store: &PostgresStore,
    cx: &Context,
    object: ObjectId,
) -> Result<Read<Attributes>, Error> {
    let share = store.share(cx).await?;
    let mut view = match store.merged(cx, &share, object, None).await? {
        Some(view) => view,
        None => {
            let rows = store.read(cx, GETATTR, arguments![object.0, share.id.0]).await?;
            rows.try_map(|rows| View::from_rows(&rows, share.fsid))?
        }
    };
    store.alone.cache.settle(cx, [object].into_iter()).await?;
    let attributes = view.value.attributes(0).ok_or(Error::Stale)?;
    Ok(view.with(attributes))
}

pub(super) async fn lookup(
    store: &PostgresStore,
    cx: &Context,
    parent: ObjectId,
    name: &Name,
) -> Answer<Read<Lookup>> {
    let share = store.share(cx).await?;
    let mut view = match store.merged(cx, &share, parent, Some(name)).await? {
        Some(view) => view,
        None => {
            let arguments = arguments![parent.0, share.id.0, name.as_bytes().to_vec()];
            let rows = store.read(cx, LOOKUP, arguments).await?;
            rows.try_map(|rows| View::from_rows(&rows, share.fsid))?
        }
    };
    store.alone.cache.settle(cx, [parent].into_iter()).await?;
    let directory = decide::directory(view.value.attributes(0))?;
    let found = Lookup { directory, object: view.value.attributes(1) };
    store.alone.cache.settle(cx, found.objects()).await?;
    Ok(view.with(found))
}

pub(super) async fn lookup_parent(
    store: &PostgresStore,
    cx: &Context,
    child: ObjectId,
) -> Answer<Lookup> {
    let share = store.share(cx).await?;
    let rows = store.read(cx, LOOKUP_PARENT, arguments![child.0, share.id.0]).await?.value;
    store.alone.cache.settle(cx, [child].into_iter()).await?;
    let mut view = View::from_rows(&rows, share.fsid)?;
    let directory = decide::directory(view.attributes(0))?;
    let object = view.attributes(1);
    if object.is_none() {
        return Err(Refusal::of(damaged("a directory has no parent"), &directory));
    }
    let found = Lookup { directory, object };
    store.alone.cache.settle(cx, found.objects()).await?;
    Ok(found)
}

pub(super) async fn readlink(
    store: &PostgresStore,
    cx: &Context,
    link: ObjectId,
) -> Answer<Read<Link>> {
    let share = store.share(cx).await?;
    let read = store.read(cx, READLINK, arguments![link.0, share.id.0]).await?;
    store.alone.cache.settle(cx, [link].into_iter()).await?;
    let row = read.value.first().ok_or(Error::Stale)?;
    let attributes = rows::present(row, share.fsid)?.attributes;
    match column::<Option<&[u8]>>(row, BEHIND_OBJECT)? {
        Some(target) => {
            let target = SymlinkTarget::parse(target)
                .map_err(|error| damaged(format_args!("{link}: {error}")))?;
            Ok(read.with(Link { attributes, target }))
        }
        None => Err(Refusal::of(Error::Invalid, &attributes)),
    }
}

pub(super) async fn readdir(
    store: &PostgresStore,
    cx: &Context,
    parent: ObjectId,
    after: Cookie,
    max_entries: usize,
    with_attributes: bool,
) -> Answer<Read<Page>> {
    let share = store.share(cx).await?;
    // One more than asked for says whether the directory ends here.
    let limit = i64::try_from(max_entries).unwrap_or(i64::MAX).saturating_add(1);
    let after = i64::try_from(after.0).unwrap_or(i64::MAX);
    let statement = if with_attributes { READDIR_ATTRIBUTES } else { READDIR };
    let read = store.read(cx, statement, arguments![parent.0, share.id.0, after, limit]).await?;
    // The directory's row comes first; entries alone are another share's.
    store.alone.cache.settle(cx, [parent].into_iter()).await?;
    let Some((first, rest)) =
        read.value.split_first().filter(|(first, _)| rows::number(first).ok() == Some(0))
    else {
        return Err(Error::Stale.into());
    };
    let directory =
        decide::directory(rows::object(first, share.fsid)?.map(|stored| stored.attributes))?;
    let parent_fileid = fileid(first, BEHIND_OBJECT + 2)?;
    let eof = rest.len() <= max_entries;
    let entries: Result<Vec<_>, Error> =
        rest.iter().take(max_entries).map(|row| entry(row, &share, with_attributes)).collect();
    let page = Page { directory, parent_fileid, entries: entries?, eof };
    store.alone.cache.settle(cx, page.objects()).await?;
    Ok(read.with(page))
}

fn fileid(row: &Row, index: usize) -> Result<Fileid, Error> {
    let value: i64 = column(row, index)?;
    u64::try_from(value).map(Fileid).map_err(|_| damaged(format_args!("fileid {value}")))
}

fn entry(row: &Row, share: &Share, with_attributes: bool) -> Result<DirectoryEntry, Error> {
    let cookie: i64 = column(row, BEHIND_OBJECT)?;
    let name = Name::parse(column(row, BEHIND_OBJECT + 1)?)
        .map_err(|error| damaged(format_args!("a name: {error}")))?;
    let attributes =
        if with_attributes { Some(rows::present(row, share.fsid)?.attributes) } else { None };
    Ok(DirectoryEntry {
        cookie: u64::try_from(cookie)
            .map(Cookie)
            .map_err(|_| damaged(format_args!("cookie {cookie}")))?,
        name,
        fileid: fileid(row, 2)?,
        object: ObjectId(column(row, 1)?),
        attributes,
    })
}
