//! `trunkfs dump`: a metadata store's whole content to a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use tokio::sync::{mpsc, oneshot};

use super::job::{run_error, run_job, summarise};
use super::{Configured, FAILED, Failure};
use crate::admin::dump::Writer;
use crate::admin::{Progress, Unit, share};
use crate::metadata::{Dump, Error, Loaded, Record};
use crate::ownership;
use crate::stores::open_for_reading;
use crate::types::{ShareName, utc_now};

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

/// Writes the dump.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let config = options.configured.load_for_stores()?;
    let standard_output = options.file == Path::new("-");
    if !standard_output && options.file.symlink_metadata().is_ok() {
        let text = format!("{} already exists; choose another file", options.file.display());
        return Err(Failure::Run(text.into()));
    }
    let start = Instant::now();
    let counts = run_job(options.json, FAILED, async |job| {
        let cancel = job.progress.cancel();
        let opened = tokio::select! {
            opened = open_for_reading(&config, &options.store) => opened,
            () = cancel.cancelled() => return Err(interrupted(standard_output)),
        };
        let store = opened.map_err(|error| {
            Failure::Run(options.configured.explained(&options.store, &error).into())
        })?;
        dump(&*store, options, standard_output, &job.progress).await
    })??;
    if standard_output { Ok(()) } else { say(counts, options.json, "dumped", start) }
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
    progress: &Arc<Progress>,
) -> Result<Loaded, Failure> {
    let cancel = progress.cancel();
    let (to, from) = mpsc::channel(WAITING);
    // Records also end where the store fails: only this says that they are all.
    let (all, are_all) = oneshot::channel();
    let writing: tokio::task::JoinHandle<std::io::Result<Option<(Loaded, Written)>>> = {
        let file = options.file.clone();
        let (only, progress) = (options.share.is_some(), Arc::clone(progress));
        tokio::task::spawn_blocking(move || {
            let incoming = Incoming { from, are_all, only };
            if standard_output {
                let written = write(std::io::stdout().lock(), incoming, &progress)?;
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
            let Some((counts, made)) = write(made, incoming, &progress)? else { return Ok(None) };
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
    // The error of a file that cannot be written comes before that of its closed channel.
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
    progress: &Progress,
) -> std::io::Result<Option<(Loaded, W)>> {
    let mut writer = Writer::new(BufWriter::new(out), &utc_now())?;
    progress.begin("dump", Unit::Records, None);
    while let Some(records) = incoming.from.blocking_recv() {
        for record in &records {
            writer.record(record)?;
        }
        let counts = writer.counts();
        progress.reach(counts.objects + counts.entries);
    }
    let counts = writer.counts();
    if incoming.are_all.blocking_recv().is_err() || incoming.only && counts.shares == 0 {
        return Ok(None);
    }
    let mut out = writer.finish()?;
    out.flush()?;
    let out = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    Ok(Some((counts, out)))
}

/// Prints how much went from or into a metadata store.
pub(super) fn say(counts: Loaded, json: bool, verb: &str, start: Instant) -> Result<(), Failure> {
    let Loaded { shares, objects, entries } = counts;
    summarise(json, start, &counts, |seconds| {
        format!("{verb}: {shares} shares, {objects} objects, {entries} entries in {seconds:.1} s")
    })
}
