//! Runs a test once more in a process of its own, which can be killed or given other libraries.

use std::process::Command;

/// What tells the process that it is the second.
const INNER: &str = "TRUNKFS_TEST_INNER";

/// What the first process has for the second; nothing in the first.
pub(crate) fn given() -> Option<String> {
    std::env::var(INNER).ok()
}

/// The command that runs a test of this program, by its full name, in a process of its own.
pub(crate) fn again(test: &str, given: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(INNER, given);
    command
}
