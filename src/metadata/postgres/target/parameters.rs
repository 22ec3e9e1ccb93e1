//! From words to a [`ConnectOptions`]: the checks that the YAML keys and a URL's parameters share.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::url::{self, UrlError};
use super::{
    ChannelBinding, ConnectOptions, Host, Identity, PasswordSource, Renewed, Roots,
    SessionAttributes, SslMode,
};
use crate::types::settings::{Joined, Secret, Time, WrongSetting};

/// The connection's parameters in words: the keys of the configuration, and what a URL names. What is left
/// out has a default.
#[derive(Clone, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct Parameters {
    /// A URL that names others; no key stands in both.
    #[serde(alias = "url_file", alias = "url_credential", serialize_with = "Secret::as_url")]
    pub url: Option<Secret>,
    /// Hosts with commas between them.
    #[serde(with = "Joined")]
    pub host: Option<String>,
    /// One port for all of them, or one each.
    #[serde(with = "Joined")]
    pub port: Option<String>,
    pub database: Option<String>,
    /// Role.
    pub user: Option<String>,
    /// The key `password`.
    #[serde(rename = "password", alias = "password_file", alias = "password_credential")]
    pub secret: Option<Secret>,
    #[serde(skip)]
    pub password: Option<String>,
    /// The file that it came from, to be read again for each connection.
    #[serde(skip)]
    pub password_source: Option<PasswordSource>,
    /// `disable`, `require`, `verify-ca` or `verify-full`.
    pub sslmode: Option<String>,
    /// A file, or `system`.
    pub sslrootcert: Option<String>,
    /// A file.
    pub sslcert: Option<String>,
    /// A file.
    pub sslkey: Option<String>,
    /// `disable`, `prefer` or `require`.
    pub channel_binding: Option<String>,
    /// `any` or `read-write`.
    pub target_session_attrs: Option<String>,
    /// Name in `pg_stat_activity`.
    pub application_name: Option<String>,
    /// How long making a connection may take. Not a part of the target.
    #[serde(with = "Time::<1>")]
    pub connect_timeout: Option<Duration>,
}

/// Shows nothing, since it may hold a password.
impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parameters").finish_non_exhaustive()
    }
}

/// The most hosts: each is asked again and again while no server answers.
const MOST_HOSTS: usize = 16;

fn wrong(name: &'static str, message: impl Into<String>) -> WrongSetting {
    WrongSetting::new(name, message)
}

impl Parameters {
    /// The host.
    pub const DEFAULT_HOST: &str = "localhost";
    /// The port.
    pub const DEFAULT_PORT: u16 = 5432;
    /// The name of the database, of the role and in `pg_stat_activity`.
    pub const DEFAULT_NAME: &str = "trunkfs";
    /// `channel_binding`.
    pub const DEFAULT_CHANNEL_BINDING: &str = "prefer";
    /// `target_session_attrs`.
    pub const DEFAULT_SESSION: &str = "read-write";

    /// The parameters that a URL names.
    ///
    /// # Errors
    /// The first thing that is wrong with it. No error shows a part of the URL that may be a password.
    pub fn from_url(text: &str) -> Result<Self, UrlError> {
        url::parse(text)
    }

    /// With what the URL names, and the password of its key.
    ///
    /// # Errors
    /// What is wrong with the URL, and the first key that stands in both.
    pub fn merged(&self) -> Result<Self, WrongSetting> {
        let mut all = self.clone();
        if let Some(secret) = &self.secret {
            all.password = Some(secret.reveal().to_owned());
            all.password_source =
                secret.file().map(|file| PasswordSource::Password(file.to_owned()));
        }
        let Some(url) = &self.url else { return Ok(all) };
        let mut named = Self::from_url(url.reveal()).map_err(|it| wrong("url", it.to_string()))?;
        if self.port.is_some() {
            return Err(wrong("port", "the port is also in url; keep one"));
        }
        all.port = named.port.take();
        if named.password.is_some() {
            all.password_source = url.file().map(|file| PasswordSource::Url(file.to_owned()));
        }
        let both = |key| wrong(key, format!("{key} is also in url; keep one"));
        for (key, given, named) in [
            ("host", &mut all.host, named.host),
            ("database", &mut all.database, named.database),
            ("user", &mut all.user, named.user),
            ("password", &mut all.password, named.password),
            ("application_name", &mut all.application_name, named.application_name),
            ("sslmode", &mut all.sslmode, named.sslmode),
            ("sslrootcert", &mut all.sslrootcert, named.sslrootcert),
            ("sslcert", &mut all.sslcert, named.sslcert),
            ("sslkey", &mut all.sslkey, named.sslkey),
            ("channel_binding", &mut all.channel_binding, named.channel_binding),
            ("target_session_attrs", &mut all.target_session_attrs, named.target_session_attrs),
        ] {
            if named.is_some() && std::mem::replace(given, named).is_some() {
                return Err(both(key));
            }
        }
        if named.connect_timeout.is_some() && all.connect_timeout.is_some() {
            return Err(both("connect_timeout"));
        }
        all.connect_timeout = all.connect_timeout.or(named.connect_timeout);
        Ok(all)
    }

