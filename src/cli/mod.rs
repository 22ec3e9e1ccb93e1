//! The command line: one file each command.
//!
//! Exit status: 0 when all went well, 1 when something failed, 2 when the command line or the
//! configuration is wrong.

mod check_config;
mod descriptors;
mod ready;
mod serve;
mod status;
mod systemd;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Config};
use crate::types::Chain;

/// The command line or the configuration is wrong.
const WRONG: u8 = 2;
/// The folder of file content where no configuration is given.
const LOCAL_FOLDER: &str = "trunkfs-data";

#[derive(Debug, Parser)]
#[command(name = "trunkfs", version, about = "An NFSv3 server whose namespace lives in PostgreSQL")]
#[command(
    after_help = "RUST_LOG sets what is logged: error, warn, info (default), debug or trace."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT; a second one stops at once.
    Serve(serve::Options),
    /// Say whether a configuration is right, without connecting or listening.
    CheckConfig(Configured),
    /// Ask whether a server answers: exit status 0 where NFS and MOUNT do, 1 where not.
    Status(status::Options),
}

/// Which configuration a command is about.
#[derive(Debug, Args)]
struct Configured {
    /// YAML file [default: /export for this machine alone, names in memory, content in ./trunkfs-data]
    #[arg(long, value_name = "FILE", env = "TRUNKFS_CONFIG")]
    config: Option<PathBuf>,
}

impl Configured {
    /// The file's configuration, or the one that needs no file.
    fn load(&self) -> Result<Config, Failure> {
        match &self.config {
            Some(file) => Ok(Config::load(file)?),
            None => {
                let uid = rustix::process::geteuid().as_raw();
                let gid = rustix::process::getegid().as_raw();
                Config::local(Path::new(LOCAL_FOLDER), uid, gid).map_err(|e| Failure::Run(e.into()))
            }
        }
    }
}

/// Why a command ends early.
#[derive(Debug)]
enum Failure {
    /// The configuration is wrong.
    Configuration(config::Error),
    /// Something failed while it was carried out.
    Run(Box<dyn Error + Send + Sync>),
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        Self::Configuration(error)
    }
}

/// Runs the command that the process was started with.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Serve(options) => serve::run(&options),
        Command::CheckConfig(configured) => check_config::run(&configured),
        Command::Status(options) => status::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Configuration(error)) => {
            eprintln!("error: {error}");
            ExitCode::from(WRONG)
        }
        Err(Failure::Run(error)) => {
            eprintln!("error: {}", Chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
