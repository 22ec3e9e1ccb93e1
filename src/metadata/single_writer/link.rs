//! LINK.

use super::steps::{entries_changed, pair, share};
use super::{Edge, Outcome, Tables};
use crate::metadata::{LinkTarget, Refusal, decide};
use crate::types::{Context, Name, ObjectId};

pub(in crate::metadata) fn link<T: Tables>(
    tables: &mut T,
    cx: &Context,
    object: ObjectId,
    directory: ObjectId,
    name: &Name,
) -> Outcome<LinkTarget, T> {
    let (_, capabilities) = share(tables, cx)?;
    let (mut object, parent) = pair(tables, cx, object, directory)?;
    let is_taken = tables.edge(parent.id, name)?.is_some();
    decide::link(cx, &object, &parent, is_taken, &capabilities)?;
    tables.room().map_err(|error| Refusal::of_both(error, &object, &parent))?;
    let directory = entries_changed(&parent, cx.now, 0);
    object.nlink += 1;
    object.ctime = cx.now.after(object.ctime);
    let cookie = tables.next_cookie()?;
    tables.put_edge(parent.id, name, Edge { child: object.id, cookie })?;
    tables.forget_verifier(object.id)?;
    tables.put(&object)?;
    tables.put(&directory.after)?;
    Ok(LinkTarget { object, directory })
}
