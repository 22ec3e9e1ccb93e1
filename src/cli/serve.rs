//! `trunkfs serve`: from the configuration to a running server, and its end on a signal.

use std::io::{IsTerminal as _, Write};
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures_util::FutureExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::ready::Place;
use super::reload::Reload;
use super::systemd::Notifier;
use super::{Configured, Failure, descriptors, ready};
use crate::config::{Config, Content, Loaded, LogFormat, Metadata, Source};
use crate::daemon::{AFTER_DRAIN, Build, Daemon, StartError};
use crate::http::PortError;
use crate::maintenance::Executable;
use crate::net::{BindError, TaskFailed, supervised};
use crate::rpc::null_probe::{Service, own_address, probe};
use crate::stores::StoreError;
use crate::telemetry;
use crate::types::{AtomicDuration, Chain, Vital};

/// How long the server may take from listening to its first answer.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// Between two attempts to have it.
const ANSWER_PAUSE: Duration = Duration::from_millis(50);

/// What `serve` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    configured: Configured,
    /// IP address and port to listen on, overriding server.listen; port 0 picks a free port
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

/// This program.
const BUILD: Build = Build { version: env!("CARGO_PKG_VERSION"), commit: env!("TRUNKFS_COMMIT") };

/// The file of this process, also where another one has its name by now.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Serves until a signal. Every line has the form of the log, as far as it is known: that of a start that
/// fails too.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let source = options.configured.source();
    let format = source.log_format();
    start(source, options, format).map_err(|failure| {
        failure.write(format);
        Failure::Said(failure.status())
    })
}

fn start(source: Source, options: &Options, format: LogFormat) -> Result<(), Failure> {
    let log = telemetry::start(format).map_err(|error| match error {
        telemetry::StartError::Variable(_) => Failure::Environment(error.into()),
        telemetry::StartError::Twice(_) => Failure::Run(error.into()),
    })?;
    let mut loaded = source.load()?;
    if let Some(listen) = options.listen {
        loaded.config.server.listener.listen = listen;
    }
    log.set_levels(&loaded.config.logging.levels);
    let Build { version, commit } = BUILD;
    let listen = loaded.config.server.listener.listen;
    let overrides = loaded.overrides.join(", ");
    let overrides = (!overrides.is_empty()).then_some(overrides);
    tracing::info!(version, commit, %listen, configuration = %source, overrides, "trunkfs starts");
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let running = descriptors::raise(&loaded.config);
    let running = running.map_err(|text| Failure::Run(text.into()))?;
    warn_of_loss(&running, |_| true);
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::Run(error.into()))?;
    let done = runtime.block_on(serve(source, options, &running, loaded, log));
    // What still runs was told to stop, and had its time.
    runtime.shutdown_background();
    done
}

async fn serve(
    source: Source,
    options: &Options,
    config: &Config,
    loaded: Loaded,
    log: telemetry::Handle,
) -> Result<(), Failure> {
    let in_foreground = std::io::stdin().is_terminal();
    let notifier = Notifier::from_environment();
    let shutdown = CancellationToken::new();
    let drain = Arc::new(AtomicDuration::new(config.server.settings.drain_timeout));
    let failed = |error: std::io::Error| Failure::Run(error.into());
    let mut tasks = JoinSet::new();
    let signals = watch_signals(&shutdown, &notifier, &drain).map_err(failed)?;
    tasks.spawn(supervised("waiting for signals", shutdown.clone(), signals));
    let stop = shutdown.clone();
    tasks.spawn(async move { Err(TaskFailed::of_store(Vital::failed().await, &stop)) });
    // One that comes before anything can be taken over waits.
    let hangups = signal(SignalKind::hangup()).map_err(failed)?;
    notifier.status("opening stores");
    let name = source.to_string();
    let program = Executable { path: THIS_PROGRAM.into(), configuration: source.arguments() };
    let starting = Daemon::start(&loaded, config, &name, BUILD, program);
    let starting = shutdown.run_until_cancelled(starting);
    let Some(started) = starting.await else { return ended(&mut tasks) };
    let instance = started.map_err(|error| explained(error, &options.configured))?;
    let (address, control) = (instance.address(), instance.control());
    let ports_are_known = instance.ports_are_known();
    if let Some(admin) = instance.admin_address() {
        tracing::info!(%admin, "the admin port answers");
    }
    let mut serving = tokio::spawn(instance.run(shutdown.clone()));
    let mut reloads: Pin<Box<dyn Future<Output = ()>>> = Box::pin(std::future::pending());
    let answers = match shutdown.run_until_cancelled(answers(own_address(address))).await {
        Some(Ok(())) => {
            let hostname = rustix::system::uname();
            let hostname = hostname.nodename().to_string_lossy();
            let place = Place { address, hostname: &hostname, ports_are_known };
            say(&ready::message(config, place));
            let status = ready::status(config, address);
            notifier.ready(&status);
            let watch = notifier.clone().watch(own_address(address), shutdown.clone());
            tasks.spawn(supervised("answering systemd", shutdown.clone(), watch));
            let reload = Reload {
                source,
                listen: options.listen,
                in_foreground,
                control,
                log,
                drain,
                notifier,
                address,
                status,
            };
            reloads = Box::pin(reload.on_hangups(hangups, shutdown.clone()));
            Ok(())
        }
        // Told to stop already.
        None => Ok(()),
        Some(Err(error)) => {
            shutdown.cancel();
            Err(error)
        }
    };
    // Not a task of its own: opening stores is no work that threads hand to each other. A panic ends the
    // server as that of a task does.
    let (ran, reloaded) = tokio::select! {
        ran = &mut serving => (ran, Ok(())),
        reloaded = AssertUnwindSafe(reloads).catch_unwind() => {
            let failed = |_| TaskFailed::of_store("waiting for SIGHUP", &shutdown);
            let reloaded = reloaded.map_err(failed);
            (serving.await, reloaded)
        }
    };
    let ran = ran.map_err(|error| Failure::Run(error.into()))?;
    crate::log_limit::write_counts();
    tracing::info!("stopped");
    let ran = ran.and(reloaded).map_err(|error| Failure::Run(error.into()));
    ran.and(ended(&mut tasks)).and(answers)
}

