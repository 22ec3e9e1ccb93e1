//! `trunkfs du`, `find`, `top-files` and `report`: what shares hold, asked of the metadata stores.

use std::io::Write;

use clap::{Args, ValueEnum};
use globset::{Glob, GlobMatcher};
use serde::Serialize;

use super::job::{human, run_error, run_job, write};
use super::{Configured, FAILED, Failure};
use crate::admin::Progress;
use crate::admin::survey::{GroupBy, Place, Survey, SurveyError, Totals};
use crate::config::Config;
use crate::metadata::ObjectState;
use crate::stores::{lasting_metadata, open_for_reading};
use crate::types::settings::bytes;
use crate::types::{FileType, Timestamp};

const NANOS_PER_DAY: i64 = 86_400_000_000_000;

/// Where is looked, and in which form the answer is printed.
#[derive(Debug, Args)]
struct Asked {
    #[command(flatten)]
    configured: Configured,
    /// Directory, from the share's name on, such as /export/projects; may be repeated [default: every share]
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
    /// Print an object of JSON per line, and no progress
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print comma-separated values with a heading, and no progress
    #[arg(long)]
    csv: bool,
}

/// What `du` takes.
#[derive(Debug, Args)]
pub(super) struct DuOptions {
    #[command(flatten)]
    asked: Asked,
    /// Show directories down to this depth below each PATH
    #[arg(long, value_name = "N", default_value_t = 1)]
    depth: usize,
}

/// What `find` takes.
#[derive(Debug, Args)]
pub(super) struct FindOptions {
    #[command(flatten)]
    asked: Asked,
    /// Names that match a pattern of the shell, such as '*.log'
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    name: Option<GlobMatcher>,
    /// Files of this uid
    #[arg(long, value_name = "UID")]
    owner: Option<u32>,
    /// Files of at least (+) or at most (-) this size, such as +1GiB
    #[arg(long, value_name = "+|-SIZE", value_parser = size, allow_hyphen_values = true)]
    size: Option<Bound>,
    /// Files whose bytes were changed at least (+) or at most (-) so many days ago
    #[arg(long, value_name = "+|-DAYS", value_parser = days, allow_hyphen_values = true)]
    mtime: Option<Bound>,
    /// Objects of this type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<Kind>,
}

/// What `top-files` takes.
#[derive(Debug, Args)]
pub(super) struct TopFilesOptions {
    #[command(flatten)]
    asked: Asked,
    /// How many files to list
    #[arg(long, value_name = "N", default_value_t = 20)]
    count: usize,
}

/// What `report` takes.
#[derive(Debug, Args)]
pub(super) struct ReportOptions {
    #[command(flatten)]
    asked: Asked,
    /// What files are grouped by
    #[arg(long)]
    by: GroupBy,
}

/// The types of find(1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Regular file
    F,
    /// Directory
    D,
    /// Symbolic link
    L,
    /// Named pipe
    P,
    /// Socket
    S,
    /// Block device
    B,
    /// Character device
    C,
}

impl Kind {
    fn of(file_type: FileType) -> Self {
        match file_type {
            FileType::Regular => Self::F,
            FileType::Directory => Self::D,
            FileType::Symlink => Self::L,
            FileType::Fifo => Self::P,
            FileType::Socket => Self::S,
            FileType::BlockDevice => Self::B,
            FileType::CharacterDevice => Self::C,
        }
    }
}

/// At least or at most a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    AtLeast(u64),
    AtMost(u64),
}

impl Bound {
    fn parse(text: &str, value: impl Fn(&str) -> Option<u64>, like: &str) -> Result<Self, String> {
        let wrong = || format!("write + or - and {like}");
        let (sign, rest) = text.split_at_checked(1).ok_or_else(wrong)?;
        let value = value(rest).ok_or_else(wrong)?;
        match sign {
            "+" => Ok(Self::AtLeast(value)),
            "-" => Ok(Self::AtMost(value)),
            _ => Err(wrong()),
        }
    }

