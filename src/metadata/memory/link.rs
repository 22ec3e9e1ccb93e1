//! LINK.

use crate::metadata::{Answer, Error, LinkTarget, Refusal, rules};
use crate::types::{Attributes, Context, Name, ObjectId};

use super::state::{Edge, State, entries_changed};

impl State {
    pub(super) fn link(
        &mut self,
        cx: &Context,
        object: ObjectId,
        directory: ObjectId,
        name: &Name,
    ) -> Answer<LinkTarget> {
        let (mut object, directory) = self.pair(cx, object, directory)?;
        self.may_link_here(cx, &object, &directory, name)
            .map_err(|error| Refusal::of_both(error, &object, &directory))?;
        let change = entries_changed(&directory, cx.now, 0);
        object.nlink += 1;
        object.ctime = cx.now.after(object.ctime);
        let cookie = self.next_cookie();
        self.put_edge(directory.id, name, Edge { child: object.id, cookie });
        self.verifiers.remove(&object.id);
        self.put(object.clone());
        self.put(change.after.clone());
        Ok(LinkTarget { object, directory: change })
    }

    fn may_link_here(
        &self,
        cx: &Context,
        object: &Attributes,
        directory: &Attributes,
        name: &Name,
    ) -> Result<(), Error> {
        rules::may_search(&cx.credentials, directory)?;
        if self.edge(directory.id, name).is_some() {
            return Err(Error::Exists);
        }
        let max_links = self.share(cx)?.capabilities.max_links;
        rules::may_link(&cx.credentials, object, directory, max_links)
    }
}
