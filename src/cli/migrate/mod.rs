//! `trunkfs migrate`: looks at a store's schema and changes it.

mod status;
mod target;

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use self::target::{Opened, Target};
use super::Failure;
use super::job::run_async;
use crate::metadata::schema::{Descent, Direction, Event};
use crate::types::Chain;

/// What `migrate` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the applied and pending schema versions, without changing anything.
    #[command(
        after_help = "Exit status: 0 the schema is current, 3 it is behind ('migrate up' upgrades it), 4 it \
        is newer or diverged (this program must not touch it), 1 the database does not answer, 2 the command \
        line or configuration is wrong."
    )]
    Status {
        #[command(flatten)]
        target: Target,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Apply pending versions, each in one transaction. Waits while another migration runs.
    #[command(
        after_help = "Exit status: 0 done, 1 failed (versions before the failed one stay applied), 2 the \
        command line or configuration is wrong."
    )]
    Up {
        #[command(flatten)]
        target: Target,
        /// The last version to apply [default: the newest]
        #[arg(long, value_name = "VERSION")]
        to: Option<i32>,
    },
    /// Revert the newest version, or every version after --to. Deletes the data of its tables.
    #[command(
        after_help = "Without --yes it is a dry run that prints the data that would be lost. It refuses \
        while a server uses the store.\nExit status: 0 done, 1 refused or failed, 2 the command line or \
        configuration is wrong."
    )]
    Down {
        #[command(flatten)]
        target: Target,
        /// Version to go back to; 0 reverts everything [default: the one before the current]
        #[arg(long, value_name = "VERSION")]
        to: Option<i32>,
        /// Proceed, and lose that data
        #[arg(long)]
        yes: bool,
    },
}

/// Does what the command line says. SIGINT and SIGTERM end it: the version under way is then not applied.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    run_async(async {
        let failed = |error: std::io::Error| Failure::Run(error.into());
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        tokio::select! {
            done = act(&options.action) => done,
            _ = terminate.recv() => Err(stopped()),
            _ = interrupt.recv() => Err(stopped()),
        }
    })
}

fn stopped() -> Failure {
    Failure::Run(
        "interrupted; the version in progress was rolled back: see 'trunkfs migrate status'".into(),
    )
}

async fn act(action: &Action) -> Result<(), Failure> {
    match action {
        Action::Status { target, json } => {
            let mut opened = target.open().await?;
            let found = opened.schema.status().await.map_err(|error| opened.failed(error))?;
            status::show(&opened, &found, *json)
        }
        Action::Up { target, to } => up(target.open().await?, *to).await,
        Action::Down { target, to, yes } => down(target.open().await?, *to, *yes).await,
    }
}

async fn up(mut opened: Opened, to: Option<i32>) -> Result<(), Failure> {
    say(&opened.place)?;
    let changed = AtomicBool::new(false);
    let report = |event: Event<'_>| tell(event, &changed);
    let version = opened.schema.up(to, &report).await.map_err(|error| opened.failed(error))?;
    finished(&changed, version)
}

async fn down(mut opened: Opened, to: Option<i32>, yes: bool) -> Result<(), Failure> {
    let descent = opened.schema.descent(to).await.map_err(|error| opened.failed(error))?;
    if !yes && !descent.steps.is_empty() {
        return Err(Failure::Run(refused(&opened, &descent).into()));
    }
    say(&opened.place)?;
    let changed = AtomicBool::new(false);
    let report = |event: Event<'_>| tell(event, &changed);
    let version = opened.schema.down(to, &report).await.map_err(|error| opened.failed(error))?;
    finished(&changed, version)
}

fn finished(changed: &AtomicBool, version: i32) -> Result<(), Failure> {
    if changed.load(Ordering::Relaxed) {
        return say(&format!("the schema has version {version}"));
    }
    say(&format!("nothing to do: the schema has version {version}"))
}

/// What would be lost.
fn refused(opened: &Opened, descent: &Descent) -> String {
    let Descent { from, to, steps, holds, users } = descent;
    let mut text =
        format!("dry run, without --yes: {} would go from version {from} to {to}", opened.place);
    for (number, name, destroys) in steps {
        text.push_str(&format!("\n  V{number} {name}: {destroys}"));
    }
    text.push_str(&format!("\nIt holds {holds}."));
    for user in users {
        text.push_str(&format!("\nThe store is in use: {user}; stop the server first."));
    }
    text.push_str("\nMake a backup (pg_dump) first; then repeat the command with --yes.");
    text
}

/// Progress, a line for each step. That standard output is closed is no reason to stop.
fn tell(event: Event<'_>, changed: &AtomicBool) {
    changed.fetch_or(matches!(event, Event::Done(..)), Ordering::Relaxed);
    let line = match event {
        Event::Waiting => {
            eprintln!("waiting for another migration or start of a server on this database");
            return;
        }
        Event::Begun(Direction::Up, number, name) => format!("applying V{number} {name}"),
        Event::Begun(Direction::Down, number, name) => format!("reverting V{number} {name}"),
        Event::Done(Direction::Up, number, name, took) => {
            format!("applied V{number} {name} in {:.2} s", took.as_secs_f64())
        }
        Event::Done(Direction::Down, number, name, took) => {
            format!("reverted V{number} {name} in {:.2} s", took.as_secs_f64())
        }
    };
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn say(line: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| Failure::Run(format!("standard output: {}", Chain(&error)).into()))
}
