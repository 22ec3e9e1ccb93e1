//! The settings of the port: the section `admin` of the configuration.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::types::settings::{Secret, WrongSetting};

/// The port that is listened on where the configuration names none.
pub const DEFAULT_ADMIN_PORT: u16 = 12080;
/// What turns the port off.
const OFF: &str = "off";
/// The shortest token, in bytes.
const LEAST_TOKEN_BYTES: usize = 16;

/// Where the server answers by HTTP, and who may ask.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct Settings {
    /// The address, or none where the port is off.
    #[serde(deserialize_with = "listen", serialize_with = "write_listen")]
    pub listen: Option<SocketAddr>,
    /// Host names that requests may be addressed to, beside IP addresses and this machine's own name.
    pub hosts: Vec<String>,
    /// What a request carries as its bearer token.
    #[serde(alias = "token_file", alias = "token_credential")]
    pub token: Option<Secret>,
    /// A PEM file with the certificate of the port, and those that lead to its authority. TLS is on with it.
    pub certificate: Option<PathBuf>,
    /// A PEM file with its private key.
    pub key: Option<PathBuf>,
    /// A PEM file with the authorities of client certificates.
    pub client_ca: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: Some((Ipv4Addr::LOCALHOST, DEFAULT_ADMIN_PORT).into()),
            hosts: Vec::new(),
            token: None,
            certificate: None,
            key: None,
            client_ca: None,
        }
    }
}

impl Settings {
    /// Whether every client of the port is a process of this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.listen.is_none_or(|address| address.ip().to_canonical().is_loopback())
    }

    /// Whether tokens cross a network that others can read.
    #[must_use]
    pub fn exposes_token(&self) -> bool {
        !self.is_local() && self.token.is_some() && self.certificate.is_none()
    }

    /// What does not fit together.
    ///
    /// # Errors
    /// The key, and what to write.
    pub fn check(&self) -> Result<(), WrongSetting> {
        let wrong = |key, message: &str| Err(WrongSetting::new(key, message));
        match (&self.certificate, &self.key) {
            (Some(_), None) => {
                return wrong("key", "missing; certificate needs the file of its private key");
            }
            (None, Some(_)) => return wrong("certificate", "missing; key needs its certificate"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        if self.client_ca.is_some() && self.certificate.is_none() {
            return wrong("certificate", "missing; client_ca needs TLS: set certificate and key");
        }
        let length = self.token.as_ref().map(|token| token.reveal().len());
        if length.is_some_and(|length| length < LEAST_TOKEN_BYTES) {
            return wrong(
                "token",
                "too short: at least 16 characters; make one with: openssl rand -hex 32",
            );
        }
        if !self.is_local() && self.token.is_none() && self.client_ca.is_none() {
            return wrong(
                "listen",
                "an address that other machines reach needs admin.token, or admin.client_ca; or use \
                 127.0.0.1:12080, or off",
            );
        }
        Ok(())
    }
}

pub(crate) fn listen<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    from.deserialize_any(Listen)
}

struct Listen;

impl Visitor<'_> for Listen {
    type Value = Option<SocketAddr>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address; write an IP address and a port, such as 127.0.0.1:12080, or off")
    }

    /// Older YAML has `off` for false.
    fn visit_bool<E: Error>(self, flag: bool) -> Result<Self::Value, E> {
        if flag { Err(E::invalid_type(Unexpected::Bool(flag), &self)) } else { Ok(None) }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        if text == OFF {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

fn write_listen<S: Serializer>(listen: &Option<SocketAddr>, to: S) -> Result<S::Ok, S::Error> {
    match listen {
        Some(address) => to.collect_str(address),
        None => to.serialize_str(OFF),
    }
}
