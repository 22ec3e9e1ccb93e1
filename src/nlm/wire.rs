//! Arguments and results on the wire (X/Open XNFS chapter 14): `nlm_*` of versions 1 and 3, whose offsets and
//! lengths have 32 bits, and `nlm4_*` of version 4, where they have 64.
//!
//! A string or netobj of more than 1,024 bytes cannot be decoded. A boolean is true unless it is 0, since some
//! clients send other values than 1.

use bytes::Bytes;

use super::status::Status;
use crate::xdr::{DecodeError, Decoder, Encoder, Message};

/// The longest string, cookie, handle or owner handle, in bytes (LM_MAXSTRLEN, MAXNETOBJ_SZ).
pub(super) const MAX_BYTES: usize = 1024;
/// The last byte that a range can have.
pub(super) const LAST_BYTE: u64 = i64::MAX as u64;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// Version 1, without shares.
    One,
    /// Version 3, which adds them.
    Three,
    /// Version 4, for NFS version 3.
    Four,
}

impl Version {
    /// The versions that are served. Version 2 is private to a machine.
    pub const ALL: [Self; 3] = [Self::One, Self::Three, Self::Four];

    /// Its number.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Three => 3,
            Self::Four => 4,
        }
    }

    /// Whether offsets and lengths have 64 bits.
    fn is_wide(self) -> bool {
        self == Self::Four
    }

    fn decode(self, from: &mut Decoder) -> Result<u64, DecodeError> {
        if self.is_wide() { from.u64() } else { from.u32().map(u64::from) }
    }
}

/// A range of a file that is to be locked, and whose (nlm_lock).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lock {
    pub(super) caller_name: Bytes,
    pub(super) handle: Bytes,
    pub(super) oh: Bytes,
    pub(super) svid: i32,
    pub(super) offset: u64,
    /// 0 for all up to the end of what can be locked.
    pub(super) length: u64,
}

impl Lock {
    fn decode(from: &mut Decoder, version: Version) -> Result<Self, DecodeError> {
        Ok(Self {
            caller_name: from.opaque(MAX_BYTES)?,
            handle: from.opaque(MAX_BYTES)?,
            oh: from.opaque(MAX_BYTES)?,
            svid: signed(from)?,
            offset: version.decode(from)?,
            length: match (version.is_wide(), version.decode(from)?) {
                // "To the end", in all ones.
                (true, u64::MAX) | (false, 0xffff_ffff) => 0,
                (_, length) => length,
            },
        })
    }

    /// As it came, for GRANTED.
    fn encode(&self, to: &mut Encoder, version: Version) {
        to.opaque(&self.caller_name);
        to.opaque(&self.handle);
        to.opaque(&self.oh);
        put_signed(to, self.svid);
        if version.is_wide() {
            to.u64(self.offset);
            to.u64(self.length);
        } else {
            // Such a lock came with 32 bits.
            to.u32(u32::try_from(self.offset).unwrap_or(u32::MAX));
            to.u32(u32::try_from(self.length).unwrap_or(0));
        }
    }

    /// The first and the last byte; `None` where the first is beyond what can be locked.
    pub(super) fn range(&self) -> Option<(u64, u64)> {
        if self.offset > LAST_BYTE {
            return None;
        }
        let end = self.length.checked_sub(1).and_then(|more| self.offset.checked_add(more));
        Some((self.offset, end.unwrap_or(LAST_BYTE).min(LAST_BYTE)))
    }
}

/// TEST's and GRANTED's arguments (nlm_testargs).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TestArguments {
    pub(super) cookie: Bytes,
    pub(super) exclusive: bool,
    pub(super) lock: Lock,
}

impl TestArguments {
    pub(super) fn decode(from: &mut Decoder, version: Version) -> Result<Self, DecodeError> {
        Ok(Self {
            cookie: from.opaque(MAX_BYTES)?,
            exclusive: flag(from)?,
            lock: Lock::decode(from, version)?,
        })
    }

    pub(super) fn encode(&self, version: Version) -> Message {
        let mut to = Encoder::new();
        to.opaque(&self.cookie);
        to.boolean(self.exclusive);
        self.lock.encode(&mut to, version);
        to.finish()
    }
}

/// LOCK's and NM_LOCK's arguments (nlm_lockargs).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LockArguments {
    pub(super) cookie: Bytes,
    pub(super) block: bool,
    pub(super) exclusive: bool,
    pub(super) lock: Lock,
    pub(super) reclaim: bool,
    pub(super) state: i32,
}

