//! CREATE, MKDIR, SYMLINK and MKNOD.

use std::ops::ControlFlow;

use super::PostgresStore;
use super::attempt::Attempt;
use super::flight::{Mutation, Verdict, arguments};
use super::read::{View, directory};
use super::rows::{Stored, damaged, stored_device};
use crate::metadata::{
    Answer, Change, CreateHow, Created, Error, Refusal, SetAttributes, Share, rules,
};
use crate::types::{
    Attributes, ContentId, Context, DeviceNumbers, FileType, Name, ObjectId, SymlinkTarget,
};

const MAKE: &str = "SELECT * FROM make_object($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
                    $14, $15, $16, $17, $18, $19, $20)";

/// What is particular to a new object.
struct New<'a> {
    kind: FileType,
    rdev: DeviceNumbers,
    target: Option<&'a SymlinkTarget>,
    verifier: Option<u64>,
    set: &'a SetAttributes,
}

impl<'a> New<'a> {
    fn of(kind: FileType, set: &'a SetAttributes) -> Self {
        Self { kind, rdev: DeviceNumbers::default(), target: None, verifier: None, set }
    }
}

impl PostgresStore {
    pub(super) async fn create_file(
        &self,
        cx: &Context,
        parent: ObjectId,
        name: &Name,
        how: &CreateHow,
    ) -> Answer<Created> {
        let ordinary = SetAttributes::default();
        let (set, verifier) = match how {
            CreateHow::Unchecked(set) | CreateHow::Guarded(set) => (set, None),
            CreateHow::Exclusive(verifier) => (&ordinary, Some(*verifier)),
        };
        let new = New { verifier, ..New::of(FileType::Regular, set) };
        self.make(cx, parent, name, &new, |found| is_the_answer(cx, how, found)).await
    }

    pub(super) async fn create_directory(
        &self,
        cx: &Context,
        parent: ObjectId,
        name: &Name,
        set: &SetAttributes,
    ) -> Answer<Created> {
        self.make(cx, parent, name, &New::of(FileType::Directory, set), |_| false).await
    }

    pub(super) async fn create_symlink(
        &self,
        cx: &Context,
        parent: ObjectId,
        name: &Name,
        target: &SymlinkTarget,
        set: &SetAttributes,
    ) -> Answer<Created> {
        let new = New { target: Some(target), ..New::of(FileType::Symlink, set) };
        self.make(cx, parent, name, &new, |_| false).await
    }

    pub(super) async fn create_node(
        &self,
        cx: &Context,
        parent: ObjectId,
        name: &Name,
        kind: FileType,
        rdev: DeviceNumbers,
        set: &SetAttributes,
    ) -> Answer<Created> {
        let rdev = match kind {
            FileType::BlockDevice | FileType::CharacterDevice => rdev,
            FileType::Regular
            | FileType::Directory
            | FileType::Symlink
            | FileType::Socket
            | FileType::Fifo => DeviceNumbers::default(),
        };
        if let Err(error) = rules::may_mknod(&cx.credentials, kind) {
            let attributes = self.read_attributes(cx, parent).await?;
            directory(Some(Stored { attributes: attributes.clone(), verifier: None }))?;
            return Err(Refusal::of(error, &attributes));
        }
        self.make(cx, parent, name, &New { rdev, ..New::of(kind, set) }, |_| false).await
    }

    /// Makes an object under a free name, or answers with what has the name where `accepts` says so.
    async fn make(
        &self,
        cx: &Context,
        parent: ObjectId,
        name: &Name,
        new: &New<'_>,
        accepts: impl Fn(&Stored) -> bool + Send + Sync,
    ) -> Answer<Created> {
        let share = self.share(cx).await?;
        let mut attempt = self.attempt([parent]);
        let made = self.make_in(cx, &mut attempt, &share, (parent, name), new, accepts).await;
        self.durable(cx, attempt, made).await
    }

