//! Which PostgreSQL database, and how it is reached: what the configuration says and the store uses.
//!
//! `parameters` makes a [`ConnectOptions`] of keys in words, `url` reads those from a connection URL.

mod parameters;
mod url;

pub use parameters::Parameters;
pub use url::UrlError;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::types::settings::WrongSetting;
use crate::types::{SecretFile, SecretFileError};

/// A database, and how it is reached.
#[derive(Clone, Eq)]
pub struct ConnectOptions {
    /// Where to ask, at least one.
    pub hosts: Vec<Host>,
    /// Database name.
    pub database: String,
    /// Role.
    pub user: String,
    /// Its password, where the server asks for one. Without meaning where there is a source of passwords.
    pub password: Option<String>,
    /// Where the password of each connection is read.
    pub password_source: Option<PasswordSource>,
    /// How connections are called in `pg_stat_activity`.
    pub application_name: String,
    /// Whether connections are encrypted, and what is checked.
    pub sslmode: SslMode,
    /// Who may sign the server's certificate.
    pub roots: Roots,
    /// What this side shows to a server that asks who it is.
    pub identity: Option<Identity>,
    /// Whether a login is bound to the TLS connection that it runs over.
    pub channel_binding: ChannelBinding,
    /// Which of the hosts may be used.
    pub session: SessionAttributes,
    /// The password that counts in place of the first, in every clone.
    pub renewed: Renewed,
}

/// A password that may be replaced while connections are made.
#[derive(Clone, Default)]
pub struct Renewed(Arc<RwLock<Option<Login>>>);

impl fmt::Debug for Renewed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renewed")
    }
}

/// No part of what is configured.
impl PartialEq for Renewed {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Renewed {}

/// What a role shows to be let in.
#[derive(Clone)]
struct Login {
    password: Option<String>,
    source: Option<PasswordSource>,
}

/// A file that a password is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordSource {
    /// It holds the password alone.
    Password(PathBuf),
    /// It holds a URL with the password.
    Url(PathBuf),
}

/// Why a source has no password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The file holds no secret.
    #[error("cannot read the password from {}: {error}", path.display())]
    File {
        path: PathBuf,
        /// Why. Not a `source`: its text stands in this one.
        error: SecretFileError,
    },
    /// The file holds no URL.
    #[error("cannot read the password from the URL in {}: {error}", path.display())]
    Url { path: PathBuf, error: UrlError },
    /// It cannot be sent.
    #[error("cannot use the password of {}: {error}", path.display())]
    Wrong { path: PathBuf, error: WrongSetting },
}

impl PasswordSource {
    /// Reads the password; `None` where a URL has none.
    pub fn read(&self) -> Result<Option<String>, PasswordError> {
        let (Self::Password(path) | Self::Url(path)) = self;
        let file = SecretFile::read(path);
        let secret = file.map_err(|error| PasswordError::File { path: path.clone(), error })?;
        let password = match self {
            Self::Password(_) => Some(secret.text),
            Self::Url(_) => {
                let url = Parameters::from_url(&secret.text);
                url.map_err(|error| PasswordError::Url { path: path.clone(), error })?.password
            }
        };
        let checked = password.map(|it| parameters::without_nul("password", it)).transpose();
        checked.map_err(|error| PasswordError::Wrong { path: path.clone(), error })
    }
}

impl ConnectOptions {
    /// Has every clone of these options show the password of others from the next connection on.
    pub fn renew(&self, with: &Self) {
        let login = Login { password: with.password.clone(), source: with.password_source.clone() };
        *self.renewed.0.write() = Some(login);
    }

    /// The password for a connection that is made now.
    ///
    /// # Errors
    /// Where it is in a file that cannot be read.
    pub fn present_password(&self) -> Result<Option<String>, PasswordError> {
        let renewed = self.renewed.0.read().clone();
        let own =
            || Login { password: self.password.clone(), source: self.password_source.clone() };
        let Login { password, source } = renewed.unwrap_or_else(own);
        source.map_or(Ok(password), |source| source.read())
    }

