//! The command line: one file each command.
//!
//! Exit status: 0 when all went well, 1 when something failed, 2 when the command line or the
//! configuration is wrong. `fsck` has those of fsck(8).

mod admin_port;
mod backup;
mod bench;
mod check_config;
mod clients;
mod content;
mod descriptors;
mod dump;
mod fsck;
mod gc;
mod generate;
mod interrupt;
mod job;
mod load;
mod locate;
mod locks;
mod migrate;
mod progress;
mod ready;
mod reload;
mod restore;
mod serve;
mod servers;
mod status;
mod survey;
mod systemd;
mod top;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::config::{self, Config, FILE_VARIABLE, LogFormat, Source};
use crate::metadata;
use crate::metadata::schema::SchemaError;
use crate::telemetry;
use crate::types::Chain;

/// The command line or the configuration is wrong.
const WRONG: u8 = 2;
/// Something failed.
const FAILED: u8 = 1;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("TRUNKFS_COMMIT"), ")");
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit: ",
    env!("TRUNKFS_COMMIT"),
    "\nbuild: ",
    env!("BUILD_KIND")
);

#[derive(Debug, Parser)]
#[command(
    name = "trunkfs",
    version = VERSION,
    long_version = LONG_VERSION,
    about = "An NFSv3 server whose namespace lives in SQLite or PostgreSQL"
)]
#[command(after_help = "RUST_LOG overrides the log level: error, warn, info, debug or trace, or \
                  info,trunkfs::metadata=debug.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server until SIGTERM or SIGINT; a second signal stops it at once.
    Serve(serve::Options),
    /// Validate the configuration and print the effective settings.
    CheckConfig(check_config::Options),
    /// Show whether a server and its stores work: exit status 0 if they do, 1 if not
    Status(status::Options),
    /// Show the clients of a server and what they do now
    Clients(clients::Options),
    /// List the servers that share a PostgreSQL database
    Servers(servers::Options),
    /// Show live which client calls what on which share, the busiest first
    Top(top::Options),
    /// Find the path of a file handle, or the handle of a path
    Locate(locate::Options),
    /// Show the locks of clients, or free those of a client that is gone
    Locks(locks::Options),
    /// Export a metadata store to a file as a consistent snapshot, while servers run
    Dump(dump::Options),
    /// Import a dump into a metadata store, all or nothing
    Load(load::Options),
    /// Copy the content of shares to another content store
    Content(content::Options),
    /// Remove unused content, while servers run.
    Gc(gc::Options),
    /// Check the stores for inconsistencies, and with --repair fix them, while servers run
    Fsck(fsck::Options),
    /// Show what directories hold, from the metadata store, while servers run
    Du(survey::DuOptions),
    /// Find files by name, owner, size, time or type, from the metadata store, while servers run
    Find(survey::FindOptions),
    /// List the largest files, from the metadata store, while servers run
    TopFiles(survey::TopFilesOptions),
    /// Sum up files by owner, age or extension, from the metadata store, while servers run
    Report(survey::ReportOptions),
    /// Back up shares and their content into a folder with checksums, while servers run
    Backup(backup::Options),
    /// Restore shares from a backup, or verify a backup
    Restore(restore::Options),
    /// Measure an NFSv3 server under load, or compare two
    Bench(bench::Options),
    /// Show, upgrade or revert the schema of a metadata store.
    Migrate(migrate::Options),
    /// Print a script for a shell that completes commands and options
    Completion(generate::Completion),
    /// Print the manual page, or write all of them into a folder
    Man(generate::Man),
}

/// Which configuration a command is about.
#[derive(Debug, Args)]
struct Configured {
    /// YAML configuration file [default: ./config.yaml, else /etc/trunkfs/config.yaml; without either,
    /// /export is served to this machine only, with all data in ./trunkfs-data] [env: TRUNKFS_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Use this data folder and no configuration file: /export, for this machine only
    #[arg(long, value_name = "DIR", value_parser = folder, conflicts_with = "config")]
    data: Option<String>,
}

