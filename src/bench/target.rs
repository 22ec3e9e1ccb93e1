//! The URL of an export.

use std::fmt;
use std::str::FromStr;

/// The port of the portmapper (RFC 1833 section 3).
pub(super) const PORTMAPPER: u16 = 111;

/// An export of a server, as a URL of the form of RFC 2224.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Name or address of the server.
    pub host: String,
    /// The port of NFS; asked from the portmapper if not given.
    pub port: Option<u16>,
    /// The path of the export, which begins with `/`.
    pub path: String,
}

/// The text is no URL of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a URL such as nfs://127.0.0.1:12049/export")]
pub struct TargetError;

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let rest = text.strip_prefix("nfs://").ok_or(TargetError)?;
        let slash = rest.find('/').ok_or(TargetError)?;
        let (authority, path) = rest.split_at(slash);
        let (host, port) = if let Some(inside) = authority.strip_prefix('[') {
            let (host, port) = inside.split_once(']').ok_or(TargetError)?;
            (host, port)
        } else {
            authority.split_at(authority.find(':').unwrap_or(authority.len()))
        };
        let port = match port.strip_prefix(':') {
            Some(port) => Some(port.parse().ok().filter(|port| *port > 0).ok_or(TargetError)?),
            None if port.is_empty() => None,
            None => return Err(TargetError),
        };
        if host.is_empty() || path.len() < 2 {
            return Err(TargetError);
        }
        Ok(Self { host: host.to_owned(), port, path: path.to_owned() })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nfs://")?;
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)
        } else {
            f.write_str(&self.host)
        }?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_host_and_a_path() {
        let target = |host: &str, port, path: &str| {
            Ok(Target { host: host.to_owned(), port, path: path.to_owned() })
        };
        assert_eq!("nfs://h:2049/a/b".parse(), target("h", Some(2049), "/a/b"));
        assert_eq!("nfs://10.0.0.1/e".parse(), target("10.0.0.1", None, "/e"));
        assert_eq!("nfs://[::1]:5/e".parse(), target("::1", Some(5), "/e"));
        assert_eq!("nfs://[::1]/e".parse(), target("::1", None, "/e"));
        for text in ["nfs://h:2049/a/b", "nfs://[::1]/e"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        for wrong in [
            "h:/e",
            "nfs://h",
            "nfs:///e",
            "nfs://h/",
            "nfs://h:/e",
            "nfs://h:0/e",
            "nfs://h:x/e",
            "nfs://[::1/e",
            "nfs://[::1]x/e",
            "http://h/e",
            "",
        ] {
            assert_eq!(wrong.parse::<Target>(), Err(TargetError), "{wrong}");
        }
    }
}
