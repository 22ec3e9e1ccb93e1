//! One connection with a number of calls in flight.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::Result;
use crate::calls::{Request, Results};

/// How long a reply may take before the measurement fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a measurement gave.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    latencies: Vec<Duration>,
    time: Duration,
    /// Bytes that were written or read.
    pub(crate) bytes: u64,
}

impl Measured {
    /// Adds what another connection measured at the same time.
    pub(crate) fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.time = self.time.max(other.time);
        self.bytes += other.bytes;
    }

    pub(crate) fn calls(&self) -> usize {
        self.latencies.len()
    }

    /// Calls per second.
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.time.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Bytes per second.
    pub(crate) fn throughput(&self) -> f64 {
        self.bytes as f64 / self.time.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The latency that `percent` of the calls did not exceed.
    pub(crate) fn percentile(&mut self, percent: f64) -> Duration {
        self.latencies.sort_unstable();
        let last = self.latencies.len().saturating_sub(1);
        let index = (last as f64 * percent / 100.0).round() as usize;
        self.latencies.get(index).copied().unwrap_or_default()
    }
}

/// Who calls, and from where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    /// Uid and gid.
    pub(crate) user: (u32, u32),
    /// The address; the system's choice if not given.
    pub(crate) from: Option<IpAddr>,
}

/// A connection and who calls.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    input: BytesMut,
    user: (u32, u32),
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr, caller: Caller) -> Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(from) = caller.from {
            socket.bind((from, 0).into())?;
        }
        let stream = timeout(PATIENCE, socket.connect(address)).await?;
        let stream = stream.map_err(|error| format!("{address}: {error}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, input: BytesMut::with_capacity(64 << 10), user: caller.user })
    }

    /// Makes one call.
    pub(crate) async fn call(&mut self, request: &Request) -> Result<BytesMut> {
        let mut output = Vec::new();
        request.append(0, self.user, &mut output);
        self.stream.write_all(&output).await?;
        loop {
            if let Some(reply) = self.buffered()? {
                return Ok(reply);
            }
            self.fill().await?;
        }
    }

    /// Keeps `in_flight` calls going as long as `next` gives some, and checks every reply. New calls
    /// leave together, after as many replies as one read brought.
    pub(crate) async fn pipeline(
        &mut self,
        in_flight: usize,
        mut next: impl FnMut() -> Option<Request>,
        has_status: bool,
    ) -> Result<Measured> {
        let began = Instant::now();
        let mut sent = vec![began; in_flight];
        let mut free: Vec<usize> = (0..in_flight).collect();
        let mut latencies = Vec::new();
        let mut output = Vec::new();
        loop {
            output.clear();
            while let Some(&slot) = free.last() {
                let Some(request) = next() else { break };
                free.pop();
                sent[slot] = Instant::now();
                // The transaction id is never used again, so that no reply is a recorded one.
                let round = u32::try_from(latencies.len() + 1)?;
                let xid = round.wrapping_mul(u32::try_from(in_flight)?) + u32::try_from(slot)?;
                request.append(xid, self.user, &mut output);
            }
            if free.len() == in_flight {
                return Ok(Measured { latencies, time: began.elapsed(), bytes: 0 });
            }
            self.stream.write_all(&output).await?;
            self.fill().await?;
            while let Some(reply) = self.buffered()? {
                let slot = u32::from_be_bytes(*reply.first_chunk().ok_or("an empty reply")?);
                let slot = slot as usize % in_flight;
                latencies.push(sent[slot].elapsed());
                free.push(slot);
                let results = Results::of(&reply)?;
                if has_status {
                    results.succeeded()?;
                }
            }
        }
    }

    async fn fill(&mut self) -> Result<()> {
        match timeout(PATIENCE, self.stream.read_buf(&mut self.input)).await?? {
            0 => Err("the server closed the connection".into()),
            _ => Ok(()),
        }
    }

    /// The next reply, where all of it has arrived.
    fn buffered(&mut self) -> Result<Option<BytesMut>> {
        let Some(mark) = self.input.first_chunk() else { return Ok(None) };
        let mark = u32::from_be_bytes(*mark);
        if mark & 0x8000_0000 == 0 {
            return Err("a reply in several fragments".into());
        }
        let length = (mark & 0x7fff_ffff) as usize;
        if self.input.len() < 4 + length {
            return Ok(None);
        }
        self.input.advance(4);
        Ok(Some(self.input.split_to(length)))
    }
}
