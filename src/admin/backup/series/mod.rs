//! A folder of backups that follow each other: each is made, verified and named by its time, and goes by its
//! age.
//!
//! ```text
//! 2026-03-01T020000Z          a complete backup that was verified; the newest is the base of the next one
//! 2026-03-01T020000Z.damaged  a backup that failed its verification; never a base, the newest is kept
//! unfinished                  the backup in progress; the next run resumes it after an interruption
//! removing.*                  a folder on its way out; the next run removes the rest
//! ```
//! One rename makes a backup complete, or takes it away. So a run can end at any point.

mod keep;

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;
use serde::Serialize;
use time::OffsetDateTime;
use tokio::task::spawn_blocking;

use super::Error;
use super::check::{Portion, Proof, prove};
use super::create::{Created, Wanted, create};
use super::manifest::{MANIFEST, UNFINISHED};
use crate::admin::Progress;
use crate::config::Config;
use crate::ownership;
use crate::types::Retention;

const LOCK: &str = ".lock";
/// How many runs in a row have failed.
const FAILURES: &str = ".failures";
const DAMAGED: &str = ".damaged";
const REMOVING: &str = "removing.";
/// After one failure less the next run begins from nothing, without a base.
const PATIENCE: u64 = 3;

/// How a series goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub struct Plan {
    #[command(flatten)]
    pub keep: Retention,
    /// With --into: verify the new files, and one N-th of those that earlier backups have too, another one
    /// each day
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub verify_parts: u32,
}

/// What became of a run.
#[derive(Debug, Serialize)]
pub struct Added {
    /// The new backup's folder.
    pub folder: PathBuf,
    /// Whether it failed its verification.
    pub damaged: bool,
    /// How many files of it are without content, since the content store lacked it.
    pub lost: u64,
    /// Backups that an earlier run had made but not verified.
    pub resumed: Vec<PathBuf>,
    /// Backups that went by their age.
    pub removed: Vec<PathBuf>,
    #[serde(flatten)]
    pub created: Created,
    pub verified: Proof,
}

/// Adds a backup to the series in `folder`.
///
/// # Errors
/// Those of a backup and its verification; the next run goes on from there. [`Error::Busy`] while another run
/// works in the folder.
pub async fn add(
    config: &Config,
    wanted: &Wanted,
    plan: Plan,
    folder: &Path,
    job: &Arc<Progress>,
) -> Result<Added, Error> {
    let series = Arc::new(Series::open(folder.to_path_buf())?);
    let (mut removed, mut resumed) = (Vec::new(), Vec::new());
    series.in_thread(move |series| series.clear()).await?;
    removed.extend(series.in_thread(move |series| series.prune(plan.keep)).await?);
    let unfinished = series.path("unfinished");
    if unfinished.join(MANIFEST).exists() {
        let (folder, _) = series.settle(plan, job).await?;
        resumed.push(folder);
    }
    let base = series.in_thread(Series::begin).await?;
    let wanted = Wanted { base, resume: unfinished.join(UNFINISHED).exists(), ..wanted.clone() };
    let created = match create(config, &wanted, &unfinished, job).await {
        Ok(created) => created,
        // Neither the folder nor the base is at fault.
        Err(error @ (Error::Interrupted | Error::Offline(_) | Error::NoShare { .. })) => {
            return Err(error);
        }
        Err(error) => {
            series.count(series.failures() + 1)?;
            return Err(error);
        }
    };
    let lost = created.inventory.stores.iter().map(|store| store.lost).sum();
    let (folder, verified) = series.settle(plan, job).await?;
    removed.extend(series.in_thread(move |series| series.prune(plan.keep)).await?);
    let damaged = folder.to_string_lossy().ends_with(DAMAGED);
    Ok(Added { folder, damaged, lost, resumed, removed, created, verified })
}

/// The folder, used by one process.
#[derive(Debug)]
struct Series {
    folder: PathBuf,
    _lock: File,
}

