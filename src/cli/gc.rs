//! `trunkfs gc`: content that no file has any more is removed.

use std::io::Write as _;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::HumanBytes;
use parking_lot::Mutex;

use super::dump::run_error;
use super::progress::Progress;
use super::{Configured, Failure, interrupt};
use crate::admin::gc::{Collected, GcHow, GcStep, Outcome, collect, lasting_content};
use crate::config::{self, Config};
use crate::stores::OfflineStores;

/// What `gc` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    configured: Configured,
    /// Content store, by its name in the configuration; may be repeated [default: those of all shares]
    #[arg(long, value_name = "NAME")]
    content: Vec<String>,
    /// Minimum age: keep content that was created or changed more recently
    #[arg(long, value_name = "AGE", default_value = "24h", value_parser = age)]
    older_than: Duration,
    /// Dry run: print what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Proceed even if more than half of a store's content is unused
    #[arg(long)]
    remove_most: bool,
    /// Also remove the content of a metadata store that is gone for good, by the claim in the error; may be repeated
    #[arg(long, value_name = "CLAIM")]
    forget_owner: Vec<uuid::Uuid>,
    /// Print a JSON summary on standard output, and no progress
    #[arg(long)]
    json: bool,
}

/// An age from the command line.
fn age(text: &str) -> Result<Duration, String> {
    let millis = config::millis(text).map(Duration::from_millis);
    millis.ok_or_else(|| {
        "not a duration; write an integer and a unit (ms, s, m, h or d), such as 24h or 7d"
            .to_owned()
    })
}

/// Collects.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let config = options.configured.load_for_stores()?;
    let names = names(&config, options)?;
    let start = Instant::now();
    let runtime = tokio::runtime::Runtime::new().map_err(run_error)?;
    let how = GcHow {
        older_than: options.older_than,
        dry_run: options.dry_run,
        remove_most: options.remove_most,
        forget_owners: options.forget_owner.clone(),
    };
    let outcome = runtime.block_on(async {
        let stop = interrupt::token(super::FAILED).map_err(run_error)?;
        let shown = Shown { quiet: options.json, progress: Mutex::default() };
        let watch = |step: GcStep<'_>| shown.reached(step);
        let mut offline = OfflineStores::new(&config);
        let outcome = collect(&mut offline, &names, how, &stop, &watch).await;
        shown.end();
        outcome.map_err(run_error)
    });
    runtime.shutdown_background();
    let outcome = outcome?;
    if options.json {
        print_json(options, &outcome, start).map_err(run_error)?;
    } else {
        print_text(options, &outcome, start).map_err(run_error)?;
    }
    let failed: Vec<_> = outcome.stores.iter().filter(|store| store.failed > 0).collect();
    for store in &failed {
        let why = store.failure.as_deref().unwrap_or_default();
        eprintln!("error: {}: {} contents could not be removed: {why}", store.store, store.failed);
    }
    if outcome.stopped {
        eprintln!("error: interrupted; run it again for the rest");
    }
    if outcome.stopped || !failed.is_empty() {
        return Err(Failure::Said(super::FAILED));
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

fn print_text(options: &Options, outcome: &Outcome, start: Instant) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for it in &outcome.stores {
        let Collected { store, listed, named, young, undated, leftovers, .. } = it;
        let (verb, count, bytes) = if options.dry_run {
            ("to remove (dry run)", it.garbage, it.garbage_bytes)
        } else {
            ("removed", it.removed, it.removed_bytes)
        };
        write!(out, "{store}: {listed} contents; {named} in use, ")?;
        write!(out, "{young} too recent, {undated} of unknown age; ")?;
        write!(out, "{count} {verb} ({})", HumanBytes(bytes))?;
        if *leftovers > 0 {
            write!(out, "; {leftovers} temporary files of interrupted starts")?;
        }
        writeln!(out)?;
        if it.needs_consent && options.dry_run {
            writeln!(
                out,
                "{store}: most of the content is unused: removing it needs --remove-most"
            )?;
        }
    }
    writeln!(out, "{:.1} s", start.elapsed().as_secs_f64())
}

fn print_json(options: &Options, outcome: &Outcome, start: Instant) -> std::io::Result<()> {
    let stores: Vec<_> = outcome
        .stores
        .iter()
        .map(|it| {
            serde_json::json!({
                "store": it.store, "identity": it.identity.to_string(), "listed": it.listed,
                "named": it.named, "young": it.young, "undated": it.undated, "garbage": it.garbage,
                "garbage_bytes": it.garbage_bytes, "removed": it.removed,
                "removed_bytes": it.removed_bytes, "leftovers": it.leftovers, "failed": it.failed,
                "needs_consent": it.needs_consent,
            })
        })
        .collect();
    let summary = serde_json::json!({
        "stores": stores, "dry_run": options.dry_run, "interrupted": outcome.stopped,
        "seconds": start.elapsed().as_secs_f64(),
    });
    writeln!(std::io::stdout().lock(), "{summary}")
}

/// The bar of the step that goes on.
struct Shown {
    quiet: bool,
    progress: Mutex<Option<(&'static str, Progress)>>,
}

impl Shown {
    fn reached(&self, step: GcStep<'_>) {
        let (what, position, total) = match step {
            GcStep::Listing(name) => return self.said(&format!("gc: listing {name}")),
            GcStep::Naming(name) => return self.said(&format!("gc: reading the files of {name}")),
            GcStep::Looking { done, total } => ("checked", done, total),
            GcStep::Removing { done, total } => ("removed", done, total),
        };
        let mut progress = self.progress.lock();
        if progress.as_ref().is_none_or(|(present, _)| *present != what) {
            if let Some((_, before)) = progress.take() {
                before.end();
            }
            *progress = Some((what, Progress::counting(what, total, self.quiet)));
        }
        if let Some((_, progress)) = &mut *progress {
            progress.reached(position);
        }
    }

    fn said(&self, line: &str) {
        self.end();
        if !self.quiet {
            eprintln!("{line}");
        }
    }

    fn end(&self) {
        if let Some((_, progress)) = self.progress.lock().take() {
            progress.end();
        }
    }
}
