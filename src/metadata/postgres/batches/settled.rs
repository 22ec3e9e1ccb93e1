//! The answer of a change that was carried out and whose own answer was lost: made of the objects as they
//! are now.

use uuid::Uuid;

use super::{Kind, Known};
use crate::metadata::postgres::PostgresStore;
use crate::metadata::postgres::execute::{Reply, Verdict, arguments};
use crate::metadata::postgres::read::{GETATTR, View};
use crate::metadata::postgres::rows::Stored;
use crate::metadata::{Error, Share};
use crate::types::{Attributes, Context, Fileid, ObjectId};

/// A change that was carried out.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) kind: Kind,
    pub(super) place: Uuid,
    pub(super) object: Option<Uuid>,
    /// The file number of what it has made.
    pub(super) fileid: i64,
}

impl Settled {
    /// What the function would have answered, without the object before: where others have changed the
    /// objects since, they are shown as they are now. What others have removed since is shown as the change
    /// left it.
    pub(super) async fn answer(
        self,
        store: &PostgresStore,
        cx: &Context,
        share: &Share,
        known: Option<Known>,
    ) -> Result<Reply, Error> {
        let place = present(store, cx, share, self.place).await?;
        let (known_place, known_object) = match known {
            Some(known) => (Some(*known.place), Some(*known.object)),
            None => (None, None),
        };
        let objects = match self.kind {
            Kind::Make | Kind::Remove => {
                let object = match self.object {
                    Some(object) => present(store, cx, share, object).await?,
                    None => None,
                };
                let object = object.or_else(|| known_object.map(|known| self.left(known)));
                vec![None, place.or(known_place), object]
            }
            Kind::Set => vec![None, place.or(known_object)],
            Kind::Record => match place {
                Some(place) => vec![None, Some(place)],
                None => return Ok(Reply::of(Verdict::Gone, Vec::new())),
            },
        };
        let stored = |attributes| Stored { attributes, verifier: None };
        let objects = objects.into_iter().map(|object| object.map(stored)).collect();
        Ok(Reply::of(Verdict::Done, objects))
    }

    /// What the change made or removed, as it left that.
    fn left(&self, mut object: Attributes) -> Attributes {
        match self.kind {
            Kind::Make => object.fileid = Fileid(self.fileid.unsigned_abs()),
            Kind::Remove => object.nlink = 0,
            Kind::Set | Kind::Record => {}
        }
        object
    }
}

async fn present(
    store: &PostgresStore,
    cx: &Context,
    share: &Share,
    object: Uuid,
) -> Result<Option<Attributes>, Error> {
    let read = store.merged(cx, share, ObjectId(object), None).await?;
    let mut view = match read {
        Some(read) => read.value,
        None => {
            let rows = store.read(cx, GETATTR, arguments![object, share.id.0]).await?.value;
            View::from_rows(&rows, share.fsid)?
        }
    };
    Ok(view.attributes(0))
}
