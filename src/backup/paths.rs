//! Files by the names that people know: found in a dump, which has each name beside its directory alone.

use std::collections::HashMap;
use std::path::Path;

use uuid::Uuid;

use super::Error;
use super::plan::open_dump;
use crate::metadata::Record;

/// How often the dump is gone through at most: no path that anybody reads has more names.
const ROUNDS: usize = 64;

/// One object on the way up to its share's root.
struct Climb {
    at: Uuid,
    /// The names so far, the last one first.
    names: Vec<String>,
}

/// The paths of objects, the share's name in front; those that have none are left out.
pub(super) fn of(dump: &Path, objects: &[Uuid]) -> Result<HashMap<Uuid, String>, Error> {
    let climb = |id: &Uuid| (*id, Climb { at: *id, names: Vec::new() });
    let mut climbs: HashMap<Uuid, Climb> = objects.iter().map(climb).collect();
    let mut roots: HashMap<Uuid, String> = HashMap::new();
    for _ in 0..ROUNDS {
        let mut pending: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
        for (object, climb) in climbs.iter().filter(|(_, climb)| !roots.contains_key(&climb.at)) {
            pending.entry(climb.at).or_default().push(*object);
        }
        let mut found = false;
        if pending.is_empty() {
            break;
        }
        each(dump, |record| match record {
            Record::Share(share) => {
                roots.insert(share.root.0, share.name.as_str().to_owned());
            }
            Record::Object(_) => {}
            Record::Entry(entry) => {
                let Some(waiting) = pending.remove(&entry.child.0) else { return };
                found = true;
                for object in &waiting {
                    if let Some(climb) = climbs.get_mut(object) {
                        climb.names.push(entry.name.to_string());
                        climb.at = entry.directory.0;
                    }
                }
                pending.entry(entry.directory.0).or_default().extend(waiting);
            }
        })?;
        if !found {
            break;
        }
    }
    let path = |(object, climb): (Uuid, Climb)| {
        let share = roots.get(&climb.at)?;
        let names = climb.names.iter().rev().map(|name| format!("/{name}"));
        Some((object, format!("{share}{}", names.collect::<String>())))
    };
    Ok(climbs.into_iter().filter_map(path).collect())
}

fn each(dump: &Path, mut see: impl FnMut(&Record)) -> Result<(), Error> {
    let failed = Error::unreadable(dump);
    let mut reader = open_dump(dump)?;
    while let Some(record) = reader.record().map_err(&failed)? {
        see(&record);
    }
    Ok(())
}
