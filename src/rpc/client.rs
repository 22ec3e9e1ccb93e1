//! The client's side of a call (RFC 5531 section 9), over a stream or by datagrams, without credentials.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::xdr::{DecodeError, Decoder, Encoder, Message};

/// Marks a record's last fragment.
const LAST_FRAGMENT: u32 = 0x8000_0000;
/// The longest body of a verifier (RFC 5531 section 8.2).
const MAX_VERIFIER_BYTES: usize = 400;
/// The longest datagram that is read.
const MAX_DATAGRAM_BYTES: usize = 4096;
/// The call's transaction id: any does, as a stream has one call at a time.
pub(super) const XID: u32 = 0x7472_756e;

/// A procedure of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Procedure {
    /// The program's number.
    pub program: u32,
    /// Its version.
    pub version: u32,
    /// The procedure's number.
    pub number: u32,
}

/// Why there are no results.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The connection failed, or ended before the reply did.
    #[error("the connection failed before the reply")]
    Connection(#[from] io::Error),
    /// The bytes are no reply of RPC to the call.
    #[error("the service does not speak ONC RPC")]
    Foreign,
    /// The program, its version or the procedure is not there, or refuses the call.
    #[error("the RPC server does not serve this procedure")]
    Refused,
}

impl From<DecodeError> for CallError {
    fn from(_: DecodeError) -> Self {
        Self::Foreign
    }
}

/// Calls a procedure, and gives its results; a reply of more than `max_bytes` is none.
///
/// # Errors
/// [`CallError`]. The stream is of no further use then.
pub async fn call<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    procedure: Procedure,
    arguments: Message,
    max_bytes: u32,
) -> Result<Decoder, CallError> {
    for part in record(procedure, arguments).segments() {
        stream.write_all(part).await?;
    }
    stream.flush().await?;
    let mut reply = Vec::new();
    loop {
        let mark = stream.read_u32().await?;
        let length = mark & !LAST_FRAGMENT;
        if reply.len() as u64 + u64::from(length) > u64::from(max_bytes) {
            return Err(CallError::Foreign);
        }
        let read = (&mut *stream).take(length.into()).read_to_end(&mut reply).await?;
        if read < length as usize {
            return Err(CallError::Foreign);
        }
        if mark & LAST_FRAGMENT != 0 {
            return results(XID, Decoder::new(Bytes::from(reply)));
        }
    }
}

/// Calls a procedure by a datagram from a connected socket, again after each `interval`, until a reply comes.
/// A datagram that is no reply to the call is passed over.
///
/// # Errors
/// [`CallError`].
pub async fn call_by_datagram(
    socket: &UdpSocket,
    procedure: Procedure,
    arguments: Message,
    interval: Duration,
) -> Result<Decoder, CallError> {
    let xid = getrandom::u32().map_err(io::Error::from)?;
    let call = message(xid, procedure, arguments);
    let call: Vec<u8> = call.segments().concat();
    let mut reply = vec![0; MAX_DATAGRAM_BYTES];
    loop {
        socket.send(&call).await?;
        let answered = timeout(interval, async {
            loop {
                let bytes = socket.recv(&mut reply).await?;
                match results(xid, Decoder::new(Bytes::copy_from_slice(&reply[..bytes]))) {
                    Err(CallError::Foreign) => {}
                    answer => return answer,
                }
            }
        });
        if let Ok(answer) = answered.await {
            return answer;
        }
    }
}

/// The call as a message.
fn message(xid: u32, procedure: Procedure, arguments: Message) -> Message {
    let Procedure { program, version, number } = procedure;
    let mut call = Encoder::new();
    // Call, RPC version 2, program, version, procedure; credentials and verifier are AUTH_NONE.
    for item in [xid, 0, 2, program, version, number, 0, 0, 0, 0] {
        call.u32(item);
    }
    call.finish().chain(arguments)
}

/// The call with its mark.
fn record(procedure: Procedure, arguments: Message) -> Message {
    let call = message(XID, procedure, arguments);
    let mut mark = Encoder::new();
    mark.u32(LAST_FRAGMENT | u32::try_from(call.len()).unwrap_or(0));
    mark.finish().chain(call)
}

/// The results in a reply (RFC 5531 section 9).
fn results(xid: u32, mut reply: Decoder) -> Result<Decoder, CallError> {
    const REPLY: u32 = 1;
    const ACCEPTED: u32 = 0;
    const SUCCESS: u32 = 0;
    if (reply.u32()?, reply.u32()?) != (xid, REPLY) {
        return Err(CallError::Foreign);
    }
    if reply.u32()? != ACCEPTED {
        return Err(CallError::Refused);
    }
    reply.u32()?;
    reply.opaque(MAX_VERIFIER_BYTES)?;
    if reply.u32()? == SUCCESS { Ok(reply) } else { Err(CallError::Refused) }
}
