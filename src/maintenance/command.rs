//! A job as a process.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process, setpriority_process};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

/// Lines of a job's output that are kept: so many of the first, and as many of the last.
const LINES: usize = 20;
/// The priority of a job (setpriority(2)); the server's is 0.
const NICENESS: i32 = 10;
/// Variables by which systemd speaks with the server alone.
const SERVERS_OWN: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// This program, and the arguments that name the server's configuration.
#[derive(Clone, Debug)]
pub struct Executable {
    pub path: PathBuf,
    pub configuration: Vec<OsString>,
}

/// Lines of output.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) first: Vec<String>,
    last: VecDeque<String>,
}

impl Lines {
    async fn of(output: impl AsyncRead + Unpin) -> Self {
        let (mut read, mut lines) = (BufReader::new(output).split(b'\n'), Self::default());
        // A pipe that is not read to its end would end the job.
        while let Ok(Some(line)) = read.next_segment().await {
            lines.push(String::from_utf8_lossy(&line).into_owned());
        }
        lines
    }

    fn push(&mut self, line: String) {
        if self.first.len() < LINES {
            self.first.push(line);
            return;
        }
        if self.last.len() == LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// The line of the last error, without what stands in front of it; else the last line.
    pub(super) fn error(&self) -> Option<&str> {
        let lines = self.last.iter().rev().chain(self.first.iter().rev());
        lines.filter_map(|line| line.strip_prefix("error: ")).next().or(self.last())
    }

    /// The last line.
    pub(super) fn last(&self) -> Option<&str> {
        self.last.back().or(self.first.last()).map(String::as_str)
    }
}

/// A job that runs. It ends with this value.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    out: Option<JoinHandle<Lines>>,
    err: Option<JoinHandle<Lines>>,
}

/// What it has left.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) out: Lines,
    pub(super) err: Lines,
}

impl Running {
    /// Starts a command of the program with these arguments.
    pub(super) fn start(program: &Executable, arguments: &[OsString]) -> io::Result<Self> {
        let mut command = Command::new(&program.path);
        command
            .args(arguments)
            .args(&program.configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        for variable in SERVERS_OWN {
            command.env_remove(variable);
        }
        let mut child = command.spawn()?;
        let running_pid = pid(&child);
        if let Some(Err(error)) = running_pid.map(|pid| setpriority_process(Some(pid), NICENESS)) {
            tracing::debug!(%error, "a job keeps the server's priority");
        }
        let out = child.stdout.take().map(|out| tokio::spawn(Lines::of(out)));
        let err = child.stderr.take().map(|err| tokio::spawn(Lines::of(err)));
        Ok(Self { child, out, err })
    }

    /// Tells it to end in order.
    pub(super) fn stop(&self) {
        if let Some(Err(error)) = pid(&self.child).map(|pid| kill_process(pid, Signal::TERM)) {
            tracing::debug!(%error, "a job has ended by itself");
        }
    }

    /// Waits for its end. Nothing is lost where this is dropped before.
    pub(super) async fn ended(&mut self) -> io::Result<Ended> {
        let status = self.child.wait().await?;
        let (out, err) = (lines(&mut self.out).await, lines(&mut self.err).await);
        Ok(Ended { status, out, err })
    }
}

fn pid(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()?).ok()?)
}

async fn lines(reading: &mut Option<JoinHandle<Lines>>) -> Lines {
    match reading {
        Some(handle) => {
            let lines = handle.await.unwrap_or_default();
            *reading = None;
            lines
        }
        None => Lines::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn long_output_is_kept_in_part() {
        let shell = Executable { path: "/bin/sh".into(), configuration: vec!["-c".into()] };
        let script = "printf '\\377\\n'; i=1; while [ $i -lt 100 ]; do echo $i; i=$((i+1)); done
                      echo error: why >&2; echo how >&2; exit 3";
        // The arguments of the configuration come last.
        let program = Executable { configuration: vec![script.into()], ..shell };
        let mut running = Running::start(&program, &["-c".into()]).unwrap();
        let ended = running.ended().await.unwrap();
        assert_eq!(ended.status.code(), Some(3));
        assert_eq!((ended.out.first.len(), ended.out.last()), (LINES, Some("99")));
        assert_eq!(ended.err.error(), Some("why"));
    }

    #[tokio::test]
    async fn a_job_is_told_to_end() {
        let program = Executable { path: "/bin/sleep".into(), configuration: vec!["60".into()] };
        let mut running = Running::start(&program, &[]).unwrap();
        running.stop();
        let ended = running.ended().await.unwrap();
        assert_eq!(ended.status.code(), None);
    }
}
