//! `trunkfs dump`: a metadata store's whole content to a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::progress::Progress;
use super::{Configured, FAILED, Failure, interrupt};
use crate::admin::dump::Writer;
use crate::metadata::{Dump, Error, Loaded, Record};
use crate::ownership;
use crate::stores::open_for_dump;
use crate::types::ShareName;

/// How many portions may wait for the file. The store's snapshot does not wait for a slow disk long.
const WAITING: usize = 64;

/// What `dump` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    configured: Configured,
    /// Metadata store, by its name in the configuration
    #[arg(long, value_name = "NAME")]
    store: String,
    /// Only this share
    #[arg(long, value_name = "SHARE", value_parser = share)]
    share: Option<ShareName>,
    /// Print a JSON summary on standard output, and no progress
    #[arg(long)]
    json: bool,
    /// Output file, which must not exist; - is standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// A share's name from the command line.
pub(super) fn share(text: &str) -> Result<ShareName, String> {
    ShareName::parse(text).map_err(|error| format!("{error}; write a name such as /export"))
}

/// Writes the dump.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let config = options.configured.load_for_stores()?;
    let standard_output = options.file == Path::new("-");
    if !standard_output && options.file.symlink_metadata().is_ok() {
        let text = format!("{} already exists; choose another file", options.file.display());
        return Err(Failure::Run(text.into()));
    }
    let start = Instant::now();
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::Run(error.into()))?;
    let counts = runtime.block_on(async {
        let cancel = interrupt::token(FAILED).map_err(run_error)?;
        let opened = tokio::select! {
            opened = open_for_dump(&config, &options.store) => opened,
            () = cancel.cancelled() => return Err(interrupted(standard_output)),
        };
        let store = opened.map_err(|error| {
            Failure::Run(options.configured.explained(&options.store, &error).into())
        })?;
        dump(&*store, options, standard_output, &cancel).await
    });
    runtime.shutdown_background();
    let counts = counts?;
    if !standard_output {
        summarise(options.json, "dumped", counts, start).map_err(run_error)?;
    }
    Ok(())
}

fn interrupted(standard_output: bool) -> Failure {
    Failure::Run(match standard_output {
        true => "interrupted; the output is an incomplete dump".into(),
        false => "interrupted; nothing was written".into(),
    })
}

async fn dump(
    store: &dyn Dump,
    options: &Options,
    standard_output: bool,
    cancel: &CancellationToken,
) -> Result<Loaded, Failure> {
    let (to, from) = mpsc::channel(WAITING);
    // Records also end where the store fails: only this says that they are all.
    let (all, are_all) = oneshot::channel();
    let quiet = options.json;
    let writing: tokio::task::JoinHandle<std::io::Result<Option<(Loaded, Written)>>> = {
        let file = options.file.clone();
        let only = options.share.is_some();
        tokio::task::spawn_blocking(move || {
            let incoming = Incoming { from, are_all, only };
            if standard_output {
                let written = write(std::io::stdout().lock(), incoming, quiet)?;
                return Ok(written.map(|(counts, _)| (counts, Written::Standard)));
            }
            // A file that is not whole never has the name.
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new(".")).to_path_buf();
            if !folder.is_dir() {
                let text = format!(
                    "the folder {} does not exist; create it, or choose another",
                    folder.display()
                );
                return Err(std::io::Error::new(std::io::ErrorKind::NotFound, text));
            }
            let made = ownership::temporary_in(&folder, ".trunkfs-dump")?;
            let Some((counts, made)) = write(made, incoming, quiet)? else { return Ok(None) };
            made.as_file().sync_all()?;
            Ok(Some((counts, Written::Temporary { made, folder })))
        })
    };
    let sent = tokio::select! {
        sent = store.dump(options.share.as_ref(), to) => sent,
        // Who reads standard output may never read on.
        () = cancel.cancelled(), if standard_output => return Err(interrupted(true)),
        () = cancel.cancelled() => Err(Error::Cancelled),
    };
    match sent.is_ok() {
        true => drop(all.send(())),
        false => drop(all),
    }
    let written = writing.await.map_err(run_error)?;
    // A file that cannot be written is why nobody receives any more.
    let written = written.map_err(|error| {
        Failure::Run(format!("cannot write {}: {error}", options.file.display()).into())
    })?;
    sent.map_err(|error| match error {
        Error::Cancelled => interrupted(standard_output),
        error => run_error(error),
    })?;
    let Some((counts, written)) = written else {
        let share = options.share.as_ref().map(ToString::to_string).unwrap_or_default();
        let text = format!("the store {} has no share {share}", options.store);
        return Err(Failure::Run(text.into()));
    };
    written.keep(&options.file).map_err(|error| {
        Failure::Run(format!("cannot write {}: {error}", options.file.display()).into())
    })?;
    Ok(counts)
}

/// A whole dump that has not its name yet.
enum Written {
    Standard,
    Temporary { made: tempfile::NamedTempFile, folder: PathBuf },
}

impl Written {
    fn keep(self, file: &Path) -> std::io::Result<()> {
        match self {
            Self::Standard => Ok(()),
            Self::Temporary { made, folder } => {
                made.persist_noclobber(file).map_err(|error| error.error)?;
                File::open(folder)?.sync_all()
            }
        }
    }
}

/// What a dump is made of.
struct Incoming {
    from: mpsc::Receiver<Vec<Record>>,
    /// Says that the records were all.
    are_all: oneshot::Receiver<()>,
    /// Whether one share alone was asked for, which must be there.
    only: bool,
}

/// Writes a dump; `None` where the records were not all, or none: then `out` holds no dump that is whole.
fn write<W: Write>(
    out: W,
    mut incoming: Incoming,
    quiet: bool,
) -> std::io::Result<Option<(Loaded, W)>> {
    let mut writer = Writer::new(BufWriter::new(out), &now().map_err(std::io::Error::other)?)?;
    let mut progress = Progress::new("dump", None, quiet);
    while let Some(records) = incoming.from.blocking_recv() {
        for record in &records {
            writer.record(record)?;
        }
        let counts = writer.counts();
        progress.reached(counts.objects + counts.entries);
    }
    progress.end();
    let counts = writer.counts();
    if incoming.are_all.blocking_recv().is_err() || incoming.only && counts.shares == 0 {
        return Ok(None);
    }
    let mut out = writer.finish()?;
    out.flush()?;
    let out = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    Ok(Some((counts, out)))
}

/// The time as RFC 3339 writes it, in UTC.
fn now() -> Result<String, time::error::Format> {
    OffsetDateTime::now_utc().format(&Rfc3339)
}

/// Says what was done.
pub(super) fn summarise(
    json: bool,
    what: &str,
    counts: Loaded,
    start: Instant,
) -> std::io::Result<()> {
    let Loaded { shares, objects, entries } = counts;
    let seconds = start.elapsed().as_secs_f64();
    let mut out = std::io::stdout().lock();
    if json {
        let summary = serde_json::json!({
            "shares": shares, "objects": objects, "entries": entries, "seconds": seconds,
        });
        writeln!(out, "{summary}")
    } else {
        writeln!(
            out,
            "{what}: {shares} shares, {objects} objects, {entries} entries in {seconds:.1} s"
        )
    }
}

pub(super) fn run_error(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::Run(Box::new(error))
}
