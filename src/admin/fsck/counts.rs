//! Entries, each by itself; names and subdirectories, counted.

use std::collections::HashMap;

use super::pages::{Entries, Objects};
use super::repair::Settled;
use super::tree::Reached;
use super::{Check, Finding, Stopped};
use crate::metadata::{EntryState, Fault, ObjectState};
use crate::types::{ObjectId, ShareId, Timestamp};

/// How often what has changed meanwhile is counted anew by scans, before one statement counts it.
const RECOUNTS: usize = 3;

/// What is counted of an object.
#[derive(Clone, Debug)]
struct Count {
    id: ObjectId,
    share: ShareId,
    ctime: Timestamp,
    is_directory: bool,
    /// As recorded, and as found so far.
    names: (u64, u64),
    subdirs: (u64, u64),
}

impl Count {
    fn of(object: &ObjectState, roots: &[ObjectId]) -> Self {
        let is_directory = object.file_type.is_directory();
        let names = match (is_directory, roots.contains(&object.id)) {
            (true, true) => 0,
            (true, false) => 1,
            (false, _) => object.names,
        };
        Self {
            id: object.id,
            share: object.share,
            ctime: object.ctime,
            is_directory,
            names: (names, 0),
            subdirs: (if is_directory { object.subdirs } else { 0 }, 0),
        }
    }

    fn is_right(&self) -> bool {
        self.names.0 == self.names.1 && self.subdirs.0 == self.subdirs.1
    }
}

/// What is counted in one scan, in the order of ids.
#[derive(Debug, Default)]
struct Table(Vec<Count>);

impl Table {
    fn find(&mut self, id: ObjectId) -> Option<&mut Count> {
        let at = self.0.binary_search_by_key(&id, |count| count.id).ok()?;
        self.0.get_mut(at)
    }

    fn count(&mut self, entry: &EntryState) {
        if let Some(child) = self.find(entry.child) {
            child.names.1 += 1;
        }
        let is_directory = entry.object.as_ref().is_some_and(|it| it.file_type.is_directory());
        if is_directory && let Some(directory) = self.find(entry.directory) {
            directory.subdirs.1 += 1;
        }
    }
}

