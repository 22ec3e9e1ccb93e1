//! Shares: made once, known to the process since.

use tokio_postgres::Row;
use uuid::Uuid;

use super::execute::arguments;
use super::rows::{column, damaged};
use super::{PostgresStore, place};
use crate::metadata::{Capabilities, Catalog, Error, Share, ShareSpec, StorePlace, rules};
use crate::types::{Context, Fsid, ObjectId, ShareId, ShareName, Timestamp};

const OPEN: &str = "SELECT open_share($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
pub(super) const ALL: &str = "
    SELECT s.id, s.name, s.root, s.fsid, s.chunk_size, c.max_read, c.max_write, c.multiple,
           c.preferred_readdir, c.max_file_size, c.time_delta, c.max_links, c.max_name
      FROM shares s
      JOIN filesystem_capabilities c ON c.share_id = s.id
     ORDER BY s.id";

const SETTING: &str = "SELECT value FROM server_config WHERE key = $1";
/// Asked again after a lost answer, it changes nothing more, and what is read afterwards is the same.
const SET: &str = "
    INSERT INTO server_config AS c (key, value)
    SELECT $1, $3
     WHERE $2::text IS NULL OR EXISTS (SELECT FROM server_config WHERE key = $1 AND value = $2)
        ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value WHERE c.value = $2";

#[async_trait::async_trait]
impl Catalog for PostgresStore {
    async fn shares(&self) -> Result<Vec<Share>, Error> {
        let rows = self.ask(ALL, Vec::new()).await?;
        let shares = rows.iter().map(share).collect::<Result<Vec<_>, _>>()?;
        self.shares.add(&shares);
        Ok(shares)
    }

    async fn setting(&self, key: &str) -> Result<Option<String>, Error> {
        let rows = self.ask(SETTING, arguments![key.to_owned()]).await?;
        rows.first().map(|row| column(row, 0)).transpose()
    }

    async fn place(&self) -> Result<Option<StorePlace>, Error> {
        place::place(self).await.map(Some)
    }
}

pub(super) async fn open_share(store: &PostgresStore, spec: &ShareSpec) -> Result<Share, Error> {
    let offered = Capabilities::default();
    let capabilities: Vec<i64> = vec![
        offered.max_read.into(),
        offered.max_write.into(),
        offered.multiple.into(),
        offered.preferred_readdir.into(),
        i64::try_from(offered.max_file_size).unwrap_or(i64::MAX),
        offered.time_delta.into(),
        offered.max_links.into(),
        offered.max_name.into(),
    ];
    // 63 random bits, so that stores which know nothing of each other give different ones; never 0.
    let fsid = rand::random_range(1..=i64::MAX);
    let rows = store
        .ask(
            OPEN,
            arguments![
                spec.name.as_str().to_owned(),
                ObjectId::generate().0,
                fsid,
                i64::from(spec.chunk_size),
                (spec.root.mode & rules::MODE_BITS).cast_signed(),
                i64::from(spec.root.uid),
                i64::from(spec.root.gid),
                rules::DIRECTORY_SIZE.cast_signed(),
                Timestamp::now().0,
                capabilities,
            ],
        )
        .await?;
    if column(rows.first().ok_or_else(|| damaged("a function gave no answer"))?, 0)? {
        store.pool.renew_idle();
    }
    store
        .shares()
        .await?
        .into_iter()
        .find(|share| share.name == spec.name)
        .ok_or_else(|| damaged(format_args!("share {} was made and is not there", spec.name)))
}

pub(super) async fn set_setting(
    store: &PostgresStore,
    key: &str,
    seen: Option<&str>,
    value: &str,
) -> Result<Option<String>, Error> {
    let seen = seen.map(str::to_owned);
    store.ask(SET, arguments![key.to_owned(), seen, value.to_owned()]).await?;
    store.setting(key).await
}

impl PostgresStore {
    /// The share that a call is about; [`Error::Stale`] where there is none.
    pub(super) async fn share(&self, cx: &Context) -> Result<Share, Error> {
        super::retry::admit(&cx.call)?;
        match self.shares.find(cx.share).filter(|_| !self.pool.is_closed()) {
            Some(share) => Ok(share),
            // On the heap: every call would carry the room for it along.
            None => Box::pin(self.share_by_id(cx.share)).await,
        }
    }

    pub(super) async fn share_by_id(&self, id: ShareId) -> Result<Share, Error> {
        if self.pool.is_closed() {
            return Err(Error::Unavailable("the metadata store is closed".into()));
        }
        if let Some(share) = self.shares.find(id) {
            return Ok(share);
        }
        self.shares().await?.into_iter().find(|share| share.id == id).ok_or(Error::Stale)
    }
}

pub(super) fn share(row: &Row) -> Result<Share, Error> {
    let name: String = column(row, 1)?;
    let unsigned = |index| {
        let value: i64 = column(row, index)?;
        u64::try_from(value).map_err(|_| damaged(format_args!("share {name} has {value}")))
    };
    let narrow = |index| {
        let value: i64 = column(row, index)?;
        u32::try_from(value).map_err(|_| damaged(format_args!("share {name} has {value}")))
    };
    Ok(Share {
        id: ShareId(column(row, 0)?),
        name: ShareName::parse(&name)
            .map_err(|error| damaged(format_args!("share {name}: {error}")))?,
        root: ObjectId(column::<Uuid>(row, 2)?),
        fsid: Fsid(unsigned(3)?),
        chunk_size: narrow(4)?,
        capabilities: Capabilities {
            max_read: narrow(5)?,
            max_write: narrow(6)?,
            multiple: narrow(7)?,
            preferred_readdir: narrow(8)?,
            max_file_size: unsigned(9)?,
            time_delta: narrow(10)?,
            max_links: narrow(11)?,
            max_name: narrow(12)?,
        },
    })
}
