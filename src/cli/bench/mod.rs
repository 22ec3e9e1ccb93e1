//! `trunkfs bench`: the figures of an NFSv3 server under load, or of two side by side.

mod json;
mod progress;
mod table;

use std::net::IpAddr;
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;

use self::progress::Progress;
use super::{FAILED, Failure, interrupt};
use crate::bench::{
    Comparison, Error, Measurement, Prepared, Processes, Session, Settings, Target, Timing,
    Workload, parse_workloads,
};
use crate::types::{Chain, Credentials, settings};

/// The most connections, and calls in flight on each.
const MAX_LOAD: i64 = 1024;

/// What `bench` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Workloads:
  metadata  null, getattr, lookup, lookup-absent, access, readlink, readdir, readdirplus, fsstat, fsinfo, pathconf,
            setattr, create, create-guarded, create-exclusive, mkdir, symlink, link, rename, remove, rmdir
  data      read-4k, read-1m, write-4k, write-1m, each also with -random; the writes also with -sync (FILE_SYNC
            instead of UNSTABLE and COMMIT); small-files (CREATE, WRITE of 4 KiB, COMMIT); mixed (the shares of
            SPEC SFS 2008)

Everything happens in a directory bench-… of the export, which is removed at the end and on Ctrl-C.
Exit status: 0 when every reply was the expected one, 1 when not, or when the load ended early, 2 when the command
line is wrong.")]
pub(super) struct Options {
    /// Export of the server, such as nfs://127.0.0.1:12049/export; without a port the portmapper is asked
    #[arg(value_name = "URL", required_unless_present = "compare", conflicts_with = "compare")]
    url: Option<Target>,
    /// Measure two servers in turn, in several rounds, and print the ratio of B's figures to A's
    #[arg(long, num_args = 2, value_names = ["A", "B"])]
    compare: Vec<Target>,
    /// Workloads, separated by commas, or the groups all, metadata and data
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "all")]
    workload: Vec<String>,
    /// Connections
    #[arg(long, value_name = "C", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=MAX_LOAD))]
    connections: u16,
    /// Calls in flight on each connection
    #[arg(long, value_name = "D", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=MAX_LOAD))]
    depth: u16,
    /// Measured time of each workload, or of each of its rounds
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    time: Duration,
    /// Time before it in which the load is the same and nothing is measured
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time_or_none)]
    warm_up: Duration,
    /// Rounds of --compare
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Port of MOUNT [default: NFS's port, or the portmapper's answer where the URL has no port]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    mount_port: Option<u16>,
    /// Files for each connection that getattr, lookup, access and setattr use
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    files: u32,
    /// Size of each connection's file for reads and writes
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    file_size: u64,
    /// User to call as [default: the user that runs this]
    #[arg(long)]
    uid: Option<u32>,
    /// Group to call as [default: the group that runs this]
    #[arg(long)]
    gid: Option<u32>,
    /// Address of this machine to call from
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,
    /// Call from ports below 1024, which takes root
    #[arg(long)]
    reserved_port: bool,
    /// Processes whose processor time counts as the server's, with their children [default: those that listen
    /// on the server's port, where it is on this machine]
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    server_pid: Vec<u32>,
    /// Threads that make the load [default: half as many as there are processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Print the figures as JSON on standard output
    #[arg(long)]
    json: bool,
}

/// A time from the command line.
fn time(text: &str) -> Result<Duration, String> {
    time_or_none(text).and_then(|time| if time.is_zero() { Err(UNIT.to_owned()) } else { Ok(time) })
}

fn time_or_none(text: &str) -> Result<Duration, String> {
    let millis = settings::millis(text).filter(|millis| *millis <= 86_400_000);
    millis.map(Duration::from_millis).ok_or_else(|| UNIT.to_owned())
}

fn size(text: &str) -> Result<u64, String> {
    let size = settings::bytes(text).filter(|size| (1 << 20..=1 << 40).contains(size));
    size.ok_or_else(|| "write an integer and a unit, from 1MiB to 1TiB".to_owned())
}

const UNIT: &str = "write an integer and a unit (ms, s or m), such as 5s";

