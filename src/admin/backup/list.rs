//! The list of contents: what of each file's bytes is in the backup. See the module for its form.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Error, FORMAT, READABLE};
use crate::admin::dump::{LineReader, LineWriter, ReadError};
use crate::admin::transfer::checksum::{Checksum, Coverage, Sum};
use crate::metadata::ObjectRecord;
use crate::types::{ContentId, ContentIdentity, ShareName};

/// After so many lines, or bytes of contents, what was written can be read back, should this process end.
const FLUSH_LINES: u64 = 64;
const FLUSH_BYTES: u64 = 16 << 20;

/// A file's row in a dump, as far as its bytes hang on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) object: Uuid,
    pub(super) content: Uuid,
    pub(super) version: i64,
    pub(super) size: u64,
    pub(super) mtime: i64,
    pub(super) ctime: i64,
}

impl Row {
    /// The row of a regular file that has bytes; `None` of everything else.
    pub(super) fn of(object: &ObjectRecord) -> Option<Self> {
        let attributes = &object.attributes;
        let content = attributes.content.filter(|_| attributes.size > 0)?;
        Some(Self {
            object: attributes.id.0,
            content: content.id.0,
            version: content.version.0,
            size: attributes.size,
            mtime: attributes.mtime.0,
            ctime: attributes.ctime.0,
        })
    }

    pub(super) fn content_id(&self) -> ContentId {
        ContentId(self.content)
    }
}

/// How the bytes in a backup stand to the file's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// They are what the file had at the moment of the dump.
    Steady,
    /// The file was being changed: some are of before and some of after, and there may be fewer than the row
    /// says.
    Moving,
    /// The content store had fewer than the row says, or none.
    Lost,
    /// They were just copied; whether the file was changed meanwhile is not known yet. In no finished backup.
    Copied {
        /// Whether the content store had fewer bytes than the row says.
        short: bool,
    },
}

/// A content of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) object: Uuid,
    pub(super) content: Uuid,
    pub(super) version: i64,
    pub(super) size: u64,
    pub(super) mtime: i64,
    pub(super) ctime: i64,
    /// How many bytes there are.
    pub(super) length: u64,
    /// The sum of all of them; `None` where they were not read, there are none, or it is of the data alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sha256: Option<Sum>,
    /// The sum of those that lie in no hole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) data_sha256: Option<Sum>,
    pub(super) state: State,
}

impl Entry {
    pub(super) fn new(row: Row, length: u64, checksum: Option<Checksum>, state: State) -> Self {
        let Row { object, content, version, size, mtime, ctime } = row;
        let (sha256, data_sha256) = match checksum {
            Some(Checksum::All(sum)) => (Some(sum), None),
            Some(Checksum::Data(sum)) => (None, Some(sum)),
            None => (None, None),
        };
        Self { object, content, version, size, mtime, ctime, length, sha256, data_sha256, state }
    }

    /// The checksum; `None` where the bytes were not read, or there are none.
    pub(super) fn checksum(&self) -> Option<Checksum> {
        let data = || self.data_sha256.map(Checksum::Data);
        self.sha256.map(Checksum::All).or_else(data)
    }

    pub(super) fn row(&self) -> Row {
        let Self { object, content, version, size, mtime, ctime, .. } = *self;
        Row { object, content, version, size, mtime, ctime }
    }

    /// What a checksum that is compared with the entry's has to cover.
    pub(super) fn coverage(&self) -> Coverage {
        self.checksum().map_or(Coverage::of_size(self.length), Checksum::coverage)
    }

    pub(super) fn content_id(&self) -> ContentId {
        ContentId(self.content)
    }

    /// The entry when the row was found unchanged after the copy.
    pub(super) fn confirmed(self) -> Self {
        let state = match self.state {
            State::Copied { short: false } => State::Steady,
            State::Copied { short: true } => State::Lost,
            known @ (State::Steady | State::Moving | State::Lost) => known,
        };
        Self { state, ..self }
    }
}

