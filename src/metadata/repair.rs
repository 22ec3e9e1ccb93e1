//! Repairs: each [`Repair`] looks again whether there is something to repair, and changes rows only then. The
//! rows are the store's, in a transaction that it commits where something was repaired. Nothing here makes or
//! removes an object, so that the counters stay right.

use super::{DirectoryState, EntryState, Fault, Flaw, Numbers, ObjectState, Repair, Repaired};
use crate::types::{ObjectId, ShareId, Timestamp};

/// A change of rows, with its values in their order. `now` is the least new ctime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Statement {
    /// Directory, name, child.
    DropEntry,
    /// Of the entries that a directory has for a child, all but the oldest: directory, child.
    DropYounger,
    /// A new entry with a new cookie, unless the name is taken: directory, name, child.
    AddEntry,
    /// Object, now.
    Touch,
    /// A directory whose entries change: directory, now, subdirectories more.
    TouchEntries,
    /// Directory, now, parent.
    PutParent,
    /// The number of subdirectories, by the entries: directory.
    CountSubdirs,
    /// Object.
    DropCount,
    /// Object, number of names.
    PutCount,
    /// The number of names of an object that is a directory, or not there: object.
    DropStray,
    /// Object, now.
    Amend(Flaw),
    /// At most what the file's size allows: file, bytes.
    SetUsed,
    /// Object, now, its number.
    Renumber,
    /// Directory, name, its cookie.
    NewCookie,
    /// Directory, name, child, new name.
    RenameEntry,
    /// The highest number that is there.
    Raise(Numbers),
}

/// A statement's value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Id(ObjectId),
    Name(&'a [u8]),
    Number(i64),
}
use Value::{Id, Name, Number};

/// The rows of a store, in a transaction.
pub(super) trait Rows {
    /// The reason why they cannot be read or changed.
    type Failure;

