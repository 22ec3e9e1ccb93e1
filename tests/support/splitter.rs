//! A balancer that keeps nothing together: each call of a connection goes to another server. Records are
//! those of RFC 5531 section 11.
//!
//! The servers see the client's own address, and one port for all connections that stand for one of its: to
//! each of them it is one client.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

/// Marks a record's last fragment.
const LAST: u32 = 0x8000_0000;
/// No record of these tests is longer, in bytes.
const LONGEST: usize = 4 << 20;
/// Replies on their way to a client that does not read.
const MOST_REPLIES: usize = 16;

/// It ends with the value.
#[derive(Debug)]
pub(crate) struct Splitter {
    pub(crate) address: SocketAddr,
    task: AbortHandle,
}

impl Splitter {
    /// Takes connections, each for all of `servers`.
    pub(crate) async fn before(servers: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, peer) = listener.accept().await.unwrap();
                connections.spawn(serve(client, peer.ip(), servers.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, task: task.abort_handle() }
    }
}

impl Drop for Splitter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whichever side ends, all do; where that is the client, after the replies to its calls.
async fn serve(client: TcpStream, from: IpAddr, servers: Vec<SocketAddr>) {
    client.set_nodelay(true).unwrap();
    let (mut calls, mut replies) = client.into_split();
    let (sender, mut records) = mpsc::channel::<Vec<u8>>(MOST_REPLIES);
    let (mut readers, mut writers) = (JoinSet::new(), Vec::new());
    for stream in connected(from, &servers).await {
        let (read, write) = stream.into_split();
        readers.spawn(pass(read, sender.clone()));
        writers.push(write);
    }
    drop(sender);
    let forwarding = async {
        for turn in 0.. {
            let Some(record) = record(&mut calls).await else { break };
            let server: &mut OwnedWriteHalf = &mut writers[turn % servers.len()];
            if server.write_all(&record).await.is_err() {
                return false;
            }
        }
        for server in &mut writers {
            let _: std::io::Result<()> = server.shutdown().await;
        }
        true
    };
    let mut answering = std::pin::pin!(async {
        while let Some(record) = records.recv().await {
            if replies.write_all(&record).await.is_err() {
                return;
            }
        }
    });
    let client_has_ended = tokio::select! {
        ended = forwarding => ended,
        () = &mut answering => false,
        _ = readers.join_next() => false,
    };
    if client_has_ended {
        answering.await;
    }
}

/// A connection to each server, all from one port.
async fn connected(from: IpAddr, servers: &[SocketAddr]) -> Vec<TcpStream> {
    'ports: loop {
        let (mut streams, mut port) = (Vec::new(), 0);
        for server in servers {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            // The port may be somebody's on the way to another server.
            if socket.bind(SocketAddr::new(from, port)).is_err() {
                continue 'ports;
            }
            let Ok(stream) = socket.connect(*server).await else { continue 'ports };
            stream.set_nodelay(true).unwrap();
            port = stream.local_addr().unwrap().port();
            streams.push(stream);
        }
        return streams;
    }
}

async fn pass(mut from: OwnedReadHalf, to: mpsc::Sender<Vec<u8>>) {
    while let Some(record) = record(&mut from).await {
        if to.send(record).await.is_err() {
            return;
        }
    }
}

/// The next record, with its marks.
async fn record(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut record = Vec::new();
    loop {
        let mark = from.read_u32().await.ok()?;
        record.extend(mark.to_be_bytes());
        let start = record.len();
        let end = start + (mark & !LAST) as usize;
        if end > LONGEST {
            return None;
        }
        record.resize(end, 0);
        from.read_exact(&mut record[start..]).await.ok()?;
        if mark & LAST != 0 {
            return Some(record);
        }
    }
}
