//! What shares hold, by directory, owner, age or name: answered from the metadata store, without a walk over
//! NFS, while servers go on.
//!
//! All entries are read in pages, each as of one moment, in the order of their directories' ids. So no
//! snapshot lasts, and changes meanwhile may be seen or not. Memory is taken for directories, for the ids of
//! files with several names, and for the answer.

mod report;
mod tree;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use serde::Serialize;

pub use self::report::{Group, GroupBy, Report};
pub use self::tree::{Place, Tree};
use super::{Progress, Unit};
use crate::metadata::{Checker, EntryState, Error, ObjectState, Share};
use crate::types::{FileType, ObjectId, ShareId};

/// Entries that are read at once.
const PAGE: u32 = 4096;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// It was told to end.
    #[error("interrupted")]
    Interrupted,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
    /// The path leads to no directory.
    #[error("there is no directory {0}")]
    NoDirectory(String),
}

/// Files and what they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Everything that is no directory; a file with several names once.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// The sum of sizes, in bytes.
    pub size: u64,
    /// What the files take on their content store, in bytes.
    pub used: u64,
}

impl Totals {
    fn add(&mut self, other: Self) {
        self.files += other.files;
        self.directories += other.directories;
        self.size = self.size.saturating_add(other.size);
        self.used = self.used.saturating_add(other.used);
    }

    fn of(object: &ObjectState) -> Self {
        if object.file_type.is_directory() {
            return Self { directories: 1, ..Self::default() };
        }
        Self { files: 1, size: object.size, used: object.used, ..Self::default() }
    }
}

/// The shares of one store.
#[derive(Debug)]
pub struct Survey<'a> {
    checker: &'a dyn Checker,
    shares: Vec<Share>,
    progress: &'a Progress,
}

/// Objects with several names that were counted.
#[derive(Debug, Default)]
struct Counted(HashSet<ObjectId>);

impl Counted {
    /// Whether the object is to be counted by this name of it.
    fn is_first(&mut self, object: &ObjectState) -> bool {
        object.file_type.is_directory() || object.names < 2 || self.0.insert(object.id)
    }
}

/// Which directories are below some places. Entries of a directory follow each other.
struct Below<'a> {
    tree: &'a Tree,
    tops: Vec<ObjectId>,
    last: Option<(ObjectId, bool)>,
}

impl Below<'_> {
    fn holds(&mut self, directory: ObjectId) -> bool {
        match self.last {
            Some((last, holds)) if last == directory => holds,
            Some(_) | None => {
                let holds = self.tops.iter().any(|top| self.tree.way(directory, *top).is_some());
                self.last = Some((directory, holds));
                holds
            }
        }
    }
}

impl<'a> Survey<'a> {
    /// A survey of these shares of the store.
    #[must_use]
    pub fn new(checker: &'a dyn Checker, shares: Vec<Share>, progress: &'a Progress) -> Self {
        Self { checker, shares, progress }
    }

    async fn find_all(&self, places: &[Place]) -> Result<Vec<ObjectId>, SurveyError> {
        let mut tops = Vec::with_capacity(places.len());
        for place in places {
            tops.push(place.find(self.checker).await?);
        }
        Ok(tops)
    }

    /// Shows every entry of the shares, with the object that it names.
    async fn entries(
        &self,
        mut show: impl FnMut(&EntryState, &ObjectState),
    ) -> Result<(), SurveyError> {
        let shares: HashSet<ShareId> = self.shares.iter().map(|share| share.id).collect();
        let rows = self.checker.recorded_objects().await?;
        self.progress.begin("reading entries", Unit::Rows, Some(rows));
        let mut after: Option<(ObjectId, Vec<u8>)> = None;
        loop {
            if self.progress.cancel().is_cancelled() {
                return Err(SurveyError::Interrupted);
            }
            let last = after.as_ref().map(|(directory, name)| (*directory, &name[..]));
            let page = self.checker.entries(last, PAGE).await?;
            self.progress.advance(page.len() as u64);
            for entry in &page {
                let Some((share, FileType::Directory)) = entry.holder else { continue };
                let object = entry.object.as_ref().filter(|_| shares.contains(&share));
                if let Some(object) = object {
                    show(entry, object);
                }
            }
            match page.into_iter().next_back() {
                Some(last) => after = Some((last.directory, last.name)),
                None => return Ok(()),
            }
        }
    }

    /// Shows every entry, and gathers the directories.
    async fn gather(
        &self,
        mut show: impl FnMut(&EntryState, &ObjectState),
    ) -> Result<Tree, SurveyError> {
        let mut tree = Tree::new(&self.shares);
        self.entries(|entry, object| {
            if object.file_type.is_directory() {
                tree.add(object.id, entry.directory, &entry.name);
            }
            show(entry, object);
        })
        .await?;
        Ok(tree)
    }

