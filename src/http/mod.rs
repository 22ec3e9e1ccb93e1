//! The port by which the server is seen from outside: health, figures and a page, by HTTP/1.1.
//!
//! What it shows comes from a [`Subject`], so that nothing here knows stores or protocols. Its bounds hold
//! before a request is looked at: connections, their time, bytes of headers, and requests in a second of all
//! clients together. A client of this port costs those of NFS no more than that.

mod api;
mod guard;
mod health;
mod history;
mod listener;
mod metrics;
mod pace;
mod page;
mod routes;
mod settings;
mod shares;
mod subject;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serializer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::guard::Guard;
pub use self::guard::Token;
use self::health::Health;
pub use self::health::Part;
use self::history::History;
use self::listener::Listener;
pub use self::listener::MAX_CONNECTIONS;
use self::routes::Routes;
pub(crate) use self::settings::listen;
pub use self::settings::{DEFAULT_ADMIN_PORT, Settings};
use self::shares::Shares;
pub use self::subject::{
    About, JobState, LockClientState, LocksState, MaintenanceState, Reloaded, ShareState, Subject,
};
use self::tls::Tls;
pub use self::tls::TlsError;

/// Why the port cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The address cannot be listened on.
    #[error("admin: cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A file of TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A port that is listened on, and does not answer yet.
#[derive(Debug)]
pub struct Port {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
    guard: Guard,
}

impl Port {
    /// Listens where the settings say so; none where they turn the port off. Clients that connect wait until
    /// [`Port::serve`].
    ///
    /// # Errors
    /// [`PortError`].
    pub async fn bind(settings: &Settings) -> Result<Option<Self>, PortError> {
        let Some(address) = settings.listen else { return Ok(None) };
        let tls = Tls::open(settings)?;
        let failed = |source| PortError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Some(Self { listener, address, tls, guard: Guard::new(settings) }))
    }

    /// Where it listens, with the port that it was given.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The token that requests are held against.
    #[must_use]
    pub fn token(&self) -> Token {
        self.guard.token()
    }

    /// Answers until `end` fires. The server's draining does not end it: somebody may want to see that.
    pub async fn serve(self, subject: Arc<dyn Subject>, end: CancellationToken) {
        let Self { listener, tls, guard, .. } = self;
        let health = Arc::new(Health::new(&subject.parts()));
        let history = Arc::new(History::default());
        let shares = Arc::new(Shares::default());
        let watched = (health.clone(), history.clone(), shares.clone());
        let routes = Arc::new(Routes::new(guard, watched, subject.clone()));
        let listener = Listener::new(listener, tls, routes, end.child_token());
        tokio::select! {
            () = listener.accept() => {}
            never = health.watch(&*subject) => match never {},
            never = history.watch(&*subject) => match never {},
            never = shares.watch(&*subject) => match never {},
        }
    }
}

/// Writes a time as seconds since 1970.
fn seconds<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}
