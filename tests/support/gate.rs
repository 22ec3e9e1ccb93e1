//! A loopback proxy between store and database that stands still at a chosen message (PostgreSQL manual
//! 55.7).

use std::net::Ipv4Addr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;
use trunkfs::metadata::postgres::Settings;
use trunkfs::metadata::postgres::target::Host;

/// How long anything may take before the test fails.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);
/// SSLRequest's code; the gate answers that there is no TLS.
const SSL_REQUEST: u32 = 80_877_103;

/// Who sends a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Open for so many more messages of a side.
    Armed(Side, usize),
    /// A message is held back, and what that side sends after it.
    Held(Side),
}

/// The proxy; it serves as long as the test's runtime.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    port: u16,
    phase: watch::Sender<Phase>,
    /// Connections that were begun before the number changed are cut.
    cuts: watch::Sender<usize>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Gate {
    pub(crate) async fn before(server: &Settings) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let gate =
            Self { port, phase: watch::Sender::new(Phase::Open), cuts: watch::Sender::new(0) };
        let (here, server) = (gate.clone(), server.clone());
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                client.set_nodelay(true).unwrap();
                tokio::spawn(here.clone().serve(client, server.clone()));
            }
        });
        gate
    }

    /// Settings that lead through the gate.
    pub(crate) fn settings(&self, server: &Settings) -> Settings {
        let mut settings = server.clone();
        settings.target.hosts =
            vec![Host { name: Ipv4Addr::LOCALHOST.to_string(), port: self.port }];
        settings
    }

    /// Holds the message of `side` that follows `pass` others.
    pub(crate) fn arm(&self, side: Side, pass: usize) {
        self.phase.send_replace(Phase::Armed(side, pass));
    }

    /// Waits until a message is held.
    pub(crate) async fn held(&self) {
        let mut phase = self.phase.subscribe();
        let held = phase.wait_for(|phase| matches!(phase, Phase::Held(_)));
        timeout(PATIENCE, held).await.expect("a message is held in time").unwrap();
    }

    /// Lets everything pass.
    pub(crate) fn open(&self) {
        self.phase.send_replace(Phase::Open);
    }

    /// Ends all connections.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    async fn serve(self, mut client: TcpStream, server: Settings) {
        let mut cuts = self.cuts.subscribe();
        let passing = async {
            let Some(startup) = startup(&mut client).await else { return };
            let (from_server, mut to_server) = tokio::io::split(upstream(&server).await);
            let (from_client, to_client) = client.into_split();
            if self.pass(Side::Client, &startup, &mut to_server).await.is_none() {
                return;
            }
            // Whichever side ends, the connection does.
            tokio::select! {
                _ = self.pump(Side::Client, from_client, to_server) => {}
                _ = self.pump(Side::Server, from_server, to_client) => {}
            }
        };
        tokio::select! {
            () = passing => {}
            _ = cuts.changed() => {}
        }
    }

    async fn pump(
        &self,
        side: Side,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) -> Option<()> {
        loop {
            let kind = from.read_u8().await.ok()?;
            let message = [vec![kind], counted(&mut from).await?].concat();
            self.pass(side, &message, &mut to).await?;
        }
    }

    /// Passes a message on, when it may.
    async fn pass(
        &self,
        side: Side,
        message: &[u8],
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Option<()> {
        self.phase.send_if_modified(|phase| {
            // What parameters are set to is no step of anything.
            let counts = side == Side::Client || message[0] != b'S';
            match *phase {
                Phase::Armed(armed, 0) if armed == side && counts => *phase = Phase::Held(side),
                Phase::Armed(armed, left) if armed == side && counts => {
                    *phase = Phase::Armed(side, left - 1);
                }
                Phase::Open | Phase::Armed(..) | Phase::Held(_) => return false,
            }
            true
        });
        let mut phase = self.phase.subscribe();
        phase.wait_for(|phase| *phase != Phase::Held(side)).await.ok()?;
        to.write_all(message).await.ok()
    }
}

/// The first message, which has no kind.
async fn startup(client: &mut TcpStream) -> Option<Vec<u8>> {
    loop {
        let first = counted(client).await?;
        if first[4..8] != SSL_REQUEST.to_be_bytes() {
            return Some(first);
        }
        client.write_all(b"N").await.ok()?;
    }
}

/// A message's length, which counts itself, and the rest of it.
async fn counted(from: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let length = from.read_u32().await.ok()?;
    let mut message = length.to_be_bytes().to_vec();
    message.resize(length as usize, 0);
    from.read_exact(&mut message[4..]).await.ok()?;
    Some(message)
}

async fn upstream(server: &Settings) -> Box<dyn Stream> {
    let host = &server.target.hosts[0];
    if host.is_socket() {
        let path = format!("{}/.s.PGSQL.{}", host.name, host.port);
        Box::new(UnixStream::connect(path).await.unwrap())
    } else {
        let stream = TcpStream::connect((host.name.as_str(), host.port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Box::new(stream)
    }
}
