//! New connections: every host and address is tried, and the first server that fits is taken.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::config::{
    ChannelBinding as DriverBinding, SslMode as DriverMode, TargetSessionAttrs,
};
use tokio_postgres::{Config, NoTls, Socket, tls::MakeTlsConnect, tls::TlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Settings;
use super::connect_error::ConnectError;
use super::error::PostgresError;
use super::session::{ServerRole, ServerStart};
use super::target::{ChannelBinding, ConnectOptions, Host, SslMode};
use super::{other_service, session, tls};
use crate::metadata::Error;

/// How long an attempt is alone before the next address is tried beside it, so that a host that does not
/// answer delays no connection.
const HEAD_START: Duration = Duration::from_millis(300);

/// How long connections are waited for that another process leaves when it ends: the server notices a little
/// later.
pub(super) const CLOSING: Duration = Duration::from_secs(3);

/// Makes connections to one database.
#[derive(Clone)]
pub(super) struct Connector {
    target: Arc<ConnectOptions>,
    limit: Duration,
    ended: Arc<Notify>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("target", &self.target).finish_non_exhaustive()
    }
}

/// A connection to a server, and what that takes.
pub(super) struct Connected {
    pub(super) client: ClientWrapper,
    pub(super) role: ServerRole,
    pub(super) server: ServerStart,
}

/// Where there is no connection: what stands in the way, by place.
struct Failed(Vec<(String, ConnectError)>);

impl Connector {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            target: Arc::new(settings.target.clone()),
            limit: settings.connect_timeout,
            ended: Arc::default(),
        }
    }

    /// Woken where a connection ended.
    pub(super) fn ended(&self) -> &Arc<Notify> {
        &self.ended
    }

    /// A connection to the first server that answers, lets the role in and fits the settings; one that takes
    /// no changes only where no other is to be had. It ends when it is dropped. Every address has the time
    /// limit of the settings, TLS and login included.
    ///
    /// The failure is [`PostgresError::Lost`] where a server may come back by itself, and
    /// [`PostgresError::Refused`] where an administrator has to act.
    pub(super) async fn connect(&self) -> Result<Connected, PostgresError> {
        let target = Arc::clone(&self.target);
        let read = tokio::task::spawn_blocking(move || {
            let tls = tls::connector(&target)?;
            let password = target.present_password();
            let password = password.map_err(|it| ConnectError::lasting(it.to_string()))?;
            Ok::<_, ConnectError>((tls, password))
        });
        let read = read.await.map_err(|panicked| PostgresError::Lost(Box::new(panicked)))?;
        let (tls, password) =
            read.map_err(|obstacle| PostgresError::Refused(Error::Backend(obstacle.text.into())))?;
        let attempts = self.target.hosts.iter().map(|host| {
            let (connector, host) = (self.clone(), host.clone());
            Way { connector, tls: tls.clone(), password: password.clone(), host }.connect()
        });
        race(attempts.collect()).await.map_err(Failed::into_failure)
    }

    /// The same, set up by `session`, which has the same time.
    pub(super) async fn open(&self, session: &str) -> Result<Connected, PostgresError> {
        let connected = Box::pin(self.connect()).await?;
        match timeout(self.limit, connected.client.batch_execute(session)).await {
            Ok(done) => done?,
            Err(late) => return Err(PostgresError::Lost(Box::new(late))),
        }
        Ok(connected)
    }
}

/// One host, and how it is reached.
#[derive(Clone)]
struct Way {
    connector: Connector,
    tls: Option<MakeRustlsConnect>,
    password: Option<String>,
    host: Host,
}

impl Way {
    async fn connect(self) -> Result<Connected, Failed> {
        if self.host.is_socket() {
            return self.attempt(None).await;
        }
        let host = &self.host;
        let found =
            timeout(self.connector.limit, tokio::net::lookup_host((host.name.as_str(), host.port)));
        let addresses: Vec<IpAddr> = match found.await {
            Ok(Ok(found)) => found.map(|address: SocketAddr| address.ip()).collect(),
            Ok(Err(error)) => return Err(self.failed(None, ConnectError::unknown_host(&error))),
            Err(_) => return Err(self.failed(None, ConnectError::late(self.connector.limit))),
        };
        let attempts = addresses.into_iter().map(|address| {
            let way = self.clone();
            async move { way.attempt(Some(address)).await }
        });
        race(attempts.collect()).await.map_err(Failed::of_one_host)
    }

    async fn attempt(&self, address: Option<IpAddr>) -> Result<Connected, Failed> {
        let config = self.config(address);
        let attempt = async {
            let ended = Arc::clone(&self.connector.ended);
            // A Unix socket has no TLS.
            let client = match self.tls.clone().filter(|_| address.is_some()) {
                Some(tls) => open(&config, tls, ended).await,
                None => open(&config, NoTls, ended).await,
            };
            let target = &self.connector.target;
            let client = match client {
                Ok(client) => client,
                Err(error) => {
                    let obstacle = ConnectError::of(&error, target, &self.host);
                    let other = match address {
                        Some(address) if may_be_another_service(&error) => {
                            other_service::found((address, self.host.port).into()).await
                        }
                        Some(_) | None => None,
                    };
                    return Err(other.unwrap_or(obstacle));
                }
            };
            let (role, server) = session::check_server(&client, target, &self.host).await?;
            Ok(Connected { client, role, server })
        };
        match timeout(self.connector.limit, attempt).await {
            Ok(outcome) => outcome.map_err(|obstacle| self.failed(address, obstacle)),
            Err(_) => {
                let other = match address {
                    Some(address) => other_service::found((address, self.host.port).into()).await,
                    None => None,
                };
                let late = || ConnectError::late(self.connector.limit);
                Err(self.failed(address, other.unwrap_or_else(late)))
            }
        }
    }

