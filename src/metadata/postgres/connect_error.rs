//! Why there is no connection, in one line: what is wrong, where, and what to do.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use tokio_postgres::Error;

use super::error::{Login, login};
use super::target::{ConnectOptions, Host, SslMode};
use super::tls;

/// What stands between this process and a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConnectError {
    /// What is wrong, and what to do.
    pub(super) text: String,
    /// Whether it stays until an administrator acts. Else the server is away, and may come back.
    pub(super) lasting: bool,
}

impl ConnectError {
    pub(super) fn lasting(text: impl Into<String>) -> Self {
        Self { text: text.into(), lasting: true }
    }

    pub(super) fn passing(text: impl Into<String>) -> Self {
        Self { text: text.into(), lasting: false }
    }

    /// No answer in time.
    pub(super) fn late(limit: Duration) -> Self {
        Self::passing(format!(
            "no answer within {limit:?} (connect_timeout); check for a firewall, a hanging server or another \
             service on that port"
        ))
    }

    /// The host's name leads nowhere.
    pub(super) fn unknown_host(error: &io::Error) -> Self {
        Self::passing(format!(
            "the host name cannot be resolved ({error}); check the spelling of host and this machine's DNS"
        ))
    }

    /// A failure of connecting or logging in.
    pub(super) fn of(error: &Error, target: &ConnectOptions, host: &Host) -> Self {
        if error.as_db_error().is_some() {
            return refused(error, target);
        }
        let mut source = error.source();
        while let Some(cause) = source {
            if let Some(error) = cause.downcast_ref::<rustls::Error>() {
                return Self::lasting(tls::explain(error, target));
            }
            if let Some(error) = cause.downcast_ref::<io::Error>() {
                // rustls's errors travel inside; an error's source skips what it wraps.
                match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                    Some(error) => return Self::lasting(tls::explain(error, target)),
                    None => return broken(error, target, host),
                }
            }
            source = cause.source();
        }
        plain(error, target)
    }
}

/// The socket could not be opened, or broke.
fn broken(error: &io::Error, target: &ConnectOptions, host: &Host) -> ConnectError {
    ConnectError::passing(match error.kind() {
        io::ErrorKind::NotFound if host.is_socket() => format!(
            "no socket .s.PGSQL.{} in that folder; is PostgreSQL running, and is the folder one of its \
             unix_socket_directories?",
            host.port
        ),
        io::ErrorKind::ConnectionRefused => {
            "connection refused; is PostgreSQL running there, with this address in its listen_addresses and \
             this port?"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            return ConnectError::lasting(format!(
                "{error}; allow the user that runs TrunkFS to use the socket"
            ));
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            format!("{error}; check host and the network")
        }
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe => closed(target),
        _ => error.to_string(),
    })
}

fn closed(target: &ConnectOptions) -> String {
    let certificate = match &target.identity {
        Some(identity) => format!(
            " (it may not accept the certificate in sslcert {})",
            identity.certificate.display()
        ),
        None => String::new(),
    };
    format!(
        "the server closed the connection during login{certificate}; see its log for the reason"
    )
}

/// An error of the driver's own.
fn plain(error: &Error, target: &ConnectOptions) -> ConnectError {
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    if cause == "server does not support TLS" {
        return ConnectError::lasting(
            "the server does not support TLS; enable it there (ssl = on), or write sslmode: disable on a \
             private network",
        );
    }
    if cause == "password missing" {
        return ConnectError::lasting(format!(
            "the server requires a password for {}, and none is configured; set password",
            target.user
        ));
    }
    if error.is_closed() {
        return ConnectError::passing(closed(target));
    }
    if cause.contains("channel binding") {
        return ConnectError::lasting(format!(
            "{cause}; channel_binding: require needs a password stored as scram-sha-256, and a certificate \
             signed with a hash function (not Ed25519)"
        ));
    }
    ConnectError::lasting(if cause.is_empty() {
        error.to_string()
    } else {
        format!("{error}: {cause}")
    })
}

/// The server said no.
fn refused(error: &Error, target: &ConnectOptions) -> ConnectError {
    let ConnectOptions { user, database, .. } = target;
    let said = error.as_db_error().map(|error| error.message()).unwrap_or_default();
    let encryption = match target.sslmode {
        SslMode::Disable => {
            "without TLS; if it requires TLS, write sslmode: verify-full".to_owned()
        }
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => match target.identity {
            Some(_) => "with TLS and this client certificate".to_owned(),
            None => {
                "with TLS; if it requires a client certificate, set sslcert and sslkey".to_owned()
            }
        },
    };
    match login(error) {
        Login::WrongPassword => ConnectError::lasting(match &target.identity {
            None => format!("{said}; check user and password"),
            Some(identity) => format!(
                "{said}; check user and password, and that the certificate in sslcert {} is for {user}",
                identity.certificate.display()
            ),
        }),
        Login::NoRole => ConnectError::lasting(format!(
            "{said}; create the role (createuser --pwprompt {user}), or set user to another one"
        )),
        Login::NoDatabase => ConnectError::lasting(format!(
            "{said}; create it (createdb --owner {user} {database}), or set database to another one"
        )),
        Login::NotAdmitted => ConnectError::lasting(format!(
            "{said}; pg_hba.conf of the server must allow {user} to connect to {database} from this host \
             {encryption}"
        )),
        Login::NoPrivilege => ConnectError::lasting(format!(
            "{said}; run GRANT CONNECT ON DATABASE {database} TO {user}"
        )),
        Login::TooMany => ConnectError::passing(format!(
            "{said}; lower max_conns of the TrunkFS servers, or raise max_connections of PostgreSQL and the \
             CONNECTION LIMIT of the role and the database"
        )),
        Login::NotNow => ConnectError::passing(said.to_owned()),
        Login::Other(code) => ConnectError::lasting(format!("{said} (SQLSTATE {code})")),
    }
}
