//! CREATE, MKDIR, SYMLINK and MKNOD.

use super::PostgresStore;
use super::flight::{Mutation, Verdict, arguments};
use super::read::directory;
use super::retry::Patience;
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
        let mut patience = Patience::new();
        loop {
            let mut view = self.look(cx, &share, parent, name).await?;
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
            if let Some(created) =
                self.try_make(cx, &share, &parent, name, new).await.map_err(refuse)?
            {
                return Ok(created);
            }
            patience.decide_again(cx).await.map_err(refuse)?;
        }
    }

    /// Nothing where the decision must be made again.
    async fn try_make(
        &self,
        cx: &Context,
        share: &Share,
        parent: &Attributes,
        name: &Name,
        new: &New<'_>,
    ) -> Result<Option<Created>, Error> {
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
        let mut reply = self.mutate(cx, share.fsid, mutation).await?;
        match reply.verdict {
            Verdict::Done => {
                let directory = Change { before: reply.next()?, after: reply.next()? };
                Ok(Some(Created { directory, object: reply.next()?, made: true }))
            }
            Verdict::Again => Ok(None),
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
