//! What has become of each file since a list was made: a dump and a list side by side, both in the order of
//! their ids.

use std::fs::File;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use super::Error;
use super::list::{Entry, Item, ListReader, Row, ShareHead};
use crate::admin::dump::{ReadError, Reader};
use crate::metadata::{Record, Share};

/// How many steps go together at most.
const PORTION: usize = 256;

/// A list to compare a dump with.
#[derive(Clone, Debug)]
pub(super) struct Old {
    pub(super) list: PathBuf,
    /// Whether the list may have been cut: what comes before counts.
    pub(super) cut: bool,
}

/// What has become of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// What follows is of this share; how the list calls its content.
    Share(Share, Option<ShareHead>),
    /// The list has it as the dump does.
    Same(Entry),
    /// It was changed.
    Changed(Entry, Row),
    /// The list has it not, and the base as the dump does.
    Based(Entry),
    /// The list has it not.
    New(Row),
    /// The dump has it not.
    Gone(Entry),
}

/// Sends the steps from `old` to a dump. What only `base` has and the dump has not, or otherwise, counts for
/// nothing.
pub(super) fn compare(
    dump: &Path,
    old: Option<&Old>,
    base: Option<&Old>,
    to: &mpsc::Sender<Vec<Step>>,
) -> Result<(), Error> {
    let mut portion = Vec::with_capacity(PORTION);
    let mut send = |step: Step| {
        portion.push(step);
        if portion.len() < PORTION {
            return Ok(());
        }
        send_off(to, std::mem::replace(&mut portion, Vec::with_capacity(PORTION)))
    };
    each(dump, old, base, &mut send)?;
    send_off(to, portion)
}

fn send_off(to: &mpsc::Sender<Vec<Step>>, portion: Vec<Step>) -> Result<(), Error> {
    // A receiver that is gone has an error of its own.
    to.blocking_send(portion).map_err(|_| Error::Interrupted)
}

/// Opens a dump.
pub(super) fn open_dump(dump: &Path) -> Result<Reader<File>, Error> {
    let file = File::open(dump).map_err(Error::at(dump))?;
    Reader::new(file).map_err(Error::unreadable(dump))
}

/// The same, one at a time.
pub(super) fn each(
    dump: &Path,
    old: Option<&Old>,
    base: Option<&Old>,
    mut send: impl FnMut(Step) -> Result<(), Error>,
) -> Result<(), Error> {
    let failed = Error::unreadable(dump);
    let mut reader = open_dump(dump)?;
    let (mut known, mut based) = (OldShare::default(), OldShare::default());
    while let Some(record) = reader.record().map_err(&failed)? {
        match record {
            Record::Share(share) => {
                known.rest(&mut send)?;
                known = OldShare::find(old, &share)?;
                based = OldShare::find(base, &share)?;
                send(Step::Share(share, known.head.take()))?;
            }
            Record::Object(object) => {
                if let Some(row) = Row::of(&object) {
                    let mut met = None;
                    based.meet(row, &mut |step| {
                        if let Step::Same(entry) = step {
                            met = Some(entry);
                        }
                        Ok(())
                    })?;
                    known.meet(row, &mut |step| {
                        send(match step {
                            Step::New(row) => met.take().map_or(Step::New(row), Step::Based),
                            step @ (Step::Share(..)
                            | Step::Same(_)
                            | Step::Changed(..)
                            | Step::Based(_)
                            | Step::Gone(_)) => step,
                        })
                    })?;
                }
            }
            Record::Entry(_) => {}
        }
    }
    known.rest(&mut send)
}

/// What a list has of a share, from where the dump is.
#[derive(Debug, Default)]
struct OldShare {
    reader: Option<(ListReader, bool)>,
    head: Option<ShareHead>,
    next: Option<Entry>,
}

