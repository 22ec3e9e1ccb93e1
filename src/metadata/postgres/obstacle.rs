//! Why there is no connection, in one line: what is wrong, where, and what to do.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use tokio_postgres::Error;

use super::error::{Login, login};
use super::tls;
use crate::types::database::{Host, SslMode, Target};

/// What stands between this process and a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Obstacle {
    /// What is wrong, and what to do.
    pub(super) text: String,
    /// Whether it stays until somebody changes something. Else the server is away, and may come back.
    pub(super) lasting: bool,
}

impl Obstacle {
    pub(super) fn lasting(text: impl Into<String>) -> Self {
        Self { text: text.into(), lasting: true }
    }

    pub(super) fn passing(text: impl Into<String>) -> Self {
        Self { text: text.into(), lasting: false }
    }

    /// No answer in time.
    pub(super) fn late(limit: Duration) -> Self {
        Self::passing(format!(
            "no answer within {limit:?} (connect_timeout); a firewall, a server that hangs or another service on that \
             port may be the reason"
        ))
    }

    /// The host's name leads nowhere.
    pub(super) fn unknown_host(error: &io::Error) -> Self {
        Self::passing(format!(
            "the name cannot be resolved ({error}); check the spelling of host and this machine's DNS"
        ))
    }

    /// A failure of connecting or logging in.
    pub(super) fn of(error: &Error, target: &Target, host: &Host) -> Self {
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
fn broken(error: &io::Error, target: &Target, host: &Host) -> Obstacle {
    Obstacle::passing(match error.kind() {
        io::ErrorKind::NotFound if host.is_socket() => format!(
            "there is no socket .s.PGSQL.{} in that folder; is PostgreSQL running, and is the folder one of its \
             unix_socket_directories?",
            host.port
        ),
        io::ErrorKind::ConnectionRefused => {
            "the connection was refused; is PostgreSQL running there, with this address in its listen_addresses \
             and this port?"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            return Obstacle::lasting(format!(
                "{error}; the user that runs this server must be allowed to use the socket"
            ));
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            format!("{error}; check host and the network between")
        }
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe => closed(target),
        _ => error.to_string(),
    })
}

fn closed(target: &Target) -> String {
    let certificate = match &target.identity {
        Some(identity) => format!(
            " (it may not accept the certificate in sslcert {})",
            identity.certificate.display()
        ),
        None => String::new(),
    };
    format!(
        "the server closed the connection before the login was over{certificate}; its log says why"
    )
}

/// An error of the driver's own.
fn plain(error: &Error, target: &Target) -> Obstacle {
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    if cause == "server does not support TLS" {
        return Obstacle::lasting(
            "the server offers no TLS; turn it on there (ssl = on), or write sslmode: disable where the way to it is \
             private",
        );
    }
    if cause == "password missing" {
        return Obstacle::lasting(format!(
            "the server asks for the password of {} and none is configured; write password",
            target.user
        ));
    }
    if error.is_closed() {
        return Obstacle::passing(closed(target));
    }
    if cause.contains("channel binding") {
        return Obstacle::lasting(format!(
            "{cause}; channel_binding: require needs a password stored as scram-sha-256, and a certificate whose \
             signature has a hash function (not Ed25519)"
        ));
    }
    Obstacle::lasting(if cause.is_empty() {
        error.to_string()
    } else {
        format!("{error}: {cause}")
    })
}

/// The server said no.
fn refused(error: &Error, target: &Target) -> Obstacle {
    let Target { user, database, .. } = target;
    let said = error.as_db_error().map(|error| error.message()).unwrap_or_default();
    let encryption = match target.sslmode {
        SslMode::Disable => {
            "without TLS; where it wants TLS, write sslmode: verify-full".to_owned()
        }
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => match target.identity {
            Some(_) => "with TLS and this client certificate".to_owned(),
            None => {
                "with TLS; where it wants a client certificate, write sslcert and sslkey".to_owned()
            }
        },
    };
    match login(error) {
        Login::WrongPassword => Obstacle::lasting(match &target.identity {
            None => format!("{said}; check user and password"),
            Some(identity) => format!(
                "{said}; check user and password, and that the certificate in sslcert {} is for {user}",
                identity.certificate.display()
            ),
        }),
        Login::NoRole => Obstacle::lasting(format!(
            "{said}; make the role (createuser --pwprompt {user}), or write another user"
        )),
        Login::NoDatabase => Obstacle::lasting(format!(
            "{said}; make it (createdb --owner {user} {database}), or write another database"
        )),
        Login::NotAdmitted => Obstacle::lasting(format!(
            "{said}; the server's pg_hba.conf must let {user} into {database} from here {encryption}"
        )),
        Login::NoPrivilege => Obstacle::lasting(format!(
            "{said}; GRANT CONNECT ON DATABASE {database} TO {user} lets it in"
        )),
        Login::TooMany => Obstacle::passing(format!(
            "{said}; lower max_conns of the instances, or raise max_connections of the server and the CONNECTION \
             LIMIT of the role and the database"
        )),
        Login::NotNow => Obstacle::passing(said.to_owned()),
        Login::Other(code) => Obstacle::lasting(format!("{said} (SQLSTATE {code})")),
    }
}
