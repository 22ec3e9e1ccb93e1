//! How clients learn the server's ports: from the machine's rpcbind, from the server itself, or from their
//! own mount options.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::Listener;
use crate::net::{BindError, Server, Service};
use crate::portmap::{Elsewhere, Mapping, PortMapper, PortmapMode, Registration, Rpcbind};
use crate::rpc::{Program, Protocol};
use crate::types::Chain;

/// The server cannot be a port mapper, as its configuration wants it to.
#[derive(Debug, thiserror::Error)]
#[error(
    "server.portmap: serve: cannot listen on {address} ({source}); stop the program that uses the port \
     (`ss -tulnp`), or set server.portmap to rpcbind where that is rpcbind; a port below 1024 needs the \
     capability CAP_NET_BIND_SERVICE"
)]
pub struct PortMapperError {
    address: SocketAddr,
    source: std::io::Error,
}

/// Where clients ask for the ports.
#[derive(Debug)]
pub(super) enum Ports {
    /// Nowhere: they name them.
    Named,
    /// The server itself.
    Served,
    /// The machine's rpcbind.
    Registered {
        /// Where it is.
        rpcbind: Rpcbind,
        /// What is registered with it.
        mappings: Vec<Mapping>,
        /// What of it is elsewhere, where it is so from the start.
        registered: Option<Elsewhere>,
        /// What becomes of it.
        registration: Arc<Registration>,
    },
}

impl Ports {
    /// Opens the way that the configuration wants to `mappings`.
    pub(super) async fn open(
        server: &mut Server,
        listener: &Listener,
        mappings: Vec<Mapping>,
    ) -> Result<Self, PortMapperError> {
        let rpcbind = Rpcbind::default();
        match listener.portmap {
            PortmapMode::Off => Ok(Self::Named),
            PortmapMode::Auto if listener.listen.ip().to_canonical().is_loopback() => {
                Ok(Self::Named)
            }
            PortmapMode::Serve => {
                serve(server, listener, &mappings).await?;
                Ok(Self::Served)
            }
            PortmapMode::Rpcbind => {
                let registered = register(&rpcbind, &mappings).await;
                Ok(Self::registered(rpcbind, mappings, registered))
            }
            PortmapMode::Auto if rpcbind.answers().await => {
                Ok(match register(&rpcbind, &mappings).await {
                    None => Self::Named,
                    registered => Self::registered(rpcbind, mappings, registered),
                })
            }
            PortmapMode::Auto => match serve(server, listener, &mappings).await {
                Ok(()) => Ok(Self::Served),
                Err(error) => {
                    let PortMapperError { address, source } = error;
                    tracing::info!(
                        "no rpcbind answers here and {address} cannot be listened on ({source}): clients must \
                         name the ports, as the mount command does; see server.portmap"
                    );
                    Ok(Self::Named)
                }
            },
        }
    }

    fn registered(rpcbind: Rpcbind, mappings: Vec<Mapping>, registered: Option<Elsewhere>) -> Self {
        let registration = Arc::new(Registration::new(registered));
        Self::Registered { rpcbind, mappings, registered, registration }
    }

    /// The registration with rpcbind, where there is one.
    pub(super) fn registration(&self) -> Option<Arc<Registration>> {
        match self {
            Self::Named | Self::Served => None,
            Self::Registered { registration, .. } => Some(registration.clone()),
        }
    }

    /// Whether a client may leave the ports out.
    pub(super) fn are_known(&self) -> bool {
        match self {
            Self::Named => false,
            Self::Served => true,
            Self::Registered { registered, .. } => registered.is_some(),
        }
    }
}

/// Registers the programs, and says what became of it.
async fn register(rpcbind: &Rpcbind, mappings: &[Mapping]) -> Option<Elsewhere> {
    match rpcbind.register(mappings).await {
        Ok(elsewhere) => {
            elsewhere.log(Elsewhere::default());
            Some(elsewhere)
        }
        Err(error) => {
            let error = Chain(&error);
            tracing::error!(%error, "clients must name the ports, as the mount command does");
            None
        }
    }
}

/// Serves the port mapper beside the other programs.
async fn serve(
    server: &mut Server,
    listener: &Listener,
    mappings: &[Mapping],
) -> Result<(), PortMapperError> {
    let address = SocketAddr::new(listener.listen.ip(), listener.portmap_port);
    let own = [Protocol::Tcp, Protocol::Udp].map(|protocol| (protocol, address));
    for (protocol, address) in own {
        let versions = PortMapper::versions(mappings, &own);
        let programs = versions.into_iter().map(|it| Arc::new(it) as Arc<dyn Program>).collect();
        let bound = server.also(Service { address, protocol, programs }).await;
        if let Err(BindError::Listen { address, source }) = bound {
            return Err(PortMapperError { address, source });
        }
    }
    Ok(())
}
