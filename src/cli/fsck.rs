//! `trunkfs fsck`: whether stores hold together, and making them hold together again.
//!
//! Exit status as fsck(8) has it, summed up: 0 no errors, 1 errors corrected, 4 errors left, 8 it could not
//! be done, 16 the command line or the configuration is wrong, 32 cancelled.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::job::{Job, Speed, run_job_at};
use super::{Configured, Failure};
use crate::admin::fsck::{Check, Found, Outcome, RepairAccess, Report, Stopped, Tally};
use crate::admin::{Unit, share};
use crate::config::{self, Config, LogFormat};
use crate::content::{ContentStore, CreateMode};
use crate::metadata::{Checker, Error, Repairable, Share};
use crate::stores::{OfflineStores, lasting_metadata, open_for_reading, open_for_repair};
use crate::types::{Chain, ShareId, ShareName};

/// Errors were corrected.
const CORRECTED: u8 = 1;
/// Errors were left.
const LEFT: u8 = 4;
/// It could not be done.
const FAILED: u8 = 8;
/// The command line or the configuration is wrong.
pub(super) const USAGE: u8 = 16;
/// A signal ended it.
const CANCELLED: u8 = 32;

/// How often a store is checked at most that goes away in the middle.
const BEGINS: u32 = 10;
/// How long one that is away is waited for.
const AWAY: Duration = Duration::from_secs(60);
/// What is to be done about one that stays away.
const AGAIN: &str = "corrections so far are kept: run it again when the store answers";
/// Before it is looked for again.
const PAUSE: Duration = Duration::from_secs(1);

/// What `fsck` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status, a sum as of fsck(8): 0 no errors, 1 errors corrected, 4 errors left \
                        uncorrected, 8 operational error, 16 usage or configuration error, 32 cancelled."
)]
pub(super) struct Options {
    #[command(flatten)]
    configured: Configured,
    /// Fix errors; the server of a SQLite store must be stopped for that
    #[arg(long)]
    repair: bool,
    /// Metadata store, by its name in the configuration; may be repeated [default: all]
    #[arg(long = "store", value_name = "NAME")]
    stores: Vec<String>,
    /// Only this share
    #[arg(long, value_name = "SHARE", value_parser = share)]
    share: Option<ShareName>,
    #[command(flatten)]
    speed: Speed,
    /// Do not check the content of files
    #[arg(long)]
    no_content: bool,
    /// Print findings as JSON, one object per line and a summary at the end, and no progress
    #[arg(long)]
    json: bool,
}

/// Whether the command line asks for this command, however wrongly.
pub(super) fn is_asked_for() -> bool {
    std::env::args_os().nth(1).is_some_and(|command| command == "fsck")
}

/// Checks the stores.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let config = match options.configured.load_for_stores() {
        Err(Failure::Configuration(errors)) => {
            for error in errors.iter() {
                eprintln!("error: {error}");
            }
            return Err(Failure::Said(USAGE));
        }
        config => config?,
    };
    let stores = match stores(&config, options) {
        Ok(stores) => stores,
        Err(text) => {
            eprintln!("error: {text}");
            return Err(Failure::Said(USAGE));
        }
    };
    let start = Instant::now();
    let work = async |job| check_all(&config, &stores, options, &job).await;
    let (tally, status) = match run_job_at(options.speed, options.json, CANCELLED, work) {
        Err(failure) => {
            failure.write(LogFormat::Text);
            return Err(Failure::Said(FAILED));
        }
        done => done?,
    };
    summarise(options.json, tally, status, start);
    if status == 0 { Ok(()) } else { Err(Failure::Said(status)) }
}

/// The stores that are meant.
fn stores(config: &Config, options: &Options) -> Result<Vec<String>, String> {
    let known = || config.metadata.keys().cloned().collect::<Vec<_>>().join(", ");
    for name in &options.stores {
        match config.metadata.get(name) {
            None => {
                let known = known();
                return Err(format!(
                    "the configuration has no metadata store {name}; it has {known}"
                ));
            }
            Some(config::Metadata::Memory { .. }) => {
                return Err(format!(
                    "the metadata store {name} is in memory: only its server can access it"
                ));
            }
            Some(config::Metadata::Sqlite(_) | config::Metadata::Postgres(_)) => {}
        }
    }
    if !options.stores.is_empty() {
        return Ok(options.stores.clone());
    }
    let lasting = lasting_metadata(config);
    if lasting.is_empty() {
        return Err(format!(
            "the metadata stores {} are in memory: there is nothing to check",
            known()
        ));
    }
    Ok(lasting)
}

