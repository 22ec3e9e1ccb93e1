//! `trunkfs load`: a dump into a metadata store.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use clap::Args;
use tokio::sync::mpsc;

use super::dump::say;
use super::job::{Job, run_error, run_job};
use super::{Configured, FAILED, Failure};
use crate::admin::dump::{ReadError, Reader};
use crate::admin::{Progress, Unit, share};
use crate::config::Config;
use crate::metadata::{LoadError, LoadHow, Loaded, PORTION, PathFinder, Portion};
use crate::stores::{Oversized, SizeCheck, open_for_load};
use crate::types::{ObjectId, ShareName};

/// How many portions may wait for the store.
const WAITING: usize = 16;

/// What `load` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    configured: Configured,
    /// Metadata store, by its name in the configuration
    #[arg(long, value_name = "NAME")]
    store: String,
    /// Load the dump's only share under this name [default: its name in the dump]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    share: Option<ShareName>,
    /// Replace existing shares of the same name, deleting everything in them
    #[arg(long)]
    replace: bool,
    /// Print a JSON summary on standard output, and no progress
    #[arg(long)]
    json: bool,
    /// Dump file; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Loads the dump.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let config = options.configured.load_for_stores()?;
    let start = Instant::now();
    let work = async |job: Job| load(&config, options, &job.progress).await;
    let loaded = run_job(options.json, FAILED, work)??;
    say(loaded, options.json, "loaded", start)
}

fn interrupted() -> Failure {
    Failure::Run("interrupted; nothing was changed".into())
}

async fn load(
    config: &Config,
    options: &Options,
    progress: &Arc<Progress>,
) -> Result<Loaded, Failure> {
    let cancel = progress.cancel();
    let opened = tokio::select! {
        opened = open_for_load(config, &options.store) => opened,
        () = cancel.cancelled() => return Err(interrupted()),
    };
    let store = opened.map_err(|error| {
        Failure::Run(options.configured.explained(&options.store, &error).into())
    })?;
    let present = store.shares().await.map_err(run_error)?;
    if !present.is_empty() && !options.replace && options.share.is_none() {
        let names: Vec<_> = present.iter().map(|share| share.name.to_string()).collect();
        let text = format!(
            "the store {} already has {}: --replace replaces shares of the same name, deleting everything in \
             them; --share NAME loads the dump's only share under another name",
            options.store,
            names.join(", ")
        );
        return Err(Failure::Run(text.into()));
    }
    let sizes = SizeCheck::of_store(config, &options.store, options.share.clone()).await;
    let sizes = sizes.map_err(run_error)?;
    if options.file != Path::new("-") && !sizes.is_idle() {
        let (file, sizes) = (options.file.clone(), sizes.clone());
        let looking = tokio::task::spawn_blocking(move || refuse_oversized(&file, sizes));
        looking.await.map_err(run_error)?.map_err(|error| unread(&options.file, &error))?;
    }
    let (to, from) = mpsc::channel(WAITING);
    let (file, progress) = (options.file.clone(), Arc::clone(progress));
    let end = Arc::new(End::default());
    let ending = end.clone();
    let reading = tokio::task::spawn_blocking(move || read(&file, sizes, &to, &ending, &progress));
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
    read.map_err(|error| unread(&options.file, &error))?;
    loaded.map_err(|error| match error {
        LoadError::Present(_) => Failure::Run(format!("{error}: use --replace or --share").into()),
        LoadError::Served(_) => Failure::Run(format!("{error}: stop its servers first").into()),
        LoadError::NotOne(_)
        | LoadError::Collides
        | LoadError::Unsound(_)
        | LoadError::Incomplete
        | LoadError::Store(_) => run_error(error),
    })
}

/// A dump that was not read, by its name.
fn unread(file: &Path, error: &Unread) -> Failure {
    let file = file.display().to_string();
    let file = if file == "-" { "standard input" } else { &file };
    Failure::Run(format!("{file}: {}", crate::types::Chain(error)).into())
}

/// The end of a load: the first of the dump that was read whole and of an interruption takes it.
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
    #[error(transparent)]
    Oversized(#[from] Oversized),
}

fn oversized((_, size, share, limit): (ObjectId, u64, ShareName, u64), path: String) -> Unread {
    let remedy =
        "raise max_file_size of the share, or give it a content store that holds larger files";
    let place = format!("the share {share}");
    Unread::Oversized(Oversized { path, size, place, limit, remedy })
}

/// Looks for a file that the shares do not take, before anything is changed.
fn refuse_oversized(file: &Path, mut sizes: SizeCheck) -> Result<(), Unread> {
    let reader = || Reader::new(File::open(file)?).map_err(Unread::Refused);
    let mut records = reader()?;
    let mut found = None;
    while found.is_none()
        && let Some(record) = records.record().map_err(Unread::Refused)?
    {
        found = sizes.see(&record);
    }
    let Some(found) = found else { return Ok(()) };
    let mut finder = PathFinder::new([found.0]);
    while finder.begin_round() {
        let mut records = reader()?;
        while let Some(record) = records.record().map_err(Unread::Refused)? {
            finder.see(&record);
        }
    }
    let path = finder.paths().remove(&found.0);
    let path = path.unwrap_or_else(|| format!("the object {}", found.0));
    Err(oversized(found, path))
}

/// Sends the file's records, and the end where all of it was whole.
fn read(
    file: &Path,
    sizes: SizeCheck,
    to: &mpsc::Sender<Portion>,
    end: &End,
    progress: &Progress,
) -> Result<(), Unread> {
    if file == Path::new("-") {
        return send(io::stdin().lock(), sizes, to, end, progress, None);
    }
    let file = File::open(file)?;
    let length = file.metadata()?.len();
    send(file, sizes, to, end, progress, Some(length))
}

fn send(
    input: impl Read,
    mut sizes: SizeCheck,
    to: &mpsc::Sender<Portion>,
    end: &End,
    progress: &Progress,
    length: Option<u64>,
) -> Result<(), Unread> {
    let done = Arc::new(AtomicU64::new(0));
    let counted = Counted { input, done: done.clone() };
    let unit = if length.is_some() { Unit::Bytes } else { Unit::Records };
    progress.begin("load", unit, length);
    let mut reader = Reader::new(counted).map_err(Unread::Refused)?;
    let mut portion = Vec::with_capacity(PORTION);
    loop {
        let record = reader.record().map_err(Unread::Refused)?;
        let ended = record.is_none();
        if let Some(found) = record.as_ref().and_then(|record| sizes.see(record)) {
            let path = format!("the object {}", found.0);
            return Err(oversized(found, path));
        }
        portion.extend(record);
        if portion.len() == PORTION || ended {
            let records = std::mem::replace(&mut portion, Vec::with_capacity(PORTION));
            progress.reach(length.map_or(reader.line(), |_| done.load(Ordering::Relaxed)));
            // A receiver that is gone has an error of its own.
            if to.blocking_send(Portion::Records(records)).is_err() {
                return Ok(());
            }
        }
        if ended {
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
