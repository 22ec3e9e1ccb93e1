//! `trunkfs gc`: content that no file has any more is removed.

use std::time::Instant;

use clap::Args;

use super::job::{Speed, human, run_error, run_job_at, summarise};
use super::{Configured, FAILED, Failure};
use crate::admin::gc::{Collected, GcHow, Outcome, collect};
use crate::config::Config;
use crate::stores::{OfflineStores, lasting_content};

/// What `gc` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    configured: Configured,
    /// Content store, by its name in the configuration; may be repeated [default: those of all shares]
    #[arg(long, value_name = "NAME")]
    content: Vec<String>,
    #[command(flatten)]
    how: GcHow,
    #[command(flatten)]
    speed: Speed,
    /// Print a JSON summary on standard output, and no progress
    #[arg(long)]
    json: bool,
}

/// Collects.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let config = options.configured.load_for_stores()?;
    let names = names(&config, options)?;
    let start = Instant::now();
    let outcome = run_job_at(options.speed, options.json, FAILED, async |job| {
        collect(&mut OfflineStores::new(&config), &names, &options.how, &job.progress).await
    })?;
    let outcome = outcome.map_err(run_error)?;
    summarise(options.json, start, &outcome, |seconds| text(&outcome, seconds))?;
    let failed: Vec<_> = outcome.stores.iter().filter(|store| store.failed > 0).collect();
    for store in &failed {
        let why = store.failure.as_deref().unwrap_or_default();
        eprintln!("error: {}: {} contents could not be removed: {why}", store.store, store.failed);
    }
    if outcome.stopped {
        eprintln!("error: interrupted; run it again for the rest");
    }
    if outcome.stopped || !failed.is_empty() {
        return Err(Failure::Said(FAILED));
    }
    Ok(())
}

fn names(config: &Config, options: &Options) -> Result<Vec<String>, Failure> {
    if !options.content.is_empty() {
        return Ok(options.content.clone());
    }
    let names = lasting_content(config);
    if names.is_empty() {
        let text = "the content of every share is in memory: there is nothing to collect";
        return Err(Failure::Wrong(text.to_owned()));
    }
    Ok(names)
}

fn text(outcome: &Outcome, seconds: f64) -> String {
    let mut text = String::new();
    for it in &outcome.stores {
        let Collected { store, listed, named, young, undated, leftovers, .. } = it;
        let (verb, count, bytes) = if outcome.dry_run {
            ("to remove (dry run)", it.garbage, it.garbage_bytes)
        } else {
            ("removed", it.removed, it.removed_bytes)
        };
        text += &format!(
            "{store}: {listed} contents; {named} in use, {young} too recent, {undated} of unknown age; \
             {count} {verb} ({})",
            human(bytes)
        );
        if *leftovers > 0 {
            text += &format!("; {leftovers} temporary files of interrupted starts");
        }
        text += "\n";
        if it.needs_consent && outcome.dry_run {
            text += &format!(
                "{store}: most of the content is unused: removing it needs --remove-most\n"
            );
        }
    }
    text + &format!("{seconds:.1} s")
}
