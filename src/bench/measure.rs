//! Runs a workload, and takes its figures.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::call::NAMES;
use super::cpu::Processes;
use super::drive::Window;
use super::error::Error;
use super::fault::Fault;
use super::histogram::Histogram;
use super::prepare::{Calls, Prepared};
use super::session::Session;
use super::source::Source;
use super::tally::Tally;
use super::workload::Workload;

/// How many files a round of removals has for each connection. It is doubled while a round takes less than
/// [`ROUND`].
const MAX_ROUND: u64 = 16 << 10;
/// The time of a round of removals that is long enough.
const ROUND: Duration = Duration::from_millis(400);

/// The figures of a run.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// What ran.
    pub workload: Workload,
    /// From the end of the warm-up to the last reply.
    pub time: Duration,
    /// Operations that succeeded; their latencies.
    pub operations: Histogram,
    /// Calls that succeeded, by procedure.
    pub procedures: Vec<(&'static str, Histogram)>,
    /// Bytes read or written.
    pub bytes: u64,
    /// Entries of directories that were listed.
    pub entries: u64,
    /// Unexpected replies, those of the warm-up too.
    pub errors: BTreeMap<Fault, u64>,
    /// Processor time of the server, where it can be seen.
    pub server_cpu: Option<Duration>,
    /// Processor time of this process.
    pub client_cpu: Option<Duration>,
}

impl Measurement {
    /// Operations a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.operations.count() as f64 / self.time.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Bytes a second.
    #[must_use]
    pub fn bytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.time.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Calls that succeeded.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.procedures.iter().map(|(_, latencies)| latencies.count()).sum()
    }

    /// Replies that were not the expected ones.
    #[must_use]
    pub fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Part of a processor time for each call; `None` without calls.
    #[must_use]
    pub fn for_each_call(&self, used: Option<Duration>) -> Option<Duration> {
        let calls = u32::try_from(self.calls()).ok().filter(|calls| *calls > 0)?;
        Some(used? / calls)
    }
}

/// How long a workload runs.
#[derive(Clone, Debug)]
pub struct Timing<'a> {
    /// The measured time.
    pub time: Duration,
    /// The time before it.
    pub warm_up: Duration,
    /// The server's processes, where they are known.
    pub server: Option<&'a Processes>,
    /// Fires on Ctrl-C.
    pub stop: &'a CancellationToken,
}

impl Session {
    /// Runs a prepared workload.
    ///
    /// # Errors
    /// A connection broke, or a reply cannot be decoded. Unexpected statuses are counted in the figures.
    pub async fn measure(
        &mut self,
        prepared: &mut Prepared,
        timing: &Timing<'_>,
    ) -> Result<Measurement, Error> {
        self.connect().await?;
        let workload = prepared.workload;
        let mut figures = Figures::default();
        match &mut prepared.calls {
            Calls::Endless(sources) => {
                let from = Instant::now() + timing.warm_up;
                let window =
                    Window { from, end: Some(from + timing.time), stop: timing.stop.clone() };
                self.run(sources, window, timing.server, &mut figures).await?;
            }
            Calls::Rounds { made, removed, size } => {
                let mut warm_up = Duration::ZERO;
                while figures.time < timing.time && !timing.stop.is_cancelled() {
                    for numbered in made.iter_mut().chain(removed.iter_mut()) {
                        numbered.allow(numbered.position() + *size);
                    }
                    let window = |from| Window { from, end: None, stop: timing.stop.clone() };
                    let mut unmeasured = Figures::default();
                    self.run(made, window(Instant::now()), None, &mut unmeasured).await?;
                    figures.add_errors(&unmeasured);
                    let mut round = Figures::default();
                    self.run(removed, window(Instant::now()), timing.server, &mut round).await?;
                    if round.time < ROUND {
                        *size = (*size * 2).min(MAX_ROUND);
                    }
                    if warm_up < timing.warm_up {
                        warm_up += round.time;
                        figures.add_errors(&round);
                    } else {
                        figures.add(&round);
                    }
                }
            }
        }
        Ok(figures.into_measurement(workload))
    }

