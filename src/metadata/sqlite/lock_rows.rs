//! The rows of locks: read into the table when the file is opened, written with each change of it.

use std::net::IpAddr;
use std::sync::Arc;

use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::error::SqliteError;
use super::rows::{damaged, number, uuid};
use crate::metadata::locks::table::{
    ClientId, Held, LockTable, OwnerKey, Present, ShareRow, Waiter, WaiterKey,
};
use crate::metadata::{
    LockBytes, LockClient, LockKind, LockRange, ReservationCookie, Transport, WaitHow,
};
use crate::types::{ObjectId, Timestamp};

const CLIENTS: &str = "SELECT id, address, caller_name, server, seen FROM lock_clients";
const HELD: &str =
    "SELECT file_id, client_id, svid, first, last, exclusive, oh, state, since FROM locks";
const WAITERS: &str = "
    SELECT file_id, client_id, svid, first, last, exclusive, oh, state, since, handle, version, transport, local,
           instance, seen, cookie
      FROM lock_waiters";
const SHARES: &str = "SELECT file_id, client_id, oh, mode, access, since FROM lock_shares";

const PUT_CLIENT: &str = "
    INSERT INTO lock_clients (id, address, caller_name, server, seen) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (id) DO UPDATE SET seen = excluded.seen";
const DROP_CLIENT: &str = "DELETE FROM lock_clients WHERE id = ?1";
const PUT_HELD: &str = "
    INSERT INTO locks (file_id, client_id, svid, first, last, exclusive, oh, state, since)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
    ON CONFLICT (file_id, client_id, svid, first)
    DO UPDATE SET last = excluded.last, exclusive = excluded.exclusive, oh = excluded.oh, state = excluded.state,
                  since = excluded.since";
const DROP_HELD: &str =
    "DELETE FROM locks WHERE file_id = ?1 AND client_id = ?2 AND svid = ?3 AND first = ?4";
const PUT_WAITER: &str = "
    INSERT INTO lock_waiters (file_id, client_id, svid, first, last, exclusive, oh, state, since, handle, version,
                              transport, local, instance, seen, cookie)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
    ON CONFLICT (file_id, client_id, svid, first, last, exclusive)
    DO UPDATE SET oh = excluded.oh, state = excluded.state, since = excluded.since, handle = excluded.handle,
                  version = excluded.version, transport = excluded.transport, local = excluded.local,
                  instance = excluded.instance, seen = excluded.seen, cookie = excluded.cookie";
const DROP_WAITER: &str = "
    DELETE FROM lock_waiters
     WHERE file_id = ?1 AND client_id = ?2 AND svid = ?3 AND first = ?4 AND last = ?5 AND exclusive = ?6";
const PUT_SHARE: &str = "
    INSERT INTO lock_shares (file_id, client_id, oh, mode, access, since) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT (file_id, client_id, oh)
    DO UPDATE SET mode = excluded.mode, access = excluded.access, since = excluded.since";
const DROP_SHARE: &str =
    "DELETE FROM lock_shares WHERE file_id = ?1 AND client_id = ?2 AND oh = ?3";

/// Every statement that takes parameters, for the test of their plans.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 8] =
    [PUT_CLIENT, DROP_CLIENT, PUT_HELD, DROP_HELD, PUT_WAITER, DROP_WAITER, PUT_SHARE, DROP_SHARE];

/// Puts all rows into an empty table.
pub(super) fn load(connection: &Connection, table: &mut LockTable) -> Result<(), SqliteError> {
    each(connection, CLIENTS, |row| {
        let client = LockClient::new(address(row, 1)?, bytes(row, 2)?, text(row, 3)?.into());
        let seen = Timestamp(row.get(4)?);
        table.set_client(ClientId(row.get(0)?), Some((Arc::new(client), seen)));
        Ok(())
    })?;
    each(connection, HELD, |row| {
        let row = Common::of(row)?;
        let WaiterKey { owner, range, kind } = row.key;
        let held = Held { range, kind, oh: row.oh, state: row.state, since: row.since };
        table.set_held(row.file, owner, range.first(), Some(held));
        Ok(())
    })?;
    each(connection, WAITERS, |row| {
        let common = Common::of(row)?;
        let transport = match text(row, 11)?.as_str() {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            other => return Err(damaged(format_args!("a lock waits over {other:?}"))),
        };
        let how = WaitHow {
            handle: bytes(row, 9)?,
            version: number(row, 10)?,
            transport,
            local: address(row, 12)?,
        };
        let cookie: Option<[u8; 16]> = row.get(15)?;
        let waiter = Waiter {
            oh: common.oh,
            state: common.state,
            how,
            instance: uuid(row, 13)?,
            since: common.since,
            seen: Timestamp(row.get(14)?),
            cookie: cookie.map(|cookie| ReservationCookie(Uuid::from_bytes(cookie))),
        };
        table.set_waiter(common.file, common.key, Some(waiter));
        Ok(())
    })?;
    each(connection, SHARES, |row| {
        let key = (ClientId(row.get(1)?), bytes(row, 2)?);
        let (mode, access) = (number(row, 3)?, number(row, 4)?);
        let share = ShareRow { mode, access, since: Timestamp(row.get(5)?) };
        table.set_share(ObjectId(uuid(row, 0)?), key, Some(share));
        Ok(())
    })?;
    table.loaded();
    Ok(())
}

