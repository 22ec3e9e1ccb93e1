//! What is wrong with objects and entries by themselves: values that none can have, and numbers that others
//! have too.
//!
//! It is gathered while objects and entries are read for other reasons, and told behind that: new numbers are
//! given out when it is known that they are new.

use std::collections::{HashMap, HashSet};

use super::{Check, Finding, Stopped};
use crate::metadata::{EntryState, HIGHEST_NUMBER, Numbers, ObjectState};
use crate::types::{Cookie, Name, ObjectId, ShareId};

/// Numbers that share a bitmap.
const TOGETHER: i64 = 1 << 15;
const WORDS: usize = TOGETHER as usize / 64;
/// How many bitmaps there are at most, of 4 KiB each.
const MAPS: usize = 1 << 15;
/// How many numbers are looked for by one statement.
const AT_ONCE: usize = 1 << 16;

/// File numbers that were met.
#[derive(Default)]
struct Met(HashMap<(ShareId, i64), Box<[u64; WORDS]>>);

impl Met {
    /// Whether the number was met before, or that is not known.
    fn meet(&mut self, share: ShareId, number: i64) -> bool {
        let key = (share, number.div_euclid(TOGETHER));
        if self.0.len() >= MAPS && !self.0.contains_key(&key) {
            return true;
        }
        let map = self.0.entry(key).or_insert_with(|| Box::new([0; WORDS]));
        let bit = number.rem_euclid(TOGETHER) as usize;
        let before = map[bit / 64];
        map[bit / 64] |= 1 << (bit % 64);
        map[bit / 64] == before
    }
}

/// What was gathered.
#[derive(Default)]
pub(super) struct Gathered {
    met: Met,
    /// Numbers that perhaps several objects have.
    suspects: Vec<i64>,
    /// The highest numbers that may be right.
    fileid: i64,
    cookie: i64,
    /// Of objects, each with whether it is a directory.
    objects: Vec<(Finding, ShareId, bool)>,
    entries: Vec<(Finding, Option<ShareId>)>,
}

impl Gathered {
    pub(super) fn object(&mut self, object: &ObjectState) {
        let &ObjectState { id, share, fileid, .. } = object;
        let is_directory = object.file_type.is_directory();
        for flaw in &object.flaws {
            self.objects.push((Finding::Flaw { object: id, flaw: *flaw }, share, is_directory));
        }
        if !(1..=HIGHEST_NUMBER).contains(&fileid) {
            let finding = Finding::Fileid { object: id, fileid, shared: false };
            self.objects.push((finding, share, is_directory));
            return;
        }
        self.fileid = self.fileid.max(fileid);
        if self.met.meet(share, fileid) {
            self.suspects.push(fileid);
        }
    }

    pub(super) fn entry(&mut self, entry: &EntryState) {
        let (directory, name, child) = (entry.directory, &entry.name, entry.child);
        let share = entry.holder.map(|holder| holder.0);
        let first = Cookie::FIRST_ENTRY.0.cast_signed();
        if (first..=HIGHEST_NUMBER).contains(&entry.cookie) {
            self.cookie = self.cookie.max(entry.cookie);
        } else {
            let (name, cookie) = (name.clone(), entry.cookie);
            self.entries.push((Finding::Cookie { directory, name, child, cookie }, share));
        }
        // Behind the cookie, whose correction finds it by its name.
        if Name::parse(name).is_err() {
            self.entries.push((Finding::Name { directory, name: name.clone(), child }, share));
        }
    }
}

impl Check<'_> {
    /// Tells what was gathered.
    pub(super) async fn check_numbers(&mut self) -> Result<(), Stopped> {
        let gathered = std::mem::take(&mut self.gathered);
        self.check_sequences(gathered.fileid, gathered.cookie).await?;
        let mut objects = gathered.objects;
        objects.extend(self.doubles(gathered.suspects).await?);
        let files = objects.iter().filter(|(_, _, is_directory)| !is_directory);
        let files: Vec<ObjectId> = files.filter_map(|(finding, ..)| finding.object()).collect();
        let places = self.find_names(&files).await?;
        for (finding, share, is_directory) in objects {
            let path = match finding.object() {
                Some(id) if is_directory => {
                    self.paths.directory(self.checker, &self.shares, id).await?
                }
                Some(id) => match places.get(&id) {
                    Some((directory, name)) => {
                        self.paths.entry(self.checker, &self.shares, *directory, name).await?
                    }
                    None => None,
                },
                None => None,
            };
            self.settle(finding, Some(share), path).await?;
        }
        for (finding, share) in gathered.entries {
            let (Finding::Cookie { directory, name, .. } | Finding::Name { directory, name, .. }) =
                &finding
            else {
                continue;
            };
            let path = self.paths.entry(self.checker, &self.shares, *directory, name).await?;
            self.settle(finding, share, path).await?;
        }
        Ok(())
    }

    /// Whether what is given out next was given out before.
    async fn check_sequences(&mut self, fileid: i64, cookie: i64) -> Result<(), Stopped> {
        // They are of no share.
        if self.only.is_some() {
            return Ok(());
        }
        let last = self.checker.last_numbers().await?;
        let both = [(Numbers::Fileids, fileid, last.0), (Numbers::Cookies, cookie, last.1)];
        for (numbers, highest, last) in both {
            if highest > last {
                self.settle(Finding::Sequence { numbers, highest, last }, None, None).await?;
            }
        }
        Ok(())
    }

    /// Objects that have the file number of an older one of their share.
    async fn doubles(
        &mut self,
        mut suspects: Vec<i64>,
    ) -> Result<Vec<(Finding, ShareId, bool)>, Stopped> {
        suspects.sort_unstable();
        suspects.dedup();
        let mut found = Vec::new();
        for fileids in suspects.chunks(AT_ONCE) {
            self.still_wanted()?;
            let mut objects = tokio::select! {
                objects = self.checker.numbered(fileids) => objects?,
                () = self.cancel.cancelled() => return Err(Stopped::Cancelled),
            };
            // Ids grow with time: the first of each number keeps it.
            objects.sort_unstable();
            let mut numbers = HashSet::new();
            for (share, fileid, object) in objects {
                if !numbers.insert((share, fileid)) && self.covers(Some(share)) {
                    found.push((object, share, fileid));
                }
            }
        }
        let ids: Vec<_> = found.iter().map(|it| it.0).collect();
        let mut directories = HashSet::new();
        for ids in ids.chunks(self.extent.page as usize) {
            let page = self.checker.objects_of(ids).await?;
            let page = page.into_iter().filter(|object| object.file_type.is_directory());
            directories.extend(page.map(|object| object.id));
        }
        let finding = |(object, share, fileid)| {
            let finding = Finding::Fileid { object, fileid, shared: true };
            (finding, share, directories.contains(&object))
        };
        Ok(found.into_iter().map(finding).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_met_once_in_each_share() {
        let mut met = Met::default();
        let (one, other) = (ShareId(1), ShareId(2));
        for number in [1, 2, 64, TOGETHER - 1, TOGETHER, HIGHEST_NUMBER] {
            for share in [one, other] {
                assert!(!met.meet(share, number), "{number}");
                assert!(met.meet(share, number), "{number}");
            }
        }
        // What does not fit is looked for elsewhere.
        let many = MAPS as i64;
        assert!((0..many).any(|part| met.meet(one, part * TOGETHER + 7)));
        assert_eq!(met.0.len(), MAPS);
        assert!(met.meet(one, many * TOGETHER * 2));
    }
}