    /// Drives every connection with its source, all at the same time, and adds the figures.
    async fn run<S: Source + 'static>(
        &mut self,
        sources: &mut Vec<S>,
        window: Window,
        server: Option<&Processes>,
        figures: &mut Figures,
    ) -> Result<(), Error> {
        let depth = self.settings.depth;
        let mut tasks = JoinSet::new();
        let all = self.links.drain(..).zip(sources.drain(..)).enumerate();
        for (index, (mut link, mut source)) in all {
            let window = window.clone();
            tasks.spawn(async move {
                let driven = link.drive(&mut source, depth, &window).await;
                (index, link, source, driven)
            });
        }
        let own = Processes::own();
        let used = || (server.and_then(Processes::used), own.used());
        let warm_up = tokio::time::sleep_until(window.from.into());
        let mut warm_up = std::pin::pin!(warm_up);
        let mut before = None;
        let mut ended = Vec::new();
        while !tasks.is_empty() {
            tokio::select! {
                biased;
                () = &mut warm_up, if before.is_none() => before = Some(used()),
                Some(task) = tasks.join_next() => ended.push(task.map_err(Error::Task)?),
            }
        }
        let before = before.unwrap_or_default();
        let after = used();
        ended.sort_by_key(|(index, ..)| *index);
        let mut tally = Tally::new(window.from);
        let mut failed = None;
        for (_, link, source, driven) in ended {
            sources.push(source);
            match driven {
                Ok(own) => {
                    self.links.push(link);
                    tally.add(&own);
                }
                Err(error) => failed = Some(error),
            }
        }
        let part = |before: Option<Duration>, after: Option<Duration>| {
            Some(after?.saturating_sub(before?))
        };
        figures.add(&Figures {
            time: tally.time(),
            server_cpu: part(before.0, after.0),
            client_cpu: part(before.1, after.1),
            rounds: 1,
            tally: Some(tally),
        });
        failed.map_or(Ok(()), Err)
    }
}

/// The figures of some rounds.
#[derive(Debug, Default)]
struct Figures {
    tally: Option<Tally>,
    time: Duration,
    server_cpu: Option<Duration>,
    client_cpu: Option<Duration>,
    rounds: u32,
}

impl Figures {
    fn add(&mut self, other: &Self) {
        self.add_counts(other);
        let sum = |mine: Option<Duration>, others: Option<Duration>| {
            if self.rounds == 0 { others } else { Some(mine? + others?) }
        };
        self.server_cpu = sum(self.server_cpu, other.server_cpu);
        self.client_cpu = sum(self.client_cpu, other.client_cpu);
        self.time += other.time;
        self.rounds += other.rounds;
    }

    fn add_counts(&mut self, other: &Self) {
        let Some(others) = &other.tally else { return };
        self.tally.get_or_insert_with(|| Tally::new(Instant::now())).add(others);
    }

    /// Adds the errors alone.
    fn add_errors(&mut self, other: &Self) {
        let Some(others) = &other.tally else { return };
        self.tally.get_or_insert_with(|| Tally::new(Instant::now())).add_errors(others);
    }

    fn into_measurement(self, workload: Workload) -> Measurement {
        let tally = self.tally.unwrap_or_else(|| Tally::new(Instant::now()));
        let procedures = NAMES.into_iter().zip(tally.procedures);
        Measurement {
            workload,
            time: self.time,
            operations: tally.operations,
            procedures: procedures.filter(|(_, latencies)| latencies.count() > 0).collect(),
            bytes: tally.bytes,
            entries: tally.entries,
            errors: tally.errors,
            server_cpu: self.server_cpu,
            client_cpu: self.client_cpu,
        }
    }
}