/// The failure of a task that has failed.
fn ended(tasks: &mut JoinSet<Result<(), TaskFailed>>) -> Result<(), Failure> {
    while let Some(ended) = tasks.try_join_next() {
        ended
            .map_err(|error| Failure::Run(error.into()))?
            .map_err(|error| Failure::Run(error.into()))?;
    }
    Ok(())
}

/// Waits until the server answers on its own port, or takes connections at least: clients that wait for it
/// may have taken every place.
async fn answers(address: SocketAddr) -> Result<(), Failure> {
    let start = Instant::now();
    loop {
        let error = match probe(address, Service::Nfs, ANSWER_TIME / 4).await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_alive() => return Ok(()),
            Err(error) => error,
        };
        if start.elapsed() >= ANSWER_TIME {
            let text = format!(
                "the server does not answer on its own address {address}: {}; a firewall, or IPAddressDeny= \
                 of a systemd unit, may block it: allow connections from this machine",
                Chain(&error)
            );
            return Err(Failure::Run(text.into()));
        }
        sleep(ANSWER_PAUSE).await;
    }
}

/// Fires `shutdown` on SIGTERM and SIGINT; on a second one, or on the first where `shutdown` was fired
/// before, the process ends. Draining may take `drain`.
fn watch_signals(
    shutdown: &CancellationToken,
    notifier: &Notifier,
    drain: &Arc<AtomicDuration>,
) -> std::io::Result<impl Future<Output = ()> + Send + use<>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (shutdown, notifier, drain) = (shutdown.clone(), notifier.clone(), drain.clone());
    Ok(async move {
        tokio::select! {
            () = either(&mut terminate, &mut interrupt) => {}
            () = shutdown.cancelled() => {}
        }
        tracing::info!("stopping: draining requests; a second signal stops at once");
        notifier.stopping(drain.get() + AFTER_DRAIN);
        shutdown.cancel();
        either(&mut terminate, &mut interrupt).await;
        tracing::warn!("stopped at once; clients resend uncommitted data");
        std::process::exit(1);
    })
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// Prints what standard output is for. That it is closed is no reason not to serve.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        tracing::warn!(%error, "cannot write the ready line to standard output");
    }
}

/// An error, with its remedy where there is a plain one.
fn explained(error: StartError, configured: &Configured) -> Failure {
    match &error {
        StartError::Port(PortError::Listen { address, source }) => {
            let why = match source.kind() {
                std::io::ErrorKind::AddrInUse => {
                    "another program uses the port, which may be another trunkfs: choose another port for this one"
                }
                _ => "choose another address",
            };
            let text = format!(
                "admin: cannot listen on {address}: {source}; {why} with admin.listen (the variable \
                 TRUNKFS__ADMIN__LISTEN), or turn the admin port off with admin.listen: off"
            );
            Failure::Run(text.into())
        }
        StartError::Bind(BindError::Listen { address, source }) => {
            let other = match source.kind() {
                std::io::ErrorKind::AddrInUse => {
                    "another program uses the port; stop it, or choose another"
                }
                std::io::ErrorKind::PermissionDenied if address.port() < 1024 => {
                    "a port below 1024 needs the capability CAP_NET_BIND_SERVICE; grant it, or choose another"
                }
                _ => "choose another address",
            };
            let text = format!(
                "cannot listen on {address}: {source}; {other} with --listen or server.listen"
            );
            Failure::Run(text.into())
        }
        StartError::Store(StoreError::Metadata { name, .. }) => {
            Failure::Run(configured.explained(name, &error).into())
        }
        StartError::Store(_)
        | StartError::Bind(_)
        | StartError::Port(_)
        | StartError::PortMapper(_)
        | StartError::Random(_) => Failure::Run(error.into()),
    }
}

/// Says which of the shares that `wanted` names are lost when the server stops.
pub(super) fn warn_of_loss(config: &Config, wanted: impl Fn(&str) -> bool) {
    for share in config.shares.iter().filter(|share| wanted(share.name.as_str())) {
        let name = &share.name;
        if matches!(config.metadata.get(&share.metadata_store), Some(Metadata::Memory { .. })) {
            tracing::warn!(
                "{name}: metadata is in memory; all files are lost when the server stops"
            );
        } else if matches!(config.content.get(&share.content_store), Some(Content::Memory { .. })) {
            tracing::warn!(
                "{name}: content is in memory; file content is lost when the server stops"
            );
        }
    }
}
