//! The ports of a server's programs, from its portmapper (RFC 1833).

use std::net::SocketAddr;
use std::sync::Arc;

use super::call::{Call, Program};
use super::error::Error;
use super::link::{Caller, Link};

/// Asks the portmapper at `address` for a program's port over TCP.
pub(super) async fn port(
    address: SocketAddr,
    program: Program,
    caller: &Arc<Caller>,
) -> Result<u16, Error> {
    let ask = async {
        let mut link = Link::connect(address, caller).await?;
        link.one(Call::getport(program)).await
    };
    let reply = ask.await.map_err(|error| Error::Portmapper(Box::new(error)))?;
    // The port stands where other programs have a status.
    let port = reply.ok().and_then(|reply| u16::try_from(reply.status).ok()).unwrap_or(0);
    if port == 0 {
        return Err(Error::Unregistered { address, program: program.name() });
    }
    Ok(port)
}
