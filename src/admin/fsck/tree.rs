//! Whether parents lead to a root.

use std::collections::{HashMap, HashSet};

use super::{Check, Finding, Stopped};
use crate::metadata::ObjectState;
use crate::types::ObjectId;

/// How many directories are remembered that a root leads to.
const REMEMBERED: usize = 1 << 20;
/// The longest circle that is followed, in directories.
const LONGEST: usize = 1 << 20;

/// Directories that a root leads to.
#[derive(Debug, Default)]
pub(super) struct Reached(HashSet<ObjectId>);

impl Check<'_> {
    /// Follows the parents of a page's directories, and notes each circle once. Renames that go on meanwhile
    /// can make one appear that is none; what is noted is confirmed later.
    pub(super) async fn follow(
        &mut self,
        page: &[ObjectState],
        reached: &mut Reached,
    ) -> Result<(), Stopped> {
        let starts = page.iter().filter_map(|it| Some((it.id, it.parent?)));
        let mut parents: HashMap<ObjectId, ObjectId> = starts.collect();
        let starts: Vec<_> = parents.keys().copied().collect();
        let mut next: Vec<_> = parents.values().copied().collect();
        loop {
            next.sort_unstable();
            next.dedup();
            next.retain(|id| {
                !parents.contains_key(id) && !reached.0.contains(id) && !self.roots.contains(id)
            });
            if next.is_empty() {
                break;
            }
            self.still_wanted()?;
            let found = self.checker.objects_of(&next).await?;
            self.turn(found.len()).await?;
            next.clear();
            for (id, parent) in found.into_iter().filter_map(|it| Some((it.id, it.parent?))) {
                parents.insert(id, parent);
                next.push(parent);
            }
        }
        if reached.0.len() > REMEMBERED {
            reached.0.clear();
        }
        let mut astray = HashSet::new();
        for start in starts {
            self.walk(start, &parents, &mut reached.0, &mut astray);
        }
        Ok(())
    }

    fn walk(
        &mut self,
        start: ObjectId,
        parents: &HashMap<ObjectId, ObjectId>,
        reached: &mut HashSet<ObjectId>,
        astray: &mut HashSet<ObjectId>,
    ) {
        let mut way = Vec::new();
        let mut here = start;
        loop {
            if reached.contains(&here) || self.roots.contains(&here) {
                reached.extend(way);
                return;
            }
            if astray.contains(&here) {
                // On this way: a circle. From an earlier one: it was noted then.
                if let Some(from) = way.iter().position(|it| *it == here) {
                    self.circles.extend(way.iter().skip(from).min());
                }
                return;
            }
            astray.insert(here);
            way.push(here);
            match parents.get(&here) {
                Some(parent) => here = *parent,
                // A parent that is not there, or no directory: the entry's fault, or the directory has no
                // name.
                None => return,
            }
        }
    }

    /// Confirms what was noted.
    pub(super) async fn check_circles(&mut self) -> Result<(), Stopped> {
        for directory in std::mem::take(&mut self.circles) {
            self.still_wanted()?;
            let Some(found) = self.checker.directory(directory).await? else { continue };
            let share = Some(found.object.share);
            if found.reaches_root || !self.covers(share) || self.is_explained(directory).await? {
                continue;
            }
            self.settle(Finding::Cycle { directory }, share, None).await?;
        }
        Ok(())
    }

    /// Whether a directory of the circle was found to have another parent, or no name: that is all there is
    /// to it.
    async fn is_explained(&self, directory: ObjectId) -> Result<bool, Stopped> {
        let mut seen = HashSet::new();
        let mut here = directory;
        while seen.insert(here) && seen.len() < LONGEST {
            if self.explained.contains(&here) {
                return Ok(true);
            }
            match self.checker.objects_of(&[here]).await?.into_iter().next() {
                Some(ObjectState { parent: Some(parent), .. }) => here = parent,
                Some(_) | None => return Ok(true),
            }
        }
        Ok(false)
    }
}
