//! `trunkfs backup`: shares with their bytes in a folder, while servers go on.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::job::{finding, human, run_error, run_job, summarise};
use super::{Configured, FAILED, Failure};
use crate::admin::backup::{self, Created, Inventory, Wanted};

/// What `backup` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    configured: Configured,
    #[command(flatten)]
    wanted: Wanted,
    /// Print a JSON summary on standard output, and no progress
    #[arg(long)]
    json: bool,
    /// Backup folder: a new or empty one
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Makes the backup.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let config = options.configured.load_for_stores()?;
    let start = Instant::now();
    let created = run_job(options.json, FAILED, async |job| {
        backup::create(&config, &options.wanted, &options.folder, &job.progress).await
    })?;
    let created = created.map_err(|error| match error {
        backup::Error::Interrupted => Failure::Run(
            format!(
                "interrupted; the backup in {} is incomplete: resume it with --resume, or remove the folder",
                options.folder.display()
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
    let proof = run_job(options.json, FAILED, async |job| {
        backup::lost(&options.folder, &job.progress).await
    })?;
    let proof = proof.map_err(run_error)?;
    proof.iter().for_each(finding);
    eprintln!(
        "error: the content of {lost} files is missing or incomplete in the content store, and in the \
         backup; everything else is in the backup"
    );
    Err(Failure::Said(FAILED))
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
