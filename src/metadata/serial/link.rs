//! LINK.

use super::steps::{entries_changed, pair, share};
use super::{Edge, Outcome, Tables};
use crate::metadata::{Error, LinkTarget, Refusal, rules};
use crate::types::{Context, Name, ObjectId};

pub(in crate::metadata) fn link<T: Tables>(
    tables: &mut T,
    cx: &Context,
    object: ObjectId,
    directory: ObjectId,
    name: &Name,
) -> Outcome<LinkTarget, T> {
    let (_, capabilities) = share(tables, cx)?;
    let (mut object, directory) = pair(tables, cx, object, directory)?;
    let refuse = |error| Refusal::of_both(error, &object, &directory);
    rules::may_search(&cx.credentials, &directory).map_err(refuse)?;
    if tables.edge(directory.id, name)?.is_some() {
        return Err(refuse(Error::Exists).into());
    }
    rules::may_link(&cx.credentials, &object, &directory, capabilities.max_links)
        .and_then(|()| tables.room())
        .map_err(refuse)?;
    let change = entries_changed(&directory, cx.now, 0);
    object.nlink += 1;
    object.ctime = cx.now.after(object.ctime);
    let cookie = tables.next_cookie()?;
    tables.put_edge(directory.id, name, Edge { child: object.id, cookie })?;
    tables.forget_verifier(object.id)?;
    tables.put(&object)?;
    tables.put(&change.after)?;
    Ok(LinkTarget { object, directory: change })
}
