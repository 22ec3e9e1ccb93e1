//! A TCP connection with record marking (RFC 5531 section 11).

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::{Call, Reply};

/// How long anything may take before the case fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Marks a record's last fragment.
const LAST: u32 = 0x8000_0000;

/// One connection to a server.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(server: SocketAddr) -> Self {
        let stream = patiently(TcpStream::connect(server)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    /// Connects from an address of one's own, as 127.0.0.2: another client to the server.
    pub(crate) async fn open_from(client: IpAddr, server: SocketAddr) -> Self {
        let socket = if client.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let socket = socket.unwrap();
        socket.bind(SocketAddr::new(client, 0)).unwrap();
        let stream = patiently(socket.connect(server)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    /// The same from a port below 1024, which is another one each time.
    pub(crate) async fn open_reserved(client: IpAddr, server: SocketAddr) -> Self {
        for port in (600..1024).rev() {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            if socket.bind(SocketAddr::new(client, port)).is_ok()
                && let Ok(stream) = socket.connect(server).await
            {
                return Self { stream };
            }
        }
        panic!("no port below 1024 is free");
    }

    /// The same with a receive buffer of `bytes`: little is taken of what is not read.
    pub(crate) async fn open_narrow(client: IpAddr, server: SocketAddr, bytes: u32) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(bytes).unwrap();
        socket.bind(SocketAddr::new(client, 0)).unwrap();
        Self { stream: patiently(socket.connect(server)).await.unwrap() }
    }

    /// Sends the bytes again and again until the server takes nothing for `time`.
    pub(crate) async fn send_until_blocked(&mut self, bytes: &[u8], time: Duration) {
        while timeout(time, self.stream.write_all(bytes)).await.is_ok() {}
    }

    /// Waits until something has come from the server, which stays unread, or the connection's end.
    pub(crate) async fn something_came_or_end(&mut self) {
        let _: std::io::Result<usize> = patiently(self.stream.peek(&mut [0])).await;
    }

    /// Connects from a port of one's own, which no open connection has.
    pub(crate) async fn open_at(client: SocketAddr, server: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(client).unwrap();
        Self { stream: patiently(socket.connect(server)).await.unwrap() }
    }

    /// Makes a call and waits for its reply, which must be the next one.
    pub(crate) async fn call(&mut self, call: Call) -> Reply {
        let xid = self.send(&call).await;
        let reply = self.reply().await;
        assert_eq!(reply.xid, xid, "the reply's xid");
        reply
    }

    /// Sends a call in one fragment and gives its xid.
    pub(crate) async fn send(&mut self, call: &Call) -> u32 {
        let xid = call.xid.unwrap_or_else(next_xid);
        self.send_record(&call.encode(xid)).await;
        xid
    }

    /// Sends bytes as a record of one fragment.
    pub(crate) async fn send_record(&mut self, record: &[u8]) {
        self.send_fragments(&[record]).await;
    }

    /// Sends a record of several fragments, in one write.
    pub(crate) async fn send_fragments(&mut self, fragments: &[&[u8]]) {
        let mut bytes = Vec::new();
        for (index, fragment) in fragments.iter().enumerate() {
            let last = if index + 1 == fragments.len() { LAST } else { 0 };
            bytes.extend((u32::try_from(fragment.len()).unwrap() | last).to_be_bytes());
            bytes.extend(*fragment);
        }
        self.send_bytes(&bytes).await;
    }

    /// Sends bytes as they are.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        patiently(self.stream.write_all(bytes)).await.unwrap();
    }

    /// Sends bytes as they are, to a server that may have closed the connection.
    pub(crate) async fn try_send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        patiently(self.stream.write_all(bytes)).await
    }

    /// The next reply.
    pub(crate) async fn reply(&mut self) -> Reply {
        Reply::decode(self.record().await)
    }

    /// The next reply, if one begins within `time`.
    pub(crate) async fn reply_within(&mut self, time: Duration) -> Option<Reply> {
        let mut byte = [0];
        timeout(time, self.stream.peek(&mut byte)).await.ok()?.unwrap();
        Some(self.reply().await)
    }

    /// The next record.
    pub(crate) async fn record(&mut self) -> Vec<u8> {
        patiently(self.read_record()).await.unwrap()
    }

    /// The next record; `None` where the server ends the connection instead.
    pub(crate) async fn record_or_end(&mut self) -> Option<Vec<u8>> {
        patiently(self.read_record()).await.ok()
    }

    /// Drops the next record, of one fragment, as it comes, and gives its length.
    pub(crate) async fn skip_record(&mut self) -> usize {
        let length = (patiently(self.stream.read_u32()).await.unwrap() & !LAST) as usize;
        let (mut record, mut nothing) = ((&mut self.stream).take(length as u64), tokio::io::sink());
        let copied = patiently(tokio::io::copy(&mut record, &mut nothing)).await.unwrap();
        assert_eq!(copied, length as u64);
        length
    }

    async fn read_record(&mut self) -> std::io::Result<Vec<u8>> {
        let mut record = Vec::new();
        loop {
            let mark = self.stream.read_u32().await?;
            let start = record.len();
            record.resize(start + (mark & !LAST) as usize, 0);
            self.stream.read_exact(&mut record[start..]).await?;
            if mark & LAST != 0 {
                return Ok(record);
            }
        }
    }

    /// Waits until the server has closed the connection; what it sends before is dropped.
    pub(crate) async fn closed(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match patiently(self.stream.read(&mut buffer)).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// Sends nothing more, to a server that may have closed the connection.
    pub(crate) async fn try_finish(&mut self) -> std::io::Result<()> {
        self.stream.shutdown().await
    }

    /// Sends nothing more.
    pub(crate) async fn finish(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Sends nothing more, and waits until the server has noticed and closed the connection too.
    pub(crate) async fn leave(mut self) {
        self.stream.shutdown().await.unwrap();
        self.closed().await;
    }

    /// Breaks the connection, as when the peer's machine has lost it.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }

    /// Waits until something has come, and leaves it unread.
    pub(crate) async fn arrived(&mut self) {
        assert_eq!(patiently(self.stream.peek(&mut [0])).await.unwrap(), 1);
    }

    /// Fails the case if the server says anything, or closes, within `time`.
    pub(crate) async fn silent_for(&mut self, time: Duration) {
        let mut byte = [0];
        if let Ok(read) = timeout(time, self.stream.peek(&mut byte)).await {
            panic!("silence was expected: {read:?}");
        }
    }

    /// The client's own address.
    pub(crate) fn local(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }
}

/// Ids that no other call of this process has.
fn next_xid() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0x1000_0000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Waits for `future`, but not for ever.
async fn patiently<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("the server does not answer in time")
}