/// Checks one store after the other. Answers with the exit status too.
async fn check_all(
    config: &Config,
    stores: &[String],
    options: &Options,
    job: &Job,
) -> (Tally, u8) {
    let mut status = 0;
    let mut total = Tally::default();
    let mut has_share = false;
    for name in stores {
        let said = HashSet::new();
        let mut one = StoreCheck { config, name, options, job, status: 0, has_share: false, said };
        let tally = match one.check().await {
            Ok(tally) => tally,
            Err(text) => {
                eprintln!("error: {text}");
                status |= FAILED;
                continue;
            }
        };
        status |= one.status;
        has_share |= one.has_share;
        if tally.mended > 0 {
            status |= CORRECTED;
        }
        if tally.findings > tally.mended {
            status |= LEFT;
        }
        total.add(tally);
    }
    if let Some(share) = options.share.as_ref().filter(|_| !has_share && status & FAILED == 0) {
        eprintln!("error: there is no share {share} in {}", stores.join(", "));
        status |= USAGE;
    }
    if job.progress.cancel().is_cancelled() {
        status |= CANCELLED;
        eprintln!("interrupted; corrections so far are kept, each of them complete");
    }
    (total, status)
}

fn summarise(json: bool, tally: Tally, status: u8, start: Instant) {
    #[derive(Serialize)]
    struct Summary {
        #[serde(flatten)]
        tally: Tally,
        left: u64,
        status: u8,
        seconds: f64,
    }
    let Tally { objects, entries, contents, findings, mended } = tally;
    let seconds = start.elapsed().as_secs_f64();
    let text = if json {
        let summary = Summary { tally, left: findings - mended, status, seconds };
        serde_json::json!({ "summary": summary }).to_string()
    } else {
        format!(
            "checked: {objects} objects, {entries} entries, {contents} contents in {seconds:.1} s; \
             errors: {findings}, corrected: {mended}"
        )
    };
    // A reader that has closed standard output wants no summary.
    writeln!(std::io::stdout(), "{text}").ok();
}

/// The check of one store.
struct StoreCheck<'a> {
    config: &'a Config,
    name: &'a str,
    options: &'a Options,
    job: &'a Job,
    /// What it adds to the exit status, beside its tally.
    status: u8,
    has_share: bool,
    /// What was said and not corrected, which a check that begins again finds again.
    said: HashSet<u64>,
}

/// What a check has come to that has begun again after `before`.
fn after(before: Tally, mut last: Tally) -> Tally {
    last.add(before);
    last
}