    /// What the directories down to `depth` below each place hold, with all below them: the directories of a
    /// place in the order of their paths.
    ///
    /// # Errors
    /// [`SurveyError`].
    pub async fn usage(
        &self,
        places: &[Place],
        depth: usize,
    ) -> Result<Vec<(String, Totals)>, SurveyError> {
        let tops = self.find_all(places).await?;
        let (mut own, mut counted) = (HashMap::<ObjectId, Totals>::new(), Counted::default());
        let tree = self
            .gather(|entry, object| {
                if counted.is_first(object) {
                    own.entry(entry.directory).or_default().add(Totals::of(object));
                }
            })
            .await?;
        let mut rows = Vec::new();
        for top in tops {
            let mut sums = HashMap::<ObjectId, Totals>::new();
            sums.insert(top, Totals { directories: 1, ..Totals::default() });
            for (&directory, &totals) in &own {
                // From the directory up to the top, which is the last.
                let Some(way) = tree.way(directory, top) else { continue };
                for ancestor in way.iter().rev().take(depth + 1) {
                    sums.entry(*ancestor).or_default().add(totals);
                }
            }
            let mut below: Vec<_> = tree
                .directories()
                .filter(|id| tree.way(*id, top).is_some_and(|way| way.len() <= depth + 1))
                .map(|id| (tree.path(id), id))
                .chain([(tree.path(top), top)])
                .collect();
            below.sort();
            below.dedup();
            rows.extend(below.into_iter().map(|(path, id)| {
                let mut totals = sums.remove(&id).unwrap_or_default();
                // A directory counts itself, as du(1) does.
                if id != top {
                    totals.directories += 1;
                }
                (path, totals)
            }));
        }
        Ok(rows)
    }

    /// Shows the path and state of every object below the places that `wants` it.
    ///
    /// # Errors
    /// [`SurveyError`], or what `show` says.
    pub async fn find(
        &self,
        places: &[Place],
        wants: impl Fn(&[u8], &ObjectState) -> bool,
        mut show: impl FnMut(String, &ObjectState),
    ) -> Result<(), SurveyError> {
        let tops = self.find_all(places).await?;
        let tree = self.gather(|_, _| {}).await?;
        let mut below = Below { tree: &tree, tops, last: None };
        self.entries(|entry, object| {
            if wants(&entry.name, object) && below.holds(entry.directory) {
                show(tree.path_in(entry.directory, &entry.name), object);
            }
        })
        .await
    }

    /// The `most` largest files below the places, the largest first; a file with several names by one of
    /// them.
    ///
    /// # Errors
    /// [`SurveyError`].
    pub async fn largest(
        &self,
        places: &[Place],
        most: usize,
    ) -> Result<Vec<(String, ObjectState)>, SurveyError> {
        // The tree first, so that no file outside the places takes one's place.
        let tops = self.find_all(places).await?;
        let tree = self.gather(|_, _| {}).await?;
        let mut below = Below { tree: &tree, tops, last: None };
        let mut largest = BinaryHeap::new();
        let mut kept = HashMap::<ObjectId, (String, ObjectState)>::new();
        let mut counted = Counted::default();
        self.entries(|entry, object| {
            let full = largest.len() >= most;
            let smallest = largest.peek().map_or(0, |Reverse((size, _))| *size);
            if object.file_type != FileType::Regular || full && object.size <= smallest {
                return;
            }
            if !below.holds(entry.directory) || !counted.is_first(object) {
                return;
            }
            largest.push(Reverse((object.size, object.id)));
            let path = tree.path_in(entry.directory, &entry.name);
            kept.insert(object.id, (path, object.clone()));
            if full && let Some(Reverse((_, smallest))) = largest.pop() {
                kept.remove(&smallest);
            }
        })
        .await?;
        let mut rows: Vec<_> = kept.into_values().collect();
        rows.sort_by(|one, other| (other.1.size, &one.0).cmp(&(one.1.size, &other.0)));
        Ok(rows)
    }

    /// The files below the places by group, the group that takes most first.
    ///
    /// # Errors
    /// [`SurveyError`].
    pub async fn report(&self, places: &[Place], by: GroupBy) -> Result<Vec<Group>, SurveyError> {
        let tops = self.find_all(places).await?;
        let tree = self.gather(|_, _| {}).await?;
        let mut below = Below { tree: &tree, tops, last: None };
        let (mut report, mut counted) = (Report::new(by), Counted::default());
        self.entries(|entry, object| {
            let is_file = !object.file_type.is_directory();
            if is_file && below.holds(entry.directory) && counted.is_first(object) {
                report.add(&entry.name, object);
            }
        })
        .await?;
        Ok(report.groups())
    }
}
