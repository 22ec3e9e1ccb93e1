//! From a target to the addresses of its programs and the export's root.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::call::{Call, Program};
use super::error::Error;
use super::link::{Caller, Link};
use super::portmap;
use super::target::{PORTMAPPER, Target};

/// Where a server's programs are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) nfs: SocketAddr,
    pub(super) mount: SocketAddr,
}

/// Finds the server's programs. Without a port for MOUNT it is NFS's, as on servers with one port; without
/// any port the portmapper is asked.
pub(super) async fn find(
    target: &Target,
    mount_port: Option<u16>,
    caller: &Arc<Caller>,
) -> Result<Addresses, Error> {
    let resolve = |source| Error::Resolve { host: target.host.clone(), source };
    let mut found = tokio::net::lookup_host((target.host.as_str(), 0)).await.map_err(resolve)?;
    let none = || resolve(std::io::ErrorKind::NotFound.into());
    let address = found.next().ok_or_else(none)?.ip();
    let portmapper = SocketAddr::new(address, PORTMAPPER);
    let nfs = match target.port {
        Some(port) => port,
        None => portmap::port(portmapper, Program::Nfs, caller).await?,
    };
    let mount = match mount_port.or(target.port) {
        Some(port) => port,
        None => portmap::port(portmapper, Program::Mount, caller).await?,
    };
    Ok(Addresses { nfs: SocketAddr::new(address, nfs), mount: SocketAddr::new(address, mount) })
}

/// MNT: the handle of the export's root.
pub(super) async fn mount(
    address: SocketAddr,
    path: &str,
    caller: &Arc<Caller>,
) -> Result<Bytes, Error> {
    let mut link = Link::connect(address, caller).await?;
    let doing = "MNT (--mount-port names the port of MOUNT)";
    let mut reply =
        link.one(Call::mount(path)).await?.map_err(|fault| Error::Refused { doing, fault })?;
    if reply.status != 0 {
        return Err(Error::Mount { path: path.to_owned(), status: reply.status });
    }
    Ok(reply.results.handle()?)
}

/// UMNT, which has no results.
pub(super) async fn unmount(
    address: SocketAddr,
    path: &str,
    caller: &Arc<Caller>,
) -> Result<(), Error> {
    let mut link = Link::connect(address, caller).await?;
    link.one(Call::unmount(path)).await.map(drop)
}
