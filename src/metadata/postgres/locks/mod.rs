//! Locks: functions of the schema (`migrations/postgres/V9__locks.sql`, V15), whether this server is alone
//! with the database or not. They touch no object, so that the lease and the cache have nothing to do with
//! them.

mod answer;
mod flight;
mod records;
mod waking;

use std::net::IpAddr;
use std::time::Duration;

use self::answer::{Answer, Verdict, answer_columns, reservations, text_of};
pub(super) use self::flight::Mark;
pub(super) use self::waking::LockWakes;
use super::PostgresStore;
use super::execute::{Argument, arguments};
use crate::metadata::{
    Cancelled, Error, Freed, LockBytes, LockClient, LockHolder, LockKind, LockOutcome, LockOwner,
    LockRange, LockRequest, Locks, QuietClient, Reservation, ReservationCookie, Settled,
    ShareOutcome, ShareRequest, Tidied, Unlocked, WaitHow, WhichClients,
};
use crate::types::{Call, ObjectId};

/// A call of a lock function.
macro_rules! function {
    ($call:literal) => {
        concat!("SELECT ", answer_columns!(), " FROM ", $call)
    };
}

const LOCK: &str = function!(
    "lock_range($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)"
);
const UNLOCK: &str = function!("unlock_range($1, $2, $3, $4, $5, $6, $7, $8, $9)");
const CANCEL: &str = function!("cancel_waiter($1, $2, $3, $4, $5, $6, $7, $8, $9)");
const RESERVE: &str = function!("reserve_waiters($1, $2, $3, $4, $5)");
const SETTLE: &str = function!("settle_reservation($1, $2, $3)");
const TAKE_OVER: &str = function!("take_over_waiters($1, $2, $3, $4)");
const HAND_OVER: &str = function!("hand_over_reservation($1, $2)");
const SHARE: &str = function!("share_file($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)");
const UNSHARE: &str = function!("unshare_file($1, $2, $3, $4, $5, $6)");
const TIDY: &str = function!("tidy_locks($1, $2, $3)");

/// The first holder in the way; the owner's client is 0 where it is not known.
const TEST: &str = "
    WITH me AS (SELECT COALESCE(lock_client($2, $3, $4), 0) AS client)
    SELECT h.svid, h.first, h.last, h.exclusive, h.oh FROM (
        SELECT l.svid, l.first, l.last, l.exclusive, l.oh FROM me, locks l
         WHERE l.file_id = $1 AND l.first <= $7 AND l.last >= $6 AND (l.exclusive OR $8)
           AND (l.client_id <> me.client OR l.svid <> $5)
        UNION ALL
        SELECT w.svid, w.first, w.last, w.exclusive, w.oh FROM me, lock_waiters w
         WHERE w.file_id = $1 AND w.cookie IS NOT NULL AND w.first <= $7 AND w.last >= $6 AND (w.exclusive OR $8)
           AND (w.client_id <> me.client OR w.svid <> $5)) h
     ORDER BY h.first, h.last, h.svid LIMIT 1";

/// The addresses of ours to which calls came that wait, or have a reservation, by servers that have ended.
const ABANDONED: &str = "
    SELECT DISTINCT w.local FROM lock_waiters w WHERE lock_instance_is_gone(w.instance, $1, $2) LIMIT 64";
/// Reservations whose clients have not asked for so long.
const UNCONFIRMED: &str = "
    SELECT w.cookie FROM lock_waiters w
     WHERE w.cookie IS NOT NULL AND w.seen < clock_timestamp() - make_interval(secs => $1) LIMIT 256";

impl PostgresStore {
    /// How long a server's row stands still, in seconds, until its waiters are taken for abandoned.
    fn lock_silence(&self) -> f64 {
        self.settings.lease.ttl.as_secs_f64()
    }
}

/// A file and an owner, as the functions take them.
fn of_owner(file: ObjectId, owner: &LockOwner) -> Vec<Argument> {
    let mut all = of_client(file, &owner.client);
    all.extend(arguments![owner.svid]);
    all
}

fn of_client(file: ObjectId, client: &LockClient) -> Vec<Argument> {
    arguments![
        file.0,
        client.address().to_string(),
        client.caller_name.as_bytes().to_vec(),
        client.server.to_string(),
    ]
}

fn of_range(range: LockRange) -> Vec<Argument> {
    arguments![range.first().cast_signed(), range.last().cast_signed()]
}

/// A limit as the functions take it.
fn limit(most: u64) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