    /// Fills in the defaults of what is left out, for those who read it.
    pub fn show_defaults(&mut self, target: &ConnectOptions) {
        let default = |value: &mut Option<String>, default: &str| {
            value.get_or_insert_with(|| default.to_owned());
        };
        default(&mut self.host, Self::DEFAULT_HOST);
        default(&mut self.port, &Self::DEFAULT_PORT.to_string());
        default(&mut self.database, Self::DEFAULT_NAME);
        default(&mut self.user, Self::DEFAULT_NAME);
        default(&mut self.application_name, Self::DEFAULT_NAME);
        default(&mut self.sslmode, target.sslmode.word());
        default(&mut self.channel_binding, Self::DEFAULT_CHANNEL_BINDING);
        default(&mut self.target_session_attrs, Self::DEFAULT_SESSION);
    }

    /// A checked target, with defaults for what is left out.
    pub fn into_target(self) -> Result<ConnectOptions, WrongSetting> {
        let hosts = hosts(self.host.as_deref(), self.port.as_deref())?;
        let local = hosts.iter().all(Host::is_local);
        let sslmode = match &self.sslmode {
            Some(word) => sslmode(word)?,
            None if local => SslMode::Disable,
            None => SslMode::VerifyFull,
        };
        let named = |name, value: Option<String>| match value {
            Some(empty) if empty.is_empty() => Err(wrong(name, "must not be empty")),
            Some(value) => without_nul(name, value),
            None => Ok(Self::DEFAULT_NAME.to_owned()),
        };
        Ok(ConnectOptions {
            hosts,
            sslmode,
            roots: roots(self.sslrootcert, sslmode)?,
            identity: identity(self.sslcert, self.sslkey, sslmode)?,
            channel_binding: channel_binding(self.channel_binding.as_deref(), sslmode)?,
            session: session(self.target_session_attrs.as_deref())?,
            database: named("database", self.database)?,
            user: named("user", self.user)?,
            application_name: named("application_name", self.application_name)?,
            password: self.password.map(|it| without_nul("password", it)).transpose()?,
            password_source: self.password_source,
            renewed: Renewed::default(),
        })
    }
}

/// The protocol ends its strings with a NUL.
pub(super) fn without_nul(name: &'static str, value: String) -> Result<String, WrongSetting> {
    if value.contains('\0') {
        return Err(wrong(name, "it contains a NUL character, which PostgreSQL does not accept"));
    }
    Ok(value)
}

fn hosts(names: Option<&str>, ports: Option<&str>) -> Result<Vec<Host>, WrongSetting> {
    let names = names.unwrap_or(Parameters::DEFAULT_HOST);
    let names: Vec<&str> = names.split(',').map(str::trim).collect();
    if names.iter().any(|name| name.is_empty()) {
        return Err(wrong(
            "host",
            "empty host; write a name, an address or the folder of a Unix socket",
        ));
    }
    if names.len() > MOST_HOSTS {
        return Err(wrong("host", format!("too many hosts (limit {MOST_HOSTS})")));
    }
    for name in names.iter().filter(|name| !name.starts_with('/')) {
        if name.contains("://") {
            return Err(wrong("host", "this is a URL, not a host; write it under url"));
        }
        if name.contains(|it: char| it.is_whitespace() || it.is_control() || "[]@?".contains(it)) {
            let remedy =
                "write a name, an address without brackets, or the folder of a Unix socket";
            return Err(wrong("host", format!("{name:?} is not a host; {remedy}")));
        }
        // A link-local address may have a zone, which is not for this to check.
        let is_address = name.parse::<Ipv6Addr>().is_ok() || name.contains('%');
        if name.contains(':') && !is_address {
            return Err(wrong("host", format!("{name:?} contains a port; write it under port")));
        }
    }
    let ports = match ports {
        None => vec![Parameters::DEFAULT_PORT],
        Some(ports) => ports.split(',').map(|it| port(it.trim())).collect::<Result<_, _>>()?,
    };
    if ports.len() != 1 && ports.len() != names.len() {
        let (ports, hosts) = (ports.len(), names.len());
        let message =
            format!("{ports} ports for {hosts} hosts; write one port for all, or one for each");
        return Err(wrong("port", message));
    }
    let each = names.iter().zip(ports.into_iter().cycle());
    let mut hosts: Vec<Host> = Vec::new();
    for host in each.map(|(name, port)| Host { name: (*name).to_owned(), port }) {
        if hosts.contains(&host) {
            return Err(wrong("host", format!("duplicate host {host}; write it once")));
        }
        hosts.push(host);
    }
    Ok(hosts)
}

