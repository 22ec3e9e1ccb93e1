//! What the lock functions answer, as `lock_answer` has it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio_postgres::Row;
use uuid::Uuid;

use crate::metadata::postgres::rows::{column, damaged};
use crate::metadata::{
    Error, LockBytes, LockClient, LockKind, LockOwner, LockRange, Reservation, ReservationCookie,
    Transport, WaitHow,
};
use crate::types::{ObjectId, Timestamp};

/// Of `lock_answer`.
macro_rules! answer_columns {
    () => {
        "verdict, instances, cookie, file_id, svid, first, last, exclusive, oh, handle, version, transport, \
         local, address, caller_name, server, locks, waiters, reserved, shares, files"
    };
}
pub(super) use answer_columns;

/// What a function says of its call; the numbers of `lock_answer.verdict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Done,
    /// Another owner has it.
    Taken,
    /// There is as much as there may be.
    Full,
    Waits,
    /// The file is gone.
    Gone,
    /// It would wait for itself.
    Deadlock,
    /// The call is too old.
    Late,
    Nothing,
    Held,
}

/// One row of an answer.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    row: &'a Row,
    pub(super) verdict: Verdict,
}

impl<'a> Answer<'a> {
    /// The first row. A call that is too old is over.
    pub(super) fn of(rows: &'a [Row]) -> Result<Self, Error> {
        let first = rows.first().ok_or_else(|| damaged("a lock function gave no answer"))?;
        let answer = Self::of_row(first)?;
        if answer.verdict == Verdict::Late { Err(Error::Cancelled) } else { Ok(answer) }
    }

    fn of_row(row: &'a Row) -> Result<Self, Error> {
        let verdict = match column::<i16>(row, 0)? {
            0 => Verdict::Done,
            1 => Verdict::Taken,
            2 => Verdict::Full,
            3 => Verdict::Waits,
            4 => Verdict::Gone,
            5 => Verdict::Deadlock,
            6 => Verdict::Late,
            7 => Verdict::Nothing,
            8 => Verdict::Held,
            other => return Err(damaged(format_args!("verdict {other} of a lock function"))),
        };
        Ok(Self { row, verdict })
    }

    /// A verdict that this function does not give.
    pub(super) fn unexpected(&self) -> Error {
        damaged(format_args!("verdict {:?} of a lock function", self.verdict))
    }

    /// Whether the instance has waiters on the file, on which something was freed.
    pub(super) fn wakes(&self, instance: Uuid) -> Result<bool, Error> {
        let instances: Option<Vec<Uuid>> = column(self.row, 1)?;
        Ok(instances.is_some_and(|instances| instances.contains(&instance)))
    }

    /// Its file.
    pub(super) fn file(&self) -> Result<Option<ObjectId>, Error> {
        Ok(column::<Option<Uuid>>(self.row, 3)?.map(ObjectId))
    }

    /// What it counts: locks, waiters, reservations, share reservations, files.
    pub(super) fn counts(&self) -> Result<[u64; 5], Error> {
        let mut counts = [0; 5];
        for (index, count) in counts.iter_mut().enumerate() {
            let value: Option<i64> = column(self.row, 16 + index)?;
            *count = value.unwrap_or(0).cast_unsigned();
        }
        Ok(counts)
    }

    /// Its reservation; `None` where its client is not there any more.
    fn reservation(&self) -> Result<Option<Reservation>, Error> {
        let row = self.row;
        let Some(cookie) = column::<Option<Uuid>>(row, 2)? else { return Ok(None) };
        let transport: String = column(row, 11)?;
        let version: i64 = column(row, 10)?;
        Ok(Some(Reservation {
            cookie: ReservationCookie(cookie),
            file: ObjectId(column(row, 3)?),
            owner: LockOwner { client: client(row, 13)?, svid: column(row, 4)? },
            range: range(row, 5)?,
            kind: LockKind::of(column(row, 7)?),
            oh: bytes(row, 8)?,
            how: WaitHow {
                handle: bytes(row, 9)?,
                version: u32::try_from(version)
                    .map_err(|_| damaged(format_args!("a lock of NLM version {version}")))?,
                transport: transport_of(&transport)?,
                local: address(row, 12)?,
            },
        }))
    }
}

/// The rows behind the first, as reservations.
pub(super) fn reservations(rows: &[Row]) -> Result<Vec<Reservation>, Error> {
    let mut reservations = Vec::new();
    for row in rows.iter().skip(1) {
        // A row without values has not even a verdict.
        if column::<Option<i16>>(row, 0)?.is_some() {
            reservations.extend(Answer::of_row(row)?.reservation()?);
        }
    }
    Ok(reservations)
}

/// The rows behind the first, as answers.
pub(super) fn others(rows: &[Row]) -> impl Iterator<Item = Result<Answer<'_>, Error>> {
    rows.iter().skip(1).map(Answer::of_row)
}

/// The client in three columns.
pub(super) fn client(row: &Row, first: usize) -> Result<Arc<LockClient>, Error> {
    let server: String = column(row, first + 2)?;
    let client = LockClient::new(address(row, first)?, bytes(row, first + 1)?, server.into());
    Ok(Arc::new(client))
}

/// The range in two columns.
pub(super) fn range(row: &Row, first: usize) -> Result<LockRange, Error> {
    let ends: [i64; 2] = [column(row, first)?, column(row, first + 1)?];
    let [first, last] = ends.map(i64::cast_unsigned);
    LockRange::new(first, last).ok_or_else(|| damaged("a lock has no range"))
}

pub(super) fn bytes(row: &Row, index: usize) -> Result<LockBytes, Error> {
    let bytes: Vec<u8> = column(row, index)?;
    LockBytes::new(&bytes).ok_or_else(|| damaged("bytes of a lock's client are too long"))
}

pub(super) fn address(row: &Row, index: usize) -> Result<IpAddr, Error> {
    let address: String = column(row, index)?;
    address.parse().map_err(|_| damaged(format_args!("{address:?} is no address of a lock")))
}

/// A time of the database.
pub(super) fn time(row: &Row, index: usize) -> Result<Timestamp, Error> {
    let time: SystemTime = column(row, index)?;
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)))
}

fn transport_of(text: &str) -> Result<Transport, Error> {
    match text {
        "tcp" => Ok(Transport::Tcp),
        "udp" => Ok(Transport::Udp),
        other => Err(damaged(format_args!("a lock waits over {other:?}"))),
    }
}

/// A transport as the table has it.
pub(super) fn text_of(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    }
}
