//! Changing one chunk: read it, change it, and put it back if it is still what was read.
//!
//! A write whose answer was lost may have been done. Repeated, it is refused, because the chunk is not what
//! it was; the chunk is then read, and its nonce says whose write it holds.

use bytes::Bytes;
use object_store::PutPayload;
use object_store::path::Path;
use uuid::Uuid;

use super::bucket::{Backoff, Bucket, Ended, Expected, Stored};
use super::error::RequestError;
use super::layout::Trailer;
use crate::content::Error;

/// What is known of a chunk before it is changed.
#[derive(Debug)]
pub(super) enum Known {
    /// Nothing: it is looked up.
    Unknown,
    /// Probably not there: it is looked up only if that turns out wrong.
    Unlikely,
    Absent,
    Present(Stored),
}

impl Known {
    fn stored(&self) -> Option<&Stored> {
        match self {
            Self::Present(stored) => Some(stored),
            Self::Unknown | Self::Unlikely | Self::Absent => None,
        }
    }
}

/// A chunk as it shall be.
#[derive(Debug)]
pub(super) struct Changed {
    /// Its bytes in order; what they lack up to `length` is zeros.
    pub(super) segments: Vec<Bytes>,
    /// How many bytes of the chunk belong to the content.
    pub(super) length: u32,
}

/// One chunk of a bucket.
#[derive(Debug)]
pub(super) struct ChunkUpdate<'a> {
    pub(super) bucket: &'a Bucket,
    pub(super) key: Path,
    pub(super) chunk_size: u32,
    /// Whether a change needs the chunk's bytes.
    pub(super) needs_data: bool,
    /// Whether the caller wants the bytes that were written.
    pub(super) keeps_data: bool,
    /// Whether no other process changes the chunk, so that what is remembered of it holds.
    pub(super) alone: bool,
}

/// How often a chunk may be found changed by others in one update: each time one of them got further.
const CONFLICTS: u32 = 1_000;

impl ChunkUpdate<'_> {
    /// Makes the change that `change` says for what is stored, or none where it says so. Answers with what is
    /// stored then, with bytes where they are wanted; `None` where there is no object. `wanted` is asked
    /// before every attempt.
    pub(super) async fn update(
        &self,
        mut known: Known,
        mut backoff: Backoff<'_>,
        wanted: impl Fn() -> bool,
        change: impl Fn(Option<&Stored>) -> Option<Changed>,
    ) -> Result<Option<Stored>, Error> {
        let mut remembered = matches!(known, Known::Present(_)) && !self.alone;
        for _ in 0..CONFLICTS {
            let guess = matches!(known, Known::Unlikely) && !self.bucket.conditional;
            if guess || matches!(known, Known::Unknown) {
                known = self.look(&mut backoff).await?;
            }
            let base = known.stored();
            let Some(Changed { segments, length }) = change(base) else {
                // No request would find out that others have made another of it.
                if std::mem::take(&mut remembered) {
                    known = self.look(&mut backoff).await?;
                    continue;
                }
                return Ok(base.cloned());
            };
            let nonce = Uuid::new_v4();
            let trailer = Trailer { chunk_size: self.chunk_size, length, nonce };
            // An object of a trailer alone is a chunk without a byte.
            let none = length > 0 && segments.iter().all(Bytes::is_empty);
            let zero = none.then_some(Bytes::from_static(&[0]));
            let body = segments.iter().cloned().chain(zero).chain([trailer.encode()]);
            let body: PutPayload = body.collect();
            let expected = match base {
                Some(stored) => Expected::Version(stored.version.clone()),
                None => Expected::Nothing,
            };
            loop {
                if !wanted() {
                    return Err(Error::Cancelled);
                }
                match self.bucket.put(&self.key, body.clone(), &expected).await {
                    Ok(version) => {
                        let data = self.joined(segments);
                        return Ok(Some(Stored { data, length, nonce, version }));
                    }
                    Err(RequestError::Passing(error)) => backoff.pause(error).await?,
                    Err(RequestError::Lasting(error)) => return Err(error),
                    Err(
                        RequestError::Changed
                        | RequestError::Absent
                        | RequestError::Unchanged
                        | RequestError::BeyondEnd,
                    ) => {
                        known = self.look(&mut backoff).await?;
                        remembered = false;
                        match &known {
                            Known::Present(stored) if stored.nonce == nonce => {
                                let data = self.joined(segments);
                                return Ok(Some(Stored { data, ..stored.clone() }));
                            }
                            _ => break,
                        }
                    }
                }
            }
        }
        let said = format!("put {}: others change it all the time", self.key);
        Err(Error::Unavailable(std::io::Error::other(said)))
    }

    /// What the chunk is now.
    async fn look(&self, backoff: &mut Backoff<'_>) -> Result<Known, Error> {
        let looked = backoff.run(|| async {
            if self.needs_data {
                self.bucket.chunk(&self.key, self.chunk_size, None).await
            } else {
                self.bucket.trailer(&self.key, self.chunk_size, None).await
            }
        });
        match looked.await {
            Ok(stored) => Ok(Known::Present(stored)),
            Err(Ended::Absent) => Ok(Known::Absent),
            Err(ended) => Err(ended.into_error()),
        }
    }

    /// The bytes of a chunk in one piece, where they are wanted.
    fn joined(&self, mut segments: Vec<Bytes>) -> Bytes {
        match segments.len() {
            _ if !self.keeps_data => Bytes::new(),
            0 => Bytes::new(),
            1 => segments.swap_remove(0),
            _ => segments.concat().into(),
        }
    }
}
