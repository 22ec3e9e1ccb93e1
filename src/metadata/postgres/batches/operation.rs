//! A change that may be carried out together with those of other callers: as a call of a function of its
//! own, and as one of the calls of a batch.

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::metadata::postgres::execute::{Argument, Mutation, arguments};
use crate::metadata::postgres::replies::recorded;
use crate::types::{Attributes, ObjectId, Replay};

const MAKE: &str = "SELECT * FROM make_object($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
                    $14, $15, $16, $17, $18, $19, $20)";
const RECORDED_MAKE: &str = recorded!(
    "make_object($1, $2, $3, $4, $5, $6, $7, $8, \
     $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)",
    "$21",
    "$22",
    "$23"
);
const REMOVE: &str = "SELECT * FROM remove_name($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
const RECORDED_REMOVE: &str =
    recorded!("remove_name($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)", "$11", "$12", "$13");
const SET: &str = "SELECT * FROM set_attributes($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
                   $14, $15, $16)";
const RECORDED_SET: &str = recorded!(
    "set_attributes($1, $2, $3, $4, $5, $6, $7, $8, \
     $9, $10, $11, $12, $13, $14, $15, $16)",
    "$17",
    "$18",
    "$19"
);
const RECORD: &str = "SELECT * FROM record_write($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
     $14, $15, $16)";

/// The calls of a batch. The first arguments are the writer's slot, epoch and batch, the share, and the
/// objects that are locked. A lock is waited for a second.
pub(super) const RUN: &str = "
    SELECT b.verdict, (b.o).*, b.call
      FROM run_batch($1, $2, $3, $4, 1000, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
                     $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33) b";

/// What a change does; the numbers of `run_batch`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::metadata::postgres) enum Kind {
    #[default]
    Make = 1,
    Remove = 2,
    Set = 3,
    Record = 4,
}

/// The mode, uid and gid that a decision rests on.
pub(in crate::metadata::postgres) type Guard = (i32, i64, i64);

/// A change, by the parameters of its kind's function; the others have no meaning.
#[derive(Clone, Debug, Default)]
pub(in crate::metadata::postgres) struct Operation {
    pub(in crate::metadata::postgres) kind: Kind,
    pub(in crate::metadata::postgres) now: i64,
    /// The directory, or the object that is changed.
    pub(in crate::metadata::postgres) place: Uuid,
    pub(in crate::metadata::postgres) name: Vec<u8>,
    /// What is made or removed.
    pub(in crate::metadata::postgres) object: Option<Uuid>,
    pub(in crate::metadata::postgres) guard: Guard,
    pub(in crate::metadata::postgres) file_type: Option<i16>,
    /// The mode, or what writes clear of it.
    pub(in crate::metadata::postgres) mode: Option<i32>,
    pub(in crate::metadata::postgres) uid: Option<i64>,
    pub(in crate::metadata::postgres) gid: Option<i64>,
    /// The size, or where writes end.
    pub(in crate::metadata::postgres) size: Option<i64>,
    pub(in crate::metadata::postgres) used: Option<i64>,
    pub(in crate::metadata::postgres) atime: Option<i64>,
    pub(in crate::metadata::postgres) mtime: Option<i64>,
    /// The ctime that the object must have, or that of writes.
    pub(in crate::metadata::postgres) ctime: Option<i64>,
    pub(in crate::metadata::postgres) content: Option<Uuid>,
    pub(in crate::metadata::postgres) version: Option<i64>,
    pub(in crate::metadata::postgres) mtime_version: Option<i32>,
    pub(in crate::metadata::postgres) explicit_mtime: bool,
    pub(in crate::metadata::postgres) replaced_mtime: Option<i64>,
    pub(in crate::metadata::postgres) seen: Option<i64>,
    pub(in crate::metadata::postgres) target: Option<Vec<u8>>,
    pub(in crate::metadata::postgres) rdev: Option<i64>,
    pub(in crate::metadata::postgres) verifier: Option<i64>,
}

/// The values of `object` that a decision rests on.
pub(in crate::metadata::postgres) fn guard_of(object: &Attributes) -> Guard {
    (object.mode.cast_signed(), object.uid.into(), object.gid.into())
}