impl StoreCheck<'_> {
    fn cancel(&self) -> &CancellationToken {
        self.job.progress.cancel()
    }

    /// Checks the store. Where it goes away in the middle the check begins again: what was read until then
    /// may hold no more, and each correction is whole by itself.
    async fn check(&mut self) -> Result<Tally, String> {
        let mut before = Tally::default();
        let mut away: Option<Instant> = None;
        let mut begun = 0;
        loop {
            let (tally, why) = match (self.once().await, away) {
                (Ok(once), _) => once,
                (Err(text), None) => return Err(text),
                (Err(text), Some(since))
                    if since.elapsed() >= AWAY || self.cancel().is_cancelled() =>
                {
                    self.failed(&format!("{text}; {AGAIN}"));
                    return Ok(before);
                }
                (Err(_), Some(_)) => {
                    self.pause().await;
                    continue;
                }
            };
            begun += 1;
            let Some(why) = why else { return Ok(after(before, tally)) };
            if begun == BEGINS || self.cancel().is_cancelled() {
                self.failed(&format!("{why}; {AGAIN}"));
                return Ok(after(before, tally));
            }
            eprintln!("{why}; corrections so far are kept, and the check starts again");
            let mended = tally.mended;
            before.add(Tally { findings: mended, mended, ..Tally::default() });
            away = Some(Instant::now());
            self.pause().await;
        }
    }

    async fn pause(&self) {
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = self.cancel().cancelled() => {}
        }
    }

    /// One check from the beginning, and why it did not come to its end where the store went away.
    async fn once(&mut self) -> Result<(Tally, Option<String>), String> {
        let told = |error: &(dyn std::error::Error + 'static)| Chain(error).to_string();
        let unopened = |error: Error| format!("metadata.stores.{}: {}", self.name, told(&error));
        if !self.options.repair {
            let store = open_for_reading(self.config, self.name).await.map_err(|it| told(&it))?;
            let checker = store.checker().await.map_err(unopened)?;
            return self.check_with(&*checker, None).await;
        }
        let store: Box<dyn Repairable> =
            open_for_repair(self.config, self.name).await.map_err(|it| told(&it))?;
        let repairer = store.repairer().await.map_err(unopened)?;
        let access = RepairAccess { repairer: &*repairer, store: &*store };
        let checked = self.check_with(&*repairer, Some(access)).await;
        drop(repairer);
        store.close().await;
        checked
    }

    async fn check_with(
        &mut self,
        checker: &dyn Checker,
        access: Option<RepairAccess<'_>>,
    ) -> Result<(Tally, Option<String>), String> {
        let name = self.name;
        let text = |error: &(dyn std::error::Error + 'static)| {
            format!("metadata.stores.{name}: {}", Chain(error))
        };
        let objects = checker.recorded_objects().await.map_err(|error| text(&error))?;
        // Every object and about as many entries, which are read again for their content.
        let rows = objects.saturating_mul(if self.options.no_content { 2 } else { 3 });
        let mut teller = Teller {
            store: self.name.to_owned(),
            json: self.options.json,
            said: std::mem::take(&mut self.said),
            job: self.job.clone(),
        };
        self.job.progress.begin("fsck", Unit::Rows, Some(rows));
        let only = self.options.share.as_ref();
        let begun = Check::begin(checker, access, only, self.cancel().clone(), &mut teller).await;
        let mut check = match begun {
            Ok(check) => check.in_pace_of(&self.job.progress),
            Err(error) => {
                self.said = teller.said;
                return Err(text(&error));
            }
        };
        let shares = check.shares().to_vec();
        self.has_share = only.is_none_or(|only| shares.iter().any(|share| share.name == *only));
        let mut ended = check.structure().await;
        if ended.is_ok() && !self.options.no_content {
            let contents = self.contents(&shares).await;
            ended = check.content(&contents).await;
        }
        let tally = check.tally();
        self.said = teller.said;
        Ok(match ended {
            Ok(()) | Err(Stopped::Cancelled) => (tally, None),
            Err(Stopped::Store(error @ Error::Unavailable(_))) => (tally, Some(text(&error))),
            Err(error @ (Stopped::Store(_) | Stopped::Content { .. })) => {
                self.failed(&text(&error));
                (tally, None)
            }
        })
    }

    fn failed(&mut self, text: &str) {
        eprintln!("error: {text}");
        self.status |= FAILED;
    }

    /// Where the content of the shares is. What cannot be looked at is said.
    async fn contents(&mut self, shares: &[Share]) -> HashMap<ShareId, Arc<dyn ContentStore>> {
        let mut offline = OfflineStores::new(self.config);
        let mut contents = HashMap::new();
        for share in shares {
            if self.options.share.as_ref().is_some_and(|only| *only != share.name) {
                continue;
            }
            match self.content_of(&mut offline, share).await {
                Ok(Some(content)) => {
                    contents.insert(share.id, content);
                }
                Ok(None) => {}
                Err(text) => self.failed(&text),
            }
        }
        contents
    }

    async fn content_of(
        &self,
        offline: &mut OfflineStores<'_>,
        share: &Share,
    ) -> Result<Option<Arc<dyn ContentStore>>, String> {
        let told = |error: &(dyn std::error::Error + 'static)| {
            format!("the content of {}: {}", share.name, Chain(error))
        };
        let mut shares = self.config.shares.iter();
        let served = shares.find(|it| it.name == share.name && it.metadata_store == self.name);
        let home = offline.binding(self.name, &share.name).await.map_err(|error| told(&error))?;
        let Some(home) = home else {
            if served.is_some() {
                eprintln!(
                    "{}: content not checked: no content store is recorded (it is in memory, or was never \
                     served)",
                    share.name
                );
            }
            return Ok(None);
        };
        let name = served.map_or(&home.store, |it| &it.content_store);
        let content = offline.content(name, CreateMode::ReadOnly).await;
        let content = content.map_err(|error| told(&error))?;
        if content.identity() != Some(home.identity) {
            return Err(format!(
                "the content of {}: expected {} (content store {}), but the content store {name} holds other \
                 content; correct the configuration, or skip the content with --no-content",
                share.name, home.identity, home.store
            ));
        }
        Ok(Some(content.in_chunks(share.chunk_size)))
    }
}

/// Says what is found, on standard output.
struct Teller {
    store: String,
    json: bool,
    said: HashSet<u64>,
    job: Job,
}

impl Report for Teller {
    fn found(&mut self, found: &Found) {
        let line = if self.json { self.as_json(found) } else { self.as_text(found) };
        let mut hasher = DefaultHasher::new();
        line.hash(&mut hasher);
        if found.outcome != Outcome::Repaired && !self.said.insert(hasher.finish()) {
            return;
        }
        self.job.aside(|| writeln!(std::io::stdout(), "{line}").ok());
    }

    fn read(&mut self, rows: u64) {
        self.job.progress.advance(rows);
    }
}

impl Teller {
    fn as_text(&self, found: &Found) -> String {
        let Found { finding, share, path, outcome } = found;
        let place = path.clone().or_else(|| share.as_ref().map(ToString::to_string));
        let place = place.unwrap_or_else(|| self.store.clone());
        match outcome {
            Outcome::Said => format!("{place}: {finding}; {}", finding.remedy()),
            Outcome::Repaired => format!("{place}: {finding}; corrected"),
            Outcome::Left(why) => format!("{place}: {finding}; not corrected, {why}"),
        }
    }

    fn as_json(&self, found: &Found) -> String {
        let Found { finding, share, path, outcome } = found;
        let (outcome, why) = match outcome {
            Outcome::Said => ("found", None),
            Outcome::Repaired => ("corrected", None),
            Outcome::Left(why) => ("left", Some(why)),
        };
        serde_json::json!({
            "store": self.store,
            "share": share.as_ref().map(ToString::to_string),
            "kind": finding.kind(),
            "path": path,
            "object": finding.object().map(|id| id.to_string()),
            "text": finding.to_string(),
            "outcome": outcome,
            "why": why,
        })
        .to_string()
    }
}
