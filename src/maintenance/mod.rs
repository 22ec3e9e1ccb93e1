//! Maintenance by itself: a round of jobs each day, each by one of the servers of a metadata store.
//!
//! A job is a command of this program in a process of its own, with the server's configuration and a low
//! priority: a job that needs much memory, or fails, takes nothing from the server. What became of it is a
//! setting of a metadata store, which all its servers read, and which a server writes before it begins: so
//! one of them runs it.

mod command;
mod outcome;
mod record;
mod schedule;
mod settings;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use self::command::Executable;
use self::command::Running;
use self::outcome::Verdict;
use self::record::Kept;
pub use self::record::{Job, Outcome, Record};
pub use self::schedule::TimeOfDay;
pub use self::settings::{Backup, Settings};
use crate::counters::{Measured, Readings};
use crate::metadata::{Error, MetadataStore};
use crate::types::{Chain, ShareName};

/// After the start of a server that has missed a round.
const AFTER_START: Duration = Duration::from_secs(300);
/// Between two signs of life of a job.
const BEAT: Duration = Duration::from_secs(30);
/// The longest sleep: clocks are set, and other servers run jobs.
const NAP: Duration = Duration::from_secs(120);

/// The jobs of a server.
pub struct Maintenance {
    plan: Mutex<Arc<Plan>>,
    program: Executable,
    server: Uuid,
    host: String,
    last: Mutex<BTreeMap<Job, Record>>,
    asked: Notify,
    /// Told where there is another plan.
    planned: Notify,
}

/// What there is to do, and for what.
#[derive(Default)]
pub struct Plan {
    pub settings: Settings,
    /// Where the records are; none where every share is in memory, and there is nothing to do.
    pub home: Option<Arc<dyn MetadataStore>>,
    /// The shares that outlive the server, with their metadata stores.
    pub shares: Vec<(ShareName, String)>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl fmt::Debug for Maintenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maintenance").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Maintenance {
    /// The jobs of a server.
    #[must_use]
    pub fn new(program: Executable, plan: Plan) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let (plan, server) = (Mutex::new(Arc::new(plan)), Uuid::new_v4());
        let (last, asked, planned) = (Mutex::default(), Notify::new(), Notify::new());
        Self { plan, program, server, host, last, asked, planned }
    }

    /// Replaces what there is to do. A job that runs goes on.
    pub fn set(&self, plan: Plan) {
        *self.plan.lock() = Arc::new(plan);
        self.planned.notify_one();
    }

    fn plan(&self) -> Arc<Plan> {
        self.plan.lock().clone()
    }

    /// Whether there is anything to do.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.plan().home.is_some()
    }

    /// Has a round begin now.
    pub fn begin(&self) {
        self.asked.notify_one();
    }

    /// The last run of each job, by any server, as far as it was seen.
    #[must_use]
    pub fn last(&self) -> Vec<(Job, Record)> {
        self.last.lock().iter().map(|(job, record)| (*job, record.clone())).collect()
    }

    /// When the next round begins, in seconds since 1970.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        let plan = self.plan();
        plan.home.as_ref()?;
        Some(plan.settings.start?.next(schedule::now()))
    }

    /// Runs rounds until `stopped` fires; a job that runs then is told to end.
    pub async fn run(self: Arc<Self>, stopped: CancellationToken) {
        let mut is_first = true;
        loop {
            let wait = self.wait(std::mem::take(&mut is_first));
            let Some(round) = stopped.run_until_cancelled(wait).await else { return };
            for job in Job::ALL {
                if let Err(error) = self.run_job(job, round, &stopped).await {
                    let (job, error) = (job.name(), Chain(&error));
                    tracing::warn!(
                        "maintenance: {job}: its record cannot be read or written: {error}"
                    );
                }
            }
        }
    }

    /// Waits for the next round, and answers with its time: where a round was missed, or was interrupted, a
    /// few minutes after the start.
    async fn wait(&self, is_first: bool) -> u64 {
        let mut at = self.next();
        self.look().await;
        if is_first && let Some(start) = self.plan().settings.start {
            let last = start.last(schedule::now());
            if schedule::is_missed(self.last.lock().values(), last) {
                at = Some(schedule::now() + AFTER_START.as_secs());
            }
        }
        loop {
            let left = at.map_or(u64::MAX, |at| at.saturating_sub(schedule::now()));
            if left == 0 {
                return schedule::now();
            }
            tokio::select! {
                () = sleep(NAP.min(Duration::from_secs(left))) => self.look().await,
                () = self.asked.notified() => return schedule::now(),
                () = self.planned.notified() => at = self.next(),
            }
        }
    }

    /// Sees what other servers have run.
    async fn look(&self) {
        let plan = self.plan();
        let Some(home) = &plan.home else { return };
        for job in Job::ALL {
            match Kept::read(&**home, job).await {
                Ok((_, Some(record))) => self.note(job, &record),
                Ok((_, None)) => {}
                Err(error) => tracing::debug!(error = %Chain(&error), "the records are away"),
            }
        }
    }

    fn note(&self, job: Job, record: &Record) {
        self.last.lock().insert(job, record.clone());
    }

    async fn run_job(
        &self,
        job: Job,
        round: u64,
        stopped: &CancellationToken,
    ) -> Result<(), Error> {
        let plan = self.plan();
        let Some(home) = &plan.home else { return Ok(()) };
        let Some(arguments) = plan.arguments(job, round) else { return Ok(()) };
        let days = if job == Job::Gc { plan.settings.gc_days } else { 1 };
        let (mut kept, last) = Kept::read(&**home, job).await?;
        let is_due = schedule::is_due(last.as_ref(), round, days, schedule::now());
        if stopped.is_cancelled() || !is_due {
            return Ok(());
        }
        let mut record = record::begun(self.server, &self.host, last.as_ref());
        if !kept.write(&record).await? {
            return Ok(());
        }
        self.note(job, &record);
        let name = job.name();
        tracing::info!("maintenance: {name}: begins");
        let verdict = self.supervise(job, &arguments, &mut kept, &mut record, stopped).await;
        record.seen = schedule::now();
        record.seconds = record.seen.saturating_sub(record.begun);
        if verdict.outcome == Outcome::Done {
            record.last_success = Some(record.begun);
        }
        let Verdict { outcome, findings, text } = verdict;
        match outcome {
            Outcome::Done => tracing::info!("maintenance: {name}: {text}"),
            Outcome::Findings | Outcome::Failed => tracing::error!("maintenance: {name}: {text}"),
            Outcome::Interrupted => tracing::info!("maintenance: {name}: interrupted"),
        }
        (record.outcome, record.findings, record.text) = (Some(outcome), findings, text);
        self.note(job, &record);
        kept.write(&record).await?;
        Ok(())
    }

    /// Runs a command to its end, and says meanwhile that it lives.
    async fn supervise(
        &self,
        job: Job,
        arguments: &[OsString],
        kept: &mut Kept<'_>,
        record: &mut Record,
        stopped: &CancellationToken,
    ) -> Verdict {
        let mut running = match Running::start(&self.program, arguments) {
            Ok(running) => running,
            Err(error) => return Verdict::failed(format!("cannot be started: {error}")),
        };
        let mut is_told = false;
        loop {
            tokio::select! {
                ended = running.ended() => {
                    return match ended {
                        Ok(_) if is_told => Verdict { outcome: Outcome::Interrupted, ..Verdict::failed("") },
                        Ok(ended) => {
                            for line in outcome::lines(&ended) {
                                tracing::warn!("maintenance: {}: {line}", job.name());
                            }
                            Verdict::of(job, &ended)
                        }
                        Err(error) => Verdict::failed(error.to_string()),
                    };
                }
                () = sleep(BEAT) => {
                    record.seen = schedule::now();
                    match kept.write(record).await {
                        Ok(true) => {}
                        // Another server has taken this one for dead.
                        Ok(false) => is_told = true,
                        Err(error) => tracing::debug!(error = %Chain(&error), "the records are away"),
                    }
                    if is_told {
                        running.stop();
                    }
                }
                () = stopped.cancelled(), if !is_told => {
                    is_told = true;
                    running.stop();
                }
            }
        }
    }
}

