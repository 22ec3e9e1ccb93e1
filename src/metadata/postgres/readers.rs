//! Merged reads: what is asked at the same time is read in one statement.
//!
//! A call queues what it wants to know. A task takes everything that is queued, never waiting for more, asks
//! once, and answers each; two tasks at most are under way, so that one batch is read while the answers of
//! the other are spread. The statement is sent after each of its calls arrived, so that each answer was right
//! at some moment between the call's arrival and its reply. A batch that fails says so to its calls, and each
//! of them asks by itself, with its own backoff.
//!
//! Directories and their entries are read in one statement, hence in one snapshot.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_postgres::Row;
use uuid::Uuid;

use super::PostgresStore;
use super::execute::{Argument, Read, arguments, borrowed, read_once};
use super::pool::Pool;
use super::read::{GETATTR, LOOKUP, View};
use super::retry::within;
use super::rows::{self, BEHIND_OBJECT, Stored, column, object_columns};
use crate::metadata::{Error, Share};
use crate::types::{Bounds, Claimant, Context, FairQueue, Fsid, Name, ObjectId, Phase, ShareId};

/// The most calls of one batch.
const BATCH: usize = 128;
/// Batches under way at once.
const READERS: usize = 2;
/// Calls that may wait; the others ask by themselves.
const MOST_WAITING: Bounds = Bounds { total: 4096, per_client: 1024 };

/// The objects of the ids `$1`, as rows of number 0, each with its share.
macro_rules! objects {
    () => {
        concat!(
            "SELECT 0::smallint, ",
            object_columns!("o"),
            ", o.share_id FROM objects o WHERE o.id = ANY($1)"
        )
    };
}

const OBJECTS: &str = objects!();

/// The same, and what the directories `$2` have under the names `$3`, as rows numbered by their places from
/// 1. An edge is found as in `read`.
const ENTRIES: &str = concat!(
    objects!(),
    " UNION ALL SELECT r.place::smallint, ",
    object_columns!("o"),
    ", o.share_id
       FROM unnest($2::uuid[], $3::bytea[]) WITH ORDINALITY AS r(directory, name, place),
            LATERAL (SELECT m.child_id FROM parent_child_map m
                      WHERE m.parent_id = r.directory AND m.child_name >= r.name AND m.child_name <= r.name
                      ORDER BY m.child_name LIMIT 1) e,
            LATERAL (SELECT * FROM objects c WHERE c.id = e.child_id OFFSET 0) o"
);

/// What a call wants to know: an object, and what it has under a name if it is a directory.
#[derive(Clone, Debug)]
struct Question {
    share: ShareId,
    fsid: Fsid,
    object: ObjectId,
    name: Option<Name>,
}

/// A call that waits for its answer; `None` where it has to ask by itself.
#[derive(Debug)]
struct Waiting {
    question: Question,
    answer: oneshot::Sender<Option<Read<View>>>,
}

/// The calls that wait.
#[derive(Debug)]
pub(super) struct Readers {
    queue: Mutex<Queue>,
}

#[derive(Debug)]
struct Queue {
    waiting: FairQueue<Claimant, Waiting>,
    /// Tasks that read.
    readers: usize,
}

impl Readers {
    pub(super) fn new() -> Arc<Self> {
        let queue = Queue { waiting: FairQueue::new(MOST_WAITING), readers: 0 };
        Arc::new(Self { queue: Mutex::new(queue) })
    }
}

impl Queue {
    /// Up to [`BATCH`] calls whose callers are still there, each client in its turn.
    fn take(&mut self) -> Vec<Waiting> {
        let mut batch = Vec::new();
        while batch.len() < BATCH
            && let Some(next) = self.waiting.pop()
        {
            if !next.answer.is_closed() {
                batch.push(next);
            }
        }
        batch
    }
}

/// A task's right to read. Where the task ends before its time, calls that would have no answer ask by
/// themselves.
struct Reader(Option<Arc<Readers>>);

impl Reader {
    /// The next batch. Where nothing waits the reader is counted out at once: a call that comes later starts
    /// another.
    fn next(&mut self) -> Option<Vec<Waiting>> {
        let readers = self.0.take()?;
        let mut queue = readers.queue.lock();
        let batch = queue.take();
        if batch.is_empty() {
            queue.readers -= 1;
            return None;
        }
        drop(queue);
        self.0 = Some(readers);
        Some(batch)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(readers) = self.0.take() {
            let mut queue = readers.queue.lock();
            queue.readers -= 1;
            if queue.readers == 0 {
                drop(queue.waiting.take(usize::MAX));
            }
        }
    }
}

