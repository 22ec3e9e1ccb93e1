//! Calls of the store's functions on a plain connection, inside a transaction where a test wants to stand
//! still.

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row};
use trunkfs::types::{Attributes, ObjectId, ShareId, Timestamp};
use uuid::Uuid;

use crate::database::connect;
use crate::support::{Fixture, until};

pub(crate) type Argument = Box<dyn ToSql + Send + Sync>;

/// A function's name and what follows slot, epoch, batch and share.
pub(crate) struct Call(&'static str, Vec<Argument>);

/// How a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// By the function of its kind.
    Single,
    /// As a batch of one, where there are batches of its kind.
    Batched,
}

/// What `run_batch` takes of a call, by the places that the function of its kind has for it.
const BATCHED: &[(&str, &str)] = &[
    (
        "make_object",
        "ARRAY[$6::uuid], ARRAY[1::smallint], ARRAY[$5::bigint], ARRAY[$6], ARRAY[$7::bytea], ARRAY[$9::uuid],
         ARRAY[($8::bigint[])[1]::integer], ARRAY[$8[2]], ARRAY[$8[3]], ARRAY[$10::smallint], ARRAY[$11::integer],
         ARRAY[$12::bigint], ARRAY[$13::bigint], ARRAY[$14::bigint], NULL, ARRAY[$15::bigint], ARRAY[$16::bigint], NULL,
         ARRAY[$17::uuid], NULL, NULL, NULL, NULL, NULL, ARRAY[$18::bytea], ARRAY[$19::bigint], ARRAY[$20::bigint],
         NULL, NULL",
    ),
    (
        "remove_name",
        "ARRAY[$6::uuid, $9::uuid], ARRAY[2::smallint], ARRAY[$5::bigint], ARRAY[$6], ARRAY[$7::bytea], ARRAY[$9],
         ARRAY[($8::bigint[])[1]::integer], ARRAY[$8[2]], ARRAY[$8[3]], NULL, NULL, ARRAY[$10::bigint],
         NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL",
    ),
    (
        "set_attributes",
        "ARRAY[$6::uuid], ARRAY[3::smallint], ARRAY[$5::bigint], ARRAY[$6], NULL, NULL,
         ARRAY[($7::bigint[])[1]::integer], ARRAY[$7[2]], ARRAY[$7[3]], NULL, ARRAY[$9::integer], ARRAY[$10::bigint],
         ARRAY[$11::bigint], ARRAY[$12::bigint], NULL, ARRAY[$13::bigint], ARRAY[$14::bigint], ARRAY[$8::bigint],
         ARRAY[$16::uuid], NULL, NULL, ARRAY[$15::boolean], NULL, NULL, NULL, NULL, NULL, NULL, NULL",
    ),
    (
        "record_write",
        "ARRAY[$5::uuid], ARRAY[4::smallint], ARRAY[0::bigint], ARRAY[$5], NULL, NULL, NULL, NULL, NULL, NULL,
         ARRAY[$13::integer], NULL, NULL, ARRAY[$9::bigint], ARRAY[$15::bigint], ARRAY[$6::bigint], ARRAY[$10::bigint],
         ARRAY[$12::bigint], ARRAY[$7::uuid], ARRAY[$8::bigint], ARRAY[$11::integer], NULL, ARRAY[$14::bigint],
         ARRAY[$16::bigint], NULL, NULL, NULL, NULL, NULL",
    ),
];

/// The place of the owner among the arguments of `set_attributes`.
const UID: usize = 5;

macro_rules! call {
    ($function:literal, $($argument:expr),* $(,)?) => { Call($function, vec![$(Box::new($argument)),*]) };
}

/// What a rename names: a directory and a name in it.
pub(crate) type Place<'a> = (&'a Attributes, &'a str);

fn guard(object: &Attributes) -> Vec<i64> {
    vec![object.mode.into(), object.uid.into(), object.gid.into()]
}

fn now() -> i64 {
    Timestamp::now().0
}

impl Call {
    pub(crate) fn create((directory, name): Place<'_>) -> Self {
        call!(
            "make_object",
            now(),
            directory.id.0,
            name.as_bytes().to_vec(),
            guard(directory),
            ObjectId::generate().0,
            1_i16,
            0o644_i32,
            0_i64,
            0_i64,
            0_i64,
            now(),
            now(),
            Some(Uuid::now_v7()),
            None::<Vec<u8>>,
            None::<i64>,
            None::<i64>,
        )
    }

    pub(crate) fn remove((directory, name): Place<'_>, child: &Attributes) -> Self {
        Self::removal("remove_name", (directory, name), child)
    }

    pub(crate) fn rmdir((directory, name): Place<'_>, child: &Attributes) -> Self {
        Self::removal("remove_directory", (directory, name), child)
    }

    fn removal(function: &'static str, (directory, name): Place<'_>, child: &Attributes) -> Self {
        let name = name.as_bytes().to_vec();
        let mut call = call!(
            "",
            now(),
            directory.id.0,
            name,
            guard(directory),
            child.id.0,
            i64::from(child.uid)
        );
        call.0 = function;
        call
    }

    pub(crate) fn link((directory, name): Place<'_>, object: &Attributes) -> Self {
        let name = name.as_bytes().to_vec();
        call!("link_object", now(), directory.id.0, name, guard(directory), object.id.0, 65_000_i64)
    }

    pub(crate) fn rename(
        (from, from_name): Place<'_>,
        (to, to_name): Place<'_>,
        object: &Attributes,
        replaced: Option<&Attributes>,
    ) -> Self {
        call!(
            "rename_entry",
            now(),
            from.id.0,
            from_name.as_bytes().to_vec(),
            guard(from),
            to.id.0,
            to_name.as_bytes().to_vec(),
            guard(to),
            object.id.0,
            guard(object),
            object.file_type.is_directory(),
            replaced.map(|it| it.id.0),
            replaced.map(guard),
        )
    }

