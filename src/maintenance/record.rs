//! What a metadata store keeps of a job, for all servers of it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::schedule::{self, UNSEEN};
use crate::metadata::{Error, MetadataStore};

/// A job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    /// A backup is added to the series.
    Backup,
    /// A share is checked.
    Fsck,
    /// Unused content is removed.
    Gc,
}

impl Job {
    /// All, in the order of a round.
    pub const ALL: [Self; 3] = [Self::Backup, Self::Fsck, Self::Gc];

    /// Its command.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Fsck => "fsck",
            Self::Gc => "gc",
        }
    }

    fn key(self) -> String {
        format!("maintenance/{}", self.name())
    }
}

/// What became of a run.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All is well.
    Done,
    /// It came to its end, and found what an administrator must look at.
    Findings,
    /// It came to no end.
    Failed,
    /// Its server was stopped.
    Interrupted,
}

/// The last run of a job, by any server. Times are seconds since 1970.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct Record {
    /// The process that runs it, or ran it.
    pub server: Uuid,
    /// The name of its machine.
    pub host: String,
    pub begun: u64,
    /// When the process was last alive.
    pub seen: u64,
    /// None while it runs.
    pub outcome: Option<Outcome>,
    pub seconds: u64,
    pub findings: u64,
    /// What it came to, in a line.
    pub text: String,
    /// When a run without findings began last.
    pub last_success: Option<u64>,
}

impl Record {
    /// Whether it runs now.
    #[must_use]
    pub fn is_running_now(&self) -> bool {
        self.is_running(schedule::now())
    }

    /// Whether it runs.
    pub(super) fn is_running(&self, now: u64) -> bool {
        self.outcome.is_none() && now.saturating_sub(self.seen) <= UNSEEN.as_secs()
    }
}

/// The record of a job in its store, as this server has seen it last.
#[derive(Debug)]
pub(super) struct Kept<'s> {
    store: &'s dyn MetadataStore,
    job: Job,
    seen: Option<String>,
    /// Another server has written it: it is not this one's any more.
    is_lost: bool,
}

impl<'s> Kept<'s> {
    /// Reads it.
    pub(super) async fn read(
        store: &'s dyn MetadataStore,
        job: Job,
    ) -> Result<(Self, Option<Record>), Error> {
        let seen = store.setting(&job.key()).await?;
        // A later version's record is one that this server knows nothing of.
        let record = seen.as_deref().and_then(|text| serde_json::from_str(text).ok());
        Ok((Self { store, job, seen, is_lost: false }, record))
    }

    /// Writes it, unless another server has done so since it was read; answers whether it was written.
    pub(super) async fn write(&mut self, record: &Record) -> Result<bool, Error> {
        if self.is_lost {
            return Ok(false);
        }
        let text = serde_json::to_string(record).unwrap_or_default();
        let now = self.store.set_setting(&self.job.key(), self.seen.as_deref(), &text).await?;
        self.is_lost = now.as_deref() != Some(&*text);
        self.seen = now;
        Ok(!self.is_lost)
    }
}

/// A record of a run that begins now.
pub(super) fn begun(server: Uuid, host: &str, last: Option<&Record>) -> Record {
    let now = schedule::now();
    Record {
        server,
        host: host.to_owned(),
        begun: now,
        seen: now,
        last_success: last.and_then(|last| last.last_success),
        ..Record::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::memory::MemoryStore;

    #[tokio::test]
    async fn a_server_that_was_taken_for_dead_leaves_the_record_to_its_successor() {
        let store = MemoryStore::new();
        let (mut one, none) = Kept::read(&store, Job::Gc).await.unwrap();
        assert_eq!(none, None);
        let first = begun(Uuid::new_v4(), "one", None);
        assert!(one.write(&first).await.unwrap());
        let (mut other, seen) = Kept::read(&store, Job::Gc).await.unwrap();
        assert_eq!(seen.as_ref(), Some(&first));
        let second = begun(Uuid::new_v4(), "other", seen.as_ref());
        assert!(other.write(&second).await.unwrap());
        for _ in 0..2 {
            let ended = Record { outcome: Some(Outcome::Interrupted), ..first.clone() };
            assert!(!one.write(&ended).await.unwrap());
        }
        assert_eq!(Kept::read(&store, Job::Gc).await.unwrap().1, Some(second));
    }
}
