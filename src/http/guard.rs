//! Who may ask what.
//!
//! - A request is addressed to an IP address, to `localhost`, to this machine's name or to a name of
//!   `admin.hosts`. A page of another site that has its own name lead here (DNS rebinding) has none of them.
//! - A request that a page of another origin makes is refused.
//! - On another address than loopback a request needs the token or a client certificate, but for the health
//!   of the server as one word.
//! - A change needs the bearer token, on loopback too: a browser sends one for no other site.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, ORIGIN};
use hyper::http::uri::Authority;
use hyper::{Method, StatusCode};
use parking_lot::RwLock;
use sha2::{Digest as _, Sha256};

use super::Settings;

/// What a request is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// To learn whether the server is well.
    Stranger,
    /// To read everything.
    Reader,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the request has no Host header, or several")]
    NoHost,
    #[error("the name in the Host header is not this server's; add it to admin.hosts")]
    ForeignHost,
    #[error("the request comes from a page of another origin")]
    ForeignOrigin,
    #[error("the token is wrong")]
    WrongToken,
    #[error("a change needs the header Authorization: Bearer TOKEN")]
    NoToken,
    #[error("changes are off: admin.token is not set")]
    NoChanges,
}

impl Refusal {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::NoHost => StatusCode::BAD_REQUEST,
            Self::ForeignHost => StatusCode::MISDIRECTED_REQUEST,
            Self::ForeignOrigin | Self::NoChanges => StatusCode::FORBIDDEN,
            Self::WrongToken | Self::NoToken => StatusCode::UNAUTHORIZED,
        }
    }
}

/// The rules of one port.
#[derive(Debug)]
pub(super) struct Guard {
    hosts: Vec<String>,
    token: Token,
    local: bool,
}

/// What a request that changes something must show. It may be replaced.
#[derive(Clone, Debug, Default)]
pub struct Token(
    /// Compared by its digest, so that the time tells nothing of the token.
    Arc<RwLock<Option<[u8; 32]>>>,
);

impl Token {
    /// Replaces it, from the next request on.
    pub fn set(&self, settings: &Settings) {
        *self.0.write() = settings.token.as_ref().map(|token| digest(token.reveal()));
    }
}

impl Guard {
    pub(super) fn new(settings: &Settings) -> Self {
        let own = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
        let named = settings.hosts.iter().map(|host| host.to_ascii_lowercase());
        let token = Token::default();
        token.set(settings);
        let hosts = named.chain([own, "localhost".to_owned()]).collect();
        Self { hosts, token, local: settings.is_local() }
    }

    /// The token.
    pub(super) fn token(&self) -> Token {
        self.token.clone()
    }

    /// What a request with these headers is allowed; `certified` says that its connection has a valid client
    /// certificate.
    pub(super) fn admit(
        &self,
        method: &Method,
        headers: &HeaderMap,
        certified: bool,
    ) -> Result<Trust, Refusal> {
        let host = only(headers, &HOST).ok_or(Refusal::NoHost)?;
        let authority: Authority = host.parse().map_err(|_| Refusal::ForeignHost)?;
        if !self.is_own(authority.host()) {
            return Err(Refusal::ForeignHost);
        }
        if headers.contains_key(ORIGIN) {
            let origin = only(headers, &ORIGIN).and_then(|origin| origin.split_once("://"));
            if origin.is_none_or(|(_, from)| !from.eq_ignore_ascii_case(host)) {
                return Err(Refusal::ForeignOrigin);
            }
        }
        let given = Given::of(headers);
        let token = *self.token.0.read();
        let known = match &given {
            Some(given) if token == Some(digest(given.token())) => true,
            Some(_) if token.is_some() => return Err(Refusal::WrongToken),
            Some(_) | None => false,
        };
        if !matches!(*method, Method::GET | Method::HEAD) {
            return match given {
                _ if token.is_none() => Err(Refusal::NoChanges),
                Some(Given::Bearer(_)) if known => Ok(Trust::Reader),
                Some(_) | None => Err(Refusal::NoToken),
            };
        }
        Ok(if known || certified || self.local { Trust::Reader } else { Trust::Stranger })
    }

    fn is_own(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        bare.parse::<IpAddr>().is_ok()
            || self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host))
    }
}

/// A secret that a request brings (RFC 6750 section 2.1, RFC 7617). A browser asks its user for the second
/// kind, whose name counts for nothing.
enum Given {
    Bearer(String),
    Basic(String),
}

