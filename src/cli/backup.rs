//! `trunkfs backup`: shares with their bytes in a folder, while servers go on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;

use super::dump::{run_error, share};
use super::job::{Shown, finding, human, say};
use super::{Configured, FAILED, Failure};
use crate::backup::{self, Job, Manifest, Taken, Wanted};
use crate::types::ShareName;

/// What `backup` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    configured: Configured,
    /// One share alone; several may be given [default: all shares of the metadata stores that shares name]
    #[arg(long = "share", value_name = "SHARE", value_parser = share)]
    shares: Vec<ShareName>,
    /// The names, and a list of the contents with sizes and checksums, without the bytes: for content that is kept
    /// safe by other means
    #[arg(long)]
    metadata_only: bool,
    /// Contents are not read for their checksums
    #[arg(long, requires = "metadata_only")]
    no_checksums: bool,
    /// An earlier backup, whose files become this one's too (hard links) where nothing was changed since
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// Go on with a backup that was begun in the folder and not finished
    #[arg(long)]
    resume: bool,
    /// Sum up as JSON on standard output, and show no progress
    #[arg(long)]
    json: bool,
    /// The folder, which must be empty, or not there yet
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Makes the backup.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let config = options.configured.load_for_stores()?;
    let wanted = Wanted {
        shares: options.shares.clone(),
        metadata_only: options.metadata_only,
        no_checksums: options.no_checksums,
        base: options.base.clone(),
        resume: options.resume,
    };
    let start = Instant::now();
    let shown = Shown::start(options.json)?;
    let job: Arc<Job> = shown.job();
    let taken = shown.run(backup::take(&config, &wanted, &options.folder, &job));
    let taken = taken.map_err(|error| match error {
        backup::Error::Interrupted => Failure::Run(
            format!(
                "interrupted; {} is no backup: give --resume and it goes on, or remove the folder",
                options.folder.display()
            )
            .into(),
        ),
        error => run_error(error),
    })?;
    summarise(options.json, &taken, start)?;
    let lost: u64 = taken.manifest.stores.iter().map(|store| store.lost).sum();
    if lost == 0 {
        return Ok(());
    }
    let proof = shown.run(backup::lost(&options.folder, &job)).map_err(run_error)?;
    proof.iter().for_each(finding);
    eprintln!(
        "error: the content of {lost} files is not whole in the content store, and so not in the backup; the backup has \
         everything else"
    );
    Err(Failure::Said(FAILED))
}

fn summarise(json: bool, taken: &Taken, start: Instant) -> Result<(), Failure> {
    let Taken { manifest, copied, kept } = taken;
    let seconds = start.elapsed().as_secs_f64();
    if json {
        let summary = serde_json::json!({
            "stores": manifest.stores, "bytes_included": manifest.bytes, "copied": copied, "kept": kept,
            "seconds": seconds,
        });
        return say(&summary.to_string());
    }
    for store in &manifest.stores {
        say(&contained(store))?;
    }
    say(&format!(
        "{}: {copied} contents {}, {kept} taken over, in {seconds:.1} s",
        what(manifest),
        if manifest.bytes { "copied" } else { "looked at" },
    ))
}

fn what(manifest: &Manifest) -> &'static str {
    if manifest.bytes { "backup" } else { "backup without bytes" }
}

/// What a backup has of a metadata store, in a line.
pub(super) fn contained(store: &backup::StoreManifest) -> String {
    let shares: Vec<_> = store.shares.iter().map(|share| share.name.as_str()).collect();
    let moving = match store.moving {
        0 => String::new(),
        moving => format!(", {moving} of them changed meanwhile"),
    };
    format!(
        "{}: {} as of {}: {} objects, {} contents{moving}, {}",
        store.name,
        shares.join(" "),
        store.moment,
        store.objects,
        store.contents,
        human(store.content_bytes)
    )
}