impl PostgresStore {
    /// An object, and what it has under a name where one is given, as rows 0 and 1 of a view. `None` where
    /// the caller is to ask by itself.
    pub(super) async fn merged(
        &self,
        cx: &Context,
        share: &Share,
        object: ObjectId,
        name: Option<&Name>,
    ) -> Result<Option<Read<View>>, Error> {
        if !self.pool.has_several() {
            return Ok(None);
        }
        let question = Question { share: share.id, fsid: share.fsid, object, name: name.cloned() };
        let (answer, answered) = oneshot::channel();
        {
            let mut queue = self.readers.queue.lock();
            if queue.waiting.push(cx.call.claimant, Waiting { question, answer }).is_err() {
                return Ok(None);
            }
            if queue.readers < READERS {
                queue.readers += 1;
                let reader = Reader(Some(Arc::clone(&self.readers)));
                tokio::spawn(read_all(reader, Arc::clone(&self.pool)));
            }
        }
        let answered = cx.call.timing.timed(Phase::Database, within(&cx.call, answered)).await?;
        Ok(answered.ok().flatten())
    }
}

/// Reads batches until nothing waits.
async fn read_all(mut reader: Reader, pool: Arc<Pool>) {
    while let Some(batch) = reader.next() {
        let (statement, arguments) = ask(&batch);
        let views = match read_once(&pool, statement, &borrowed(&arguments)).await {
            Ok(Read { value: rows, server }) => {
                let views = views(&batch, &rows).into_iter();
                views.map(|view| view.map(|value| Read { value, server })).collect()
            }
            Err(failure) => {
                tracing::debug!(?failure, calls = batch.len(), "merged reads");
                Vec::new()
            }
        };
        let mut views = views.into_iter();
        for waiting in batch {
            // A caller that is gone needs no answer.
            let _gone = waiting.answer.send(views.next().flatten());
        }
    }
}

/// The statement that answers a batch. A call alone is asked for by its own.
fn ask(batch: &[Waiting]) -> (&'static str, Vec<Argument>) {
    if let [Waiting { question, .. }] = batch {
        let (object, share) = (question.object.0, question.share.0);
        return match &question.name {
            Some(name) => (LOOKUP, arguments![object, share, name.as_bytes().to_vec()]),
            None => (GETATTR, arguments![object, share]),
        };
    }
    let mut ids: Vec<Uuid> = batch.iter().map(|waiting| waiting.question.object.0).collect();
    ids.sort_unstable();
    ids.dedup();
    let (mut directories, mut names) = (Vec::new(), Vec::new());
    for question in batch.iter().map(|waiting| &waiting.question) {
        if let Some(name) = &question.name {
            directories.push(question.object.0);
            names.push(name.as_bytes().to_vec());
        }
    }
    if directories.is_empty() {
        (OBJECTS, arguments![ids])
    } else {
        (ENTRIES, arguments![ids, directories, names])
    }
}

/// Each call's view; `None` where a row is damaged, of which the caller's own statement says more.
fn views(batch: &[Waiting], rows: &[Row]) -> Vec<Option<View>> {
    if let [waiting] = batch {
        return vec![View::from_rows(rows, waiting.question.fsid).ok()];
    }
    let mut objects: HashMap<Uuid, &Row> = HashMap::new();
    let mut entries: HashMap<i16, &Row> = HashMap::new();
    for row in rows {
        match (rows::number(row), column::<Uuid>(row, 1)) {
            (Ok(0), Ok(id)) => drop(objects.insert(id, row)),
            (Ok(place), Ok(_)) => drop(entries.insert(place, row)),
            (Err(_), _) | (_, Err(_)) => return Vec::new(),
        }
    }
    let mut place = 0;
    let mut view = |question: &Question| -> Result<View, Error> {
        let in_share = |row: &Row| -> Result<Option<Stored>, Error> {
            // A batch mixes shares.
            let share: i16 = column(row, BEHIND_OBJECT)?;
            if share == question.share.0 { rows::object(row, question.fsid) } else { Ok(None) }
        };
        let object = objects.get(&question.object.0).map(|row| in_share(row)).transpose()?;
        let child = match question.name {
            Some(_) => {
                place += 1;
                entries.get(&place).map(|row| rows::object(row, question.fsid)).transpose()?
            }
            None => None,
        };
        Ok(View::of([object.flatten(), child.flatten()].into_iter()))
    };
    batch.iter().map(|waiting| view(&waiting.question).ok()).collect()
}
