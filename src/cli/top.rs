//! `trunkfs top`: who does what to which share right now, the busiest first.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};

use super::Failure;
use super::admin_port;
use super::clients::{Client, Use, aligned, port, read, whole};
use super::job::{human, run_async, write};

/// Rows where the height of the terminal is not known.
const ROWS: usize = 20;
/// Moves to the upper left corner and clears what is below (ECMA-48, CUP and ED).
const CLEAR: &str = "\x1b[H\x1b[J";

/// What `top` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    server: admin_port::Server,
    /// The time from one reading to the next
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = admin_port::time)]
    interval: Duration,
    /// End after so many readings [default: go on until Ctrl-C]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// A client, a share and a procedure.
type Key = (String, Option<String>, String);

/// Shows what came between two readings, again and again.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let port = port(&options.server)?;
    let on_terminal = std::io::stdout().is_terminal();
    run_async(async {
        let (mut before, mut at) = (sums(read(&port).await?), Instant::now());
        let mut left = options.count;
        while left != Some(0) {
            sleep(options.interval).await;
            let clients = read(&port).await?;
            let connected = clients.iter().filter(|client| client.connections > 0).count();
            let (now, seconds) = (sums(clients), at.elapsed().as_secs_f64());
            at = Instant::now();
            let rows = if on_terminal { height() } else { usize::MAX };
            let text = screen(&before, &now, seconds, rows.saturating_sub(4).max(1));
            let clear = if on_terminal { CLEAR } else { "" };
            write(&format!("{clear}{}: {connected} clients\n\n{text}", port.shown))?;
            before = now;
            left = left.map(|left| left - 1);
        }
        Ok(())
    })
}

fn sums(clients: Vec<Client>) -> HashMap<Key, Use> {
    let uses = clients.into_iter().flat_map(|client| {
        let name = client.client;
        client
            .uses
            .into_iter()
            .map(move |it| ((name.clone(), it.share.clone(), it.procedure.clone()), it))
    });
    uses.collect()
}

/// The busiest rows. A sum that shrank is that of a server that was started anew.
fn screen(
    before: &HashMap<Key, Use>,
    now: &HashMap<Key, Use>,
    seconds: f64,
    most: usize,
) -> String {
    let changes = now.iter().filter_map(|(key, it)| {
        let then = before.get(key);
        let part = |value: fn(&Use) -> u64| value(it).saturating_sub(then.map_or(0, value));
        let calls = part(|it| it.calls);
        let took = (it.took_seconds - then.map_or(0.0, |then| then.took_seconds)).max(0.0);
        (calls > 0).then(|| {
            let bytes = part(|it| it.read_bytes) + part(|it| it.written_bytes);
            (calls, part(|it| it.failures), bytes, took, key)
        })
    });
    let mut changes: Vec<_> = changes.collect();
    changes.sort_by(|one, other| other.0.cmp(&one.0).then(one.4.cmp(other.4)));
    let head = ["client", "share", "procedure", "calls/s", "failures/s", "bytes/s", "latency"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(changes.into_iter().take(most).map(|(calls, failures, bytes, took, key)| {
        let (client, share, procedure) = key.clone();
        let per = |count: u64| float(count) / seconds;
        [
            client,
            share.unwrap_or_else(|| "-".to_owned()),
            procedure,
            format!("{:.1}", per(calls)),
            format!("{:.1}", per(failures)),
            human(whole(per(bytes))),
            format!("{:.2} ms", took * 1000.0 / float(calls)),
        ]
    }));
    aligned(&rows)
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn float(count: u64) -> f64 {
    count as f64
}

/// The rows of the terminal.
fn height() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    size.map(|size| usize::from(size.ws_row)).ok().filter(|rows| *rows > 0).unwrap_or(ROWS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(calls: u64, took_seconds: f64) -> HashMap<Key, Use> {
        let share = Some("/e".to_owned());
        let it = Use {
            share: share.clone(),
            procedure: "READ".to_owned(),
            calls,
            failures: 0,
            read_bytes: calls * 1024,
            written_bytes: 0,
            took_seconds,
        };
        HashMap::from([(("10.0.0.1".to_owned(), share, "READ".to_owned()), it)])
    }

    #[test]
    fn what_came_between_two_readings_is_shown() {
        let text = screen(&reading(10, 1.0), &reading(30, 1.1), 2.0, 5);
        let row: Vec<_> = text.lines().nth(1).unwrap().split("  ").map(str::trim).collect();
        let row: Vec<_> = row.into_iter().filter(|cell| !cell.is_empty()).collect();
        assert_eq!(row, ["10.0.0.1", "/e", "READ", "10.0", "0.0", "10.00 KiB", "5.00 ms"]);
        assert_eq!(screen(&reading(10, 1.0), &reading(10, 1.0), 2.0, 5).lines().count(), 1);
        assert_eq!(screen(&reading(9, 9.0), &reading(5, 1.0), 2.0, 5).lines().count(), 1);
    }
}
