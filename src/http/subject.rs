//! What the port shows, as the assembled server gives it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use super::health::Part;
use super::seconds;
use crate::counters::{Clients, Readings, SlowCall};

/// The server that the port is about.
#[async_trait::async_trait]
pub trait Subject: Send + Sync + 'static {
    /// What it is.
    fn about(&self) -> Arc<About>;

    /// The parts whose health is watched.
    fn parts(&self) -> Vec<Arc<dyn Part>>;

    /// Its clients and their calls.
    fn clients(&self) -> &Arc<Clients>;

    /// The last calls that took long, the newest first.
    fn slow(&self) -> Vec<SlowCall>;

    /// The locks of clients, as they were counted last; none where they are not served.
    fn locks(&self) -> Option<LocksState>;

    /// The name of a share by its number in the counters.
    fn share_name(&self, number: u32) -> Option<String>;

    /// What its parts have counted.
    fn measure(&self) -> Readings;

    /// The shares, with what they use; within a few seconds, also where a store is away.
    async fn shares(&self) -> Vec<ShareState>;

    /// Has the server read its configuration again, as on SIGHUP. None where it stops.
    async fn reload(&self) -> Option<Reloaded>;

    /// The jobs that the server runs by itself.
    fn maintenance(&self) -> MaintenanceState;

    /// Has a round of jobs begin now; false where the server has none.
    fn begin_maintenance(&self) -> bool;
}

/// The jobs of a server. Times are seconds since 1970.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MaintenanceState {
    /// When the next round begins; none where none does by itself.
    pub next: Option<u64>,
    /// The last run of each job, by this or another server of the metadata store.
    pub jobs: Vec<JobState>,
}

/// The last run of a job.
#[derive(Clone, Debug, Serialize)]
pub struct JobState {
    /// The name of its command.
    pub job: &'static str,
    pub running: bool,
    /// The machine of the server that ran it.
    pub host: String,
    pub begun: u64,
    pub seconds: u64,
    /// `done`, `findings`, `failed` or `interrupted`; none while it runs.
    pub outcome: Option<&'static str>,
    pub findings: u64,
    /// What it came to.
    pub text: String,
    /// When a run without findings began last.
    pub last_success: Option<u64>,
}

/// What came of reading the configuration again.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Reloaded {
    /// What was taken over, a key each.
    pub applied: Vec<String>,
    /// What takes a restart.
    pub restart: Vec<String>,
    /// Why nothing was changed.
    pub errors: Vec<String>,
}

/// The locks of clients. Times are seconds since 1970.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LocksState {
    /// When they were counted; none: not yet.
    pub counted: Option<u64>,
    pub held: u64,
    pub waiting: u64,
    /// Given to a client that has not said that it knows.
    pub unconfirmed: u64,
    /// Share reservations.
    pub shares: u64,
    /// Clients that have locks, or had some within a day.
    pub known_clients: u64,
    /// Those with the most locks, at most a thousand.
    pub clients: Vec<LockClientState>,
}

/// What a client has. One that mounts by two addresses of the server is two.
#[derive(Clone, Debug, Serialize)]
pub struct LockClientState {
    /// Its address.
    pub client: String,
    /// What it calls itself.
    pub name: String,
    /// The address of the server that it has called, or `locks.service`.
    pub server: String,
    pub held: u64,
    pub waiting: u64,
    pub unconfirmed: u64,
    pub shares: u64,
    /// When the oldest was taken, or began to wait.
    pub oldest: u64,
    /// Its last lock call, to the minute.
    pub seen: u64,
}

/// What a server is.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    /// The version of the program.
    pub version: &'static str,
    /// The source revision that it was built from.
    pub commit: &'static str,
    /// The configuration's file, or what stands for it.
    pub source: String,
    /// The configuration as it counts, as YAML, secrets masked.
    #[serde(skip)]
    pub configuration: String,
    /// Where NFS is served.
    pub nfs: SocketAddr,
    /// What differs in the configuration that was read last, and takes a restart.
    pub restart: Vec<String>,
    /// When the server was started.
    #[serde(serialize_with = "seconds")]
    pub started: SystemTime,
}

/// A share now.
#[derive(Clone, Debug, Serialize)]
pub struct ShareState {
    /// Its name.
    pub name: String,
    /// The names of its stores in the configuration.
    pub metadata_store: String,
    /// See `metadata_store`.
    pub content_store: String,
    /// What its files take, in bytes; none where the store cannot say.
    pub used_bytes: Option<u64>,
    /// Files, directories and other objects.
    pub objects: Option<u64>,
    /// What the content store has room for, in bytes; none where it has no bound, or cannot say.
    pub total_bytes: Option<u64>,
    /// What is free for this server.
    pub available_bytes: Option<u64>,
    /// Files with written data that is not flushed, and its bytes.
    pub unflushed_files: u64,
    /// See `unflushed_files`.
    pub unflushed_bytes: u64,
    /// Why something is missing.
    pub error: Option<String>,
}
