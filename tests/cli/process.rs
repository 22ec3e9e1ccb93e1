//! The program in a folder of its own.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long anything may take before the case fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What a run of the program left.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Exit status; `None` where a signal ended it.
    pub(crate) status: Option<i32>,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Finished {
    /// The case fails unless the status and every word of standard error are as expected.
    #[track_caller]
    pub(crate) fn failed_with(&self, status: i32, words: &[&str]) {
        assert_eq!(self.status, Some(status), "{self:?}");
        assert_eq!(self.out, "", "nothing is ready: {self:?}");
        for word in words {
            assert!(self.err.contains(word), "no {word:?} in\n{}", self.err);
        }
    }
}

/// The variable that sets the admin port: servers that run at the same time have none, where a case does not
/// ask for one.
pub(crate) const ADMIN: &str = "TRUNKFS__ADMIN__LISTEN";

/// The program with arguments, in a folder, with no environment but what it is given here.
pub(crate) fn trunkfs(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkfs"));
    let names = std::env::vars_os().map(|(name, _)| name);
    let own = names.filter(|name| name.to_string_lossy().starts_with("TRUNKFS_"));
    own.for_each(|name| _ = command.env_remove(name));
    command
        .current_dir(folder)
        .args(arguments)
        .env_remove("DATABASE_URL")
        .env_remove("RUST_LOG")
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if arguments.first() == Some(&"serve") {
        command.env(ADMIN, "off");
    }
    command
}

/// Runs it to its end.
pub(crate) async fn run(mut command: Command) -> Finished {
    let output = patiently(command.output()).await.unwrap();
    Finished {
        status: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    /// Reads standard error all the time: a pipe that nobody empties would stop a server that has much to
    /// say.
    err: JoinHandle<String>,
    /// Where it says that it listens.
    pub(crate) address: SocketAddr,
    /// What it says when it is ready: one line for each share, after the first.
    pub(crate) mounts: Vec<String>,
}

impl Running {
    /// Starts `serve` with further arguments and waits until it is ready.
    pub(crate) async fn start(folder: &Path, arguments: &[&str], shares: usize) -> Self {
        Self::spawn(trunkfs(folder, &[&["serve"], arguments].concat()), shares).await
    }

    /// Starts a command that serves and waits until it is ready.
    pub(crate) async fn spawn(mut command: Command, shares: usize) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        let err = tokio::spawn(async move {
            let mut err = String::new();
            stderr.read_to_string(&mut err).await.unwrap();
            err
        });
        let mut line = String::new();
        patiently(out.read_line(&mut line)).await.unwrap();
        let Some(address) = ready_address(&line) else {
            panic!("not ready: {line:?}\n{}", patiently(err).await.unwrap());
        };
        let mut mounts = Vec::new();
        for _ in 0..shares {
            let mut line = String::new();
            patiently(out.read_line(&mut line)).await.unwrap();
            mounts.push(line.trim_end().to_owned());
        }
        Self { child, out, err, address, mounts }
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) async fn finish(mut self) -> Finished {
        let mut out = String::new();
        patiently(self.out.read_to_string(&mut out)).await.unwrap();
        let err = patiently(self.err).await.unwrap();
        let status = patiently(self.child.wait()).await.unwrap().code();
        Finished { status, out, err }
    }

    /// Stops it with SIGTERM: it ends well.
    pub(crate) async fn stop(self) -> Finished {
        self.signal(Signal::TERM);
        let finished = self.finish().await;
        assert_eq!(finished.status, Some(0), "{finished:?}");
        finished
    }
}

/// A program whose standard error is read as it runs.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    seen: Vec<String>,
}

impl Watched {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits until it is ready: where it listens.
    pub(crate) async fn ready(&mut self) -> SocketAddr {
        let mut out = BufReader::new(self.child.stdout.as_mut().unwrap());
        let mut line = String::new();
        patiently(out.read_line(&mut line)).await.unwrap();
        ready_address(&line).unwrap_or_else(|| panic!("not ready: {line:?}"))
    }

    /// Waits for a line that has the words.
    pub(crate) async fn line_with(&mut self, words: &[&str]) -> String {
        loop {
            let Some(line) = patiently(self.lines.next_line()).await.unwrap() else {
                panic!("no line with {words:?} in {:#?}", self.seen);
            };
            self.seen.push(line.clone());
            if words.iter().all(|word| line.contains(word)) {
                return line;
            }
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) async fn finish(mut self) -> Finished {
        let mut out = String::new();
        let mut stdout = self.child.stdout.take().unwrap();
        patiently(stdout.read_to_string(&mut out)).await.unwrap();
        while let Some(line) = patiently(self.lines.next_line()).await.unwrap() {
            self.seen.push(line);
        }
        let status = patiently(self.child.wait()).await.unwrap().code();
        Finished { status, out, err: self.seen.join("\n") }
    }
}

/// Where a server listens by its first line, for people or for programs.
fn ready_address(line: &str) -> Option<SocketAddr> {
    if let Some(rest) = line.strip_prefix("ready on ") {
        return rest.split(';').next()?.parse().ok();
    }
    let object: serde_json::Value = serde_json::from_str(line).ok()?;
    object["address"].as_str().filter(|_| object["message"] == "ready")?.parse().ok()
}

/// A folder with a configuration in `t.yaml`.
pub(crate) fn folder(yaml: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("t.yaml"), yaml).unwrap();
    folder
}

/// Waits for `future`, but not for ever.
pub(crate) async fn patiently<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("the program does not come to an end in time")
}