/// A share, before its contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShareHead {
    pub(super) name: String,
    /// The content store, as the configuration named it; none for a share without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) store: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) identity: Option<Uuid>,
}

impl ShareHead {
    pub(super) fn new(name: &ShareName, place: Option<(&str, ContentIdentity)>) -> Self {
        Self {
            name: name.as_str().to_owned(),
            store: place.map(|(store, _)| store.to_owned()),
            identity: place.map(|(_, identity)| identity.0),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Contents(Head),
    Share(ShareHead),
    Content(Entry),
    End(Tail),
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tail {
    shares: u64,
    contents: u64,
    bytes: u64,
    sha256: String,
}

/// What a list says in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Share(ShareHead),
    Content(Entry),
}

/// What is in a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) shares: u64,
    pub(super) contents: u64,
    pub(super) bytes: u64,
    pub(super) moving: u64,
    pub(super) lost: u64,
}

impl Counts {
    fn add(&mut self, item: &Item) {
        match item {
            Item::Share(_) => self.shares += 1,
            Item::Content(entry) => {
                self.contents += 1;
                self.bytes = self.bytes.saturating_add(entry.length);
                match entry.state {
                    State::Moving => self.moving += 1,
                    State::Lost => self.lost += 1,
                    State::Steady | State::Copied { .. } => {}
                }
            }
        }
    }
}

/// Writes a list.
#[derive(Debug)]
pub(super) struct ListWriter {
    path: PathBuf,
    lines: LineWriter<BufWriter<File>>,
    counts: Counts,
    flushed: Counts,
}

impl ListWriter {
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        let failed = Error::at(path);
        let file = crate::ownership::create(path, 0o666).map_err(&failed)?;
        let mut lines = LineWriter::new(BufWriter::new(file)).map_err(&failed)?;
        lines.put(&Line::Contents(Head { format: FORMAT })).map_err(&failed)?;
        Ok(Self {
            path: path.to_path_buf(),
            lines,
            counts: Counts::default(),
            flushed: Counts::default(),
        })
    }

    pub(super) fn put(&mut self, item: Item) -> Result<(), Error> {
        self.counts.add(&item);
        let line = match item {
            Item::Share(share) => Line::Share(share),
            Item::Content(entry) => Line::Content(entry),
        };
        let due = self.counts.contents - self.flushed.contents >= FLUSH_LINES
            || self.counts.bytes - self.flushed.bytes >= FLUSH_BYTES;
        let written = self.lines.put(&line);
        written.map_err(Error::at(&self.path))?;
        if due { self.flush() } else { Ok(()) }
    }

    /// From now on what was written can be read back.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.flushed = self.counts;
        self.lines.flush().map_err(Error::at(&self.path))
    }

    /// Writes the last line, durably.
    pub(super) fn finish(mut self) -> Result<Counts, Error> {
        let failed = Error::at(&self.path);
        let Counts { shares, contents, bytes, .. } = self.counts;
        let sha256 = self.lines.sha256();
        self.lines
            .put(&Line::End(Tail { shares, contents, bytes, sha256 }))
            .and_then(|()| self.lines.finish())
            .and_then(|mut out| {
                out.flush()?;
                out.get_ref().sync_all()
            })
            .map_err(failed)?;
        Ok(self.counts)
    }
}

/// Reads a list.
#[derive(Debug)]
pub(super) struct ListReader {
    path: PathBuf,
    lines: LineReader<File>,
    counts: Counts,
    ended: bool,
}