    async fn make_in(
        &self,
        cx: &Context,
        attempt: &mut Attempt,
        share: &Share,
        (parent, name): (ObjectId, &Name),
        new: &New<'_>,
        accepts: impl Fn(&Stored) -> bool + Send + Sync,
    ) -> Answer<Created> {
        let mut view = self.look(cx, attempt, share, (parent, name)).await?;
        loop {
            let parent = directory(view.take(0))?;
            let refuse = |error| Refusal::of(error, &parent);
            rules::may_search(&cx.credentials, &parent).map_err(refuse)?;
            if let Some(found) = view.take(1) {
                if !accepts(&found) {
                    return Err(refuse(Error::Exists));
                }
                let (directory, object) = (Change::none(parent), found.attributes);
                return Ok(Created { directory, object, made: false });
            }
            rules::may_change_entries(&cx.credentials, &parent).map_err(refuse)?;
            let made = self.try_make(cx, attempt, share, (&parent, name), new).await;
            view = match made.map_err(refuse)? {
                ControlFlow::Break(created) => return Ok(created),
                ControlFlow::Continue(present) => present,
            };
            attempt.decide_again(cx).map_err(refuse)?;
        }
    }

    /// Goes on with the present values where the decision must be made again.
    async fn try_make(
        &self,
        cx: &Context,
        attempt: &mut Attempt,
        share: &Share,
        (parent, name): (&Attributes, &Name),
        new: &New<'_>,
    ) -> Result<ControlFlow<Created, View>, Error> {
        let rules::NewObject { mode, uid, gid, atime, mtime, ctime } =
            rules::new_object(&cx.credentials, parent, new.kind, new.set, cx.now);
        let target = new.target.map(|target| target.as_bytes().to_vec());
        let size = match &target {
            Some(target) => target.len() as u64,
            None if new.kind.is_directory() => rules::DIRECTORY_SIZE,
            None => 0,
        };
        let content = (new.kind == FileType::Regular).then(|| ContentId::generate().0);
        let mutation = Mutation {
            statement: MAKE,
            arguments: arguments![
                ctime.0,
                parent.id.0,
                name.as_bytes().to_vec(),
                guard(parent),
                ObjectId::generate().0,
                new.kind.number(),
                mode.cast_signed(),
                i64::from(uid),
                i64::from(gid),
                size.cast_signed(),
                atime.0,
                mtime.0,
                content,
                target,
                stored_device(new.rdev),
                new.verifier.map(u64::cast_signed),
            ],
        };
        let mut reply = self.mutate(cx, attempt, share.fsid, mutation).await?;
        match reply.verdict {
            Verdict::Done => {
                let directory = Change { before: reply.next()?, after: reply.next()? };
                let object = reply.next()?;
                Ok(ControlFlow::Break(Created { directory, object, made: true }))
            }
            Verdict::Again => Ok(ControlFlow::Continue(reply.into_view())),
            verdict @ (Verdict::NotEmpty | Verdict::Loop | Verdict::Superseded | Verdict::Gone) => {
                Err(unexpected(verdict))
            }
        }
    }
}

/// Whether what has the name is what the call would have made.
fn is_the_answer(cx: &Context, how: &CreateHow, found: &Stored) -> bool {
    found.attributes.file_type == FileType::Regular
        && match how {
            CreateHow::Unchecked(_) => true,
            CreateHow::Guarded(_) => false,
            CreateHow::Exclusive(verifier) => {
                found.verifier == Some(*verifier) && found.attributes.uid == cx.credentials.uid
            }
        }
}

/// The values that a decision on an object rests on: mode, uid, gid.
pub(super) fn guard(object: &Attributes) -> Vec<i64> {
    vec![object.mode.into(), object.uid.into(), object.gid.into()]
}

/// A verdict that the function never gives.
pub(super) fn unexpected(verdict: Verdict) -> Error {
    damaged(format_args!("an operation ended with {verdict:?}"))
}