impl Check<'_> {
    /// Checks every entry, and every object's names and subdirectories.
    pub(super) async fn count(&mut self) -> Result<(), Stopped> {
        let mut objects = Objects::default();
        let mut reached = Reached::default();
        let mut first = true;
        loop {
            let table = self.next_table(&mut objects, &mut reached).await?;
            if table.0.is_empty() && !first {
                return Ok(());
            }
            let table = self.scan(table, first).await?;
            first = false;
            let mut changed = self.judge(table).await?;
            for _ in 0..RECOUNTS {
                if changed.is_empty() {
                    break;
                }
                let table = self.table_of(&changed).await?;
                let table = self.scan(table, false).await?;
                changed = self.judge(table).await?;
            }
            self.count_at_once(changed).await?;
        }
    }

    async fn next_table(
        &mut self,
        objects: &mut Objects,
        reached: &mut Reached,
    ) -> Result<Table, Stopped> {
        let mut table = Table::default();
        while table.0.len() < self.extent.counted {
            self.still_wanted()?;
            let Some(mut page) = objects.next(self.checker, self.extent.page).await? else { break };
            self.report.read(page.len() as u64);
            self.turn(page.len()).await?;
            self.check_shares(&page).await?;
            page.retain(|object| self.covers(Some(object.share)));
            self.tally.objects += page.len() as u64;
            page.iter().for_each(|object| self.gathered.object(object));
            self.follow(&page, reached).await?;
            table.0.extend(page.iter().map(|object| Count::of(object, &self.roots)));
        }
        Ok(table)
    }

    async fn table_of(&mut self, ids: &[ObjectId]) -> Result<Table, Stopped> {
        let mut table = Table::default();
        for ids in ids.chunks(self.extent.page as usize) {
            self.still_wanted()?;
            let page = self.checker.objects_of(ids).await?;
            self.turn(page.len()).await?;
            table.0.extend(page.iter().map(|object| Count::of(object, &self.roots)));
        }
        table.0.sort_unstable_by_key(|count| count.id);
        Ok(table)
    }

    /// Finds objects of shares that are not there.
    async fn check_shares(&mut self, page: &[ObjectState]) -> Result<(), Stopped> {
        let stray = |shares: &Self, object: &&ObjectState| shares.share(object.share).is_none();
        if !page.iter().any(|object| stray(self, &object)) {
            return Ok(());
        }
        // A share may have been made since.
        self.shares = self.checker.shares().await?;
        self.roots = self.shares.iter().map(|share| share.root).collect();
        let strays = page.iter().filter(|object| stray(self, object));
        let strays: Vec<_> = strays.filter(|object| self.covers(Some(object.share))).collect();
        for object in strays {
            // And another with all its objects may be gone.
            if !self.checker.objects_of(&[object.id]).await?.is_empty() {
                let finding = Finding::NoShare { object: object.id, number: object.share };
                self.settle(finding, None, None).await?;
            }
        }
        Ok(())
    }

    /// Scans all entries: counts them, and `judges` each by itself.
    async fn scan(&mut self, mut table: Table, judges: bool) -> Result<Table, Stopped> {
        let mut entries = Entries::default();
        loop {
            self.still_wanted()?;
            let Some(page) = entries.next(self.checker, self.extent.page).await? else {
                return Ok(table);
            };
            self.report.read(page.len() as u64);
            self.turn(page.len()).await?;
            for entry in &page {
                let removed = judges && self.judge_entry(entry).await?;
                if !removed {
                    table.count(entry);
                }
            }
        }
    }

    /// Judges an entry by itself. Answers whether it is gone.
    async fn judge_entry(&mut self, entry: &EntryState) -> Result<bool, Stopped> {
        let share = entry.holder.map(|it| it.0).or(entry.object.as_ref().map(|it| it.share));
        if !self.covers(share) {
            return Ok(false);
        }
        self.tally.entries += 1;
        let Some(fault) = entry.fault(&self.roots) else {
            self.gathered.entry(entry);
            return Ok(false);
        };
        if fault == Fault::OutsideDirectory && self.roots.contains(&entry.directory) {
            // The share's root is gone, which was said: its entries are all that tells what was in it.
            return Ok(false);
        }
        let (directory, name, child) = (entry.directory, entry.name.clone(), entry.child);
        let path = self.paths.entry(self.checker, &self.shares, directory, &name).await?;
        let named_elsewhere = match fault {
            Fault::OtherParent => self.checker.directory(child).await?.map(|it| it.names > 0),
            Fault::OutsideDirectory | Fault::Dangling | Fault::OtherShare | Fault::NamesRoot => {
                Some(true)
            }
        };
        let finding = match named_elsewhere {
            // It was removed since.
            None => return Ok(false),
            Some(true) => Finding::Entry { directory, name, child, fault },
            Some(false) => {
                self.explained.insert(child);
                Finding::WrongParent { directory: child, parent: directory, name }
            }
        };
        let removes = matches!(finding, Finding::Entry { .. });
        let mended = self.tally.mended;
        self.settle(finding, share, path).await?;
        let mended = self.tally.mended > mended;
        if mended && !removes {
            // The true parent may lie under it.
            self.circles.insert(child);
        }
        Ok(mended && removes)
    }

    /// Looks again at what was counted otherwise than recorded, and says what is confirmed. Answers with the
    /// files that have changed meanwhile.
    async fn judge(&mut self, table: Table) -> Result<Vec<ObjectId>, Stopped> {
        let (directories, files): (Vec<_>, Vec<_>) =
            table.0.into_iter().filter(|it| !it.is_right()).partition(|it| it.is_directory);
        let mut changed = Vec::new();
        let mut confirmed = Vec::new();
        for files in files.chunks(self.extent.page as usize) {
            self.still_wanted()?;
            let ids: Vec<_> = files.iter().map(|count| count.id).collect();
            let now = self.checker.objects_of(&ids).await?;
            self.turn(now.len()).await?;
            let now: HashMap<_, _> = now.into_iter().map(|object| (object.id, object)).collect();
            for count in files {
                match now.get(&count.id) {
                    None => {}
                    Some(object) if object.ctime != count.ctime => changed.push(count.id),
                    Some(object) => confirmed.push((object.clone(), count.names.1)),
                }
            }
        }
        changed.extend(self.say_names(confirmed).await?);
        for count in directories {
            self.judge_directory(&count).await?;
        }
        Ok(changed)
    }

    /// Says what is wrong with the names of files, each with how many it has. Answers with those that have
    /// changed meanwhile.
    async fn say_names(
        &mut self,
        counted: Vec<(ObjectState, u64)>,
    ) -> Result<Vec<ObjectId>, Stopped> {
        let wrong = counted.into_iter().filter(|(it, names)| it.names != *names);
        let wrong: Vec<_> = wrong.collect();
        let named: Vec<_> = wrong.iter().filter(|it| it.1 > 0).map(|it| it.0.id).collect();
        let places = self.find_names(&named).await?;
        let mut changed = Vec::new();
        for (object, names) in wrong {
            let ObjectState { id, share, ctime, .. } = object;
            let finding = if names == 0 {
                Finding::NoName { object: id, is_directory: false, ctime }
            } else {
                Finding::LinkCount { object: id, names, recorded: object.names, ctime }
            };
            let path = match places.get(&id) {
                None => None,
                Some((directory, name)) => {
                    self.paths.entry(self.checker, &self.shares, *directory, name).await?
                }
            };
            if self.settle(finding, Some(share), path).await? == Settled::Changed {
                changed.push(id);
            }
        }
        Ok(changed)
    }

    /// A name of each of these files: a scan of all entries, since no index leads from a file to its names.
    pub(super) async fn find_names(
        &mut self,
        files: &[ObjectId],
    ) -> Result<HashMap<ObjectId, (ObjectId, Vec<u8>)>, Stopped> {
        let mut missing: std::collections::HashSet<_> = files.iter().copied().collect();
        let mut found = HashMap::new();
        let mut entries = Entries::default();
        while !missing.is_empty() {
            self.still_wanted()?;
            let Some(page) = entries.next(self.checker, self.extent.page).await? else { break };
            self.turn(page.len()).await?;
            for entry in page {
                if missing.remove(&entry.child) {
                    found.insert(entry.child, (entry.directory, entry.name));
                }
            }
        }
        Ok(found)
    }

    /// Looks at a directory by one statement.
    async fn judge_directory(&mut self, count: &Count) -> Result<(), Stopped> {
        self.still_wanted()?;
        let Some(found) = self.checker.directory(count.id).await? else { return Ok(()) };
        let (directory, share) = (count.id, Some(count.share));
        let is_root = self.roots.contains(&directory);
        if !is_root && found.names == 0 && count.names.1 == 0 {
            self.explained.insert(directory);
            let ctime = found.object.ctime;
            let finding = Finding::NoName { object: directory, is_directory: true, ctime };
            self.settle(finding, share, None).await?;
        }
        let several = !is_root && found.names > 1;
        let recorded = found.object.subdirs;
        if !several && found.subdirs == recorded {
            return Ok(());
        }
        let path = self.paths.directory(self.checker, &self.shares, directory).await?;
        if several {
            let finding = Finding::SeveralNames { directory, names: found.names };
            self.settle(finding, share, path.clone()).await?;
        }
        if found.subdirs != recorded {
            let finding = Finding::SubdirCount { directory, subdirs: found.subdirs, recorded };
            self.settle(finding, share, path).await?;
        }
        Ok(())
    }

    /// Counts the names of files that change all the time, each time by one statement.
    async fn count_at_once(&mut self, mut files: Vec<ObjectId>) -> Result<(), Stopped> {
        for _ in 0..RECOUNTS {
            let mut changed = Vec::new();
            for files in files.chunks(1 << 16) {
                self.still_wanted()?;
                let counted = tokio::select! {
                    counted = self.checker.names_of(files) => counted?,
                    () = self.cancel.cancelled() => return Err(Stopped::Cancelled),
                };
                changed.extend(self.say_names(counted).await?);
            }
            if changed.is_empty() {
                return Ok(());
            }
            files = changed;
        }
        Ok(())
    }
}