impl Series {
    fn open(folder: PathBuf) -> Result<Self, Error> {
        if !folder.is_dir() {
            return Err(Error::NoSeries(folder));
        }
        let path = folder.join(LOCK);
        let lock = ownership::lock_file(&path).map_err(Error::at(&path))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { folder, _lock: lock }),
            Err(_) => Err(Error::Busy(folder)),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    async fn in_thread<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let series = Arc::clone(self);
        spawn_blocking(move || work(&series)).await?
    }

    /// The names that end in `suffix` behind a time, the newest first.
    fn named(&self, suffix: &str) -> Result<Vec<String>, Error> {
        let mut names: Vec<_> = self.names()?;
        names
            .retain(|name| name.strip_suffix(suffix).is_some_and(|name| keep::day(name).is_some()));
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(names)
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        let failed = Error::at(&self.folder);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(&failed)? {
            // Names that are no Unicode are others' files.
            names.extend(entry.map_err(&failed)?.file_name().into_string());
        }
        Ok(names)
    }

    /// The complete backups, the newest first.
    fn complete(&self) -> Result<Vec<String>, Error> {
        let mut names = self.named("")?;
        names.retain(|name| self.path(name).join(MANIFEST).is_file());
        Ok(names)
    }

    /// Removes what earlier runs began to remove.
    fn clear(&self) -> Result<(), Error> {
        self.names()?
            .iter()
            .filter(|name| name.starts_with(REMOVING))
            .try_for_each(|name| remove_all(&self.path(name)))
    }

    /// Removes a folder. The rename comes first: an interruption leaves no half of a backup under a backup's
    /// name.
    fn remove(&self, name: &str) -> Result<(), Error> {
        let (from, to) = (self.path(name), self.path(&format!("{REMOVING}{name}")));
        fs::rename(&from, &to).map_err(Error::at(&from))?;
        remove_all(&to)
    }

    /// Removes the backups that are outdated. Folders with names of other forms are not touched.
    fn prune(&self, keep: Retention) -> Result<Vec<PathBuf>, Error> {
        let (complete, damaged) = (self.complete()?, self.named(DAMAGED)?);
        let damaged = damaged.iter().skip(1).map(String::as_str);
        let outdated: Vec<_> = keep::outdated(keep, &complete).into_iter().chain(damaged).collect();
        for name in &outdated {
            self.remove(name)?;
        }
        Ok(outdated.into_iter().map(|name| self.path(name)).collect())
    }

    /// What the next backup begins from: its base, and the unfinished one where that is of use.
    fn begin(&self) -> Result<Option<PathBuf>, Error> {
        let from_nothing = self.failures() % PATIENCE == PATIENCE - 1;
        let unfinished = self.path("unfinished");
        let marked = unfinished.join(UNFINISHED).is_file();
        if unfinished.symlink_metadata().is_ok() && (from_nothing || !marked) {
            self.remove("unfinished")?;
        }
        let base = self.complete()?.into_iter().next();
        // The damage may be in files that the base shares with the damaged backup.
        let damaged = self.named(DAMAGED)?.into_iter().next();
        let base = base.filter(|base| !from_nothing && damaged.is_none_or(|it| it < *base));
        Ok(base.map(|base| self.path(&base)))
    }

    fn failures(&self) -> u64 {
        let text = fs::read_to_string(self.path(FAILURES)).unwrap_or_default();
        text.trim().parse().unwrap_or_default()
    }

    fn count(&self, failures: u64) -> Result<(), Error> {
        let path = self.path(FAILURES);
        if failures == 0 {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::at(&path)(error)),
                Ok(()) | Err(_) => Ok(()),
            };
        }
        let new = self.path(".failures.new");
        let written = ownership::create(&new, 0o666)
            .and_then(|mut file| {
                std::io::Write::write_all(&mut file, failures.to_string().as_bytes())
            })
            .and_then(|()| fs::rename(&new, &path));
        written.map_err(Error::at(&path))
    }

    /// Verifies the finished backup and gives it its name.
    async fn settle(
        self: &Arc<Self>,
        plan: Plan,
        job: &Arc<Progress>,
    ) -> Result<(PathBuf, Proof), Error> {
        let unfinished = self.path("unfinished");
        let today = OffsetDateTime::now_utc().to_julian_day();
        let portion =
            Portion { number: today.unsigned_abs() % plan.verify_parts, of: plan.verify_parts };
        let verified = prove(&unfinished, portion, job).await;
        let damaged = match &verified {
            // Files whose content was lost before the backup are missing in it too, which is no damage of it.
            Ok(proof) => {
                let lost: u64 = proof.inventory.stores.iter().map(|store| store.lost).sum();
                proof.wrong != lost
            }
            Err(Error::Interrupted | Error::Task(_)) => return Err(Error::Interrupted),
            Err(_) => true,
        };
        let folder = self.in_thread(move |series| series.name(damaged)).await?;
        Ok((folder, verified?))
    }

    fn name(&self, damaged: bool) -> Result<PathBuf, Error> {
        let unfinished = self.path("unfinished");
        let path = loop {
            let name = keep::name(OffsetDateTime::now_utc());
            let (whole, other) = (self.path(&name), self.path(&format!("{name}{DAMAGED}")));
            if !whole.exists() && !other.exists() {
                break if damaged { other } else { whole };
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        };
        // Everything in the folder is on the disk before its manifest is. The mark goes after that.
        let mark = unfinished.join(UNFINISHED);
        match fs::remove_file(&mark) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::at(&mark)(error));
            }
            Ok(()) | Err(_) => {}
        }
        fs::rename(&unfinished, &path).map_err(Error::at(&path))?;
        let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
        synced.map_err(Error::at(&self.folder))?;
        self.count(0)?;
        Ok(path)
    }
}

fn remove_all(path: &Path) -> Result<(), Error> {
    fs::remove_dir_all(path).map_err(Error::at(path))
}
