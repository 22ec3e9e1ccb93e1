//! The invariants, checked by reading everything.

use std::collections::{HashMap, HashSet};

use crate::metadata::rules;
use crate::types::{Attributes, Cookie, FileType, Fsid, ObjectId};

use super::state::{MemoryTables, Tally};

/// What the entries say of the objects, counted afresh.
#[derive(Default)]
struct Counts {
    /// The directories that name an object, one for each name.
    parents: HashMap<ObjectId, Vec<ObjectId>>,
    /// A directory's subdirectories.
    subdirs: HashMap<ObjectId, u32>,
}

impl MemoryTables {
    pub(super) fn inconsistencies(&self) -> Vec<String> {
        let mut found = Vec::new();
        let counts = self.check_entries(&mut found);
        for object in self.objects.values() {
            self.check_tables(object, &mut found);
            self.check_links(object, &counts, &mut found);
        }
        self.check_reachable(&mut found);
        self.check_usage(&mut found);
        self.check_fileids(&mut found);
        found.extend(self.locks.inconsistencies());
        found.sort();
        found
    }

    fn check_entries(&self, found: &mut Vec<String>) -> Counts {
        let mut counts = Counts::default();
        for (directory, entries) in &self.entries {
            let Some(parent) = self.objects.get(directory) else {
                found.push(format!("entries of {directory}, which is not there"));
                continue;
            };
            if entries.by_name.len() != entries.by_cookie.len() {
                found.push(format!("{directory} has entries without cookie, or the reverse"));
            }
            for (name, edge) in &entries.by_name {
                if entries.by_cookie.get(&edge.cookie) != Some(name) {
                    found.push(format!("{directory}/{name} is not found by its cookie"));
                }
                if edge.cookie < Cookie::FIRST_ENTRY || edge.cookie > self.last_cookie {
                    found.push(format!("{directory}/{name} has cookie {}", edge.cookie.0));
                }
                let Some(child) = self.objects.get(&edge.child) else {
                    found.push(format!("{directory}/{name} names {}, not there", edge.child));
                    continue;
                };
                if child.fsid != parent.fsid {
                    found.push(format!("{directory}/{name} lies in another share"));
                }
                counts.parents.entry(child.id).or_default().push(*directory);
                if child.file_type.is_directory() {
                    *counts.subdirs.entry(*directory).or_default() += 1;
                }
            }
        }
        counts
    }

    /// Whether an object has what its kind has, and no more.
    fn check_tables(&self, object: &Attributes, found: &mut Vec<String>) {
        let id = object.id;
        let is_directory = object.file_type.is_directory();
        let is_regular = object.file_type == FileType::Regular;
        let mut expect = |holds: bool, what: &str| {
            if !holds {
                found.push(format!("{id}: {what}"));
            }
        };
        expect(self.entries.contains_key(&id) == is_directory, "entries belong to directories");
        expect(object.parent.is_some() == is_directory, "a parent belongs to directories");
        expect(object.content.is_some() == is_regular, "content belongs to regular files");
        let target = self.targets.get(&id).map(|target| target.as_bytes().len() as u64);
        let is_symlink = object.file_type == FileType::Symlink;
        expect(target.is_some() == is_symlink, "targets belong to symbolic links");
        expect(target.is_none_or(|length| length == object.size), "size is not the target's");
        let most = if is_regular { rules::most_used(object.size) } else { object.size };
        expect(object.used <= most, "takes more than its size");
        expect(is_regular || object.used == object.size, "takes another number than its size");
        expect(!self.verifiers.contains_key(&id) || is_regular, "verifiers belong to files");
        expect(self.usage.contains_key(&object.fsid), "belongs to no share");
        expect(object.fileid.0 != 0 && object.fileid <= self.last_fileid, "impossible fileid");
        expect(object.mode & !rules::MODE_BITS == 0, "impossible mode");
    }

    fn check_links(&self, object: &Attributes, counts: &Counts, found: &mut Vec<String>) {
        let id = object.id;
        let parents = counts.parents.get(&id).map_or(&[][..], Vec::as_slice);
        if !object.file_type.is_directory() {
            if parents.is_empty() {
                found.push(format!("{id} has no name"));
            } else if parents.len() != object.nlink as usize {
                found.push(format!("{id} counts {} of {} names", object.nlink, parents.len()));
            }
            return;
        }
        let subdirs = counts.subdirs.get(&id).copied().unwrap_or(0);
        if object.nlink != 2 + subdirs {
            found.push(format!("{id} has nlink {} and {subdirs} subdirectories", object.nlink));
        }
        let is_root = self.shares.values().any(|share| share.root == id);
        match (is_root, parents) {
            (true, []) if object.parent == Some(id) => {}
            (false, [parent]) if object.parent == Some(*parent) => {}
            (true, _) => found.push(format!("the root {id} has a name or a parent")),
            (false, [_]) => found.push(format!("{id} has a parent that does not name it")),
            (false, _) => found.push(format!("directory {id} has {} names", parents.len())),
        }
    }

    fn check_reachable(&self, found: &mut Vec<String>) {
        let mut reached = HashSet::new();
        let mut pending: Vec<_> = self.shares.values().map(|share| share.root).collect();
        while let Some(directory) = pending.pop() {
            if reached.insert(directory)
                && let Some(entries) = self.entries.get(&directory)
            {
                pending.extend(entries.by_name.values().map(|edge| edge.child));
            }
        }
        for id in self.objects.keys().filter(|id| !reached.contains(id)) {
            found.push(format!("{id} cannot be reached from a root"));
        }
    }

    fn check_usage(&self, found: &mut Vec<String>) {
        let mut counted: HashMap<Fsid, Tally> = HashMap::new();
        for object in self.objects.values() {
            counted.entry(object.fsid).or_default().add(object);
        }
        if counted != self.usage {
            found.push(format!("usage says {:?}, counted {counted:?}", self.usage));
        }
        for share in self.shares.values() {
            if self.objects.get(&share.root).is_none_or(|root| root.fsid != share.fsid) {
                found.push(format!("share {} has no root", share.name));
            }
        }
    }

    fn check_fileids(&self, found: &mut Vec<String>) {
        let distinct: HashSet<_> =
            self.objects.values().map(|object| (object.fsid, object.fileid)).collect();
        if distinct.len() != self.objects.len() {
            found.push("two objects of a share have one fileid".to_owned());
        }
        let strays = self.targets.keys().chain(self.verifiers.keys());
        for id in strays.filter(|id| !self.objects.contains_key(id)) {
            found.push(format!("a target or verifier of {id}, which is not there"));
        }
    }
}