impl Options {
    fn settings(&self) -> Settings {
        let uid = self.uid.unwrap_or_else(|| rustix::process::geteuid().as_raw());
        let gid = self.gid.unwrap_or_else(|| rustix::process::getegid().as_raw());
        Settings {
            connections: self.connections.into(),
            depth: self.depth.into(),
            files: usize::try_from(self.files).unwrap_or(usize::MAX),
            file_bytes: self.file_size,
            credentials: Credentials { uid, gid, gids: Vec::new() },
            from: self.from,
            reserved_port: self.reserved_port,
            mount_port: self.mount_port,
        }
    }

    fn threads(&self) -> usize {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.map_or((processors / 2).max(1), usize::from)
    }
}

/// Runs the workloads and prints their figures.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let names = options.workload.iter().map(|name| name.trim());
    let workloads = parse_workloads(names).map_err(|error| Failure::Wrong(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.threads())
        .enable_all()
        .build()
        .map_err(|error| Failure::Run(error.into()))?;
    let done = runtime.block_on(async {
        let stop = interrupt::token(FAILED).map_err(|error| Failure::Run(error.into()))?;
        match (&options.url, &options.compare[..]) {
            (None, [a, b]) => compare(options, [a, b], &workloads, &stop).await,
            (Some(url), _) => measure(options, url, &workloads, &stop).await,
            (None, _) => Err(Failure::Wrong("name the URL of an export".to_owned())),
        }
    });
    runtime.shutdown_background();
    done
}

/// A server under load, and its processes where they are known.
struct Server {
    session: Session,
    processes: Option<Processes>,
}

impl Server {
    async fn open(target: &Target, options: &Options) -> Result<Self, Failure> {
        let session = Session::open(target, options.settings()).await.map_err(failed)?;
        let processes = if !options.server_pid.is_empty() {
            Some(Processes::of(&options.server_pid))
        } else if session.is_local() {
            Processes::listening_on(session.address())
        } else {
            None
        };
        Ok(Self { session, processes })
    }

    /// Prepares a workload; `None` on Ctrl-C.
    async fn prepare(
        &mut self,
        workload: Workload,
        stop: &CancellationToken,
    ) -> Result<Option<Prepared>, Error> {
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(None),
            prepared = self.session.prepare(workload) => prepared.map(Some),
        }
    }

    async fn measure(
        &mut self,
        prepared: &mut Prepared,
        options: &Options,
        stop: &CancellationToken,
    ) -> Result<Measurement, Error> {
        let (time, warm_up, server) = (options.time, options.warm_up, self.processes.as_ref());
        self.session.measure(prepared, &Timing { time, warm_up, server, stop }).await
    }

    /// Removes what it made; what fails is told.
    async fn close(self) -> bool {
        let name = self.session.directory_name().to_owned();
        let closed = self.session.close().await;
        if let Err(error) = &closed {
            eprintln!("error: {name} may be left in the export: {}", Chain(error));
        }
        closed.is_ok()
    }
}

fn failed(error: Error) -> Failure {
    Failure::Run(error.into())
}

/// One server.
async fn measure(
    options: &Options,
    url: &Target,
    workloads: &[Workload],
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let mut server = Server::open(url, options).await?;
    let address = server.session.address();
    let progress = Progress::new(workloads.len());
    if !options.json {
        table::head(options, url)?;
    }
    let mut measured = Vec::new();
    let mut failure = None;
    for workload in workloads {
        let one = async {
            progress.reached(&format!("{workload}: preparing"));
            let Some(mut prepared) = server.prepare(*workload, stop).await? else {
                return Ok::<_, Error>(None);
            };
            progress.reached(workload.name());
            let figures = server.measure(&mut prepared, options, stop).await?;
            if stop.is_cancelled() {
                return Ok(None);
            }
            progress.reached(&format!("{workload}: removing its files"));
            server.session.clear(prepared).await?;
            Ok(Some(figures))
        };
        match one.await {
            Ok(Some(figures)) => {
                if !options.json {
                    progress.aside(|| table::row(&figures))?;
                }
                measured.push(figures);
                progress.done();
            }
            Ok(None) => break,
            Err(error) => {
                failure = Some(format!("{workload}: {}", Chain(&error)));
                break;
            }
        }
    }
    progress.reached("removing files");
    let is_clear = server.close().await;
    progress.end();
    if options.json {
        json::print(&json::measured(options, url, address, &measured))?;
    }
    let wrong = measured.iter().filter(|it| it.error_count() > 0 || it.operations.count() == 0);
    let wrong: Vec<_> = wrong.map(|it| it.workload).collect();
    conclude(failure, stop, &wrong, is_clear)
}