impl LockArguments {
    pub(super) fn decode(from: &mut Decoder, version: Version) -> Result<Self, DecodeError> {
        Ok(Self {
            cookie: from.opaque(MAX_BYTES)?,
            block: flag(from)?,
            exclusive: flag(from)?,
            lock: Lock::decode(from, version)?,
            reclaim: flag(from)?,
            state: signed(from)?,
        })
    }
}

/// CANCEL's arguments (nlm_cancargs).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CancelArguments {
    pub(super) cookie: Bytes,
    pub(super) exclusive: bool,
    pub(super) lock: Lock,
}

impl CancelArguments {
    pub(super) fn decode(from: &mut Decoder, version: Version) -> Result<Self, DecodeError> {
        let cookie = from.opaque(MAX_BYTES)?;
        // Whether the lock was to be waited for.
        flag(from)?;
        Ok(Self { cookie, exclusive: flag(from)?, lock: Lock::decode(from, version)? })
    }
}

/// UNLOCK's arguments (nlm_unlockargs).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UnlockArguments {
    pub(super) cookie: Bytes,
    pub(super) lock: Lock,
}

impl UnlockArguments {
    pub(super) fn decode(from: &mut Decoder, version: Version) -> Result<Self, DecodeError> {
        Ok(Self { cookie: from.opaque(MAX_BYTES)?, lock: Lock::decode(from, version)? })
    }
}

/// SHARE's and UNSHARE's arguments (nlm_shareargs).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShareArguments {
    pub(super) cookie: Bytes,
    pub(super) caller_name: Bytes,
    pub(super) handle: Bytes,
    pub(super) oh: Bytes,
    /// What others may not do: 1 read, 2 write, a sum of them (fsh_mode).
    pub(super) mode: u8,
    /// What this one does (fsh_access).
    pub(super) access: u8,
}

impl ShareArguments {
    pub(super) fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let cookie = from.opaque(MAX_BYTES)?;
        let caller_name = from.opaque(MAX_BYTES)?;
        let (handle, oh) = (from.opaque(MAX_BYTES)?, from.opaque(MAX_BYTES)?);
        let (mode, access) = (two_bits(from)?, two_bits(from)?);
        // Reclaim: a share that is there, or free, is granted anyway.
        flag(from)?;
        Ok(Self { cookie, caller_name, handle, oh, mode, access })
    }
}

/// FREE_ALL's arguments (nlm_notify). The state is not looked at.
pub(super) fn decode_free_all(from: &mut Decoder) -> Result<Bytes, DecodeError> {
    let name = from.opaque(MAX_BYTES)?;
    signed(from)?;
    Ok(name)
}

/// What the statd of the machine calls with: the client's name, its new state, and what was noted for it.
pub(super) fn decode_rebooted(from: &mut Decoder) -> Result<(Bytes, i32, [u8; 16]), DecodeError> {
    Ok((from.opaque(MAX_BYTES)?, signed(from)?, from.fixed()?))
}

/// Who holds what is in the way of a lock (nlm_holder).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) exclusive: bool,
    pub(super) svid: i32,
    pub(super) oh: Bytes,
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Holder {
    /// A range beyond 32 bits is clamped where there are no more.
    fn encode(&self, to: &mut Encoder, version: Version) {
        to.boolean(self.exclusive);
        put_signed(to, self.svid);
        to.opaque(&self.oh);
        if version.is_wide() {
            to.u64(self.first);
            to.u64(if self.last >= LAST_BYTE { 0 } else { self.last - self.first + 1 });
            return;
        }
        to.u32(u32::try_from(self.first).unwrap_or(u32::MAX));
        let length = u32::try_from(self.last).map_or(0, |last| {
            // The whole of 32 bits is up to the end.
            u32::try_from(u64::from(last) - self.first + 1).unwrap_or(0)
        });
        to.u32(length);
    }
}

/// What a procedure answers, with the cookie of its call (nlm_res, nlm_testres, nlm_shareres).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Of all but TEST and shares.
    Plain(Status),
    /// Of TEST: who is in the way, where something is (DENIED).
    Test(Result<(), TestFailure>),
    /// Of SHARE and UNSHARE.
    Share(Status),
}

/// Why TEST does not say GRANTED.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TestFailure {
    Held(Holder),
    Other(Status),
}

impl Answer {
    /// The status, before the version's mapping.
    pub(super) fn status(&self) -> Status {
        match self {
            Self::Plain(status) | Self::Share(status) => *status,
            Self::Test(Ok(())) => Status::Granted,
            Self::Test(Err(TestFailure::Held(_))) => Status::Denied,
            Self::Test(Err(TestFailure::Other(status))) => *status,
        }
    }

