//! RENAME.

use super::steps::{entries_changed, lose_name, pair};
use super::{Edge, Outcome, Stop, Tables};
use crate::metadata::{Change, Error, Refusal, Renamed, rules};
use crate::types::{Attributes, Context, Cookie, Name, ObjectId};

/// No directory lies deeper; a longer way up is a circle.
const MOST_STEPS: usize = 1 << 20;

/// What a rename comes to.
enum Decision {
    /// Both names lead to this object: nothing is to be done.
    Nothing(Attributes),
    /// `object` takes the other name, with this cookie, in place of `replaced`.
    Move { object: Attributes, cookie: Cookie, replaced: Option<Attributes> },
}

pub(in crate::metadata) fn rename<T: Tables>(
    tables: &mut T,
    cx: &Context,
    (from, from_name): (ObjectId, &Name),
    (to, to_name): (ObjectId, &Name),
) -> Outcome<Renamed, T> {
    let (from, to) = pair(tables, cx, from, to)?;
    let decision = decide(tables, cx, (&from, from_name), (&to, to_name));
    let decision = decision.map_err(|stop| match stop {
        Stop::Refused(refusal) => Refusal::of_both(refusal.error, &from, &to).into(),
        Stop::Failed(failure) => Stop::Failed(failure),
    })?;
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
    tables.remove_edge(from.id, from_name)?;
    tables.put_edge(to.id, to_name, Edge { child: object.id, cookie })?;
    tables.forget_verifier(object.id)?;
    tables.put(&object)?;
    tables.put(&from_change.after)?;
    tables.put(&to_change.after)?;
    let replaced = match replaced {
        Some(replaced) => Some(lose_name(tables, replaced, cx.now)?),
        None => None,
    };
    Ok(Renamed { from: from_change, to: to_change, object, replaced })
}

fn decide<T: Tables>(
    tables: &mut T,
    cx: &Context,
    (from, from_name): (&Attributes, &Name),
    (to, to_name): (&Attributes, &Name),
) -> Outcome<Decision, T> {
    rules::may_search(&cx.credentials, from)?;
    rules::may_search(&cx.credentials, to)?;
    let edge = tables.edge(from.id, from_name)?.ok_or(Error::NotFound)?;
    let object = tables.object(edge.child)?.ok_or(Error::NotFound)?;
    let target = tables.edge(to.id, to_name)?;
    if target.is_some_and(|target| target.child == object.id) {
        return Ok(Decision::Nothing(object));
    }
    if object.file_type.is_directory() && is_at_or_below(tables, to, object.id)? {
        return Err(Error::Invalid.into());
    }
    let replaced = match target {
        Some(target) => tables.object(target.child)?,
        None => None,
    };
    rules::may_rename(&cx.credentials, from, &object, to, replaced.as_ref())?;
    if let Some(replaced) = &replaced {
        rules::may_replace(&object, replaced)?;
        if replaced.file_type.is_directory() && !tables.is_empty(replaced.id)? {
            return Err(Error::NotEmpty.into());
        }
    }
    let cookie = target.map_or(edge.cookie, |target| target.cookie);
    Ok(Decision::Move { object, cookie, replaced })
}

/// Whether a directory is `ancestor` or lies below it.
fn is_at_or_below<T: Tables>(
    tables: &mut T,
    directory: &Attributes,
    ancestor: ObjectId,
) -> Outcome<bool, T> {
    let (mut at, mut parent) = (directory.id, directory.parent);
    for _ in 0..MOST_STEPS {
        if at == ancestor {
            return Ok(true);
        }
        let Some(above) = parent.filter(|above| *above != at) else { return Ok(false) };
        let Some(above) = tables.object(above)? else { return Ok(false) };
        (at, parent) = (above.id, above.parent);
    }
    Err(Error::Damaged(format!("directory {} has no way to a root", directory.id)).into())
}
