//! A loopback proxy between store and database: it counts round trips and cuts connections at a chosen one.

use std::net::Ipv4Addr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use trunkfs::metadata::postgres::Settings;
use trunkfs::metadata::postgres::target::Host;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Before the server gets anything of the call.
    BeforeTheCall,
    /// After the server answered, before the client hears it.
    BeforeTheAnswer,
    /// Towards the client as soon as the call was passed on; the server's side stays open.
    WhileItRuns,
}

#[derive(Debug, Default)]
struct State {
    round_trips: usize,
    /// How many round trips pass before the cut, and the cut.
    armed: Option<(usize, Cut)>,
    /// No connection is taken.
    away: bool,
    /// Connections that were not taken.
    turned_away: usize,
    cuts: usize,
    /// Connections of the lease that are to hear nothing.
    silent_leases: usize,
    /// Connections older than this hear and say nothing.
    silenced: u64,
    /// The number of the newest connection.
    newest: u64,
}

impl State {
    /// Counts a round trip that begins; the cut that strikes it.
    fn begin(&mut self) -> Option<Cut> {
        self.round_trips += 1;
        let (left, cut) = self.armed?;
        if left > 0 {
            self.armed = Some((left - 1, cut));
            return None;
        }
        self.armed = None;
        self.cuts += 1;
        Some(cut)
    }
}

/// The proxy; it serves as long as the test's runtime.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    port: u16,
    state: Arc<Mutex<State>>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Proxy {
    pub(crate) async fn before(server: &Settings) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let proxy = Self { port, state: Arc::clone(&state) };
        let server = server.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let away = {
                    let mut state = state.lock();
                    state.turned_away += usize::from(state.away);
                    state.away
                };
                if !away {
                    // Before the database lists the connection: a test silences all that it
                    // can count.
                    let number = {
                        let mut state = state.lock();
                        state.newest += 1;
                        state.newest
                    };
                    let upstream = upstream(&server).await;
                    tokio::spawn(serve(client, upstream, Arc::clone(&state), number));
                }
            }
        });
        proxy
    }

    /// Settings that lead through the proxy.
    pub(crate) fn settings(&self, server: &Settings) -> Settings {
        let mut settings = server.clone();
        settings.target.hosts =
            vec![Host { name: Ipv4Addr::LOCALHOST.to_string(), port: self.port }];
        settings
    }

    /// Round trips since the last time this was asked.
    pub(crate) fn take_round_trips(&self) -> usize {
        std::mem::take(&mut self.state.lock().round_trips)
    }

    /// Cuts the connection of the round trip that follows `pass` others.
    pub(crate) fn arm(&self, pass: usize, cut: Cut) {
        self.state.lock().armed = Some((pass, cut));
    }

    /// How many connections were cut.
    pub(crate) fn cuts(&self) -> usize {
        self.state.lock().cuts
    }

    /// Passes nothing on any more on the connections that there are.
    pub(crate) fn silence(&self) {
        let mut state = self.state.lock();
        state.silenced = state.newest;
    }

    /// Passes nothing on any more on the next connection of the lease, from its first statement on.
    pub(crate) fn silence_next_lease(&self) {
        self.state.lock().silent_leases += 1;
    }

    /// How many connections of the lease are still to be silenced.
    pub(crate) fn silent_leases(&self) -> usize {
        self.state.lock().silent_leases
    }

    /// How many connections were closed at once.
    pub(crate) fn turned_away_now(&self) -> usize {
        self.state.lock().turned_away
    }

    /// Waits until so many were.
    pub(crate) async fn turned_away(&self, count: usize) {
        while self.turned_away_now() < count {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    /// Whether new connections are closed at once.
    pub(crate) fn set_away(&self, away: bool) {
        self.state.lock().away = away;
    }
}

async fn upstream(server: &Settings) -> Box<dyn Stream> {
    let host = &server.target.hosts[0];
    if host.is_socket() {
        let path = format!("{}/.s.PGSQL.{}", host.name, host.port);
        Box::new(UnixStream::connect(path).await.unwrap())
    } else {
        Box::new(TcpStream::connect((host.name.as_str(), host.port)).await.unwrap())
    }
}

/// What the lease names its connection by, first of all.
const LEASE: &[u8] = b"' lease'";

/// Passes bytes on. A round trip begins where the client sends after the server did. Those of the lease are
/// its own affair: no test knows when they come.
async fn serve(client: TcpStream, server: Box<dyn Stream>, state: Arc<Mutex<State>>, number: u64) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let (mut call, mut answer) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut client_speaks = false;
    let mut silenced = false;
    let (mut is_lease, mut is_muted) = (false, false);
    let is_silent = || state.lock().silenced >= number;
    loop {
        tokio::select! {
            got = from_client.read(&mut call), if !silenced => {
                let Ok(length @ 1..) = got else { return };
                if !is_lease && call[..length].windows(LEASE.len()).any(|bytes| bytes == LEASE) {
                    is_lease = true;
                    let mut state = state.lock();
                    is_muted = state.silent_leases > 0;
                    state.silent_leases -= usize::from(is_muted);
                }
                if is_muted || is_silent() {
                    continue;
                }
                let mut cut = None;
                if !client_speaks && !is_lease {
                    client_speaks = true;
                    cut = state.lock().begin();
                }
                if cut == Some(Cut::BeforeTheCall) {
                    return;
                }
                if to_server.write_all(&call[..length]).await.is_err() {
                    return;
                }
                match cut {
                    None | Some(Cut::BeforeTheCall) => {}
                    Some(Cut::BeforeTheAnswer) => {
                        let _answered = from_server.read(&mut answer).await;
                        return;
                    }
                    Some(Cut::WhileItRuns) => {
                        silenced = true;
                        to_client.shutdown().await.unwrap();
                    }
                }
            }
            got = from_server.read(&mut answer) => {
                let Ok(length @ 1..) = got else { return };
                if silenced {
                    return;
                }
                if is_silent() {
                    continue;
                }
                client_speaks = false;
                if to_client.write_all(&answer[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