impl Plan {
    /// The command of a job, where the configuration has it.
    fn arguments(&self, job: Job, round: u64) -> Option<Vec<OsString>> {
        let mut arguments: Vec<OsString> = vec![job.name().into(), "--json".into()];
        let rate = self.settings.rate.to_string();
        let mut add = |option: &str, value: &dyn AsRef<OsStr>| {
            arguments.extend([option.into(), value.as_ref().to_owned()]);
        };
        match job {
            Job::Backup => {
                let backup = self.settings.backup.as_ref()?;
                add("--into", &backup.into);
                add("--rate", &rate);
                for (option, number) in [
                    ("--keep-last", backup.keep.last),
                    ("--keep-daily", backup.keep.daily),
                    ("--keep-weekly", backup.keep.weekly),
                    ("--keep-monthly", backup.keep.monthly),
                    ("--verify-parts", backup.verify_parts),
                ] {
                    add(option, &number.to_string());
                }
            }
            Job::Fsck => {
                let turn = usize::try_from(schedule::day(round)).unwrap_or_default();
                let (share, store) = self.shares.get(turn.checked_rem(self.shares.len())?)?;
                if !self.settings.fsck {
                    return None;
                }
                add("--share", &share.as_str());
                add("--store", store);
                add("--rate", &rate);
            }
            Job::Gc if self.settings.gc_days == 0 => return None,
            Job::Gc => add("--rate", &rate),
        }
        Some(arguments)
    }
}

impl Measured for Maintenance {
    fn read(&self, to: &mut Readings) {
        let now = schedule::now();
        for (job, record) in &*self.last.lock() {
            let labels = [("job", job.name())];
            let flag = |is: bool| if is { 1.0 } else { 0.0 };
            let seconds = |seconds: u64| Duration::from_secs(seconds).as_secs_f64();
            to.gauge(
                "trunkfs_job_running",
                "Whether the job runs, on any server",
                &labels,
                flag(record.is_running(now)),
            );
            to.gauge(
                "trunkfs_job_last_success_timestamp_seconds",
                "When the last run without findings began",
                &labels,
                seconds(record.last_success.unwrap_or_default()),
            );
            let Some(outcome) = record.outcome else { continue };
            to.gauge(
                "trunkfs_job_last_duration_seconds",
                "How long the last run took",
                &labels,
                seconds(record.seconds),
            );
            to.gauge(
                "trunkfs_job_last_failed",
                "Whether the last run failed",
                &labels,
                flag(outcome == Outcome::Failed),
            );
            to.gauge(
                "trunkfs_job_last_findings",
                "Findings of the last run",
                &labels,
                seconds(record.findings),
            );
        }
    }
}