impl OldShare {
    /// A list may have its shares in another order than a later dump, so each is looked for from the start;
    /// there are few.
    fn find(old: Option<&Old>, share: &Share) -> Result<Self, Error> {
        let Some(old) = old else { return Ok(Self::default()) };
        let mut reader = match ListReader::open(&old.list) {
            Err(error) if old.cut && is_cut(&error) => return Ok(Self::default()),
            opened => opened?,
        };
        while let Some(item) = next(&mut reader, old.cut)? {
            match item {
                Item::Share(head) if head.name == share.name.as_str() => {
                    let mut found =
                        Self { reader: Some((reader, old.cut)), head: Some(head), next: None };
                    found.advance()?;
                    return Ok(found);
                }
                Item::Share(_) | Item::Content(_) => {}
            }
        }
        Ok(Self::default())
    }

    fn advance(&mut self) -> Result<(), Error> {
        self.next = None;
        let Some((reader, cut)) = &mut self.reader else { return Ok(()) };
        match next(reader, *cut)? {
            Some(Item::Content(entry)) => self.next = Some(entry),
            Some(Item::Share(_)) | None => self.reader = None,
        }
        Ok(())
    }

    fn meet(
        &mut self,
        row: Row,
        send: &mut impl FnMut(Step) -> Result<(), Error>,
    ) -> Result<(), Error> {
        while let Some(entry) = self.next.take_if(|entry| entry.object < row.object) {
            self.advance()?;
            send(Step::Gone(entry))?;
        }
        match self.next.take_if(|entry| entry.object == row.object) {
            Some(entry) => {
                self.advance()?;
                let same = entry.row() == row;
                send(if same { Step::Same(entry) } else { Step::Changed(entry, row) })
            }
            None => send(Step::New(row)),
        }
    }

    fn rest(&mut self, send: &mut impl FnMut(Step) -> Result<(), Error>) -> Result<(), Error> {
        while let Some(entry) = self.next.take() {
            self.advance()?;
            send(Step::Gone(entry))?;
        }
        Ok(())
    }
}

fn next(reader: &mut ListReader, cut: bool) -> Result<Option<Item>, Error> {
    match reader.next() {
        Err(error) if cut && is_cut(&error) => Ok(None),
        next => next,
    }
}