/// A folder from the command line. An empty word is mostly a variable of a script that is not set.
fn folder(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("the folder must not be empty".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// The folder of everything where neither a configuration nor a folder is given.
const LOCAL_FOLDER: &str = "./trunkfs-data";

/// Where a configuration is looked for that is not named.
const PLACES: [&str; 2] = ["./config.yaml", "/etc/trunkfs/config.yaml"];

impl Configured {
    /// Where the configuration is.
    fn source(&self) -> Source {
        // One that is there and cannot be read is an error, so only what is surely not there is passed over.
        let missing = |path: &PathBuf| {
            let found = std::fs::symlink_metadata(path);
            found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        };
        let found = || PLACES.iter().map(PathBuf::from).find(|path| !missing(path));
        let local = |data: &str| Source::Local {
            data: data.to_owned(),
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        };
        let told =
            std::env::var_os(FILE_VARIABLE).filter(|file| !file.is_empty()).map(PathBuf::from);
        match (&self.data, self.config.clone().or(told)) {
            (Some(data), _) => local(data),
            (None, Some(file)) => Source::File(file),
            (None, None) => found().map_or_else(|| local(LOCAL_FOLDER), Source::File),
        }
    }

    /// What follows a command to name a store of this configuration.
    fn again(&self, store: &str) -> String {
        match self.source() {
            Source::File(file) => format!(" --store {store} --config {}", quoted(&file)),
            Source::Local { .. } => format!(" --store {store}"),
        }
    }

    /// An error of a metadata store in one line, with the command that mends it where there is one.
    fn explained(&self, store: &str, error: &(dyn Error + 'static)) -> String {
        let mut cause = Some(error);
        while let Some(it) = cause {
            if let Some(metadata::Error::Schema(SchemaError::Behind { .. })) = it.downcast_ref() {
                let again = self.again(store);
                return format!("{}; to fix it: trunkfs migrate up{again}", Chain(error));
            }
            cause = it.source();
        }
        Chain(error).to_string()
    }

    /// Whether the command line names it, and not the environment.
    fn is_told(&self) -> bool {
        self.config.is_some()
    }

    /// The same for a command that works on the stores. Where no configuration was found it says so, and
    /// which data it uses: they must be there.
    fn load_for_stores(&self) -> Result<Config, Failure> {
        let source = self.source();
        if let (Source::Local { data, .. }, None) = (&source, &self.data) {
            let remedy = "set --config to a configuration file, or --data to a data folder";
            let file = Path::new(data).join("metadata.sqlite");
            if !file.exists() {
                let (places, file) = (PLACES.join(", "), file.display());
                let text = format!(
                    "no configuration file ({places}) and no data folder ({file}) found; {remedy}"
                );
                return Err(Failure::Wrong(text));
            }
            eprintln!("no configuration found: using the data folder {data}; {remedy}");
        }
        Ok(source.load()?.config)
    }
}

/// A path as a shell takes it (POSIX 2.2.2).
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |each: char| each.is_ascii_alphanumeric() || "/._-+,:@%".contains(each);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Why a command ends early.
#[derive(Debug)]
enum Failure {
    /// The configuration is wrong.
    Configuration(config::Errors),
    /// A variable of the environment is wrong.
    Environment(Box<dyn Error + Send + Sync>),
    /// The command line does not fit the configuration.
    Wrong(String),
    /// All was said; the exit status says it once more.
    Said(u8),
    /// Something failed while it was carried out.
    Run(Box<dyn Error + Send + Sync>),
}

impl From<config::Errors> for Failure {
    fn from(error: config::Errors) -> Self {
        Self::Configuration(error)
    }
}

impl Failure {
    /// The exit status.
    fn status(&self) -> u8 {
        match self {
            Self::Configuration(_) | Self::Environment(_) | Self::Wrong(_) => WRONG,
            Self::Said(status) => *status,
            Self::Run(_) => FAILED,
        }
    }

    /// Writes it to standard error, where that was not done: for people, or an object a line for programs.
    fn write(&self, format: LogFormat) {
        let write = |text: &str, excerpt: Option<&str>| match format {
            LogFormat::Text => {
                eprintln!(
                    "error: {text}{}",
                    excerpt.map(|lines| format!("\n{lines}")).unwrap_or_default()
                );
            }
            LogFormat::Json => {
                let fields = excerpt.map(|lines| ("excerpt", lines.into()));
                eprint!("{}", telemetry::json_line(tracing::Level::ERROR, text, fields));
            }
        };
        match self {
            Self::Configuration(errors) => {
                for error in errors.iter() {
                    write(&error.headline(), error.excerpt().as_deref());
                }
            }
            Self::Environment(error) | Self::Run(error) => {
                write(&Chain(error.as_ref()).to_string(), None);
            }
            Self::Wrong(text) => write(text, None),
            Self::Said(_) => {}
        }
    }
}

/// Runs the command that the process was started with.
#[must_use]
pub fn run() -> ExitCode {
    avoid_huge_pages();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && fsck::is_asked_for() => {
            error.print().ok();
            return ExitCode::from(fsck::USAGE);
        }
        Err(error) => error.exit(),
    };
    let done = match cli.command {
        Command::Serve(options) => serve::run(&options),
        Command::CheckConfig(options) => check_config::run(&options),
        Command::Status(options) => status::run(&options),
        Command::Clients(options) => clients::run(&options),
        Command::Servers(options) => servers::run(&options),
        Command::Top(options) => top::run(&options),
        Command::Locate(options) => locate::run(&options),
        Command::Locks(options) => locks::run(&options),
        Command::Dump(options) => dump::run(&options),
        Command::Load(options) => load::run(&options),
        Command::Content(options) => content::run(&options),
        Command::Gc(options) => gc::run(&options),
        Command::Fsck(options) => fsck::run(&options),
        Command::Du(options) => survey::du(&options),
        Command::Find(options) => survey::find(&options),
        Command::TopFiles(options) => survey::top_files(&options),
        Command::Report(options) => survey::report(&options),
        Command::Backup(options) => backup::run(&options),
        Command::Restore(options) => restore::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Migrate(options) => migrate::run(&options),
        Command::Completion(options) => generate::completion(Cli::command(), &options),
        Command::Man(options) => generate::man(Cli::command(), &options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.write(LogFormat::Text);
            ExitCode::from(failure.status())
        }
    }
}

/// mimalloc asks for huge pages where the system has them. With them the process takes up to two and a half
/// times the memory, and no call is faster (BENCHMARKS.md).
fn avoid_huge_pages() {
    #[cfg(target_os = "linux")]
    // A kernel without huge pages gives none.
    rustix::thread::disable_transparent_huge_pages(true).ok();
}
