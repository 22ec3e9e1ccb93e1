//! One pass: every file of a dump, and what its content needs.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use futures_util::future::Either;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::{Dumped, Making, Pass, Passed, WAITING, new};
use crate::admin::Unit;
use crate::admin::backup::Error;
use crate::admin::backup::diff::{self, Old, Step};
use crate::admin::backup::list::{Entry, Item, ListWriter, Row, ShareHead, State};
use crate::admin::backup::locate::Place;
use crate::admin::backup::manifest::Parts;
use crate::admin::transfer::checksum::{Coverage, LARGE};
use crate::admin::transfer::{self, AT_ONCE, Found, internal};
use crate::content;

impl Making<'_> {
    /// Makes the next list, and has the files that it names.
    pub(super) async fn run(
        &self,
        pass: &Pass,
        dump: &Path,
        dumped: &Dumped,
        places: &[Option<Place>],
    ) -> Result<Passed, Error> {
        self.job.begin(
            if self.wanted.metadata_only { "read" } else { "copy" },
            Unit::Bytes,
            Some(dumped.bytes),
        );
        let (old, base) = match pass {
            Pass::First { base, salvaged } => {
                let base = base.as_ref().map(|base| Old { list: base.list.clone(), cut: false });
                (salvaged.clone(), base)
            }
            Pass::Again | Pass::Settle => {
                (Some(Old { list: self.parts.list.clone(), cut: false }), None)
            }
        };
        let (send, mut receive) = mpsc::channel(WAITING);
        let comparing = {
            let dump = dump.to_path_buf();
            spawn_blocking(move || diff::compare(&dump, old.as_ref(), base.as_ref(), &send))
        };
        let steps = stream::poll_fn(|call| receive.poll_recv(call)).flat_map(stream::iter);
        let mut places = places.iter();
        let mut place = None;
        let done = steps.map(|step| match step {
            Step::Share(share, _) => {
                place = places.next().and_then(Option::as_ref);
                let at = place.map(|place| (place.store.name.as_str(), place.identity));
                let head = ShareHead::new(&share.name, at);
                Either::Left(std::future::ready(Ok(Done::Share(head))))
            }
            step @ (Step::Same(_)
            | Step::Changed(..)
            | Step::Based(_)
            | Step::New(_)
            | Step::Gone(_)) => Either::Right(self.act(pass, place, step)),
        });
        let mut list = ListWriter::create(&new(&self.parts.list))?;
        let gathered = self.gather(done.buffered(AT_ONCE), &mut list).await;
        if gathered.is_err() {
            // A later --resume finds what was copied; the error is reported all the same.
            list.flush().ok();
        }
        let (copied, kept) = gathered?;
        comparing.await??;
        Ok(Passed { copied, kept, counts: list.finish()? })
    }

    /// Lists what is done. How many contents were copied, and how many kept.
    async fn gather(
        &self,
        done: impl Stream<Item = Result<Done, Error>>,
        list: &mut ListWriter,
    ) -> Result<(u64, u64), Error> {
        let (mut copied, mut kept) = (0, 0);
        let mut done = std::pin::pin!(done);
        while let Some(done) = done.next().await {
            match done? {
                Done::Share(head) => list.put(Item::Share(head))?,
                Done::Kept(entry) => {
                    kept += 1;
                    list.put(Item::Content(entry))?;
                }
                Done::Copied(entry) => {
                    copied += 1;
                    list.put(Item::Content(entry))?;
                }
                Done::Nothing => {}
            }
            self.job.check()?;
        }
        Ok((copied, kept))
    }

    /// Does what one file needs.
    async fn act(&self, pass: &Pass, place: Option<&Place>, step: Step) -> Result<Done, Error> {
        let size = match &step {
            Step::Same(entry) | Step::Based(entry) => entry.size,
            Step::Changed(_, row) | Step::New(row) => row.size,
            Step::Share(..) | Step::Gone(_) => 0,
        };
        let moved = |entry| Done::Kept(Entry { state: State::Moving, ..entry });
        let done = match (pass, step) {
            (Pass::Again | Pass::Settle, Step::Same(entry)) => Done::Kept(entry.confirmed()),
            (Pass::First { .. }, Step::Same(entry)) => match self.check(&entry).await? {
                true => Done::Kept(entry.confirmed()),
                false => return self.copy(place, entry.row()).await,
            },
            (Pass::Settle, Step::Changed(entry, _) | Step::Gone(entry)) => moved(entry),
            (Pass::Settle, Step::New(_)) | (_, Step::Share(..)) => Done::Nothing,
            (Pass::First { .. } | Pass::Again, Step::Changed(entry, row)) => {
                if entry.content != row.content {
                    self.remove(&entry)?;
                }
                return self.copy(place, row).await;
            }
            (Pass::First { .. } | Pass::Again, Step::New(row)) => {
                return self.copy(place, row).await;
            }
            (Pass::First { base: Some(base), .. }, Step::Based(entry)) => {
                match self.take_over(base, &entry).await? {
                    true => Done::Kept(entry),
                    false => return self.copy(place, entry.row()).await,
                }
            }
            (Pass::First { base: None, .. } | Pass::Again | Pass::Settle, Step::Based(entry)) => {
                return self.copy(place, entry.row()).await;
            }
            (Pass::First { .. } | Pass::Again, Step::Gone(entry)) => {
                self.remove(&entry)?;
                Done::Nothing
            }
        };
        self.job.skip(size);
        Ok(done)
    }

    fn remove(&self, entry: &Entry) -> Result<(), Error> {
        let path = self.parts.content(entry.content);
        transfer::remove(&path).map_err(Error::at(&path))
    }

    /// Whether what an attempt before copied is there as its list says.
    async fn check(&self, entry: &Entry) -> Result<bool, Error> {
        let whole = match entry.state {
            State::Steady | State::Copied { short: false } => true,
            State::Copied { short: true } | State::Moving | State::Lost => false,
        };
        if !whole || (entry.checksum().is_none() && !self.wanted.no_checksums) {
            return Ok(false);
        }
        if self.wanted.metadata_only {
            return Ok(true);
        }
        let path = self.parts.content(entry.content);
        let found = self.transfers.silent().hash_file(&path, entry.coverage()).await;
        let expected = Found { length: entry.length, checksum: entry.checksum() };
        Ok(found.is_ok_and(|found| found == expected))
    }

    /// Makes a file of the base this backup's too; whether that went.
    async fn take_over(&self, base: &Parts, entry: &Entry) -> Result<bool, Error> {
        if entry.state != State::Steady || (entry.checksum().is_none() && !self.wanted.no_checksums)
        {
            return Ok(false);
        }
        if self.wanted.metadata_only {
            return Ok(true);
        }
        let (from, to) = (base.content(entry.content), self.parts.content(entry.content));
        let length = entry.length;
        // Large holes have no part in the checksums of this format: the file is read once more, and never
        // again whole.
        let old = length >= LARGE && entry.coverage() == Coverage::All;
        let linked = spawn_blocking(move || {
            transfer::remove(&to)?;
            let there = fs::metadata(&from)?;
            let has_holes = there.blocks().saturating_mul(512) < length;
            Ok::<_, std::io::Error>(
                there.is_file()
                    && there.len() == length
                    && !(old && has_holes)
                    && fs::hard_link(&from, &to).is_ok(),
            )
        });
        // Whatever is wrong with the base, the content store has the bytes.
        Ok(linked.await?.unwrap_or(false))
    }

    async fn copy(&self, place: Option<&Place>, row: Row) -> Result<Done, Error> {
        let place = place.ok_or_else(|| Error::Homeless { store: self.name.clone() })?;
        let store = &place.store;
        let size = row.size.min(store.content.max_length());
        self.job.skip(row.size - size);
        let found = if self.wanted.no_checksums {
            let length = store.content.length(&internal(self.job.cancel()), row.content_id()).await;
            self.job.advance(size);
            match length {
                Ok(length) => Found { length: length.min(size), checksum: None },
                Err(content::Error::Missing(_)) => Found { length: 0, checksum: None },
                Err(error) => return Err(store.unread(row.content_id())(error).into()),
            }
        } else {
            let to = (!self.wanted.metadata_only).then(|| self.parts.content(row.content));
            let coverage = Coverage::of_size(size);
            self.transfers.read_out(store, row.content_id(), size, to, coverage).await?
        };
        let state = State::Copied { short: found.length < size };
        Ok(Done::Copied(Entry::new(row, found.length, found.checksum, state)))
    }
}

/// What became of one file.
enum Done {
    Share(ShareHead),
    Kept(Entry),
    Copied(Entry),
    Nothing,
}
