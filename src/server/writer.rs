//! The writing half of a connection.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::timeout;

use super::outbox::{Gone, Outbox, Outgoing};

/// The most parts of replies in one write.
const MAX_SLICES: usize = 128;
/// After this many bytes written without a pause the core's other tasks get their turn.
const TURN_BYTES: usize = 1 << 20;

/// Writes replies until the outbox is closed and empty, or the peer takes nothing for `patience`;
/// then the outbox is closed.
pub(super) async fn write_replies(writer: OwnedWriteHalf, outbox: Arc<Outbox>, patience: Duration) {
    if let Err(error) = write_all(&writer, &outbox, patience).await {
        tracing::debug!(%error, "replies cannot be written");
    }
    outbox.abandon();
}

async fn write_all(writer: &OwnedWriteHalf, outbox: &Outbox, patience: Duration) -> io::Result<()> {
    let mut batch = VecDeque::new();
    // Bytes of the batch's first reply that are written already.
    let mut offset = 0;
    let mut turn = 0;
    while outbox.take(&mut batch).await {
        while !batch.is_empty() {
            match write_some(writer, &batch, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    turn += written;
                    offset = remove_written(&mut batch, offset + written, outbox);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    timeout(patience, writer.writable()).await??;
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

/// One vectored write of what is left of the batch, without a copy.
fn write_some(
    writer: &OwnedWriteHalf,
    batch: &VecDeque<Outgoing>,
    offset: usize,
) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let mut used = 0;
    let mut skip = offset;
    let parts = batch.iter().flat_map(|outgoing| outgoing.answer.parts());
    for part in parts {
        if skip >= part.len() {
            skip -= part.len();
            continue;
        }
        if used == MAX_SLICES {
            break;
        }
        slices[used] = IoSlice::new(&part[skip..]);
        skip = 0;
        used += 1;
    }
    writer.try_write_vectored(&slices[..used])
}

/// Removes the replies that `written` bytes cover; the rest lies within the first that is left.
fn remove_written(batch: &mut VecDeque<Outgoing>, mut written: usize, outbox: &Outbox) -> usize {
    let mut gone = Gone::default();
    while let Some(first) = batch.front().filter(|first| first.answer.len() <= written) {
        written -= first.answer.len();
        gone.add(first);
        batch.pop_front();
    }
    outbox.gone(gone);
    written
}
