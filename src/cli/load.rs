//! `trunkfs load`: a dump into a metadata store.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use clap::Args;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::dump::{run_error, share, summarise};
use super::progress::Progress;
use super::{Configured, FAILED, Failure, interrupt};
use crate::config::Config;
use crate::dump::{ReadError, Reader};
use crate::metadata::{LoadError, LoadHow, Loaded, PORTION, Portion};
use crate::server::open_for_load;
use crate::types::ShareName;

/// How many portions may wait for the store.
const WAITING: usize = 16;

/// What `load` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    configured: Configured,
    /// The metadata store, as the configuration names it
    #[arg(long, value_name = "NAME")]
    store: String,
    /// The name that the dump's one share gets in the store [default: the one it has]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    share: Option<ShareName>,
    /// Whether shares of the same names give way, with all that is in them
    #[arg(long)]
    replace: bool,
    /// Sum up as JSON on standard output, and show no progress
    #[arg(long)]
    json: bool,
    /// The dump; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Loads the dump.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let config = options.configured.load_for_stores()?;
    let start = Instant::now();
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::Run(error.into()))?;
    let loaded = runtime.block_on(async {
        let cancel = interrupt::token(FAILED).map_err(run_error)?;
        load(&config, options, &cancel).await
    });
    runtime.shutdown_background();
    summarise(options.json, "loaded", loaded?, start).map_err(run_error)
}

fn interrupted() -> Failure {
    Failure::Run("interrupted; nothing was changed".into())
}

async fn load(
    config: &Config,
    options: &Options,
    cancel: &CancellationToken,
) -> Result<Loaded, Failure> {
    let opened = tokio::select! {
        opened = open_for_load(config, &options.store) => opened,
        () = cancel.cancelled() => return Err(interrupted()),
    };
    let store = opened.map_err(|error| {
        Failure::Run(options.configured.explained(&options.store, &error).into())
    })?;
    let present = store.shares().await.map_err(run_error)?;
    if !present.is_empty() && !options.replace && options.share.is_none() {
        let names: Vec<_> = present.iter().map(ToString::to_string).collect();
        let text = format!(
            "the store {} has {} already: give --replace, and shares of the same names give way with all that is in \
             them, or --share NAME, and the dump's one share gets that name",
            options.store,
            names.join(", ")
        );
        return Err(Failure::Run(text.into()));
    }
    let (to, from) = mpsc::channel(WAITING);
    let (file, quiet) = (options.file.clone(), options.json);
    let end = Arc::new(End::default());
    let ending = end.clone();
    let reading = tokio::task::spawn_blocking(move || read(&file, &to, &ending, quiet));
    let how = LoadHow { name: options.share.clone(), replace: options.replace };
    let mut loading = std::pin::pin!(store.load(&how, from));
    let loaded = tokio::select! {
        loaded = &mut loading => loaded,
        // A load that was not told the end has changed nothing, and now is never told.
        () = cancel.cancelled() => match end.take() {
            true => return Err(interrupted()),
            false => loading.await,
        },
    };
    store.close().await;
    // A file that is not whole is why the records ended early.
    let read = reading.await.map_err(run_error)?;
    let file = options.file.display().to_string();
    let file = if file == "-" { "standard input" } else { &file };
    let named = |error: &dyn std::fmt::Display| format!("{file}: {error}");
    read.map_err(|error| Failure::Run(named(&crate::types::Chain(&error)).into()))?;
    loaded.map_err(|error| match error {
        LoadError::Present(_) => Failure::Run(format!("{error}: give --replace or --share").into()),
        LoadError::Served(_) => Failure::Run(format!("{error}: stop its servers first").into()),
        LoadError::NotOne(_)
        | LoadError::Collides
        | LoadError::Unsound(_)
        | LoadError::Incomplete
        | LoadError::Store(_) => run_error(error),
    })
}

/// Whether a load comes to its end: whoever takes it first says so, the dump that was read whole or an interruption.
#[derive(Debug, Default)]
struct End(AtomicBool);

impl End {
    fn take(&self) -> bool {
        !self.0.swap(true, Ordering::SeqCst)
    }
}

/// Why a dump was not read.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error(transparent)]
    Open(#[from] io::Error),
    #[error("nothing was changed")]
    Refused(#[source] ReadError),
}

/// Sends the file's records, and the end where all of it was whole.
fn read(file: &Path, to: &mpsc::Sender<Portion>, end: &End, quiet: bool) -> Result<(), Unread> {
    if file == Path::new("-") {
        return send(io::stdin().lock(), to, end, quiet, None);
    }
    let file = File::open(file)?;
    let length = file.metadata()?.len();
    send(file, to, end, quiet, Some(length))
}

fn send(
    input: impl Read,
    to: &mpsc::Sender<Portion>,
    end: &End,
    quiet: bool,
    length: Option<u64>,
) -> Result<(), Unread> {
    let done = Arc::new(AtomicU64::new(0));
    let counted = Counted { input, done: done.clone() };
    let mut progress = Progress::new("load", length, quiet);
    let mut reader = Reader::new(counted).map_err(Unread::Refused)?;
    let mut portion = Vec::with_capacity(PORTION);
    loop {
        let record = reader.record().map_err(Unread::Refused)?;
        let ended = record.is_none();
        portion.extend(record);
        if portion.len() == PORTION || ended {
            let records = std::mem::replace(&mut portion, Vec::with_capacity(PORTION));
            progress.reached(length.map_or(reader.line(), |_| done.load(Ordering::Relaxed)));
            // Whoever receives no more has a reason of its own.
            if to.blocking_send(Portion::Records(records)).is_err() {
                return Ok(());
            }
        }
        if ended {
            progress.end();
            if end.take() {
                to.blocking_send(Portion::End).ok();
            }
            return Ok(());
        }
    }
}

/// Counts what is read.
struct Counted<R> {
    input: R,
    done: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.done.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