/// Two servers in turn. Who comes first changes with every round.
async fn compare(
    options: &Options,
    urls: [&Target; 2],
    workloads: &[Workload],
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let first = Server::open(urls[0], options).await?;
    let second = match Server::open(urls[1], options).await {
        Ok(second) => second,
        Err(error) => {
            first.close().await;
            return Err(error);
        }
    };
    let mut servers = [first, second];
    let progress = Progress::new(workloads.len() * usize::from(options.rounds));
    if !options.json {
        table::comparison_head(options, urls)?;
    }
    let mut compared = Vec::new();
    let mut failure = None;
    for workload in workloads {
        match rounds(options, &mut servers, *workload, &progress, stop).await {
            Ok(Some(comparison)) => {
                if !options.json {
                    progress.aside(|| table::comparison(&comparison))?;
                }
                compared.push(comparison);
            }
            Ok(None) => break,
            Err(error) => {
                failure = Some(format!("{workload}: {}", Chain(&error)));
                break;
            }
        }
    }
    progress.reached("removing files");
    let [first, second] = servers;
    let are_clear = [first.close().await, second.close().await];
    progress.end();
    if options.json {
        json::print(&json::compared(options, urls, &compared))?;
    }
    let is_wrong = |it: &&Comparison| {
        let none = it.rounds.iter().flatten().any(|round| round.operations.count() == 0);
        none || it.error_count() > 0
    };
    let wrong: Vec<_> = compared.iter().filter(is_wrong).map(|it| it.workload).collect();
    conclude(failure, stop, &wrong, are_clear == [true, true])
}

/// The rounds of a workload; `None` on Ctrl-C.
async fn rounds(
    options: &Options,
    servers: &mut [Server; 2],
    workload: Workload,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<Option<Comparison>, Error> {
    progress.reached(&format!("{workload}: preparing"));
    let [first, second] = servers;
    let Some(mut on_first) = first.prepare(workload, stop).await? else { return Ok(None) };
    let Some(mut on_second) = second.prepare(workload, stop).await? else { return Ok(None) };
    let mut comparison = Comparison { workload, rounds: Vec::new() };
    for round in 0..options.rounds {
        progress.reached(workload.name());
        let pair = if round.is_multiple_of(2) {
            let one = first.measure(&mut on_first, options, stop).await?;
            [one, second.measure(&mut on_second, options, stop).await?]
        } else {
            let other = second.measure(&mut on_second, options, stop).await?;
            [first.measure(&mut on_first, options, stop).await?, other]
        };
        if stop.is_cancelled() {
            return Ok(None);
        }
        comparison.rounds.push(pair);
        progress.done();
    }
    progress.reached(&format!("{workload}: removing its files"));
    first.session.clear(on_first).await?;
    second.session.clear(on_second).await?;
    Ok(Some(comparison))
}

fn conclude(
    failure: Option<String>,
    stop: &CancellationToken,
    wrong: &[Workload],
    is_clear: bool,
) -> Result<(), Failure> {
    if let Some(failure) = failure {
        return Err(Failure::Run(failure.into()));
    }
    if stop.is_cancelled() {
        return Err(Failure::Run("interrupted".into()));
    }
    if !wrong.is_empty() {
        let names: Vec<_> = wrong.iter().map(|workload| workload.name()).collect();
        let text = format!("unexpected replies, or no operation at all: {}", names.join(", "));
        return Err(Failure::Run(text.into()));
    }
    if is_clear { Ok(()) } else { Err(Failure::Said(FAILED)) }
}