fn port(text: &str) -> Result<u16, WrongSetting> {
    let port = text.parse().ok().filter(|port| *port != 0);
    port.ok_or_else(|| {
        wrong("port", format!("{text:?} is not a port; write an integer from 1 to 65535"))
    })
}

fn sslmode(word: &str) -> Result<SslMode, WrongSetting> {
    Ok(match word {
        "disable" => SslMode::Disable,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        "allow" | "prefer" => {
            return Err(wrong(
                "sslmode",
                format!(
                    "{word} allows an attacker on the network to turn encryption off; write verify-full, or \
                     disable on a private network"
                ),
            ));
        }
        _ => {
            let known = "disable, require, verify-ca, verify-full";
            return Err(wrong("sslmode", format!("{word:?} is not one of {known}")));
        }
    })
}

/// A file of TLS, which must not be named in vain.
fn file(name: &'static str, path: String, sslmode: SslMode) -> Result<PathBuf, WrongSetting> {
    if path.is_empty() {
        return Err(wrong(name, "must not be empty; write the path of a PEM file"));
    }
    if sslmode == SslMode::Disable {
        let remedy = "write sslmode: verify-full, or remove this";
        return Err(wrong(name, format!("TLS is off (sslmode: disable); {remedy}")));
    }
    Ok(PathBuf::from(path))
}

fn roots(path: Option<String>, sslmode: SslMode) -> Result<Roots, WrongSetting> {
    let Some(path) = path else { return Ok(Roots::System) };
    let path = file("sslrootcert", path, sslmode)?;
    if sslmode == SslMode::Require {
        let remedy = "write sslmode: verify-full, or verify-ca, or remove this";
        return Err(wrong(
            "sslrootcert",
            format!("sslmode: require does not verify certificates; {remedy}"),
        ));
    }
    Ok(if path.as_os_str() == "system" { Roots::System } else { Roots::File(path) })
}

fn identity(
    certificate: Option<String>,
    key: Option<String>,
    sslmode: SslMode,
) -> Result<Option<Identity>, WrongSetting> {
    match (certificate, key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some(Identity {
            certificate: file("sslcert", certificate, sslmode)?,
            key: file("sslkey", key, sslmode)?,
        })),
        (Some(_), None) => Err(wrong(
            "sslcert",
            "the certificate has no key; write the path of its key under sslkey",
        )),
        (None, Some(_)) => Err(wrong(
            "sslkey",
            "the key has no certificate; write the path of its certificate under sslcert",
        )),
    }
}

fn channel_binding(word: Option<&str>, sslmode: SslMode) -> Result<ChannelBinding, WrongSetting> {
    match word.unwrap_or(Parameters::DEFAULT_CHANNEL_BINDING) {
        "prefer" => Ok(ChannelBinding::Prefer),
        "disable" => Ok(ChannelBinding::Disable),
        "require" if sslmode == SslMode::Disable => Err(wrong(
            "channel_binding",
            "TLS is off (sslmode: disable); write sslmode: verify-full, or remove this",
        )),
        "require" => Ok(ChannelBinding::Require),
        word => {
            let message = format!("{word:?} is not one of disable, prefer, require");
            Err(wrong("channel_binding", message))
        }
    }
}

fn session(word: Option<&str>) -> Result<SessionAttributes, WrongSetting> {
    match word.unwrap_or(Parameters::DEFAULT_SESSION) {
        "read-write" => Ok(SessionAttributes::ReadWrite),
        "any" => Ok(SessionAttributes::Any),
        word => {
            let message =
                format!("{word:?} is not one of read-write, any; TrunkFS needs a primary");
            Err(wrong("target_session_attrs", message))
        }
    }
}
