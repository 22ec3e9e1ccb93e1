//! The program `trunkfs`; see `trunkfs::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    trunkfs::cli::run()
}