    /// Whether other options are of the same database by the same way and role, with any password.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        let unnamed = |it: &Self| Self { password: None, password_source: None, ..it.clone() };
        unnamed(self) == unnamed(other)
    }
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Host name, address, or the directory of a Unix socket.
    pub name: String,
    /// TCP port; names the socket too.
    pub port: u16,
}

/// Whether a connection is encrypted, and what is checked (PostgreSQL manual 34.19.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS; the server's certificate is not verified.
    Require,
    /// TLS with a certificate that a trusted authority signed, for any host.
    VerifyCa,
    /// TLS with a certificate that a trusted authority signed for this host.
    VerifyFull,
}

/// Whose signature makes a server's certificate good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// The operating system's authorities.
    System,
    /// The certificates in a PEM file.
    File(PathBuf),
}

/// A client certificate with its key, PEM files both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, followed by those that lead to its root.
    pub certificate: PathBuf,
    /// Its private key, not encrypted.
    pub key: PathBuf,
}

/// Whether SCRAM is bound to the TLS connection (PostgreSQL manual 34.1.2, `channel_binding`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// Where the server offers it.
    Prefer,
    /// Always: a login without it is refused.
    Require,
}

/// Which servers may be used (PostgreSQL manual 34.1.2, `target_session_attrs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionAttributes {
    /// The first that answers.
    Any,
    /// The first that takes changes: standbys are skipped.
    ReadWrite,
}

impl SslMode {
    /// The word for it in configurations and URLs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

impl Host {
    /// Whether it is the directory of a Unix socket.
    #[must_use]
    pub fn is_socket(&self) -> bool {
        self.name.starts_with('/')
    }

    /// Whether nothing that is sent to it leaves this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.is_socket()
            || self.name == "localhost"
            || self.name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, port {}", self.name, self.port)
    }
}

/// Another password of the same source is no other target: the next connection reads it.
impl PartialEq for ConnectOptions {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            hosts,
            database,
            user,
            password,
            password_source,
            application_name,
            sslmode,
            roots,
            identity,
            channel_binding,
            session,
            renewed: _,
        } = self;
        *hosts == other.hosts
            && *database == other.database
            && *user == other.user
            && *password_source == other.password_source
            && (password_source.is_some() || *password == other.password)
            && *application_name == other.application_name
            && *sslmode == other.sslmode
            && *roots == other.roots
            && *identity == other.identity
            && *channel_binding == other.channel_binding
            && *session == other.session
    }
}

/// The database `trunkfs` on this machine.
impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            hosts: vec![Host {
                name: Parameters::DEFAULT_HOST.to_owned(),
                port: Parameters::DEFAULT_PORT,
            }],
            database: Parameters::DEFAULT_NAME.to_owned(),
            user: Parameters::DEFAULT_NAME.to_owned(),
            password: None,
            password_source: None,
            application_name: Parameters::DEFAULT_NAME.to_owned(),
            sslmode: SslMode::Disable,
            roots: Roots::System,
            identity: None,
            channel_binding: ChannelBinding::Prefer,
            session: SessionAttributes::ReadWrite,
            renewed: Renewed::default(),
        }
    }
}

/// Never shows the password.
impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("hosts", &self.hosts)
            .field("database", &self.database)
            .field("user", &self.user)
            .field("sslmode", &self.sslmode)
            .field("roots", &self.roots)
            .field("identity", &self.identity)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// What an error calls it.
impl fmt::Display for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the database {} at ", self.database)?;
        for (index, host) in self.hosts.iter().enumerate() {
            let between = if index == 0 { "" } else { " or " };
            write!(f, "{between}{host}")?;
        }
        write!(f, ", as {}", self.user)
    }
}

#[cfg(test)]
mod tests;
