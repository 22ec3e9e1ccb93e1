//! `trunkfs restore`: a backup becomes shares again, or proves itself.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::backup::contained;
use super::job::{finding, human, run_error, run_job, summarise, write};
use super::{Configured, FAILED, Failure};
use crate::admin::backup::{self, Portion, Proof, RestoreWanted, Restored};

/// What `restore` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    configured: Configured,
    #[command(flatten)]
    wanted: RestoreWanted,
    /// Verify the whole backup against its checksums, and restore nothing; needs no configuration
    #[arg(long, conflicts_with_all = ["shares", "name", "store", "content", "replace", "incomplete"])]
    verify_only: bool,
    /// Print a JSON summary on standard output, and no progress
    #[arg(long)]
    json: bool,
    /// Backup folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Restores, or proves.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let start = Instant::now();
    let failed = |error| {
        match error {
        backup::Error::Interrupted if options.verify_only => Failure::Run("interrupted".into()),
        backup::Error::Interrupted => Failure::Run(
            "interrupted; no share was changed: run the same command again to resume, or trunkfs gc to \
             remove the content written so far"
                .into(),
        ),
        error => run_error(error),
    }
    };
    if options.verify_only {
        let proof = run_job(options.json, FAILED, async |job| {
            backup::prove(&options.folder, Portion::ALL, &job.progress).await
        })?;
        let proof = proof.map_err(failed)?;
        return proved(options.json, &proof, start);
    }
    let config = options.configured.load_for_stores()?;
    let restored = run_job(options.json, FAILED, async |job| {
        backup::restore(&config, &options.wanted, &options.folder, &job.progress).await
    })?;
    let restored = restored.map_err(failed)?;
    if !options.json {
        incomplete(&restored);
    }
    summarise(options.json, start, &restored, |seconds| text(&restored, seconds))
}

fn proved(json: bool, proof: &Proof, start: Instant) -> Result<(), Failure> {
    let Proof { inventory, contents, bytes, findings, wrong, moving } = proof;
    if json {
        summarise(json, start, proof, |_| String::new())?;
    } else {
        let lines = moving.iter().map(|file| format!("{} {}\n", file.path, file.what));
        write(&(contained(inventory) + &lines.collect::<String>()))?;
        findings.iter().for_each(finding);
        if *wrong == 0 {
            let read = match inventory.bytes_included {
                true => "all checksums match",
                false => "content is not in the backup",
            };
            let (bytes, seconds) = (human(*bytes), start.elapsed().as_secs_f64());
            write(&format!("verified: {contents} files, {bytes}, {read}, in {seconds:.1} s\n"))?;
        }
    }
    if *wrong == 0 {
        return Ok(());
    }
    eprintln!(
        "error: {wrong} files are missing or corrupt: restore with --incomplete, or use another backup"
    );
    Err(Failure::Said(FAILED))
}

/// Names the files that are incomplete, on standard error.
fn incomplete(restored: &Restored) {
    restored.findings.iter().for_each(finding);
    if restored.wrong > 0 {
        let files = if restored.wrong == 1 { "file is" } else { "files are" };
        eprintln!("{} {files} incomplete, as --incomplete permits", restored.wrong);
    }
}

fn text(restored: &Restored, seconds: f64) -> String {
    let Restored { objects, entries, written, bytes, present, moving, places, .. } = restored;
    let mut text = String::new();
    for place in places {
        let (share, store, content) = (&place.share, &place.store, &place.content);
        text += &format!("{share}: metadata store {store}, content store {content}\n");
    }
    if *moving > 0 {
        text += &format!("{moving} files changed while they were backed up\n");
    }
    text + &format!(
        "restored: {objects} objects, {entries} entries, {written} files with {} written, {present} already \
         present, in {seconds:.1} s",
        human(*bytes)
    )
}