    /// Keeps other changes away from objects until the transaction ends.
    async fn lock(&self, objects: &[ObjectId]) -> Result<(), Self::Failure>;
    /// Keeps directories of this one's share from getting another parent. Comes before [`Rows::lock`].
    async fn lock_moves(&self, directory: ObjectId) -> Result<(), Self::Failure>;
    /// An object.
    async fn object(&self, id: ObjectId) -> Result<Option<ObjectState>, Self::Failure>;
    /// A directory.
    async fn directory(&self, id: ObjectId) -> Result<Option<DirectoryState>, Self::Failure>;
    /// An entry.
    async fn entry(
        &self,
        directory: ObjectId,
        name: &[u8],
    ) -> Result<Option<EntryState>, Self::Failure>;
    /// The roots of all shares.
    async fn roots(&self) -> Result<Vec<ObjectId>, Self::Failure>;
    /// Changes rows. Answers with how many.
    async fn run(&self, statement: Statement, values: &[Value<'_>]) -> Result<u64, Self::Failure>;
    /// Adds to the bytes that a share uses.
    async fn count_bytes(&self, share: ShareId, more: i64) -> Result<(), Self::Failure>;
    /// Sets the counters of a share by its objects. Answers with how many shares.
    async fn count_share(&self, share: ShareId) -> Result<u64, Self::Failure>;
}

type Outcome<R> = Result<Repaired, <R as Rows>::Failure>;

/// Makes one repair. The transaction is to be committed where the answer is [`Repaired::Done`], else rolled
/// back.
pub(super) async fn repair<R: Rows>(rows: &R, repair: &Repair) -> Outcome<R> {
    let it = Repairing { rows, now: Number(Timestamp::now().0) };
    match *repair {
        Repair::RemoveEntry { directory, ref name, child, fault } => {
            it.remove_entry(directory, name, child, fault).await
        }
        Repair::SetParent { parent, ref name, directory } => {
            it.set_parent(parent, name, directory).await
        }
        Repair::KeepOneName { directory } => it.keep_one_name(directory).await,
        Repair::SetNames { object, ctime, names } => it.set_names(object, ctime, names).await,
        Repair::Adopt { object, ctime, into } => it.adopt(object, ctime, into).await,
        Repair::SetSubdirs { directory } => it.set_subdirs(directory).await,
        Repair::ForgetNames { object } => it.run(Statement::DropStray, &[Id(object)]).await,
        Repair::SetUsage { share } => rows.count_share(share).await.map(done),
        Repair::Amend { object, flaw } => {
            it.run(Statement::Amend(flaw), &[Id(object), it.now]).await
        }
        Repair::SetUsed { object, ctime, used } => it.set_used(object, ctime, used).await,
        Repair::Renumber { object, fileid } => {
            it.run(Statement::Renumber, &[Id(object), it.now, Number(fileid)]).await
        }
        Repair::SetCookie { directory, ref name, cookie } => {
            it.set_cookie(directory, name, cookie).await
        }
        Repair::Rename { directory, ref name, child } => it.rename(directory, name, child).await,
        Repair::Raise { numbers, highest } => {
            it.run(Statement::Raise(numbers), &[Number(highest)]).await
        }
    }
}

fn done(rows: u64) -> Repaired {
    if rows > 0 { Repaired::Done } else { Repaired::Changed }
}

struct Repairing<'r, R> {
    rows: &'r R,
    now: Value<'static>,
}

impl<R: Rows> Repairing<'_, R> {
    async fn run(&self, statement: Statement, values: &[Value<'_>]) -> Outcome<R> {
        self.rows.run(statement, values).await.map(done)
    }

    async fn touch(&self, object: ObjectId) -> Outcome<R> {
        self.run(Statement::Touch, &[Id(object), self.now]).await
    }

    async fn touch_entries(&self, directory: ObjectId, subdirs: i64) -> Outcome<R> {
        let values = [Id(directory), self.now, Number(subdirs)];
        self.run(Statement::TouchEntries, &values).await
    }

    async fn put_parent(&self, directory: ObjectId, to: ObjectId) -> Outcome<R> {
        self.run(Statement::PutParent, &[Id(directory), self.now, Id(to)]).await
    }

    /// The entry where it still names the object and has the fault.
    async fn faulty(
        &self,
        directory: ObjectId,
        name: &[u8],
        child: ObjectId,
        fault: Fault,
    ) -> Result<Option<EntryState>, R::Failure> {
        let roots = self.rows.roots().await?;
        let entry = self.rows.entry(directory, name).await?;
        Ok(entry.filter(|it| it.child == child && it.fault(&roots) == Some(fault)))
    }

    /// How many entries of its parent name a directory; none where there is no such directory.
    async fn names(&self, directory: ObjectId) -> Result<u64, R::Failure> {
        Ok(self.rows.directory(directory).await?.map_or(0, |found| found.names))
    }

    async fn remove_entry(
        &self,
        directory: ObjectId,
        name: &[u8],
        child: ObjectId,
        fault: Fault,
    ) -> Outcome<R> {
        self.rows.lock(&[directory, child]).await?;
        let Some(entry) = self.faulty(directory, name, child, fault).await? else {
            return Ok(Repaired::Changed);
        };
        if fault == Fault::OtherParent && self.names(child).await? == 0 {
            return Ok(Repaired::Changed);
        }
        self.run(Statement::DropEntry, &[Id(directory), Name(name), Id(child)]).await?;
        self.touch_entries(directory, 0).await?;
        if entry.object.is_some_and(|object| object.file_type.is_directory()) {
            self.run(Statement::CountSubdirs, &[Id(directory)]).await?;
        }
        self.touch(child).await?;
        Ok(Repaired::Done)
    }

    async fn set_parent(&self, parent: ObjectId, name: &[u8], directory: ObjectId) -> Outcome<R> {
        self.rows.lock_moves(directory).await?;
        self.rows.lock(&[parent, directory]).await?;
        let entry = self.faulty(parent, name, directory, Fault::OtherParent).await?;
        if entry.is_none() || self.names(directory).await? > 0 {
            return Ok(Repaired::Changed);
        }
        self.put_parent(directory, parent).await
    }

    async fn keep_one_name(&self, directory: ObjectId) -> Outcome<R> {
        let before = self.rows.object(directory).await?;
        let Some(parent) = before.and_then(|object| object.parent) else {
            return Ok(Repaired::Changed);
        };
        self.rows.lock(&[parent, directory]).await?;
        let found = self.rows.directory(directory).await?;
        if found.is_none_or(|it| it.names < 2 || it.object.parent != Some(parent)) {
            return Ok(Repaired::Changed);
        }
        self.run(Statement::DropYounger, &[Id(parent), Id(directory)]).await?;
        self.touch_entries(parent, 0).await?;
        self.run(Statement::CountSubdirs, &[Id(parent)]).await?;
        self.touch(directory).await
    }

    async fn set_names(&self, object: ObjectId, ctime: Timestamp, names: u64) -> Outcome<R> {
        self.rows.lock(&[object]).await?;
        let found = self.rows.object(object).await?;
        if found
            .is_none_or(|it| it.file_type.is_directory() || it.ctime != ctime || it.names == names)
        {
            return Ok(Repaired::Changed);
        }
        if names == 1 {
            self.run(Statement::DropCount, &[Id(object)]).await?;
        } else {
            let names = Number(i32::try_from(names).unwrap_or(i32::MAX).into());
            self.run(Statement::PutCount, &[Id(object), names]).await?;
        }
        self.touch(object).await
    }

    async fn adopt(&self, object: ObjectId, ctime: Timestamp, into: ObjectId) -> Outcome<R> {
        let Some(before) = self.rows.object(object).await? else { return Ok(Repaired::Changed) };
        let is_directory = before.file_type.is_directory();
        if is_directory {
            self.rows.lock_moves(object).await?;
        }
        self.rows.lock(&[into, object]).await?;
        let nameless = if is_directory {
            self.rows.directory(object).await?.is_some_and(|it| it.names == 0)
        } else {
            self.rows.object(object).await?.is_some_and(|it| it.ctime == ctime)
        };
        let place = self.rows.object(into).await?;
        if !nameless
            || place.is_none_or(|it| !it.file_type.is_directory() || it.share != before.share)
        {
            return Ok(Repaired::Changed);
        }
        let name = object.to_string().into_bytes();
        let values = [Id(into), Name(&name), Id(object)];
        if self.rows.run(Statement::AddEntry, &values).await? == 0 {
            return Ok(Repaired::NameTaken);
        }
        self.touch_entries(into, is_directory.into()).await?;
        if is_directory {
            return self.put_parent(object, into).await;
        }
        self.run(Statement::DropCount, &[Id(object)]).await?;
        self.touch(object).await
    }

    async fn set_subdirs(&self, directory: ObjectId) -> Outcome<R> {
        self.rows.lock(&[directory]).await?;
        let found = self.rows.directory(directory).await?;
        if found.is_none_or(|it| it.subdirs == it.object.subdirs) {
            return Ok(Repaired::Changed);
        }
        self.run(Statement::CountSubdirs, &[Id(directory)]).await?;
        self.touch(directory).await
    }

    async fn set_used(&self, object: ObjectId, ctime: Timestamp, used: u64) -> Outcome<R> {
        self.rows.lock(&[object]).await?;
        let Some(before) = self.rows.object(object).await?.filter(|it| it.ctime == ctime) else {
            return Ok(Repaired::Changed);
        };
        let used = Number(i64::try_from(used).unwrap_or(i64::MAX));
        if self.rows.run(Statement::SetUsed, &[Id(object), used]).await? == 0 {
            return Ok(Repaired::Changed);
        }
        let after = self.rows.object(object).await?.map_or(0, |after| after.used);
        let more = after.cast_signed().saturating_sub(before.used.cast_signed());
        self.rows.count_bytes(before.share, more).await?;
        Ok(Repaired::Done)
    }

    async fn set_cookie(&self, directory: ObjectId, name: &[u8], cookie: i64) -> Outcome<R> {
        self.rows.lock(&[directory]).await?;
        let values = [Id(directory), Name(name), Number(cookie)];
        if self.rows.run(Statement::NewCookie, &values).await? == 0 {
            return Ok(Repaired::Changed);
        }
        self.touch_entries(directory, 0).await
    }

    async fn rename(&self, directory: ObjectId, name: &[u8], child: ObjectId) -> Outcome<R> {
        self.rows.lock(&[directory, child]).await?;
        let new = child.to_string().into_bytes();
        if self.rows.entry(directory, &new).await?.is_some() {
            return Ok(Repaired::NameTaken);
        }
        let values = [Id(directory), Name(name), Id(child), Name(&new)];
        if self.rows.run(Statement::RenameEntry, &values).await? == 0 {
            return Ok(Repaired::Changed);
        }
        self.touch_entries(directory, 0).await?;
        self.touch(child).await
    }
}