fn is_cut(error: &Error) -> bool {
    let absent = |source: &std::io::Error| source.kind() == std::io::ErrorKind::NotFound;
    matches!(
        error,
        Error::Unreadable { source: ReadError::Cut { .. } | ReadError::Line { .. }, .. }
    ) || matches!(error, Error::Io { source, .. } if absent(source))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::list::{ListWriter, State};
    use super::*;
    use crate::admin::dump::Writer;
    use crate::metadata::{Capabilities, ObjectRecord};
    use crate::types::{
        Attributes, ContentId, ContentRef, ContentVersion, DeviceNumbers, FileType, Fileid, Fsid,
        ObjectId, ShareId, ShareName, Timestamp,
    };

    fn share(name: &str) -> Share {
        Share {
            id: ShareId(0),
            name: ShareName::parse(name).unwrap(),
            root: ObjectId(Uuid::from_u128(1)),
            fsid: Fsid(1),
            chunk_size: 1,
            capabilities: Capabilities::default(),
        }
    }

    /// A file whose ids are `number`.
    fn file(number: u128, size: u64, ctime: i64) -> ObjectRecord {
        let version = ContentVersion(0);
        ObjectRecord {
            attributes: Attributes {
                id: ObjectId(Uuid::from_u128(number)),
                fileid: Fileid(1),
                fsid: Fsid(1),
                file_type: FileType::Regular,
                mode: 0,
                nlink: 1,
                uid: 0,
                gid: 0,
                size,
                used: size,
                atime: Timestamp(0),
                mtime: Timestamp(0),
                ctime: Timestamp(ctime),
                rdev: DeviceNumbers::default(),
                content: Some(ContentRef { id: ContentId(Uuid::from_u128(number)), version }),
                mtime_version: 0,
                parent: None,
            },
            target: None,
            verifier: None,
        }
    }

    fn row(number: u128, size: u64, ctime: i64) -> Row {
        Row::of(&file(number, size, ctime)).unwrap()
    }

    fn entry(number: u128, size: u64, ctime: i64) -> Entry {
        Entry::new(row(number, size, ctime), size, None, State::Steady)
    }

    fn list(path: &Path, shares: &[(&str, &[Entry])]) -> Old {
        let mut list = ListWriter::create(path).unwrap();
        for (name, entries) in shares {
            list.put(Item::Share(ShareHead::new(&share(name).name, None))).unwrap();
            for entry in *entries {
                list.put(Item::Content(entry.clone())).unwrap();
            }
        }
        list.finish().unwrap();
        Old { list: path.to_path_buf(), cut: false }
    }

    fn dump(path: &Path, shares: &[(&str, &[ObjectRecord])]) {
        let mut dump = Writer::new(File::create(path).unwrap(), "").unwrap();
        for (name, files) in shares {
            dump.record(&Record::Share(share(name))).unwrap();
            for file in *files {
                dump.record(&Record::Object(file.clone())).unwrap();
            }
        }
        dump.finish().unwrap();
    }

    /// The steps without those of shares.
    fn steps(dump: &Path, old: Option<&Old>, base: Option<&Old>) -> Vec<Step> {
        let mut steps = Vec::new();
        each(dump, old, base, |step| {
            if !matches!(step, Step::Share(..)) {
                steps.push(step);
            }
            Ok(())
        })
        .unwrap();
        steps
    }

    #[test]
    fn each_file_is_the_same_or_changed_or_new_or_gone() {
        let folder = tempfile::tempdir().unwrap();
        let [names, known] = ["dump", "list"].map(|name| folder.path().join(name));
        dump(
            &names,
            &[
                ("/one", &[file(3, 1, 1), file(4, 2, 2), file(5, 0, 1), file(7, 1, 1)]),
                ("/two", &[file(2, 1, 1)]),
                ("/new", &[file(8, 1, 1)]),
            ],
        );
        let one = [entry(2, 1, 1), entry(3, 1, 1), entry(4, 1, 1), entry(5, 1, 1), entry(9, 1, 1)];
        // The shares in another order, and one that is gone.
        let old = list(
            &known,
            &[("/gone", &[entry(1, 1, 1)]), ("/two", &[entry(2, 1, 1)]), ("/one", &one)],
        );
        let expected = [
            Step::Gone(entry(2, 1, 1)),
            Step::Same(entry(3, 1, 1)),
            Step::Changed(entry(4, 1, 1), row(4, 2, 2)),
            Step::Gone(entry(5, 1, 1)),
            Step::New(row(7, 1, 1)),
            Step::Gone(entry(9, 1, 1)),
            Step::Same(entry(2, 1, 1)),
            Step::New(row(8, 1, 1)),
        ];
        assert_eq!(steps(&names, Some(&old), None), expected);
        assert_eq!(steps(&names, None, None).len(), 5);
        // Of a base counts only what is as it was.
        let base =
            list(&folder.path().join("base"), &[("/one", &[entry(3, 1, 1), entry(7, 1, 1)])]);
        let based = steps(&names, None, Some(&base));
        assert_eq!(based[0], Step::Based(entry(3, 1, 1)));
        assert_eq!(based[1], Step::New(row(4, 2, 2)));
        assert_eq!(based[2], Step::Based(entry(7, 1, 1)));
        assert_eq!(steps(&names, Some(&old), Some(&base))[4], Step::Based(entry(7, 1, 1)));
    }

    #[test]
    fn of_a_list_that_was_cut_counts_what_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let [names, known] = ["dump", "list"].map(|name| folder.path().join(name));
        let files: Vec<_> = (1..200).map(|number| file(number, 1, 1)).collect();
        let entries: Vec<_> = (1..200).map(|number| entry(number, 1, 1)).collect();
        dump(&names, &[("/one", &files)]);
        let old = list(&known, &[("/one", &entries)]);
        let whole = std::fs::read(&known).unwrap();
        let old = Old { cut: true, ..old };
        for length in [0, 1, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&known, &whole[..length]).unwrap();
            let steps = steps(&names, Some(&old), None);
            assert_eq!(steps.len(), 199, "cut to {length}");
            let fits = |step: &Step| matches!(step, Step::Same(_) | Step::New(_));
            assert!(steps.iter().all(fits), "cut to {length}");
        }
        std::fs::remove_file(&known).unwrap();
        assert_eq!(steps(&names, Some(&old), None).len(), 199);
    }
}