#[async_trait::async_trait]
impl Locks for PostgresStore {
    async fn test_lock(
        &self,
        call: &Call,
        request: &LockRequest,
    ) -> Result<Option<LockHolder>, Error> {
        let mut all = of_owner(request.file, &request.owner);
        all.extend(of_range(request.range));
        all.extend(arguments![request.kind.is_exclusive()]);
        let rows = flight::read(self, call, TEST, all).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(LockHolder {
            kind: LockKind::of(super::rows::column(row, 3)?),
            svid: super::rows::column(row, 0)?,
            oh: answer::bytes(row, 4)?,
            range: answer::range(row, 1)?,
        }))
    }

    async fn lock(
        &self,
        call: &Call,
        request: &LockRequest,
        wait: Option<&WaitHow>,
    ) -> Result<LockOutcome, Error> {
        let limits = self.settings.lock_limits;
        let mut all = of_owner(request.file, &request.owner);
        all.extend(of_range(request.range));
        all.extend(arguments![
            request.kind.is_exclusive(),
            request.oh.as_bytes().to_vec(),
            request.state,
            wait.map(|_| self.instance),
            wait.map(|how| how.handle.as_bytes().to_vec()),
            wait.map(|how| i64::from(how.version)),
            wait.map(|how| text_of(how.transport)),
            wait.map(|how| how.local.to_string()),
            limit(limits.ranges),
            limit(limits.locks),
            limit(limits.waiters),
            limit(limits.all),
        ]);
        let rows = self.call_locks(call, LOCK, all).await?;
        let answer = Answer::of(&rows)?;
        match answer.verdict {
            Verdict::Done => {
                self.wake_waiters(&answer, request.file)?;
                Ok(LockOutcome::Granted)
            }
            Verdict::Taken => Ok(LockOutcome::Denied),
            Verdict::Full => Ok(LockOutcome::NoLocks),
            Verdict::Waits => {
                self.lock_wakes.waits();
                Ok(LockOutcome::Blocked)
            }
            Verdict::Gone => Err(Error::Stale),
            Verdict::Deadlock => Ok(LockOutcome::Deadlock),
            Verdict::Late | Verdict::Nothing | Verdict::Held => Err(answer.unexpected()),
        }
    }

    async fn unlock(
        &self,
        call: &Call,
        file: ObjectId,
        owner: &LockOwner,
        range: LockRange,
    ) -> Result<Unlocked, Error> {
        let mut all = of_owner(file, owner);
        all.extend(of_range(range));
        all.extend(arguments![self.instance]);
        let rows = self.call_locks(call, UNLOCK, all).await?;
        self.wake_waiters(&Answer::of(&rows)?, file)?;
        Ok(Unlocked { overlapping: reservations(&rows)? })
    }

    async fn cancel_lock(
        &self,
        call: &Call,
        file: ObjectId,
        owner: &LockOwner,
        range: LockRange,
        kind: LockKind,
    ) -> Result<Cancelled, Error> {
        let mut all = of_owner(file, owner);
        all.extend(of_range(range));
        all.extend(arguments![kind.is_exclusive()]);
        let rows = self.call_locks(call, CANCEL, all).await?;
        let answer = Answer::of(&rows)?;
        match answer.verdict {
            Verdict::Done => {
                self.wake_waiters(&answer, file)?;
                Ok(Cancelled::Removed)
            }
            Verdict::Held => Ok(Cancelled::Held),
            Verdict::Nothing => Ok(Cancelled::Nothing),
            Verdict::Taken
            | Verdict::Full
            | Verdict::Waits
            | Verdict::Gone
            | Verdict::Deadlock
            | Verdict::Late => Err(answer.unexpected()),
        }
    }

    async fn woken(&self) -> Vec<ObjectId> {
        self.woken_files().await
    }

    async fn reserve(
        &self,
        call: &Call,
        file: ObjectId,
        limit: usize,
    ) -> Result<Vec<Reservation>, Error> {
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        // A repeat answers with reservations of the lost answer too.
        let [once, again] =
            [false, true].map(|again| arguments![file.0, self.instance, limit, again]);
        let rows = self.call_locks_again(call, RESERVE, once, Some(again)).await?;
        Answer::of(&rows)?;
        reservations(&rows)
    }

    async fn settle(
        &self,
        call: &Call,
        cookie: ReservationCookie,
        accepted: bool,
    ) -> Result<Settled, Error> {
        let rows = self.call_locks(call, SETTLE, arguments![cookie.0, accepted]).await?;
        let answer = Answer::of(&rows)?;
        match answer.verdict {
            Verdict::Done => {
                if let Some(file) = answer.file()? {
                    self.wake_waiters(&answer, file)?;
                }
                Ok(if accepted { Settled::Merged } else { Settled::Dropped })
            }
            Verdict::Nothing => Ok(Settled::Unknown),
            Verdict::Taken
            | Verdict::Full
            | Verdict::Waits
            | Verdict::Gone
            | Verdict::Deadlock
            | Verdict::Late
            | Verdict::Held => Err(answer.unexpected()),
        }
    }

    async fn abandoned(&self, call: &Call) -> Result<Vec<IpAddr>, Error> {
        let all = arguments![self.instance, self.lock_silence()];
        let rows = flight::read(self, call, ABANDONED, all).await?;
        rows.iter().map(|row| answer::address(row, 0)).collect()
    }

    async fn take_over(&self, call: &Call, locals: &[IpAddr]) -> Result<Vec<Reservation>, Error> {
        let locals: Vec<_> = locals.iter().map(ToString::to_string).collect();
        let mut told = Vec::new();
        loop {
            let all = arguments![self.instance, locals.clone(), self.lock_silence()];
            let rows = self.call_locks(call, TAKE_OVER, all).await?;
            let [.., files] = Answer::of(&rows)?.counts()?;
            let locks = reservations(&rows)?;
            if files > 0 {
                self.lock_wakes.waits();
            }
            let is_last = files == 0 && locks.is_empty();
            told.extend(locks);
            if is_last {
                return Ok(told);
            }
        }
    }

    async fn hand_over(&self, call: &Call, cookie: ReservationCookie) -> Result<(), Error> {
        let rows = self.call_locks(call, HAND_OVER, arguments![cookie.0]).await?;
        let answer = Answer::of(&rows)?;
        match answer.file()? {
            Some(file) => self.wake_waiters(&answer, file),
            None => Ok(()),
        }
    }

    async fn quiet_clients(
        &self,
        call: &Call,
        quiet: Duration,
        limit: usize,
    ) -> Result<Vec<QuietClient>, Error> {
        records::quiet_clients(self, call, quiet, limit).await
    }

    async fn clients_seen(&self, call: &Call, address: IpAddr) -> Result<(), Error> {
        records::clients_seen(self, call, address).await
    }

    async fn free_client(&self, call: &Call, which: &WhichClients) -> Result<Freed, Error> {
        records::free_client(self, call, which).await
    }

    async fn share_file(&self, call: &Call, request: &ShareRequest) -> Result<ShareOutcome, Error> {
        let limits = self.settings.lock_limits;
        let mut all = of_client(request.file, &request.client);
        all.extend(arguments![
            request.oh.as_bytes().to_vec(),
            i16::from(request.mode & 3),
            i16::from(request.access & 3),
            limit(limits.locks),
            limit(limits.all),
        ]);
        let rows = self.call_locks(call, SHARE, all).await?;
        let answer = Answer::of(&rows)?;
        match answer.verdict {
            Verdict::Done => Ok(ShareOutcome::Granted),
            Verdict::Taken => Ok(ShareOutcome::Denied),
            Verdict::Full => Ok(ShareOutcome::NoLocks),
            Verdict::Gone => Err(Error::Stale),
            Verdict::Waits
            | Verdict::Deadlock
            | Verdict::Late
            | Verdict::Nothing
            | Verdict::Held => Err(answer.unexpected()),
        }
    }

    async fn unshare_file(
        &self,
        call: &Call,
        file: ObjectId,
        client: &LockClient,
        oh: &LockBytes,
    ) -> Result<(), Error> {
        let mut all = of_client(file, client);
        all.extend(arguments![oh.as_bytes().to_vec()]);
        Answer::of(&self.call_locks(call, UNSHARE, all).await?).map(drop)
    }

    async fn tidy_locks(
        &self,
        call: &Call,
        unseen: Duration,
        unconfirmed: Option<Duration>,
    ) -> Result<Tidied, Error> {
        let after = self.lock_wakes.searched().map(|file| file.0);
        let rows = self.call_locks(call, TIDY, arguments![unseen.as_secs_f64(), after]).await?;
        let answer = Answer::of(&rows)?;
        self.lock_wakes.set_searched(answer.file()?);
        let [_, waiters, merged, _, clients] = answer.counts()?;
        let mut tidied = Tidied { waiters, merged, clients, unconfirmed: 0 };
        if let Some(limit) = unconfirmed {
            let late =
                flight::read(self, call, UNCONFIRMED, arguments![limit.as_secs_f64()]).await?;
            for row in &late {
                let cookie = ReservationCookie(super::rows::column(row, 0)?);
                let settled = self.settle(call, cookie, false).await?;
                tidied.unconfirmed += u64::from(settled == Settled::Dropped);
            }
        }
        Ok(tidied)
    }
}
