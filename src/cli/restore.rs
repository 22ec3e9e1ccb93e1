//! `trunkfs restore`: a backup becomes shares again, or proves itself.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::backup::contained;
use super::dump::{run_error, share};
use super::job::{Shown, finding, human, say};
use super::{Configured, FAILED, Failure};
use crate::admin::backup::{self, Finding, Proof, RestoreWanted, Restored};
use crate::types::ShareName;

/// What `restore` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    configured: Configured,
    /// Only this share; may be repeated [default: all shares of the backup]
    #[arg(long = "share", value_name = "SHARE", value_parser = share)]
    shares: Vec<ShareName>,
    /// Restore the one share under this name [default: its name in the backup]
    #[arg(long = "as", value_name = "SHARE", value_parser = share)]
    name: Option<ShareName>,
    /// Metadata store [default: that of the share in the configuration, else the one named in the backup]
    #[arg(long, value_name = "NAME")]
    store: Option<String>,
    /// Content store [default: that of the share in the configuration, else the one named in the backup]
    #[arg(long, value_name = "NAME")]
    content: Option<String>,
    /// Replace existing shares of the same name, deleting everything in them
    #[arg(long)]
    replace: bool,
    /// Restore even if content in the backup is missing or corrupt: such files are restored as far as possible
    #[arg(long)]
    incomplete: bool,
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
    let shown = Shown::start(options.json)?;
    let job = shown.job();
    let failed = |error| {
        match error {
        backup::Error::Interrupted if options.verify_only => Failure::Run("interrupted".into()),
        backup::Error::Interrupted => Failure::Run(
            "interrupted; no share was changed: run the same command again to resume, or trunkfs gc to remove the content \
             written so far"
                .into(),
        ),
        error => run_error(error),
    }
    };
    if options.verify_only {
        let proof = shown.run(backup::prove(&options.folder, &job)).map_err(failed)?;
        return proved(options.json, &proof, start);
    }
    let config = options.configured.load_for_stores()?;
    let wanted = RestoreWanted {
        shares: options.shares.clone(),
        name: options.name.clone(),
        store: options.store.clone(),
        content: options.content.clone(),
        replace: options.replace,
        incomplete: options.incomplete,
    };
    let work = backup::restore(&config, &wanted, &options.folder, &job);
    let restored = shown.run(work).map_err(failed)?;
    summarise(options.json, &restored, start)
}

fn listed(findings: &[Finding]) -> Vec<serde_json::Value> {
    let one = |it: &Finding| serde_json::json!({ "path": it.path, "what": it.what });
    findings.iter().map(one).collect()
}

fn proved(json: bool, proof: &Proof, start: Instant) -> Result<(), Failure> {
    let Proof { manifest, contents, bytes, findings, wrong, moving } = proof;
    let seconds = start.elapsed().as_secs_f64();
    if json {
        let summary = serde_json::json!({
            "stores": manifest.stores, "bytes_included": manifest.bytes, "contents": contents, "bytes": bytes,
            "wrong": wrong, "findings": listed(findings), "moving": listed(moving), "seconds": seconds,
        });
        say(&summary.to_string())?;
    } else {
        for store in &manifest.stores {
            say(&contained(store))?;
        }
        for file in moving {
            say(&format!("{} {}", file.path, file.what))?;
        }
        findings.iter().for_each(finding);
        if *wrong == 0 {
            let read =
                if manifest.bytes { "all checksums match" } else { "content is not in the backup" };
            say(&format!(
                "verified: {contents} files, {}, {read}, in {seconds:.1} s",
                human(*bytes)
            ))?;
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

fn summarise(json: bool, restored: &Restored, start: Instant) -> Result<(), Failure> {
    let Restored { loaded, written, bytes, present, moving, findings, wrong, places } = restored;
    let seconds = start.elapsed().as_secs_f64();
    if json {
        let places = places.iter().map(|it| {
            serde_json::json!({
                "share": it.share.as_str(), "metadata_store": it.store, "content_store": it.content,
            })
        });
        let summary = serde_json::json!({
            "shares": places.collect::<Vec<_>>(), "objects": loaded.objects, "entries": loaded.entries,
            "written": written, "bytes": bytes, "present": present, "moving": moving, "wrong": wrong,
            "findings": listed(findings), "seconds": seconds,
        });
        return say(&summary.to_string());
    }
    findings.iter().for_each(finding);
    if *wrong > 0 {
        let files = if *wrong == 1 { "file is" } else { "files are" };
        eprintln!("{wrong} {files} incomplete, as --incomplete permits");
    }
    for place in places {
        let (share, store, content) = (&place.share, &place.store, &place.content);
        say(&format!("{share}: metadata store {store}, content store {content}"))?;
    }
    if *moving > 0 {
        say(&format!("{moving} files changed while they were backed up"))?;
    }
    say(&format!(
        "restored: {} objects, {} entries, {written} files with {} written, {present} already present, in {seconds:.1} s",
        loaded.objects,
        loaded.entries,
        human(*bytes)
    ))
}
