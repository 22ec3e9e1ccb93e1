//! The writing half of a connection.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::reply_queue::{Outgoing, ReplyQueue};
use super::socket::Socket;
use crate::rpc::PeerState;
use crate::types::FilePages;
use crate::xdr::Part;

/// The most parts of replies in one write.
const MAX_SLICES: usize = 128;
/// After this many bytes written without a pause the core's other tasks get their turn.
const TURN_BYTES: usize = 1 << 20;
/// A peer that takes a whole reply or this many bytes is not slow.
const PROGRESS_BYTES: usize = 64 << 10;
/// How long a peer may be slow when the server stops.
const PATIENCE_AT_END: Duration = Duration::from_secs(5);
/// How long a peer may take to acknowledge the last replies, and how often they are looked after at most.
const ACKNOWLEDGEMENT: Duration = Duration::from_secs(1);
const LOOK_AFTER: Duration = Duration::from_millis(100);

/// Writes replies until the reply queue is closed and empty, or the peer is slow for `patience`; then the
/// reply queue is closed. After `stopping` has fired there is less patience.
pub(super) async fn write_replies(
    socket: Arc<Socket>,
    replies: Arc<ReplyQueue>,
    patience: Duration,
    stopping: CancellationToken,
) {
    let _end = AbandonAtEnd(&replies);
    let mut writer =
        Writer { socket: &socket, patience, stopping, since: Instant::now(), taken: 0 };
    match writer.write_all(&replies).await {
        Ok(()) => writer.acknowledged().await,
        Err(error) => {
            socket.replies().broke();
            tracing::debug!(%error, "replies cannot be written");
        }
    }
}

/// Abandons the reply queue whatever way writing ends.
struct AbandonAtEnd<'a>(&'a ReplyQueue);

impl Drop for AbandonAtEnd<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

struct Writer<'a> {
    socket: &'a Socket,
    patience: Duration,
    stopping: CancellationToken,
    /// When the peer was last known not to be slow, and what it has taken from then on.
    since: Instant,
    taken: usize,
}

impl Writer<'_> {
    async fn write_all(&mut self, replies: &ReplyQueue) -> io::Result<()> {
        let mut batch = VecDeque::new();
        // Bytes of the batch's first reply that are written already.
        let mut offset = 0;
        let mut turn = 0;
        let stream = self.socket.stream();
        while replies.take(&mut batch).await {
            self.is_not_slow(replies);
            while !batch.is_empty() {
                if let Some((pages, skip)) = next_pages(&batch, offset) {
                    load(pages, skip).await?;
                }
                match self.socket.replies().write(|| write_some(stream, &batch, offset)) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => {
                        turn += written;
                        self.taken += written;
                        let before = batch.len();
                        offset = remove_written(&mut batch, offset + written, replies);
                        if batch.len() < before || self.taken >= PROGRESS_BYTES {
                            self.is_not_slow(replies);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        replies.pace().write_waits();
                        self.writable().await?;
                        turn = 0;
                    }
                    Err(error) => return Err(error),
                }
                if turn > TURN_BYTES {
                    turn = 0;
                    tokio::task::yield_now().await;
                }
            }
        }
        Ok(())
    }

    /// Waits until the peer has acknowledged the replies that a repeat may ask for, or is gone: the cache has
    /// to know which ones may be unread.
    async fn acknowledged(&self) {
        let until = Instant::now() + ACKNOWLEDGEMENT;
        let mut pause = Duration::from_millis(1);
        while self.socket.replies().awaits_acknowledgement()
            && self.socket.peer() != PeerState::Reset
            && !self.stopping.is_cancelled()
            && Instant::now() < until
        {
            sleep(pause).await;
            pause = LOOK_AFTER.min(pause * 2);
        }
    }

    fn is_not_slow(&mut self, replies: &ReplyQueue) {
        replies.pace().write_goes_on();
        (self.since, self.taken) = (Instant::now(), 0);
    }

    /// Waits until the peer takes more.
    async fn writable(&mut self) -> io::Result<()> {
        let writable = self.socket.stream().writable();
        if !self.stopping.is_cancelled() {
            tokio::select! {
                biased;
                writable = timeout_at(self.since + self.patience, writable) => return writable?,
                () = self.stopping.cancelled() => (self.since, self.taken) = (Instant::now(), 0),
            }
        }
        let patience = self.patience.min(PATIENCE_AT_END);
        timeout_at(self.since + patience, self.socket.stream().writable()).await?
    }
}

/// The parts of a batch that are not written yet, each with the number of its bytes that are.
fn left(batch: &VecDeque<Outgoing>, offset: usize) -> impl Iterator<Item = (Part<'_>, usize)> {
    let mut skip = offset;
    batch.iter().flat_map(|outgoing| outgoing.answer.parts()).filter_map(move |part| {
        let written = skip.min(part.len());
        skip -= written;
        (written < part.len()).then_some((part, written))
    })
}

/// The next part where that is pages, and the number of its bytes that are written.
fn next_pages(batch: &VecDeque<Outgoing>, offset: usize) -> Option<(&FilePages, usize)> {
    match left(batch, offset).next() {
        Some((Part::Pages(pages), written)) => Some((pages, written)),
        Some((Part::Bytes(_), _)) | None => None,
    }
}

/// Reads pages into memory that were evicted before a slow client took them.
async fn load(pages: &FilePages, skip: usize) -> io::Result<()> {
    if pages.are_in_memory(skip) {
        return Ok(());
    }
    let pages = pages.clone();
    tokio::task::spawn_blocking(move || pages.load(skip)).await?
}

/// One write without a copy: of bytes up to the next pages, or of pages.
fn write_some(stream: &TcpStream, batch: &VecDeque<Outgoing>, offset: usize) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let mut used = 0;
    let mut flags = SendFlags::NOSIGNAL;
    for (part, written) in left(batch, offset) {
        match part {
            Part::Bytes(_) if used == MAX_SLICES => break,
            Part::Bytes(bytes) => slices[used] = IoSlice::new(&bytes[written..]),
            Part::Pages(pages) if used == 0 => {
                return stream.try_io(Interest::WRITABLE, || pages.send(stream, written));
            }
            Part::Pages(_) => {
                // They belong to the same reply.
                flags |= SendFlags::MORE;
                break;
            }
        }
        used += 1;
    }
    if flags.contains(SendFlags::MORE) {
        let mut control = SendAncillaryBuffer::default();
        return stream.try_io(Interest::WRITABLE, || {
            Ok(sendmsg(stream, &slices[..used], &mut control, flags)?)
        });
    }
    stream.try_write_vectored(&slices[..used])
}

/// Removes the replies that `written` bytes cover; the rest lies within the first that is left.
fn remove_written(
    batch: &mut VecDeque<Outgoing>,
    mut written: usize,
    replies: &ReplyQueue,
) -> usize {
    let mut count = 0;
    for length in batch.iter().map(|outgoing| outgoing.answer.len()) {
        if length > written {
            break;
        }
        written -= length;
        count += 1;
    }
    replies.written(batch, count);
    written
}
