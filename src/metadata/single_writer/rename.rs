//! RENAME.

use std::ops::ControlFlow;

use super::steps::{entries_changed, entry, lose_name, pair};
use super::{Edge, Outcome, Tables};
use crate::metadata::decide::{self, Move};
use crate::metadata::{Error, Renamed};
use crate::types::{Context, Name, ObjectId};

/// No directory lies deeper; a longer way up is a circle.
const MOST_STEPS: usize = 1 << 20;

pub(in crate::metadata) fn rename<T: Tables>(
    tables: &mut T,
    cx: &Context,
    from: ObjectId,
    to: ObjectId,
    from_name: &Name,
    to_name: &Name,
) -> Outcome<Renamed, T> {
    let (from, to) = pair(tables, cx, from, to)?;
    let (from_cookie, object) = entry(tables, from.id, from_name)?.unzip();
    let (taken, found) = entry(tables, to.id, to_name)?.unzip();
    let step = match decide::rename(cx, (from, to), object, found)? {
        ControlFlow::Break(answer) => return Ok(answer),
        ControlFlow::Continue(step) => step,
    };
    if step.changes_parent() {
        refuse_circle(tables, &step)?;
    }
    step.permitted(cx)?;
    let replaced_directory = step.replaced.as_ref().filter(|it| it.file_type.is_directory());
    if let Some(directory) = replaced_directory
        && !tables.is_empty(directory.id)?
    {
        return Err(step.refuse(Error::NotEmpty).into());
    }
    let lost = i32::from(replaced_directory.is_some());
    // An entry that gives way leaves its place to this one.
    let from_cookie = from_cookie.ok_or_else(|| step.refuse(Error::NotFound))?;
    let cookie = taken.unwrap_or(from_cookie);
    let Move { from, to, mut object, replaced } = step;
    let moved = i32::from(object.file_type.is_directory());
    let (from, to) = if from.id == to.id {
        let change = entries_changed(&from, cx.now, -lost);
        (change.clone(), change)
    } else {
        let gained = entries_changed(&to, cx.now, moved - lost);
        (entries_changed(&from, cx.now, -moved), gained)
    };
    object.ctime = cx.now.after(object.ctime);
    if moved != 0 {
        object.parent = Some(to.after.id);
    }
    tables.remove_edge(from.after.id, from_name, from_cookie)?;
    tables.put_edge(to.after.id, to_name, Edge { child: object.id, cookie })?;
    tables.forget_verifier(object.id)?;
    tables.put(&object)?;
    tables.put(&from.after)?;
    tables.put(&to.after)?;
    let replaced = match replaced {
        Some(replaced) => Some(lose_name(tables, replaced, cx.now)?),
        None => None,
    };
    Ok(Renamed { from, to, object, replaced })
}

/// Refuses the move of a directory to a place below itself.
fn refuse_circle<T: Tables>(tables: &mut T, step: &Move) -> Outcome<(), T> {
    let (mut at, mut parent) = (step.to.id, step.to.parent);
    for _ in 0..MOST_STEPS {
        if at == step.object.id {
            return Err(step.refuse(Error::Invalid).into());
        }
        let Some(above) = parent.filter(|above| *above != at) else { return Ok(()) };
        let Some(above) = tables.object(above)? else { return Ok(()) };
        (at, parent) = (above.id, above.parent);
    }
    let error = Error::Damaged(format!("directory {} has no way to a root", step.to.id));
    Err(step.refuse(error).into())
}
