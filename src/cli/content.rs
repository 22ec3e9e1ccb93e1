//! `trunkfs content`: what is done with content stores as a whole.

use std::time::Instant;

use clap::{Args, Subcommand};

use super::job::{human, run_error, run_job, summarise};
use super::{Configured, FAILED, Failure};
use crate::admin::copy::{CopyHow, CopyOutcome, Damaged, copy_content};
use crate::stores::OfflineStores;

/// How many damaged files are named.
const NAMED: usize = 100;

/// What `content` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Copy the content of shares to another content store; content that is there already is skipped
    Copy(Copy),
}

#[derive(Debug, Args)]
struct Copy {
    #[command(flatten)]
    configured: Configured,
    #[command(flatten)]
    how: CopyHow,
    /// Print a JSON summary on standard output, and no progress
    #[arg(long)]
    json: bool,
}

/// Does what is asked for.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    match &options.command {
        Command::Copy(options) => copy(options),
    }
}

fn copy(options: &Copy) -> Result<(), Failure> {
    let config = options.configured.load_for_stores()?;
    let start = Instant::now();
    let outcome = run_job(options.json, FAILED, async |job| {
        copy_content(&mut OfflineStores::new(&config), &options.how, &job.progress).await
    })?;
    let outcome = outcome.map_err(run_error)?;
    summarise(options.json, start, &outcome, |seconds| text(options, &outcome, seconds))?;
    for Damaged { share, content, reason } in outcome.damaged.iter().take(NAMED) {
        eprintln!("error: {share}: the content {content} of a file: {reason}");
    }
    if outcome.damaged.len() > NAMED {
        eprintln!("error: and {} more", outcome.damaged.len() - NAMED);
    }
    if outcome.stopped {
        eprintln!("error: interrupted; run it again for the rest");
    }
    if outcome.stopped || !outcome.damaged.is_empty() {
        return Err(Failure::Said(FAILED));
    }
    Ok(())
}

fn text(options: &Copy, it: &CopyOutcome, seconds: f64) -> String {
    let CopyOutcome { files, copied, present, .. } = it;
    let bytes = human(it.copied_bytes);
    let mut text = format!("{files} files: {copied} copied ({bytes}), {present} already present");
    if options.how.verify {
        let (compared, differed) = (it.compared, it.differed);
        text +=
            &format!(", {compared} verified, of which {differed} differed and were copied again");
    }
    if it.changed > 0 {
        text += &format!(", {} changed during the copy; run it again for them", it.changed);
    }
    text += &format!("; {seconds:.1} s");
    if it.stopped || !it.damaged.is_empty() {
        return text;
    }
    text += &format!(
        "\nTo serve from {}: stop the servers, run this command once more, and set in the configuration:",
        options.how.to
    );
    for share in &it.shares {
        let (store, identity) = (&options.how.to, it.to);
        text += &format!(
            "\n  - name: {share}\n    content_store: {store}\n    content_identity: {identity}"
        );
    }
    text
}
