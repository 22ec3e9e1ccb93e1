//! A connection: calls out in batches, replies in as they come.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWrite as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_util::io::poll_read_buf;

use super::call::Call;
use super::error::Error;
use super::records::Records;
use crate::types::Credentials;
use crate::xdr::Encoder;

/// How long a reply may take before the measurement ends.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Room for input in one read.
const INPUT_BYTES: usize = 256 << 10;
/// Parts of one write.
const PARTS: usize = 32;
const LAST_FRAGMENT: u32 = 0x8000_0000;
/// Ports that only a privileged process of a client may bind, of which some servers take calls alone.
const RESERVED_PORTS: std::ops::RangeInclusive<u16> = 512..=1023;

/// Who calls, and from where.
#[derive(Debug)]
pub(super) struct Caller {
    /// Credentials of AUTH_SYS and a verifier of AUTH_NONE, encoded.
    auth: Bytes,
    from: Option<IpAddr>,
    reserved_port: bool,
    /// The next xid. No other call of this run has it, so that no reply is one that was recorded for another
    /// call.
    xid: AtomicU32,
}

impl Caller {
    pub(super) fn new(
        credentials: &Credentials,
        from: Option<IpAddr>,
        reserved_port: bool,
    ) -> Arc<Self> {
        const AUTH_SYS: u32 = 1;
        let mut body = Encoder::new();
        // Stamp and machine name.
        body.u32(0);
        body.opaque(b"");
        body.u32(credentials.uid);
        body.u32(credentials.gid);
        body.u32(u32::try_from(credentials.gids.len()).unwrap_or(0));
        credentials.gids.iter().for_each(|gid| body.u32(*gid));
        let mut auth = Encoder::new();
        auth.u32(AUTH_SYS);
        auth.opaque(&body.finish().segments().concat());
        auth.u32(0);
        auth.u32(0);
        let auth = auth.finish().segments().concat().into();
        Arc::new(Self { auth, from, reserved_port, xid: rand::random::<u32>().into() })
    }

    /// An xid whose remainder by `stride`, a power of two, is `slot`.
    pub(super) fn xid(&self, stride: u32, slot: u32) -> u32 {
        // Rounded up, since a call with a smaller stride may have taken the ones before.
        let aligned = |next: u32| next.wrapping_add(stride - 1) & !(stride - 1);
        let taken = self.xid.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
            Some(aligned(next).wrapping_add(stride))
        });
        // The update always has a value.
        aligned(taken.unwrap_or_default()) | slot
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    stream: TcpStream,
    pub(super) caller: Arc<Caller>,
    pub(super) records: Records,
    output: VecDeque<Bytes>,
    /// Calls that are put together, to be sent at once.
    batch: Encoder,
}

impl Link {
    pub(super) async fn connect(address: SocketAddr, caller: &Arc<Caller>) -> Result<Self, Error> {
        let failed = |source| Error::Connect { address, source };
        let stream = timeout(PATIENCE, stream(address, caller)).await;
        let stream = stream.map_err(|_| Error::Silent(PATIENCE))?.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        Ok(Self {
            stream,
            caller: Arc::clone(caller),
            records: Records::default(),
            output: VecDeque::new(),
            batch: Encoder::new(),
        })
    }

    /// The address of this end.
    pub(super) fn own_address(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// Adds a call to the batch.
    pub(super) fn push(&mut self, xid: u32, call: &Call) {
        let batch = &mut self.batch;
        let data = call.data.as_ref().map_or(0, |data| 4 + data.len().next_multiple_of(4));
        let length = 24 + self.caller.auth.len() + call.arguments.len() + data;
        let (program, version) = call.program.number();
        let mark = LAST_FRAGMENT | u32::try_from(length).unwrap_or(u32::MAX);
        let head = [mark, xid, 0, 2, program, version, call.procedure];
        head.iter().for_each(|word| batch.u32(*word));
        batch.fixed(&self.caller.auth);
        batch.fixed(&call.arguments);
        if let Some(data) = &call.data {
            batch.shared_opaque(data.clone());
        }
    }

    /// Sends the batch, and whatever is left of the ones before, as far as it goes, and waits for input.
    pub(super) async fn exchange(&mut self) -> Result<(), Error> {
        let batch = std::mem::take(&mut self.batch).finish();
        self.output.extend(batch.segments().iter().cloned());
        self.records.input.reserve(INPUT_BYTES);
        let exchanged = timeout(PATIENCE, poll_fn(|cx| self.poll_exchange(cx))).await;
        match exchanged.map_err(|_| Error::Silent(PATIENCE))?.map_err(Error::Io)? {
            0 => Err(Error::Closed),
            _ => Ok(()),
        }
    }

    /// Both directions at once: a server that does not read until its replies are taken is not waited for.
    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while !self.output.is_empty() {
            let mut slices = [IoSlice::new(&[]); PARTS];
            for (slice, part) in slices.iter_mut().zip(&self.output) {
                *slice = IoSlice::new(part);
            }
            let parts = self.output.len().min(PARTS);
            let stream = Pin::new(&mut self.stream);
            match stream.poll_write_vectored(cx, &slices[..parts]) {
                Poll::Ready(written) => self.written(written?),
                Poll::Pending => break,
            }
        }
        let read = ready!(poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.records.input))?;
        Poll::Ready(Ok(read))
    }

    fn written(&mut self, mut bytes: usize) {
        while let Some(part) = self.output.front_mut() {
            if bytes < part.len() {
                part.advance(bytes);
                return;
            }
            bytes -= part.len();
            self.output.pop_front();
        }
    }
}

async fn stream(address: SocketAddr, caller: &Caller) -> io::Result<TcpStream> {
    let new = || if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let any = if address.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    if !caller.reserved_port {
        let socket = new()?;
        if let Some(from) = caller.from {
            socket.bind((from, 0).into())?;
        }
        return socket.connect(address).await;
    }
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for port in RESERVED_PORTS.rev() {
        let socket = new()?;
        socket.set_reuseaddr(true)?;
        let bound = socket.bind((caller.from.unwrap_or(any), port).into());
        let connected = match bound {
            Ok(()) => socket.connect(address).await,
            Err(error) => Err(error),
        };
        match connected {
            Ok(stream) => return Ok(stream),
            // Another connection has the port.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable
                ) =>
            {
                last = error;
            }
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_calls_have_one_xid() {
        let caller = Caller::new(&Credentials::ROOT, None, false);
        let mut seen = BTreeSet::new();
        for round in 0..100 {
            for stride in [8, 1, 32, 1, 2] {
                let slot = round % stride;
                let xid = caller.xid(stride, slot);
                assert_eq!(xid % stride, slot);
                assert!(seen.insert(xid));
            }
        }
    }
}
