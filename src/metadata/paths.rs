//! Objects by the names that people know: found in the records of a dump, which has each name beside its
//! directory alone.

use std::collections::HashMap;

use super::Record;
use crate::types::ObjectId;

/// How often the records are gone through at most: no path that anybody reads has more names.
const ROUNDS: usize = 64;

/// The paths of some objects in the making. All records are shown once in each round.
#[derive(Debug)]
pub struct PathFinder {
    climbs: HashMap<ObjectId, Climb>,
    roots: HashMap<ObjectId, String>,
    /// Objects by the directory or object whose name is looked for.
    pending: HashMap<ObjectId, Vec<ObjectId>>,
    found: bool,
    rounds: usize,
}

/// One object on the way up to its share's root.
#[derive(Debug)]
struct Climb {
    at: ObjectId,
    /// The names so far, the last one first.
    names: Vec<String>,
}

impl PathFinder {
    /// Finds the paths of `objects`.
    pub fn new(objects: impl IntoIterator<Item = ObjectId>) -> Self {
        let climb = |id| (id, Climb { at: id, names: Vec::new() });
        Self {
            climbs: objects.into_iter().map(climb).collect(),
            roots: HashMap::new(),
            pending: HashMap::new(),
            found: true,
            rounds: 0,
        }
    }

    /// Whether the records have to be shown (again).
    pub fn begin_round(&mut self) -> bool {
        let unrooted = |climb: &Climb| !self.roots.contains_key(&climb.at);
        let left = self.climbs.iter().filter(|(_, climb)| unrooted(climb));
        let mut pending: HashMap<ObjectId, Vec<ObjectId>> = HashMap::new();
        for (object, climb) in left {
            pending.entry(climb.at).or_default().push(*object);
        }
        self.pending = pending;
        self.rounds += 1;
        let goes_on = std::mem::take(&mut self.found);
        goes_on && self.rounds <= ROUNDS && !self.pending.is_empty()
    }

    /// Shows a record.
    pub fn see(&mut self, record: &Record) {
        match record {
            Record::Share(share) => {
                self.roots.insert(share.root, share.name.as_str().to_owned());
            }
            Record::Object(_) => {}
            Record::Entry(entry) => {
                let Some(waiting) = self.pending.remove(&entry.child) else { return };
                self.found = true;
                for object in &waiting {
                    if let Some(climb) = self.climbs.get_mut(object) {
                        climb.names.push(entry.name.to_string());
                        climb.at = entry.directory;
                    }
                }
                self.pending.entry(entry.directory).or_default().extend(waiting);
            }
        }
    }

    /// The paths, the share's name in front; objects that have none are left out.
    #[must_use]
    pub fn paths(self) -> HashMap<ObjectId, String> {
        let path = |(object, climb): (ObjectId, Climb)| {
            let share = self.roots.get(&climb.at)?;
            let names = climb.names.iter().rev().map(|name| format!("/{name}"));
            Some((object, format!("{share}{}", names.collect::<String>())))
        };
        self.climbs.into_iter().filter_map(path).collect()
    }
}