impl Given {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let (scheme, rest) = only(headers, &AUTHORIZATION)?.split_once(' ')?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Self::Bearer(rest.to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
        decoded.split_once(':').map(|(_, password)| Self::Basic(password.to_owned()))
    }

    fn token(&self) -> &str {
        match self {
            Self::Bearer(token) | Self::Basic(token) => token,
        }
    }
}

fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?.to_str().ok()?;
    all.next().is_none().then_some(first)
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::settings::Secret;

    const TOKEN: &str = "0123456789abcdef";

    fn guard(listen: &str, token: Option<&str>) -> Guard {
        Guard::new(&Settings {
            listen: Some(listen.parse().unwrap()),
            hosts: vec!["Files.example".to_owned()],
            token: token.map(|token| Secret::new(token.to_owned())),
            ..Settings::default()
        })
    }

    fn asked(guard: &Guard, method: &Method, headers: &[(&str, &str)]) -> Result<Trust, Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        guard.admit(method, &map, false)
    }

    #[test]
    fn a_foreign_host_is_refused() {
        let guard = guard("127.0.0.1:1", None);
        let host = |host| asked(&guard, &Method::GET, &[("host", host)]);
        for own in ["127.0.0.1:1", "[::1]:1", "10.0.0.1", "LOCALHOST:1", "files.EXAMPLE:80"] {
            assert_eq!(host(own), Ok(Trust::Reader), "{own}");
        }
        for foreign in ["evil.example", "evil.example:1", "127.0.0.1.evil.example", "a b", ""] {
            assert_eq!(host(foreign), Err(Refusal::ForeignHost), "{foreign}");
        }
        assert_eq!(asked(&guard, &Method::GET, &[]), Err(Refusal::NoHost));
        let twice = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(asked(&guard, &Method::GET, &twice), Err(Refusal::NoHost));
    }

    #[test]
    fn a_foreign_origin_is_refused() {
        let guard = guard("127.0.0.1:1", None);
        let origin =
            |origin| asked(&guard, &Method::GET, &[("host", "localhost:1"), ("origin", origin)]);
        assert_eq!(origin("http://localhost:1"), Ok(Trust::Reader));
        for foreign in ["http://localhost:2", "https://evil.example", "null", "localhost:1"] {
            assert_eq!(origin(foreign), Err(Refusal::ForeignOrigin), "{foreign}");
        }
    }

    #[test]
    fn a_change_needs_the_bearer_token_on_loopback_too() {
        let basic = format!("Basic {}", STANDARD.encode(format!("admin:{TOKEN}")));
        let bearer = format!("bearer {TOKEN}");
        let post = |guard: &Guard, authorization: &str| {
            let headers = [("host", "localhost"), ("authorization", authorization)];
            asked(guard, &Method::POST, &headers)
        };
        let with = guard("127.0.0.1:1", Some(TOKEN));
        assert_eq!(post(&with, &bearer), Ok(Trust::Reader));
        assert_eq!(post(&with, &basic), Err(Refusal::NoToken), "a browser sends it by itself");
        assert_eq!(post(&with, "Bearer 0123456789abcdeF"), Err(Refusal::WrongToken));
        let without = asked(&with, &Method::DELETE, &[("host", "localhost")]);
        assert_eq!(without, Err(Refusal::NoToken));
        let off = guard("127.0.0.1:1", None);
        assert_eq!(post(&off, &bearer), Err(Refusal::NoChanges));
    }

    #[test]
    fn other_machines_need_the_token_to_read() {
        let guard = guard("0.0.0.0:1", Some(TOKEN));
        let basic = format!("Basic {}", STANDARD.encode(format!(":{TOKEN}")));
        let get = |headers: &[(&str, &str)]| asked(&guard, &Method::GET, headers);
        assert_eq!(get(&[("host", "10.0.0.1")]), Ok(Trust::Stranger));
        let with = |value: &str| get(&[("host", "10.0.0.1"), ("authorization", value)]);
        assert_eq!(with(&format!("Bearer {TOKEN}")), Ok(Trust::Reader));
        assert_eq!(with(&basic), Ok(Trust::Reader));
        assert_eq!(with("Bearer wrong"), Err(Refusal::WrongToken));
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "10.0.0.1".parse().unwrap());
        assert_eq!(guard.admit(&Method::GET, &headers, true), Ok(Trust::Reader));
    }
}
