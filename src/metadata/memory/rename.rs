//! RENAME.

use crate::metadata::{Answer, Change, Error, Refusal, Renamed, rules};
use crate::types::{Attributes, Context, Cookie, Name, ObjectId};

use super::state::{Edge, State, entries_changed};

/// What a rename comes to.
enum Decision {
    /// Both names lead to this object: nothing is to be done.
    Nothing(Attributes),
    /// `object` takes the other name, with this cookie, in place of `replaced`.
    Move { object: Attributes, cookie: Cookie, replaced: Option<Attributes> },
}

impl State {
    pub(super) fn rename(
        &mut self,
        cx: &Context,
        (from, from_name): (ObjectId, &Name),
        (to, to_name): (ObjectId, &Name),
    ) -> Answer<Renamed> {
        let (from, to) = self.pair(cx, from, to)?;
        let decision = self
            .decide_rename(cx, (&from, from_name), (&to, to_name))
            .map_err(|error| Refusal::of_both(error, &from, &to))?;
        let (mut object, cookie, replaced) = match decision {
            Decision::Nothing(object) => {
                let (from, to) = (Change::none(from), Change::none(to));
                return Ok(Renamed { from, to, object, replaced: None });
            }
            Decision::Move { object, cookie, replaced } => (object, cookie, replaced),
        };
        let moved = i32::from(object.file_type.is_directory());
        let lost = i32::from(replaced.as_ref().is_some_and(|it| it.file_type.is_directory()));
        let (from_change, to_change) = if from.id == to.id {
            let change = entries_changed(&from, cx.now, -lost);
            (change.clone(), change)
        } else {
            let gained = entries_changed(&to, cx.now, moved - lost);
            (entries_changed(&from, cx.now, -moved), gained)
        };
        object.ctime = cx.now.after(object.ctime);
        if moved != 0 {
            object.parent = Some(to.id);
        }
        self.remove_edge(from.id, from_name);
        self.put_edge(to.id, to_name, Edge { child: object.id, cookie });
        self.verifiers.remove(&object.id);
        self.put(object.clone());
        self.put(from_change.after.clone());
        self.put(to_change.after.clone());
        let replaced = replaced.map(|replaced| self.lose_name(replaced, cx.now));
        Ok(Renamed { from: from_change, to: to_change, object, replaced })
    }

    fn decide_rename(
        &self,
        cx: &Context,
        (from, from_name): (&Attributes, &Name),
        (to, to_name): (&Attributes, &Name),
    ) -> Result<Decision, Error> {
        rules::may_search(&cx.credentials, from)?;
        rules::may_search(&cx.credentials, to)?;
        let edge = self.edge(from.id, from_name).ok_or(Error::NotFound)?;
        let object = self.objects.get(&edge.child).ok_or(Error::NotFound)?;
        let target = self.edge(to.id, to_name);
        if target.is_some_and(|target| target.child == object.id) {
            return Ok(Decision::Nothing(object.clone()));
        }
        if self.is_at_or_below(to, object.id) {
            return Err(Error::Invalid);
        }
        let replaced = target.and_then(|target| self.objects.get(&target.child));
        rules::may_rename(&cx.credentials, from, object, to, replaced)?;
        if let Some(replaced) = replaced {
            rules::may_replace(object, replaced)?;
            if !self.is_empty(replaced.id) {
                return Err(Error::NotEmpty);
            }
        }
        let cookie = target.map_or(edge.cookie, |target| target.cookie);
        Ok(Decision::Move { object: object.clone(), cookie, replaced: replaced.cloned() })
    }

    /// Whether a directory is `ancestor` or lies below it.
    fn is_at_or_below(&self, directory: &Attributes, ancestor: ObjectId) -> bool {
        let mut at = directory;
        for _ in 0..=self.entries.len() {
            if at.id == ancestor {
                return true;
            }
            match at.parent.filter(|parent| *parent != at.id).and_then(|id| self.objects.get(&id)) {
                Some(parent) => at = parent,
                None => return false,
            }
        }
        false
    }
}