    pub(super) fn encode(&self, cookie: &Bytes, version: Version) -> Message {
        let mut to = Encoder::new();
        to.opaque(cookie);
        to.u32(self.status().number(version));
        match self {
            Self::Plain(_) | Self::Test(Ok(()) | Err(TestFailure::Other(_))) => {}
            Self::Test(Err(TestFailure::Held(holder))) => holder.encode(&mut to, version),
            // The sequence.
            Self::Share(_) => to.u32(0),
        }
        to.finish()
    }
}

/// GRANTED's results, and GRANTED_RES's arguments (nlm_res).
pub(super) fn decode_result(from: &mut Decoder) -> Result<(Bytes, u32), DecodeError> {
    Ok((from.opaque(MAX_BYTES)?, from.u32()?))
}

fn flag(from: &mut Decoder) -> Result<bool, DecodeError> {
    Ok(from.u32()? != 0)
}

fn two_bits(from: &mut Decoder) -> Result<u8, DecodeError> {
    match from.u32()? {
        bits @ 0..=3 => Ok(u8::try_from(bits).unwrap_or(0)),
        _ => Err(DecodeError::Value),
    }
}

fn signed(from: &mut Decoder) -> Result<i32, DecodeError> {
    Ok(i32::from_be_bytes(from.fixed()?))
}

fn put_signed(to: &mut Encoder, value: i32) {
    to.fixed(&value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(offset: u64, length: u64) -> Lock {
        let empty = Bytes::new;
        Lock { caller_name: empty(), handle: empty(), oh: empty(), svid: -1, offset, length }
    }

    #[test]
    fn ranges_end_where_files_may() {
        assert_eq!(lock(0, 0).range(), Some((0, LAST_BYTE)));
        assert_eq!(lock(10, 1).range(), Some((10, 10)));
        assert_eq!(lock(10, u64::MAX - 1).range(), Some((10, LAST_BYTE)));
        assert_eq!(lock(LAST_BYTE, 1).range(), Some((LAST_BYTE, LAST_BYTE)));
        assert_eq!(lock(LAST_BYTE, 5).range(), Some((LAST_BYTE, LAST_BYTE)));
        assert_eq!(lock(LAST_BYTE + 1, 1).range(), None);
    }

    fn round(version: Version, offset: u64, length: u64) -> Lock {
        let arguments =
            TestArguments { cookie: Bytes::new(), exclusive: true, lock: lock(offset, length) };
        let message = arguments.encode(version).segments().concat();
        let mut decoder = Decoder::new(message.into());
        let decoded = TestArguments::decode(&mut decoder, version).unwrap();
        assert_eq!(decoder.remaining(), 0);
        assert!(decoded.exclusive && decoded.lock.svid == -1);
        decoded.lock
    }

    #[test]
    fn all_ones_are_the_end_in_each_width() {
        let whole = |lock: Lock| (lock.offset, lock.range().map(|(_, last)| last));
        let end = Some(LAST_BYTE);
        assert_eq!(whole(round(Version::Four, 10, u64::MAX)), (10, end));
        assert_eq!(whole(round(Version::Four, 10, 0xffff_ffff)), (10, Some(10 + 0xffff_fffe)));
        assert_eq!(whole(round(Version::Three, 0xffff_ffff, 0xffff_ffff)), (0xffff_ffff, end));
        assert_eq!(whole(round(Version::One, 7, 0)), (7, end));
        assert_eq!(whole(round(Version::Three, 7, 3)), (7, Some(9)));
    }

    #[test]
    fn a_holder_beyond_32_bits_is_clamped() {
        let encoded = |version, first, last| {
            let holder = Holder { exclusive: false, svid: 3, oh: Bytes::new(), first, last };
            let mut to = Encoder::new();
            holder.encode(&mut to, version);
            let mut from = Decoder::new(to.finish().segments().concat().into());
            from.fixed::<12>().unwrap();
            (version.decode(&mut from).unwrap(), version.decode(&mut from).unwrap())
        };
        assert_eq!(encoded(Version::Four, 5, LAST_BYTE), (5, 0));
        assert_eq!(encoded(Version::Four, 5, 1 << 40), (5, (1 << 40) - 4));
        assert_eq!(encoded(Version::Three, 5, 9), (5, 5));
        assert_eq!(encoded(Version::Three, 5, 1 << 40), (5, 0));
        assert_eq!(encoded(Version::Three, 1 << 40, 1 << 41), (0xffff_ffff, 0));
        assert_eq!(encoded(Version::One, 0, 0xffff_ffff), (0, 0));
    }
}
