//! Accepting connections, and their bounds.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::pace::Pace;
use super::routes::Routes;
use super::tls::Tls;
use crate::log_limit::{About, limited};
use crate::types::ClientPlaces;

/// Connections that may be open in all.
pub const MAX_CONNECTIONS: usize = 64;
/// Connections of one client.
const MAX_CONNECTIONS_PER_CLIENT: usize = 16;
/// Connections that begin in a second: a handshake of TLS takes about a millisecond of a processor.
const CONNECTIONS_PER_SECOND: u32 = 100;
/// How long the handshake of TLS may take, and then each request's headers, the pause before them included.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a connection may be open; then it ends with the request that is under way.
const CONNECTION_TIME: Duration = Duration::from_secs(120);
/// How long that request and its response may take.
const LAST_RESPONSE_TIME: Duration = Duration::from_secs(20);
/// The most bytes of a request's line and headers, and the most headers.
const MAX_HEAD_BYTES: usize = 16 << 10;
const MAX_HEADERS: usize = 64;
/// The pause after an error such as EMFILE.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Listener {
    listener: TcpListener,
    tls: Option<Tls>,
    routes: Arc<Routes>,
    places: Arc<ClientPlaces>,
    pace: Pace,
    end: CancellationToken,
}

impl Listener {
    pub(super) fn new(
        listener: TcpListener,
        tls: Option<Tls>,
        routes: Arc<Routes>,
        end: CancellationToken,
    ) -> Self {
        let pace = Pace::per_second(CONNECTIONS_PER_SECOND);
        let places = ClientPlaces::new(MAX_CONNECTIONS, MAX_CONNECTIONS_PER_CLIENT);
        Self { listener, tls, routes, places, pace, end }
    }

    /// Accepts connections until the end.
    pub(super) async fn accept(&self) {
        let _ends = self.end.clone().drop_guard();
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.end.cancelled() => return,
                accepted = async {
                    self.pace.turn().await;
                    self.listener.accept().await
                } => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer),
                Err(error) => {
                    limited!(warn, About::default(), "admin: connections cannot be accepted", %error);
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        let Some(place) = self.places.take(peer.ip()) else {
            limited!(warn, peer, "admin: refused: too many connections are open", %peer);
            return;
        };
        // A response is a few writes, of which each is wanted at once.
        stream.set_nodelay(true).ok();
        let acceptor = self.tls.as_ref().map(|tls| TlsAcceptor::from(tls.config()));
        let (routes, end) = (self.routes.clone(), self.end.clone());
        tokio::spawn(async move {
            let _place = place;
            match acceptor {
                None => serve(stream, peer, false, routes, end).await,
                Some(acceptor) => match timeout(HEAD_TIME, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        let certified = stream.get_ref().1.peer_certificates().is_some();
                        serve(stream, peer, certified, routes, end).await;
                    }
                    Ok(Err(error)) => tracing::debug!(%peer, %error, "admin: TLS"),
                    Err(_) => tracing::debug!(%peer, "admin: no TLS handshake in time"),
                },
            }
        });
    }
}

/// Serves a connection to its end.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    certified: bool,
    routes: Arc<Routes>,
    end: CancellationToken,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let routes = routes.clone();
        async move { Ok::<_, Infallible>(routes.answer(request.into_parts().0, peer, certified).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_header_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let done = tokio::select! {
        done = connection.as_mut() => done,
        () = async {
            tokio::select! {
                () = sleep(CONNECTION_TIME) => {}
                () = end.cancelled() => {}
            }
        } => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_RESPONSE_TIME, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = done {
        tracing::debug!(%peer, %error, "admin: connection");
    }
}
