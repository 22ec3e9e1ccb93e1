//! What a command needs of a configuration to ask a running server: other keys are not read, so that their
//! errors, and secrets that the command's user may not read, stop nobody.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::document::Document;
use super::error::{Error, Errors};
use super::path::Path;
use super::server::{Listener, address};
use super::{Source, de, overrides};
use crate::http;

/// Where a server of this machine is asked.
#[derive(Clone, Debug)]
pub struct Reach {
    /// The address of NFS and MOUNT.
    pub nfs: SocketAddr,
    /// The admin port. On loopback the token is left out, as nothing needs it.
    pub admin: http::Settings,
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Nfs(#[serde(deserialize_with = "address")] SocketAddr);

#[derive(Deserialize)]
#[serde(transparent)]
struct Admin(#[serde(deserialize_with = "http::listen")] Option<SocketAddr>);

impl Source {
    /// Reads where the server is.
    ///
    /// # Errors
    /// What is wrong with these keys.
    pub fn reach(&self) -> Result<Reach, Errors> {
        let overrides = overrides::among(std::env::vars_os());
        let name = self.to_string();
        let variable = |name: &str| std::env::var(name).ok();
        let (text, _) = self.read().map_err(|error| Error::unreadable(name.clone(), error))?;
        let document = Document::new(&name, &text, &variable, &overrides)?;
        let nfs = value(&document, ["server", "listen"])?;
        let nfs = nfs.map_or(Listener::default().listen, |Nfs(address)| address);
        let mut admin = http::Settings::default();
        if let Some(Admin(address)) = value(&document, ["admin", "listen"])? {
            admin.listen = address;
        }
        admin.certificate = value::<PathBuf, 2>(&document, ["admin", "certificate"])?;
        if !admin.is_local() {
            admin = value(&document, ["admin"])?.unwrap_or(admin);
        }
        Ok(Reach { nfs, admin })
    }
}

/// What stands at a path, if anything.
fn value<'d, T: Deserialize<'d>, const N: usize>(
    document: &'d Document<'_>,
    keys: [&str; N],
) -> Result<Option<T>, Errors> {
    let path = Path::of(keys);
    if !document.has(&path) {
        return Ok(None);
    }
    match de::read_strictly(document, &path) {
        Some(value) => Ok(Some(value)),
        None => Err(Errors::new(document.take_errors())),
    }
}