    /// The driver's form of it.
    fn config(&self, address: Option<IpAddr>) -> Config {
        let ConnectOptions { database, user, application_name, sslmode, .. } =
            &*self.connector.target;
        let mut config = Config::new();
        config
            .host(&self.host.name)
            .port(self.host.port)
            .dbname(database)
            .user(user)
            .application_name(application_name)
            .target_session_attrs(TargetSessionAttrs::Any)
            .channel_binding(match self.connector.target.channel_binding {
                ChannelBinding::Disable => DriverBinding::Disable,
                ChannelBinding::Prefer => DriverBinding::Prefer,
                ChannelBinding::Require => DriverBinding::Require,
            })
            .ssl_mode(match sslmode {
                SslMode::Disable => DriverMode::Disable,
                SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => DriverMode::Require,
            })
            .connect_timeout(self.connector.limit)
            .keepalives_idle(Duration::from_secs(15))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(30));
        match address {
            Some(address) => config.hostaddr(address),
            None => config.ssl_mode(DriverMode::Disable),
        };
        if let Some(password) = &self.password {
            config.password(password);
        }
        config
    }

    fn failed(&self, address: Option<IpAddr>, obstacle: ConnectError) -> Failed {
        let Host { name, port } = &self.host;
        let place = match address.map(|address| address.to_string()) {
            Some(address) if address != *name => format!("{name} ({address}), port {port}"),
            Some(_) | None => self.host.to_string(),
        };
        Failed(vec![(place, obstacle)])
    }
}

/// Whether the failure of a login is neither a message of PostgreSQL nor one of the way to the server.
fn may_be_another_service(error: &tokio_postgres::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(
            kind,
            Some(
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::TimedOut
            )
        ) {
            return false;
        }
        source = cause.source();
    }
    error.as_db_error().is_none()
}

async fn open<T>(
    config: &Config,
    tls: T,
    ended: Arc<Notify>,
) -> Result<ClientWrapper, tokio_postgres::Error>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    let (client, connection) = config.connect(tls).await?;
    // A call that is under way notices the end by itself.
    let driver = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to PostgreSQL ended");
        }
        ended.notify_one();
    });
    Ok(ClientWrapper::new(client, driver))
}

/// Makes the attempts in their order, the next as soon as one has failed or has had its head start. The first
/// to find a server that takes changes ends the others; where all are over, one that takes none will do.
async fn race(
    attempts: Vec<impl Future<Output = Result<Connected, Failed>> + Send + 'static>,
) -> Result<Connected, Failed> {
    let mut waiting = attempts.into_iter();
    let mut running = JoinSet::new();
    let mut failed = Failed(Vec::new());
    let mut second_best = None;
    loop {
        if let Some(next) = waiting.next() {
            running.spawn(next);
        }
        let alone = if waiting.len() == 0 { Duration::MAX } else { HEAD_START };
        match timeout(alone, running.join_next()).await {
            Ok(Some(Ok(Ok(first)))) if first.role == ServerRole::Primary => return Ok(first),
            Ok(Some(Ok(Ok(other)))) => second_best = second_best.or(Some(other)),
            Ok(Some(Ok(Err(more)))) => failed.0.extend(more.0),
            Ok(Some(Err(panicked))) => {
                failed.0.push((String::new(), ConnectError::passing(panicked.to_string())));
            }
            Ok(None) => return second_best.ok_or(failed),
            Err(_) => {}
        }
    }
}

impl Failed {
    /// A server that answers on one of a host's addresses, and says no, is the one that counts.
    fn of_one_host(mut self) -> Self {
        let answered = self.0.iter().any(|(_, obstacle)| obstacle.lasting);
        for (_, obstacle) in &mut self.0 {
            obstacle.lasting |= answered;
        }
        self
    }

    /// One line that names every place; what stands in the way of several is said once.
    fn into_failure(self) -> PostgresError {
        let lasting = self.0.iter().all(|(_, obstacle)| obstacle.lasting);
        let mut lines: Vec<(String, String)> = Vec::new();
        for (place, obstacle) in self.0 {
            match lines.iter_mut().find(|(_, text)| *text == obstacle.text) {
                Some((places, _)) => *places = format!("{places} and {place}"),
                None => lines.push((place, obstacle.text)),
            }
        }
        let lines: Vec<_> =
            lines.into_iter().map(|(places, text)| format!("{places}: {text}")).collect();
        let text = lines.join("; ");
        if lasting {
            PostgresError::Refused(Error::Backend(text.into()))
        } else {
            PostgresError::Lost(text.into())
        }
    }
}
