//! `trunkfs content`: what is done with content stores as a whole.

use std::io::Write as _;
use std::time::Instant;

use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use parking_lot::Mutex;

use super::dump::{run_error, share};
use super::progress::Progress;
use super::{Configured, Failure, interrupt};
use crate::admin::copy::{CopyHow, CopyOutcome, CopyStep, copy_content};
use crate::stores::OfflineStores;
use crate::types::ShareName;

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
    /// Source content store, by its name in the configuration
    #[arg(long, value_name = "NAME")]
    from: String,
    /// Target content store; created if it does not exist
    #[arg(long, value_name = "NAME")]
    to: String,
    /// Only this share
    #[arg(long, value_name = "SHARE", value_parser = share)]
    share: Option<ShareName>,
    /// Compare every byte afterwards, and copy files again that differ
    #[arg(long)]
    verify: bool,
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
    let runtime = tokio::runtime::Runtime::new().map_err(run_error)?;
    let how = CopyHow {
        from: options.from.clone(),
        to: options.to.clone(),
        share: options.share.clone(),
        verify: options.verify,
    };
    let outcome = runtime.block_on(async {
        let stop = interrupt::token(super::FAILED).map_err(run_error)?;
        let shown = Mutex::new(None);
        let watch = |step: CopyStep<'_>| show(&shown, step, options.json);
        let mut offline = OfflineStores::new(&config);
        let outcome = copy_content(&mut offline, &how, &stop, &watch).await;
        if let Some((_, progress)) = shown.lock().take() {
            progress.end();
        }
        outcome.map_err(run_error)
    });
    runtime.shutdown_background();
    let outcome = outcome?;
    if options.json {
        print_json(&outcome, start).map_err(run_error)?;
    } else {
        print_text(options, &outcome, start).map_err(run_error)?;
    }
    for (share, content, said) in outcome.damaged.iter().take(NAMED) {
        eprintln!("error: {share}: the content {content} of a file: {said}");
    }
    if outcome.damaged.len() > NAMED {
        eprintln!("error: and {} more", outcome.damaged.len() - NAMED);
    }
    if outcome.stopped {
        eprintln!("error: interrupted; run it again for the rest");
    }
    if outcome.stopped || !outcome.damaged.is_empty() {
        return Err(Failure::Said(super::FAILED));
    }
    Ok(())
}

/// The bar of the step that goes on.
type Shown = Mutex<Option<(&'static str, Progress)>>;

fn show(shown: &Shown, step: CopyStep<'_>, quiet: bool) {
    let (what, done, total) = match step {
        CopyStep::Reading(share) => {
            if !quiet {
                eprintln!("copy: reading the list of files of {share}");
            }
            return;
        }
        CopyStep::Copying { done, total } => ("copy", done, total),
        CopyStep::Comparing { done, total } => ("verify", done, total),
    };
    let mut shown = shown.lock();
    if shown.as_ref().is_none_or(|(present, _)| *present != what) {
        if let Some((_, before)) = shown.take() {
            before.end();
        }
        *shown = Some((what, Progress::new(what, Some(total), quiet)));
    }
    if let Some((_, progress)) = &mut *shown {
        progress.reached(done);
    }
}

fn print_text(options: &Copy, it: &CopyOutcome, start: Instant) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let CopyOutcome { files, copied, present, .. } = it;
    write!(
        out,
        "{files} files: {copied} copied ({}), {present} already present",
        HumanBytes(it.copied_bytes)
    )?;
    if options.verify {
        write!(
            out,
            ", {} verified, of which {} differed and were copied again",
            it.compared, it.differed
        )?;
    }
    if it.changed > 0 {
        write!(out, ", {} changed during the copy; run it again for them", it.changed)?;
    }
    writeln!(out, "; {:.1} s", start.elapsed().as_secs_f64())?;
    if it.stopped || !it.damaged.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "To serve from {}: stop the servers, run this command once more, and set in the configuration:",
        options.to
    )?;
    for share in &it.shares {
        writeln!(out, "  - name: {share}")?;
        writeln!(out, "    content_store: {}", options.to)?;
        writeln!(out, "    content_identity: {}", it.to)?;
    }
    Ok(())
}

fn print_json(it: &CopyOutcome, start: Instant) -> std::io::Result<()> {
    let damaged = it.damaged.iter().map(|(share, content, said)| {
        serde_json::json!({
            "share": share.to_string(), "content": content.to_string(), "reason": said,
        })
    });
    let summary = serde_json::json!({
        "shares": it.shares.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "content_identity": it.to.to_string(), "files": it.files, "copied": it.copied,
        "copied_bytes": it.copied_bytes, "present": it.present, "compared": it.compared,
        "differed": it.differed, "changed": it.changed, "damaged": damaged.collect::<Vec<_>>(),
        "interrupted": it.stopped, "seconds": start.elapsed().as_secs_f64(),
    });
    writeln!(std::io::stdout().lock(), "{summary}")
}
