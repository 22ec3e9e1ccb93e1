//! `trunkfs backup`: shares with their bytes in a folder, while servers go on.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use super::job::{Speed, finding, human, run_error, run_job, run_job_at, summarise};
use super::{Configured, FAILED, Failure};
use crate::admin::backup::{self, Added, Created, Finding, Inventory, Plan, Wanted};
use crate::config::Config;

/// Another run has the folder (EX_TEMPFAIL of sysexits.h).
const BUSY: u8 = 75;

/// What `backup` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    configured: Configured,
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    speed: Speed,
    /// Print a JSON summary on standard output, and no progress
    #[arg(long)]
    json: bool,
    /// Add a backup to the series in this folder: verified, based on the newest one, old ones removed; an
    /// interrupted run is resumed by the next one
    #[arg(long, value_name = "DIR", conflicts_with_all = ["folder", "base", "resume", "metadata_only"])]
    into: Option<PathBuf>,
    #[command(flatten)]
    plan: Plan,
    /// Backup folder: a new or empty one
    #[arg(value_name = "DIR", required_unless_present = "into")]
    folder: Option<PathBuf>,
}

/// Makes the backup.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let config = options.configured.load_for_stores()?;
    match (&options.into, &options.folder) {
        (Some(series), _) => add(&config, options, series),
        (None, Some(folder)) => create(&config, options, folder),
        (None, None) => Err(Failure::Wrong("the backup's folder is missing".to_owned())),
    }
}

fn create(config: &Config, options: &Options, folder: &Path) -> Result<(), Failure> {
    let start = Instant::now();
    let created = run_job_at(options.speed, options.json, FAILED, async |job| {
        backup::create(config, &options.wanted, folder, &job.progress).await
    })?;
    let created = created.map_err(|error| match error {
        backup::Error::Interrupted => Failure::Run(
            format!(
                "interrupted; the backup in {} is incomplete: resume it with --resume, or remove the folder",
                folder.display()
            )
            .into(),
        ),
        error => run_error(error),
    })?;
    summarise(options.json, start, &created, |seconds| text(&created, seconds))?;
    let lost: u64 = created.inventory.stores.iter().map(|store| store.lost).sum();
    if lost == 0 {
        return Ok(());
    }
    let proof =
        run_job(options.json, FAILED, async |job| backup::lost(folder, &job.progress).await)?;
    let proof = proof.map_err(run_error)?;
    without_content(lost, &proof)
}

/// Names the files that the content store lacks, on standard error.
fn without_content(lost: u64, findings: &[Finding]) -> Result<(), Failure> {
    findings.iter().for_each(finding);
    eprintln!(
        "error: the content of {lost} files is missing or incomplete in the content store, and in the \
         backup; everything else is in the backup"
    );
    Err(Failure::Said(FAILED))
}

/// Adds to a series of backups.
fn add(config: &Config, options: &Options, series: &Path) -> Result<(), Failure> {
    let start = Instant::now();
    let added = run_job_at(options.speed, options.json, FAILED, async |job| {
        backup::add(config, &options.wanted, options.plan, series, &job.progress).await
    })?;
    let added = match added {
        Ok(added) => added,
        Err(error @ backup::Error::Busy(_)) => {
            eprintln!("error: {error}");
            return Err(Failure::Said(BUSY));
        }
        Err(backup::Error::Interrupted) => {
            return Err(Failure::Run("interrupted; the next run resumes the backup".into()));
        }
        Err(error) => return Err(run_error(error)),
    };
    summarise(options.json, start, &added, |seconds| added_text(&added, seconds))?;
    if added.damaged {
        added.verified.findings.iter().for_each(finding);
        let folder = added.folder.display();
        eprintln!("error: {folder} failed its verification; the next backup copies everything");
        return Err(Failure::Said(FAILED));
    }
    if added.lost > 0 {
        return without_content(added.lost, &added.verified.findings);
    }
    Ok(())
}

fn added_text(added: &Added, seconds: f64) -> String {
    let Added { folder, damaged, resumed, removed, created, verified, .. } = added;
    let named = |verb: &str, folders: &[PathBuf]| -> String {
        folders.iter().map(|folder| format!("{}: {verb}\n", folder.display())).collect()
    };
    let state = if *damaged { "DAMAGED" } else { "complete and verified" };
    format!(
        "{}{}{}\n{}: {state}: {} files, {} read",
        named("complete and verified after an interruption", resumed),
        named("removed", removed),
        text(created, seconds),
        folder.display(),
        verified.contents,
        human(verified.bytes)
    )
}

fn text(created: &Created, seconds: f64) -> String {
    let Created { inventory, copied, kept } = created;
    let (what, verb) = match inventory.bytes_included {
        true => ("backup", "copied"),
        false => ("backup without content", "listed"),
    };
    format!(
        "{}{what}: {copied} files {verb}, {kept} reused from --base, in {seconds:.1} s",
        contained(inventory)
    )
}

/// What a backup has of each metadata store, a line each.
pub(super) fn contained(inventory: &Inventory) -> String {
    inventory.stores.iter().map(|store| contained_of(store) + "\n").collect()
}

fn contained_of(store: &backup::StoreManifest) -> String {
    let shares: Vec<_> = store.shares.iter().map(|share| share.name.as_str()).collect();
    let moving = match store.moving {
        0 => String::new(),
        moving => format!(", {moving} of them changed during the backup"),
    };
    format!(
        "{}: {} as of {}: {} objects, {} files{moving}, {}",
        store.name,
        shares.join(" "),
        store.moment,
        store.objects,
        store.contents,
        human(store.content_bytes)
    )
}
