//! `trunkfs backup`: shares with their bytes in a folder, while servers go on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;

use super::dump::{run_error, share};
use super::job::{Shown, finding, human, say};
use super::{Configured, FAILED, Failure};
use crate::admin::backup::{self, Created, Job, Manifest, Wanted};
use crate::types::ShareName;

/// What `backup` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    configured: Configured,
    /// Only this share; may be repeated [default: all shares of the metadata stores in use]
    #[arg(long = "share", value_name = "SHARE", value_parser = share)]
    shares: Vec<ShareName>,
    /// Back up names and attributes, and the size and checksum of each content, but no content: for content with
    /// a backup of its own
    #[arg(long)]
    metadata_only: bool,
    /// Do not read content to compute checksums
    #[arg(long, requires = "metadata_only")]
    no_checksums: bool,
    /// Incremental: reuse unchanged files of this earlier backup by hard links
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// Resume an unfinished backup in the folder
    #[arg(long)]
    resume: bool,
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
    let created = shown.run(backup::create(&config, &wanted, &options.folder, &job));
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
    summarise(options.json, &created, start)?;
    let lost: u64 = created.manifest.stores.iter().map(|store| store.lost).sum();
    if lost == 0 {
        return Ok(());
    }
    let proof = shown.run(backup::lost(&options.folder, &job)).map_err(run_error)?;
    proof.iter().for_each(finding);
    eprintln!(
        "error: the content of {lost} files is missing or incomplete in the content store, and in the backup; everything \
         else is in the backup"
    );
    Err(Failure::Said(FAILED))
}

fn summarise(json: bool, created: &Created, start: Instant) -> Result<(), Failure> {
    let Created { manifest, copied, kept } = created;
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
        "{}: {copied} files {}, {kept} reused from --base, in {seconds:.1} s",
        what(manifest),
        if manifest.bytes { "copied" } else { "listed" },
    ))
}

fn what(manifest: &Manifest) -> &'static str {
    if manifest.bytes { "backup" } else { "backup without content" }
}

/// What a backup has of a metadata store, in a line.
pub(super) fn contained(store: &backup::StoreManifest) -> String {
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
