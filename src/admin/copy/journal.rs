//! Which files were copied, as of which state: a content of the store that they were copied to, under an id
//! of its own. It goes where that store goes, and `trunkfs gc` takes it for what it is when it is old:
//! content that no file has.
//!
//! 40 bytes for each copied file: its content's id, its row's ctime and size, and a check of these. A record
//! that a crash left in part, or two processes wrote over each other, is no record: its file is copied again.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Row;
use crate::admin::transfer::internal;
use crate::content::{ContentStore, Error};
use crate::types::{ContentId, Timestamp};

/// A UUID v7 of the first millisecond of 1970: no content of a file has it.
const ID: ContentId = ContentId(Uuid::from_u128(0x0000_0000_0000_7000_8000_636f_7069_6564));
/// Its chunks, where the store keeps chunks, whatever the shares' are.
const CHUNK: u32 = 1 << 20;
const RECORD: usize = 40;
/// How many records are written together.
const TOGETHER: usize = 256;
/// How much is read at once.
const PIECE: usize = RECORD * 100_000;

/// The files that are whole in a store.
pub(super) struct Journal {
    store: Arc<dyn ContentStore>,
    /// As it was read.
    known: HashMap<ContentId, (Timestamp, u64)>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Where they go.
    end: u64,
}

impl Journal {
    pub(super) async fn open(store: Arc<dyn ContentStore>) -> Result<Self, Error> {
        let store = store.in_chunks(CHUNK);
        let call = internal(&CancellationToken::new());
        let length = match store.length(&call, ID).await {
            Ok(length) => length,
            Err(Error::Missing(_)) => 0,
            Err(error) => return Err(error),
        };
        let mut known = HashMap::new();
        let mut at = 0;
        while at < length {
            let bytes = store.read(&call, ID, at, PIECE).await?;
            if bytes.is_empty() {
                break;
            }
            for Row { id, size, ctime } in bytes.chunks_exact(RECORD).filter_map(decode) {
                known.insert(id, (ctime, size));
            }
            at += bytes.len() as u64;
        }
        let end = length - length % RECORD as u64;
        let waiting = Mutex::new(Waiting { bytes: Vec::new(), end });
        Ok(Self { store, known, waiting })
    }

    /// Whether an earlier copy has noted anything.
    pub(super) fn is_begun(&self) -> bool {
        !self.known.is_empty()
    }

    /// Whether the file was copied in the state that its row is in.
    pub(super) fn has(&self, row: &Row) -> bool {
        self.known.get(&row.id) == Some(&(row.ctime, row.size))
    }

    /// Notes that a file is whole and durable.
    pub(super) async fn note(&self, row: Row) -> Result<(), Error> {
        let many = {
            let mut waiting = self.waiting.lock();
            waiting.bytes.extend(encode(row));
            waiting.bytes.len() >= TOGETHER * RECORD
        };
        if many { self.flush().await } else { Ok(()) }
    }

    /// Makes the notes durable, also after the job was told to end.
    pub(super) async fn flush(&self) -> Result<(), Error> {
        let (bytes, at) = {
            let mut waiting = self.waiting.lock();
            let bytes = std::mem::take(&mut waiting.bytes);
            let at = waiting.end;
            waiting.end += bytes.len() as u64;
            (bytes, at)
        };
        if bytes.is_empty() {
            return Ok(());
        }
        let call = internal(&CancellationToken::new());
        self.store.write(&call, ID, at, Bytes::from(bytes)).await?;
        self.store.commit(&call, ID).await
    }
}

fn encode(row: Row) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..16].copy_from_slice(row.id.0.as_bytes());
    record[16..24].copy_from_slice(&row.ctime.0.to_be_bytes());
    record[24..32].copy_from_slice(&row.size.to_be_bytes());
    let check = check(&record[..32]);
    record[32..].copy_from_slice(&check);
    record
}

fn decode(record: &[u8]) -> Option<Row> {
    let word = |at: usize| record.get(at..at + 8)?.try_into().ok();
    if record.get(32..)? != check(record.get(..32)?) {
        return None;
    }
    Some(Row {
        id: ContentId(Uuid::from_slice(record.get(..16)?).ok()?),
        ctime: Timestamp(i64::from_be_bytes(word(16)?)),
        size: u64::from_be_bytes(word(24)?),
    })
}

fn check(bytes: &[u8]) -> [u8; 8] {
    // Of a record of zeros too the check is another than zeros.
    let sum = u64::from(crc32fast::hash(bytes)) | 1 << 63;
    sum.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::MemoryContent;

    fn row(size: u64) -> Row {
        Row { id: ContentId::generate(), size, ctime: Timestamp(-7) }
    }

    #[test]
    fn records_survive_and_what_is_none_is_noticed() {
        let row = row(77);
        let record = encode(row);
        assert_eq!(decode(&record), Some(row));
        for at in 0..RECORD {
            let mut other = record;
            other[at] ^= 1;
            assert_eq!(decode(&other), None, "{at}");
        }
        assert_eq!(decode(&[0; RECORD]), None);
        assert_eq!(decode(&record[1..]), None);
    }

    #[tokio::test]
    async fn what_was_noted_is_known_afterwards() {
        let store: Arc<dyn ContentStore> = Arc::new(MemoryContent::new());
        let journal = Journal::open(store.clone()).await.unwrap();
        let rows: Vec<_> = (0..600).map(row).collect();
        for row in &rows {
            assert!(!journal.has(row));
            journal.note(*row).await.unwrap();
        }
        journal.flush().await.unwrap();
        // A crash leaves a part of a record.
        let call = internal(&CancellationToken::new());
        store.write(&call, ID, 600 * RECORD as u64, Bytes::from_static(&[7; 13])).await.unwrap();
        let again = Journal::open(store.clone()).await.unwrap();
        assert!(rows.iter().all(|row| again.has(row)));
        let changed = Row { ctime: Timestamp(-6), ..rows[3] };
        assert!(!again.has(&changed) && !again.has(&Row { size: 4, ..rows[3] }));
        again.note(changed).await.unwrap();
        again.flush().await.unwrap();
        let last = Journal::open(store).await.unwrap();
        assert!(last.has(&changed) && !last.has(&rows[3]) && last.has(&rows[4]));
    }
}