/// Writes the rows that were changed.
pub(super) fn write(connection: &Connection, table: &LockTable) -> Result<(), SqliteError> {
    for row in table.changes() {
        match row {
            Present::Client(id, Some(row)) => {
                let LockClient { caller_name, server, .. } = &*row.client;
                connection.prepare_cached(PUT_CLIENT)?.execute(params![
                    id.0,
                    row.client.address().to_string(),
                    caller_name.as_bytes(),
                    &**server,
                    row.seen.0,
                ])?
            }
            Present::Client(id, None) => {
                connection.prepare_cached(DROP_CLIENT)?.execute(params![id.0])?
            }
            Present::Held(file, OwnerKey { client, svid }, first, row) => {
                let (file, first) = (file.0.as_bytes(), first.cast_signed());
                match row {
                    Some(row) => connection.prepare_cached(PUT_HELD)?.execute(params![
                        file,
                        client.0,
                        svid,
                        first,
                        row.range.last().cast_signed(),
                        row.kind.is_exclusive(),
                        row.oh.as_bytes(),
                        row.state,
                        row.since.0,
                    ])?,
                    None => connection
                        .prepare_cached(DROP_HELD)?
                        .execute(params![file, client.0, svid, first])?,
                }
            }
            Present::Waiter(file, key, row) => write_waiter(connection, file, &key, row)?,
            Present::Share(file, client, oh, row) => {
                let (file, oh) = (file.0.as_bytes(), oh.as_bytes());
                match row {
                    Some(row) => connection.prepare_cached(PUT_SHARE)?.execute(params![
                        file,
                        client.0,
                        oh,
                        row.mode,
                        row.access,
                        row.since.0,
                    ])?,
                    None => connection
                        .prepare_cached(DROP_SHARE)?
                        .execute(params![file, client.0, oh])?,
                }
            }
        };
    }
    Ok(())
}

fn write_waiter(
    connection: &Connection,
    file: ObjectId,
    key: &WaiterKey,
    row: Option<&Waiter>,
) -> Result<usize, SqliteError> {
    let WaiterKey { owner, range, kind } = key;
    let (file, client) = (file.0.as_bytes(), owner.client.0);
    let (first, last) = (range.first().cast_signed(), range.last().cast_signed());
    let Some(row) = row else {
        return Ok(connection.prepare_cached(DROP_WAITER)?.execute(params![
            file,
            client,
            owner.svid,
            first,
            last,
            kind.is_exclusive(),
        ])?);
    };
    let transport = match row.how.transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    };
    Ok(connection.prepare_cached(PUT_WAITER)?.execute(params![
        file,
        client,
        owner.svid,
        first,
        last,
        kind.is_exclusive(),
        row.oh.as_bytes(),
        row.state,
        row.since.0,
        row.how.handle.as_bytes(),
        row.how.version,
        transport,
        row.how.local.to_string(),
        row.instance.as_bytes(),
        row.seen.0,
        row.cookie.as_ref().map(|cookie| cookie.0.as_bytes()),
    ])?)
}

/// The columns that locks and waiters have in common.
struct Common {
    file: ObjectId,
    key: WaiterKey,
    oh: LockBytes,
    state: i32,
    since: Timestamp,
}

impl Common {
    fn of(row: &Row<'_>) -> Result<Self, SqliteError> {
        let owner = OwnerKey { client: ClientId(row.get(1)?), svid: row.get(2)? };
        let range = LockRange::new(number(row, 3)?, number(row, 4)?);
        let range = range.ok_or_else(|| damaged("a lock has no range"))?;
        Ok(Self {
            file: ObjectId(uuid(row, 0)?),
            key: WaiterKey { owner, range, kind: LockKind::of(row.get(5)?) },
            oh: bytes(row, 6)?,
            state: row.get(7)?,
            since: Timestamp(row.get(8)?),
        })
    }
}

fn each(
    connection: &Connection,
    statement: &str,
    mut take: impl FnMut(&Row<'_>) -> Result<(), SqliteError>,
) -> Result<(), SqliteError> {
    let mut statement = connection.prepare(statement)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        take(row)?;
    }
    Ok(())
}

fn text(row: &Row<'_>, index: usize) -> Result<String, SqliteError> {
    Ok(row.get(index)?)
}

fn bytes(row: &Row<'_>, index: usize) -> Result<LockBytes, SqliteError> {
    let bytes: Vec<u8> = row.get(index)?;
    LockBytes::new(&bytes).ok_or_else(|| damaged("bytes of a lock's client are too long"))
}

fn address(row: &Row<'_>, index: usize) -> Result<IpAddr, SqliteError> {
    let address = text(row, index)?;
    address.parse().map_err(|_| damaged(format_args!("{address:?} is no address of a lock")))
}