impl Operation {
    /// The call of the function of its kind.
    pub(in crate::metadata::postgres) fn alone(self) -> Mutation {
        let (mode, uid, gid) = self.guard;
        let guard = vec![i64::from(mode), uid, gid];
        let (statement, recorded, arguments): (_, _, Vec<Argument>) = match self.kind {
            Kind::Make => (
                MAKE,
                Some(RECORDED_MAKE),
                arguments![
                    self.now,
                    self.place,
                    self.name,
                    guard,
                    self.object,
                    self.file_type,
                    self.mode,
                    self.uid,
                    self.gid,
                    self.size,
                    self.atime,
                    self.mtime,
                    self.content,
                    self.target,
                    self.rdev,
                    self.verifier,
                ],
            ),
            Kind::Remove => (
                REMOVE,
                Some(RECORDED_REMOVE),
                arguments![self.now, self.place, self.name, guard, self.object, self.uid],
            ),
            Kind::Set => (
                SET,
                Some(RECORDED_SET),
                arguments![
                    self.now,
                    self.place,
                    guard,
                    self.ctime,
                    self.mode,
                    self.uid,
                    self.gid,
                    self.size,
                    self.atime,
                    self.mtime,
                    self.explicit_mtime,
                    self.content,
                ],
            ),
            Kind::Record => (
                RECORD,
                None,
                arguments![
                    self.place,
                    self.atime,
                    self.content,
                    self.version,
                    self.size,
                    self.mtime,
                    self.mtime_version,
                    self.ctime,
                    self.mode,
                    self.replaced_mtime,
                    self.used,
                    self.seen,
                ],
            ),
        };
        let made = self.object.filter(|_| self.kind == Kind::Make).map(ObjectId);
        Mutation { statement, recorded, arguments, made }
    }
}

/// Operations as the arrays that `run_batch` takes, behind the objects that are locked.
#[derive(Debug, Default)]
pub(super) struct Columns {
    locks: Vec<Uuid>,
    kind: Vec<i16>,
    now: Vec<i64>,
    place: Vec<Uuid>,
    name: Vec<Vec<u8>>,
    object: Vec<Option<Uuid>>,
    guard_mode: Vec<i32>,
    guard_uid: Vec<i64>,
    guard_gid: Vec<i64>,
    file_type: Vec<Option<i16>>,
    mode: Vec<Option<i32>>,
    uid: Vec<Option<i64>>,
    gid: Vec<Option<i64>>,
    size: Vec<Option<i64>>,
    used: Vec<Option<i64>>,
    atime: Vec<Option<i64>>,
    mtime: Vec<Option<i64>>,
    ctime: Vec<Option<i64>>,
    content: Vec<Option<Uuid>>,
    version: Vec<Option<i64>>,
    mtime_version: Vec<Option<i32>>,
    explicit_mtime: Vec<bool>,
    replaced_mtime: Vec<Option<i64>>,
    seen: Vec<Option<i64>>,
    target: Vec<Option<Vec<u8>>>,
    rdev: Vec<Option<i64>>,
    verifier: Vec<Option<i64>>,
    peer: Vec<Option<i64>>,
    key: Vec<Option<Uuid>>,
}

impl Columns {
    pub(super) fn of<'a>(
        operations: impl Iterator<Item = (&'a Operation, Option<&'a Replay>)>,
    ) -> Self {
        let mut all = Self::default();
        for (operation, replay) in operations {
            all.push(operation, replay);
        }
        all.locks.sort_unstable();
        all.locks.dedup();
        all
    }

    fn push(&mut self, it: &Operation, replay: Option<&Replay>) {
        self.locks.push(it.place);
        if it.kind == Kind::Remove {
            self.locks.extend(it.object);
        }
        self.kind.push(it.kind as i16);
        self.now.push(it.now);
        self.place.push(it.place);
        self.name.push(it.name.clone());
        self.object.push(it.object);
        self.guard_mode.push(it.guard.0);
        self.guard_uid.push(it.guard.1);
        self.guard_gid.push(it.guard.2);
        self.file_type.push(it.file_type);
        self.mode.push(it.mode);
        self.uid.push(it.uid);
        self.gid.push(it.gid);
        self.size.push(it.size);
        self.used.push(it.used);
        self.atime.push(it.atime);
        self.mtime.push(it.mtime);
        self.ctime.push(it.ctime);
        self.content.push(it.content);
        self.version.push(it.version);
        self.mtime_version.push(it.mtime_version);
        self.explicit_mtime.push(it.explicit_mtime);
        self.replaced_mtime.push(it.replaced_mtime);
        self.seen.push(it.seen);
        self.target.push(it.target.clone());
        self.rdev.push(it.rdev);
        self.verifier.push(it.verifier);
        self.peer.push(replay.map(|replay| replay.peer));
        self.key.push(replay.map(|replay| replay.key));
    }

    /// The objects that are locked.
    pub(super) fn locked(&self) -> impl Iterator<Item = Uuid> {
        self.locks.iter().copied()
    }

    pub(super) fn arguments(&self) -> Vec<&(dyn ToSql + Sync)> {
        vec![
            &self.locks,
            &self.kind,
            &self.now,
            &self.place,
            &self.name,
            &self.object,
            &self.guard_mode,
            &self.guard_uid,
            &self.guard_gid,
            &self.file_type,
            &self.mode,
            &self.uid,
            &self.gid,
            &self.size,
            &self.used,
            &self.atime,
            &self.mtime,
            &self.ctime,
            &self.content,
            &self.version,
            &self.mtime_version,
            &self.explicit_mtime,
            &self.replaced_mtime,
            &self.seen,
            &self.target,
            &self.rdev,
            &self.verifier,
            &self.peer,
            &self.key,
        ]
    }
}