    fn holds(self, value: u64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

fn size(text: &str) -> Result<Bound, String> {
    let value = |text: &str| text.parse().ok().or_else(|| bytes(text));
    Bound::parse(text, value, "a size, such as +1GiB")
}

fn days(text: &str) -> Result<Bound, String> {
    Bound::parse(text, |text| text.parse().ok(), "a number of days, such as +30")
}

fn pattern(text: &str) -> Result<GlobMatcher, String> {
    Glob::new(text).map(|glob| glob.compile_matcher()).map_err(|error| error.to_string())
}

/// A directory of `du`.
#[derive(Serialize)]
struct Directory {
    used: u64,
    size: u64,
    files: u64,
    directories: u64,
    path: String,
}

/// A file of `find` and `top-files`.
#[derive(Serialize)]
struct File {
    size: u64,
    used: u64,
    uid: u32,
    mtime: String,
    r#type: String,
    path: String,
}

impl File {
    fn new(path: String, object: &ObjectState) -> Self {
        let kind = Kind::of(object.file_type).to_possible_value();
        Self {
            size: object.size,
            used: object.used,
            uid: object.uid,
            mtime: object.mtime.utc(),
            r#type: kind.map(|kind| kind.get_name().to_owned()).unwrap_or_default(),
            path,
        }
    }
}

/// Shows what directories hold.
pub(super) fn du(options: &DuOptions) -> Result<(), Failure> {
    let asked = &options.asked;
    let rows = asked.of_stores(async |survey, places| survey.usage(places, options.depth).await)?;
    let row = |(path, Totals { files, directories, size, used })| Directory {
        used,
        size,
        files,
        directories,
        path,
    };
    asked.print(
        rows.into_iter().map(row).collect(),
        "      used       size      files  path",
        |it| format!("{:>10} {:>10} {:>10}  {}", human(it.used), human(it.size), it.files, it.path),
    )
}

/// Finds files.
pub(super) fn find(options: &FindOptions) -> Result<(), Failure> {
    let now = Timestamp::now();
    let wants = |name: &[u8], object: &ObjectState| {
        let age = now.0.saturating_sub(object.mtime.0).max(0) / NANOS_PER_DAY;
        let name = || String::from_utf8_lossy(name).into_owned();
        options.name.as_ref().is_none_or(|pattern| pattern.is_match(name()))
            && options.owner.is_none_or(|uid| uid == object.uid)
            && options.size.is_none_or(|bound| bound.holds(object.size))
            && options.mtime.is_none_or(|bound| bound.holds(age.unsigned_abs()))
            && options.kind.is_none_or(|kind| kind == Kind::of(object.file_type))
    };
    let asked = &options.asked;
    let files = asked.of_stores(async |survey, places| {
        let mut files = Vec::new();
        let show = |path: String, object: &ObjectState| files.push(File::new(path, object));
        survey.find(places, wants, show).await?;
        files.sort_by(|one: &File, other| one.path.cmp(&other.path));
        Ok(files)
    })?;
    asked.print(files, "", |file| file.path.clone())
}

/// Lists the largest files.
pub(super) fn top_files(options: &TopFilesOptions) -> Result<(), Failure> {
    let asked = &options.asked;
    let rows =
        asked.of_stores(async |survey, places| survey.largest(places, options.count).await)?;
    let mut files: Vec<_> = rows.into_iter().map(|(path, it)| File::new(path, &it)).collect();
    // Those of several stores.
    files.sort_by(|one, other| (other.size, &one.path).cmp(&(one.size, &other.path)));
    files.truncate(options.count);
    asked.print(files, "      size       used        uid  path", |it| {
        format!("{:>10} {:>10} {:>10}  {}", human(it.size), human(it.used), it.uid, it.path)
    })
}

/// Sums files up by group.
pub(super) fn report(options: &ReportOptions) -> Result<(), Failure> {
    let asked = &options.asked;
    let mut groups =
        asked.of_stores(async |survey, places| survey.report(places, options.by).await)?;
    // A group of several stores is one.
    groups.sort_by(|one, other| one.group.cmp(&other.group));
    groups.dedup_by(|next, first| {
        let same = next.group == first.group;
        if same {
            first.files += next.files;
            first.size += next.size;
            first.used += next.used;
        }
        same
    });
    groups.sort_by(|one, other| (other.used, &one.group).cmp(&(one.used, &other.group)));
    asked.print(groups, "      used       size      files  group", |it| {
        format!("{:>10} {:>10} {:>10}  {}", human(it.used), human(it.size), it.files, it.group)
    })
}

impl Asked {
    /// The answers of every store that has a place which is meant.
    fn of_stores<T>(
        &self,
        ask: impl AsyncFn(&Survey<'_>, &[Place]) -> Result<Vec<T>, SurveyError>,
    ) -> Result<Vec<T>, Failure> {
        let config = self.configured.load_for_stores()?;
        let stores = lasting_metadata(&config);
        if stores.is_empty() {
            let text = "every metadata store is in memory: only its server can access it";
            return Err(Failure::Wrong(text.to_owned()));
        }
        run_job(self.json || self.csv, FAILED, async |job| {
            let mut rows = Vec::new();
            let mut missing: Vec<_> = self.paths.iter().collect();
            for name in &stores {
                rows.extend(self.of_store(&config, name, &job.progress, &mut missing, &ask).await?);
            }
            match missing.first() {
                Some(path) => Err(Failure::Wrong(format!(
                    "{path}: no share has this path; write one that begins with a share's name, such as /export/a"
                ))),
                None => Ok(rows),
            }
        })?
    }

    async fn of_store<T>(
        &self,
        config: &Config,
        name: &str,
        progress: &Progress,
        missing: &mut Vec<&String>,
        ask: impl AsyncFn(&Survey<'_>, &[Place]) -> Result<Vec<T>, SurveyError>,
    ) -> Result<Vec<T>, Failure> {
        let store = open_for_reading(config, name).await.map_err(run_error)?;
        let checker = store.checker().await.map_err(run_error)?;
        let shares = checker.shares().await.map_err(run_error)?;
        let places: Vec<_> = if self.paths.is_empty() {
            shares.iter().map(Place::of).collect()
        } else {
            missing.retain(|path| Place::parse(path, &shares).is_none());
            self.paths.iter().filter_map(|path| Place::parse(path, &shares)).collect()
        };
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let meant = |share: &crate::metadata::Share| places.iter().any(|place| place.is_in(share));
        let shares = shares.iter().filter(|share| meant(share)).cloned().collect();
        ask(&Survey::new(&*checker, shares, progress), &places).await.map_err(run_error)
    }

    /// Prints rows in the form that is asked for; a heading only where it has words.
    fn print<T: Serialize>(
        &self,
        rows: Vec<T>,
        heading: &str,
        line: impl Fn(&T) -> String,
    ) -> Result<(), Failure> {
        if self.csv {
            let mut out = csv::Writer::from_writer(Vec::new());
            rows.iter().try_for_each(|row| out.serialize(row)).map_err(run_error)?;
            let bytes = out.into_inner().map_err(|error| run_error(error.into_error()))?;
            return std::io::stdout().lock().write_all(&bytes).map_err(run_error);
        }
        let mut text = String::new();
        if !self.json && !heading.is_empty() {
            text = format!("{heading}\n");
        }
        for row in &rows {
            text +=
                &if self.json { serde_json::to_string(row).map_err(run_error)? } else { line(row) };
            text.push('\n');
        }
        write(&text)
    }
}