    pub(crate) fn chmod(object: &Attributes, mode: i32) -> Self {
        Self::set(object, mode, None, None)
    }

    pub(crate) fn truncate(object: &Attributes) -> Self {
        Self::set(object, object.mode.cast_signed(), Some(0), Some(Uuid::now_v7()))
    }

    pub(crate) fn chown(object: &Attributes, uid: i64) -> Self {
        let mut call = Self::chmod(object, object.mode.cast_signed());
        call.1[UID] = Box::new(uid);
        call
    }

    fn set(object: &Attributes, mode: i32, size: Option<i64>, content: Option<Uuid>) -> Self {
        call!(
            "set_attributes",
            now(),
            object.id.0,
            guard(object),
            None::<i64>,
            mode,
            i64::from(object.uid),
            i64::from(object.gid),
            size,
            None::<i64>,
            None::<i64>,
            false,
            content,
        )
    }

    pub(crate) fn flush(file: &Attributes, end: i64) -> Self {
        let content = file.content.unwrap();
        call!(
            "record_write",
            file.id.0,
            None::<i64>,
            Some(content.id.0),
            Some(content.version.0),
            Some(end),
            Some(now()),
            Some(file.mtime_version),
            Some(now()),
            Some(0_i32),
            Some(file.mtime.0),
            Some(end),
            Some(file.ctime.0),
        )
    }

    pub(crate) fn zero(file: &Attributes) -> Self {
        let content = file.content.unwrap();
        call!("begin_zeroing", file.id.0, content.id.0, content.version.0)
    }
}

/// Registers an instance; it is not renewed, and nobody takes it for dead before a test is over.
pub(crate) async fn join(client: &Client) -> Uuid {
    let instance = Uuid::new_v4();
    let statement = "INSERT INTO instances (instance, host, version) VALUES ($1, 'test', 'test')";
    client.execute(statement, &[&instance]).await.unwrap();
    instance
}

/// A connection that owns a writer slot.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) slot: i32,
    pub(crate) epoch: i64,
    pub(crate) pid: i32,
    share: i16,
}

impl Session {
    pub(crate) async fn open(fixture: &Fixture) -> Self {
        Self::on(connect(&fixture.database.settings()).await, fixture.share.id).await
    }

    pub(crate) async fn on(client: Client, share: ShareId) -> Self {
        client.batch_execute("SET lock_timeout = '2min'; SET enable_seqscan = off").await.unwrap();
        let instance = join(&client).await;
        let row = client
            .query_one("SELECT slot, epoch, pg_backend_pid() FROM claim_slot($1)", &[&instance])
            .await
            .unwrap();
        let (slot, epoch, pid) = (row.get(0), row.get(1), row.get(2));
        Self { client, slot, epoch, pid, share: share.0 }
    }

    /// Calls a function under a batch number; its rows.
    pub(crate) async fn call(&self, batch: i64, call: &Call) -> Result<Vec<Row>, Error> {
        self.call_as(Form::Single, batch, call).await
    }

    /// The same in one form or the other.
    pub(crate) async fn call_as(
        &self,
        form: Form,
        batch: i64,
        call: &Call,
    ) -> Result<Vec<Row>, Error> {
        let mut arguments: Vec<&(dyn ToSql + Sync)> =
            vec![&self.slot, &self.epoch, &batch, &self.share];
        arguments.extend(call.1.iter().map(|it| it.as_ref() as &(dyn ToSql + Sync)));
        let places: Vec<_> = (1..=arguments.len()).map(|place| format!("${place}")).collect();
        let batched = BATCHED.iter().find(|(name, _)| form == Form::Batched && *name == call.0);
        let statement = match batched {
            Some((_, arrays)) => {
                format!(
                    "SELECT b.verdict, (b.o).* FROM run_batch($1, $2, $3, $4, 120000, {arrays}) b"
                )
            }
            None => format!("SELECT * FROM {}({})", call.0, places.join(", ")),
        };
        self.client.query(&statement, &arguments).await
    }

    /// Asks for the outcome of a call of `other`.
    pub(crate) async fn settle(&self, other: (i32, i64), batch: i64) -> Vec<Row> {
        let (slot, epoch) = other;
        let statement = "SELECT * FROM settle($1, $2, $3, $4)";
        self.client.query(statement, &[&self.share, &slot, &epoch, &batch]).await.unwrap()
    }

    /// Waits until this session waits for a lock.
    pub(crate) async fn waits(fixture: &Fixture, pid: i32) {
        let condition = format!("pid = {pid} AND wait_event_type = 'Lock'");
        until(&fixture.database, "the second call waits", &condition, 1).await;
    }
}

pub(crate) fn verdict(rows: &[Row]) -> i16 {
    rows[0].get(0)
}

/// Makes the first call in a transaction, the second while it is open, and ends the first by `COMMIT` or
/// `ROLLBACK` once the second waits for it; the second's rows.
pub(crate) async fn interleave(
    fixture: &Fixture,
    form: Form,
    first: Call,
    second: Call,
    end: &str,
) -> Vec<Row> {
    let (one, two) = (Session::open(fixture).await, Session::open(fixture).await);
    one.client.batch_execute("BEGIN").await.unwrap();
    assert_eq!(verdict(&one.call_as(form, 1, &first).await.unwrap()), 0);
    let pid = two.pid;
    let waiting = tokio::spawn(async move { two.call_as(form, 1, &second).await });
    Session::waits(fixture, pid).await;
    one.client.batch_execute(end).await.unwrap();
    let rows = waiting.await.unwrap().unwrap();
    fixture.sound().await;
    rows
}
