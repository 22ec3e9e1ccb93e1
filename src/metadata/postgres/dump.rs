//! The whole content as of one moment, while the server goes on: one snapshot, which is held only as long as
//! the rows take, since it keeps every dead row of a busy database.

use tokio::sync::mpsc;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, IsolationLevel, Row, Transaction};
use uuid::Uuid;

use super::PostgresStore;
use super::error::fatal;
use super::rows::{self, BEHIND_OBJECT, column, damaged, object_columns};
use super::{load_fence, shares};
use crate::metadata::{Dump, EntryRecord, Error, LoadFence, ObjectRecord, PORTION, Record, Share};
use crate::types::{Cookie, Name, ObjectId, ShareName, SymlinkTarget};

const OBJECTS: &str = concat!(
    "SELECT 0::smallint, ",
    object_columns!("o"),
    ", o.link_target FROM objects o WHERE o.share_id = $1 ORDER BY o.id"
);
const ENTRIES: &str = "
    SELECT m.parent_id, m.child_name, m.child_id, m.cookie
      FROM parent_child_map m
      JOIN files d ON d.id = m.parent_id
     WHERE d.share_id = $1
     ORDER BY m.parent_id, m.child_name";

#[async_trait::async_trait]
impl Dump for PostgresStore {
    async fn dump(
        &self,
        share: Option<&ShareName>,
        to: mpsc::Sender<Vec<Record>>,
    ) -> Result<(), Error> {
        let mut dedicated = self.connect_dedicated().await?;
        let client: &mut Client = &mut dedicated;
        let snapshot = client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await
            .map_err(fatal)?;
        let found = snapshot.query(shares::ALL, &[]).await.map_err(fatal)?;
        let only = share;
        for row in &found {
            let share = shares::share(row)?;
            if only.is_some_and(|only| *only != share.name) {
                continue;
            }
            send(&to, vec![Record::Share(share.clone())]).await?;
            pages(&snapshot, OBJECTS, &share, &to, |row| object(row, &share)).await?;
            pages(&snapshot, ENTRIES, &share, &to, entry).await?;
        }
        snapshot.commit().await.map_err(fatal)
    }

    async fn fence_loads(&self) -> Result<Box<dyn LoadFence>, Error> {
        load_fence::take(self).await
    }
}

async fn send(to: &mpsc::Sender<Vec<Record>>, records: Vec<Record>) -> Result<(), Error> {
    to.send(records).await.map_err(|_| Error::Cancelled)
}

/// Sends what a statement finds of a share, a portion at a time.
async fn pages(
    snapshot: &Transaction<'_>,
    statement: &str,
    share: &Share,
    to: &mpsc::Sender<Vec<Record>>,
    record: impl Fn(&Row) -> Result<Record, Error>,
) -> Result<(), Error> {
    let number: &(dyn ToSql + Sync) = &share.id.0;
    let portal = snapshot.bind(statement, &[number]).await.map_err(fatal)?;
    let size = i32::try_from(PORTION).unwrap_or(i32::MAX);
    loop {
        let rows = snapshot.query_portal(&portal, size).await.map_err(fatal)?;
        if rows.is_empty() {
            return Ok(());
        }
        send(to, rows.iter().map(&record).collect::<Result<_, _>>()?).await?;
    }
}

fn object(row: &Row, share: &Share) -> Result<Record, Error> {
    let stored = rows::present(row, share.fsid)?;
    let id = stored.attributes.id;
    let target = column::<Option<&[u8]>>(row, BEHIND_OBJECT)?
        .map(SymlinkTarget::parse)
        .transpose()
        .map_err(|error| damaged(format_args!("the target of {id}: {error}")))?;
    Ok(Record::Object(ObjectRecord {
        attributes: stored.attributes,
        target,
        verifier: stored.verifier,
    }))
}

fn entry(row: &Row) -> Result<Record, Error> {
    let directory = ObjectId(column::<Uuid>(row, 0)?);
    let name = Name::parse(column(row, 1)?)
        .map_err(|error| damaged(format_args!("an entry of {directory}: {error}")))?;
    let cookie: i64 = column(row, 3)?;
    Ok(Record::Entry(EntryRecord {
        directory,
        name,
        child: ObjectId(column::<Uuid>(row, 2)?),
        cookie: Cookie(
            u64::try_from(cookie)
                .map_err(|_| damaged(format_args!("an entry of {directory} has {cookie}")))?,
        ),
    }))
}
