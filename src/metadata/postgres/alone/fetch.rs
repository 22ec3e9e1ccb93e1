//! What the writer lacks is read in one statement for all operations that wait for it.

use std::collections::HashSet;
use std::sync::Arc;

use tokio_postgres::Row;
use uuid::Uuid;

use super::numbers::DRAW;
use super::tables::{Missing, Moment, Overlay, Place};
use crate::metadata::Error;
use crate::metadata::known_shares::KnownShares;
use crate::metadata::postgres::error::PostgresError;
use crate::metadata::postgres::execute::query_once;
use crate::metadata::postgres::pool::Pool;
use crate::metadata::postgres::retry::Backoff;
use crate::metadata::postgres::rows::{
    self, BEHIND_OBJECT, Stored, column, damaged, object_columns,
};
use crate::metadata::single_writer::Edge;
use crate::types::{Cookie, ObjectId, ShareId};

/// 0: the objects `$1`. 1: what the directories `$2` have under the names `$3`, with the place of the
/// question from 1 and the cookie. 2: which of the directories `$4` have entries. An entry is found as in
/// `read`.
const ROWS: &str = concat!(
    "SELECT 0::smallint, ",
    object_columns!("o"),
    ", o.share_id, NULL::bigint, NULL::bigint FROM objects o WHERE o.id = ANY($1)
     UNION ALL SELECT 1::smallint, ",
    object_columns!("o"),
    ", o.share_id, r.place, e.cookie
       FROM unnest($2::uuid[], $3::bytea[]) WITH ORDINALITY AS r(directory, name, place),
            LATERAL (SELECT m.child_id, m.cookie FROM parent_child_map m
                      WHERE m.parent_id = r.directory AND m.child_name >= r.name AND m.child_name <= r.name
                      ORDER BY m.child_name LIMIT 1) e,
            LATERAL (SELECT * FROM objects c WHERE c.id = e.child_id OFFSET 0) o
     UNION ALL SELECT 2::smallint, r.directory, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
                      NULL, NULL, NULL, NULL, NULL, NULL, NULL
       FROM unnest($4::uuid[]) AS r(directory),
            LATERAL (SELECT FROM parent_child_map m WHERE m.parent_id = r.directory LIMIT 1) e"
);

/// All directories above those of `$1`, which are among them.
const ANCESTORS: &str = "
    WITH RECURSIVE above(id, parent_id) AS (
        SELECT f.id, f.parent_id FROM files f WHERE f.id = ANY($1)
        UNION
        SELECT f.id, f.parent_id FROM above a, LATERAL (SELECT * FROM files c WHERE c.id = a.parent_id OFFSET 0) f)
    SELECT a.id FROM above a";

/// After so many fetches an operation is taken for one that walks up from a directory: all that lies above is
/// fetched.
pub(super) const WALKING: u32 = 3;

/// What was asked, and the rows that answer it.
#[derive(Debug)]
pub(super) struct Fetched {
    moment: Moment,
    objects: Vec<ObjectId>,
    places: Vec<Place>,
    directories: Vec<ObjectId>,
    rows: Vec<Row>,
    numbers: Option<Row>,
}

/// Reads what is missing, and repeats that while the database is away, as long as a call does.
pub(super) async fn fetch(
    pool: Arc<Pool>,
    missing: Missing,
    moment: Moment,
    walking: bool,
) -> Result<Fetched, Error> {
    let mut backoff = Backoff::new();
    let mut objects: Vec<ObjectId> = missing.objects.into_iter().collect();
    let places: Vec<Place> = missing.entries.into_iter().collect();
    let directories: Vec<ObjectId> = missing.occupancy.into_iter().collect();
    loop {
        let asked = async {
            if walking && !objects.is_empty() {
                let ids: Vec<Uuid> = objects.iter().map(|id| id.0).collect();
                for row in query_once(&pool, ANCESTORS, &[&ids]).await? {
                    objects.push(ObjectId(row.try_get(0)?));
                }
                objects.sort_unstable();
                objects.dedup();
            }
            let numbers = match missing.numbers {
                true => query_once(&pool, DRAW, &[]).await?.into_iter().next(),
                false => None,
            };
            let rows = if objects.is_empty() && places.is_empty() && directories.is_empty() {
                Vec::new()
            } else {
                let objects: Vec<Uuid> = objects.iter().map(|id| id.0).collect();
                let parents: Vec<Uuid> = places.iter().map(|(directory, _)| directory.0).collect();
                let names: Vec<&[u8]> = places.iter().map(|(_, name)| name.as_bytes()).collect();
                let directories: Vec<Uuid> = directories.iter().map(|id| id.0).collect();
                query_once(&pool, ROWS, &[&objects, &parents, &names, &directories]).await?
            };
            Ok::<_, PostgresError>((rows, numbers))
        };
        match asked.await {
            Ok((rows, numbers)) => {
                return Ok(Fetched { moment, objects, places, directories, rows, numbers });
            }
            Err(failure) => tokio::time::sleep(backoff.after(failure)?).await,
        }
    }
}

impl Fetched {
    /// Tells the tables.
    pub(super) fn learn(self, overlay: &mut Overlay, shares: &KnownShares) -> Result<(), Error> {
        if let Some(row) = &self.numbers {
            overlay.numbers.add(row)?;
        }
        if overlay.is_long_ago(self.moment) {
            return Ok(());
        }
        let mut found: Vec<Option<Edge>> = vec![None; self.places.len()];
        let mut occupied = HashSet::new();
        for row in &self.rows {
            let number = rows::number(row)?;
            let id = ObjectId(column::<Uuid>(row, 1)?);
            if number == 2 {
                occupied.insert(id);
                continue;
            }
            overlay.learn_object(id, stored(row, shares)?);
            if number == 1 {
                let place: i64 = column(row, BEHIND_OBJECT + 1)?;
                let cookie: i64 = column(row, BEHIND_OBJECT + 2)?;
                let index = usize::try_from(place - 1).ok().and_then(|index| found.get_mut(index));
                let edge = Edge { child: id, cookie: Cookie(cookie.cast_unsigned()) };
                *index.ok_or_else(|| damaged(format_args!("row {place} of a fetch")))? = Some(edge);
            }
        }
        // The others are not there.
        for id in self.objects {
            overlay.learn_object(id, None);
        }
        for (place, edge) in self.places.into_iter().zip(found) {
            overlay.learn_entry(place, edge);
        }
        for directory in self.directories {
            overlay.learn_occupancy(self.moment, directory, occupied.contains(&directory));
        }
        Ok(())
    }
}

/// A row's object. One of a share that this process has not met is as good as gone: no call of a share that
/// it has met is about it.
fn stored(row: &Row, shares: &KnownShares) -> Result<Option<Stored>, Error> {
    let share: i16 = column(row, BEHIND_OBJECT)?;
    match shares.fsid(ShareId(share)) {
        Some(fsid) => rows::object(row, fsid),
        None => Ok(None),
    }
}
