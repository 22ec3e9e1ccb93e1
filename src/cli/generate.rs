//! `trunkfs completion` and `trunkfs man`: what packages install beside the program, made from its own
//! options.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

use super::Failure;
use super::job::{run_error, write};

const PROGRAM: &str = "trunkfs";

/// What `completion` takes.
#[derive(Debug, Args)]
pub(super) struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// What `man` takes.
#[derive(Debug, Args)]
pub(super) struct Man {
    /// Write a page for the program and one for each command into this folder [default: the program's page on
    /// standard output]
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

/// Prints what a shell reads to complete commands and options.
pub(super) fn completion(mut command: Command, options: &Completion) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut command, PROGRAM, &mut script);
    write(&String::from_utf8_lossy(&script))
}

/// Writes manual pages.
pub(super) fn man(command: Command, options: &Man) -> Result<(), Failure> {
    let Some(folder) = &options.into else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page).map_err(run_error)?;
        return write(&String::from_utf8_lossy(&page));
    };
    std::fs::create_dir_all(folder).map_err(run_error)?;
    clap_mangen::generate_to(command, folder).map_err(run_error)
}
