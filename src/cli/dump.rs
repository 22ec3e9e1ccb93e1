//! `trunkfs dump`: a metadata store's whole content to a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;

use super::progress::Progress;
use super::{Configured, Failure};
use crate::dump::Writer;
use crate::metadata::{Dump, Loaded, Record};
use crate::server::open_for_dump;
use crate::types::ShareName;

/// How many portions may wait for the file. The store's snapshot does not wait for a slow disk long.
const WAITING: usize = 64;

/// What `dump` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    configured: Configured,
    /// The metadata store, as the configuration names it
    #[arg(long, value_name = "NAME")]
    store: String,
    /// One share alone
    #[arg(long, value_name = "SHARE", value_parser = share)]
    share: Option<ShareName>,
    /// Sum up as JSON on standard output, and show no progress
    #[arg(long)]
    json: bool,
    /// The file, which must not be there yet; - is standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// A share's name from the command line.
pub(super) fn share(text: &str) -> Result<ShareName, String> {
    ShareName::parse(text).map_err(|error| format!("{error}; write one such as /export"))
}

/// Writes the dump.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let config = options.configured.load()?;
    let standard_output = options.file == Path::new("-");
    if !standard_output && options.file.symlink_metadata().is_ok() {
        let text = format!("{} is there already; name another file", options.file.display());
        return Err(Failure::Run(text.into()));
    }
    let start = Instant::now();
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::Run(error.into()))?;
    let counts = runtime.block_on(async {
        tokio::select! {
            counts = async {
                let store = open_for_dump(&config, &options.store).await.map_err(|error| {
                    Failure::Run(options.configured.explained(&options.store, &error).into())
                })?;
                dump(&*store, options, standard_output).await
            } => counts,
            _ = tokio::signal::ctrl_c() => Err(Failure::Run("interrupted; nothing was written".into())),
        }
    });
    runtime.shutdown_background();
    let counts = counts?;
    if counts.shares == 0 && options.share.is_some() {
        return Ok(());
    }
    if !standard_output {
        summarise(options.json, "dumped", counts, start).map_err(run_error)?;
    }
    Ok(())
}

async fn dump(
    store: &dyn Dump,
    options: &Options,
    standard_output: bool,
) -> Result<Loaded, Failure> {
    let (to, from) = mpsc::channel(WAITING);
    let quiet = options.json;
    let writing: tokio::task::JoinHandle<std::io::Result<Option<(Loaded, Written)>>> = {
        let file = options.file.clone();
        let only = options.share.is_some();
        tokio::task::spawn_blocking(move || {
            if standard_output {
                let (counts, out) = write(std::io::stdout().lock(), from, quiet)?;
                drop(out);
                return Ok(Some((counts, Written::Standard)));
            }
            // A file that is not whole never has the name.
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new(".")).to_path_buf();
            let made = tempfile::Builder::new().prefix(".trunkfs-dump").tempfile_in(&folder)?;
            let (counts, made) = write(made, from, quiet)?;
            if only && counts.shares == 0 {
                return Ok(None);
            }
            made.as_file().sync_all()?;
            Ok(Some((counts, Written::Temporary { made, folder })))
        })
    };
    let sent = store.dump(options.share.as_ref(), to).await;
    let written = writing.await.map_err(run_error)?;
    // A file that cannot be written is why nobody receives any more.
    let written = written.map_err(|error| {
        Failure::Run(format!("cannot write {}: {error}", options.file.display()).into())
    })?;
    sent.map_err(run_error)?;
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

fn write<W: Write>(
    out: W,
    mut from: mpsc::Receiver<Vec<Record>>,
    quiet: bool,
) -> std::io::Result<(Loaded, W)> {
    let mut writer = Writer::new(BufWriter::new(out), &now().map_err(std::io::Error::other)?)?;
    let mut progress = Progress::new("dump", None, quiet);
    while let Some(records) = from.blocking_recv() {
        for record in &records {
            writer.record(record)?;
        }
        let counts = writer.counts();
        progress.reached(counts.objects + counts.entries);
    }
    progress.end();
    let counts = writer.counts();
    let mut out = writer.finish()?;
    out.flush()?;
    let out = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    Ok((counts, out))
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