impl ListReader {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::at(path))?;
        let failed = Error::unreadable(path);
        let mut lines = LineReader::new(file).map_err(&failed)?;
        lines.fetch().map_err(&failed)?;
        match lines.parse().map_err(&failed)? {
            Line::Contents(head) if READABLE.contains(&head.format) => {}
            Line::Contents(head) => return Err(failed(ReadError::Format(head.format))),
            Line::Share(_) | Line::Content(_) | Line::End(_) => {
                return Err(Error::damaged(
                    path,
                    "the first line is not the header of a content list",
                ));
            }
        }
        Ok(Self { path: path.to_path_buf(), lines, counts: Counts::default(), ended: false })
    }

    /// The next; `None` behind the last, when everything was found whole.
    pub(super) fn next(&mut self) -> Result<Option<Item>, Error> {
        if self.ended {
            return Ok(None);
        }
        let failed = Error::unreadable(&self.path);
        // The last line's digest does not count the line itself.
        let before = self.lines.digest();
        self.lines.fetch().map_err(&failed)?;
        let item = match self.lines.parse().map_err(&failed)? {
            Line::Share(share) => Item::Share(share),
            Line::Content(entry) => Item::Content(entry),
            Line::End(tail) => {
                let Counts { shares, contents, bytes, .. } = self.counts;
                let fits = (tail.shares, tail.contents, tail.bytes) == (shares, contents, bytes);
                if !fits || tail.sha256 != before.hex() {
                    return Err(Error::damaged(
                        &self.path,
                        "the last line does not match the others",
                    ));
                }
                self.lines.at_end().map_err(&failed)?;
                self.ended = true;
                return Ok(None);
            }
            Line::Contents(_) => {
                return Err(Error::damaged(&self.path, "duplicate header line"));
            }
        };
        self.counts.add(&item);
        Ok(Some(item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(state: State) -> Entry {
        let id = Uuid::now_v7;
        let row = Row {
            object: id(),
            content: id(),
            version: -1,
            size: u64::MAX,
            mtime: i64::MIN,
            ctime: i64::MAX,
        };
        Entry::new(row, 7, Some(Checksum::All(Sum([0xab; 32]))), state)
    }

    fn items() -> Vec<Item> {
        let head = |name: &str| {
            let place = Some(("disk", ContentIdentity::generate()));
            Item::Share(ShareHead::new(&ShareName::parse(name).unwrap(), place))
        };
        let copied = State::Copied { short: true };
        let states = [State::Steady, State::Moving, State::Lost, copied];
        let mut items = vec![head("/one")];
        items.extend(states.into_iter().map(|state| Item::Content(entry(state))));
        items.push(head("/other"));
        let row = entry(State::Steady).row();
        for checksum in [None, Some(Checksum::Data(Sum([0xcd; 32])))] {
            items.push(Item::Content(Entry::new(row, 7, checksum, State::Steady)));
        }
        items
    }

    fn write(path: &Path, items: &[Item]) -> Counts {
        let mut list = ListWriter::create(path).unwrap();
        for item in items {
            list.put(item.clone()).unwrap();
        }
        list.finish().unwrap()
    }

    fn read(path: &Path) -> Result<Vec<Item>, Error> {
        let mut list = ListReader::open(path)?;
        std::iter::from_fn(|| list.next().transpose()).collect()
    }

    #[test]
    fn a_list_reads_as_it_was_written_and_no_flipped_bit_goes_unnoticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        let items = items();
        let counts = write(&path, &items);
        let expected = Counts { shares: 2, contents: 6, bytes: 42, moving: 1, lost: 1 };
        assert_eq!(counts, expected);
        assert_eq!(read(&path).unwrap(), items);
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            std::fs::write(&path, changed).unwrap();
            // A bit of the compressed frame's header may mean nothing.
            if let Ok(read) = read(&path) {
                assert_eq!(read, items, "byte {at} of {}", bytes.len());
            }
            std::fs::write(&path, &bytes[..at]).unwrap();
            assert!(read(&path).is_err(), "cut to {at} of {} bytes", bytes.len());
        }
    }

    #[test]
    fn what_was_copied_is_steady_or_lost_when_its_row_is_the_same_afterwards() {
        for (before, after) in [
            (State::Copied { short: false }, State::Steady),
            (State::Copied { short: true }, State::Lost),
            (State::Moving, State::Moving),
            (State::Lost, State::Lost),
        ] {
            assert_eq!(entry(before).confirmed().state, after);
        }
    }
}
