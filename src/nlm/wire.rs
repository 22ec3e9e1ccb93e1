//! Arguments and results on the wire (X/Open XNFS chapter 14): `nlm_*` of versions 1 and 3, whose offsets and
//! lengths have 32 bits, and `nlm4_*` of version 4, where they have 64.
//!
//! A string or netobj of more than 1,024 bytes cannot be decoded. A boolean is true unless it is 0, since
//! some clients send other values than 1.

use bytes::Bytes;

use super::status::Status;
use crate::metadata::{LockBytes, LockHolder, LockRange, RangeTooLarge};
use crate::xdr::{DecodeError, Decoder, Encoder, Message};

/// The longest string, cookie, handle or owner handle, in bytes (LM_MAXSTRLEN, MAXNETOBJ_SZ).
const MAX_BYTES: usize = LockBytes::MOST;

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
    pub(super) caller_name: LockBytes,
    pub(super) handle: LockBytes,
    pub(super) oh: LockBytes,
    pub(super) svid: i32,
    pub(super) offset: u64,
    /// 0 for all up to the end of what can be locked.
    pub(super) length: u64,
}

impl Lock {
    fn decode(from: &mut Decoder, version: Version) -> Result<Self, DecodeError> {
        Ok(Self {
            caller_name: bytes(from)?,
            handle: bytes(from)?,
            oh: bytes(from)?,
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
        to.opaque(self.caller_name.as_bytes());
        to.opaque(self.handle.as_bytes());
        to.opaque(self.oh.as_bytes());
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

    /// The bytes that it is about.
    pub(super) fn range(&self) -> Result<LockRange, RangeTooLarge> {
        LockRange::from_wire(self.offset, self.length)
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
    pub(super) caller_name: LockBytes,
    pub(super) handle: LockBytes,
    pub(super) oh: LockBytes,
    /// What others may not do: 1 read, 2 write, a sum of them (fsh_mode).
    pub(super) mode: u8,
    /// What this one does (fsh_access).
    pub(super) access: u8,
}

impl ShareArguments {
    pub(super) fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let cookie = from.opaque(MAX_BYTES)?;
        let (caller_name, handle, oh) = (bytes(from)?, bytes(from)?, bytes(from)?);
        let (mode, access) = (two_bits(from)?, two_bits(from)?);
        // Reclaim: a share that is there, or free, is granted anyway.
        flag(from)?;
        Ok(Self { cookie, caller_name, handle, oh, mode, access })
    }
}

/// FREE_ALL's arguments (nlm_notify). The state is not looked at.
pub(super) fn decode_free_all(from: &mut Decoder) -> Result<LockBytes, DecodeError> {
    let name = bytes(from)?;
    signed(from)?;
    Ok(name)
}

/// What the statd of the machine calls with: the client's name, its new state, and what was noted for it.
pub(super) fn decode_rebooted(
    from: &mut Decoder,
) -> Result<(LockBytes, i32, [u8; 16]), DecodeError> {
    Ok((bytes(from)?, signed(from)?, from.fixed()?))
}

/// Writes who holds what is in the way of a lock (nlm_holder).
fn put_holder(to: &mut Encoder, holder: &LockHolder, version: Version) {
    to.boolean(holder.kind.is_exclusive());
    put_signed(to, holder.svid);
    to.opaque(holder.oh.as_bytes());
    if version.is_wide() {
        let (offset, length) = holder.range.to_wire();
        to.u64(offset);
        to.u64(length);
    } else {
        let (offset, length) = holder.range.to_wire_32();
        to.u32(offset);
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
    Held(LockHolder),
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
            Self::Test(Err(TestFailure::Held(holder))) => put_holder(&mut to, holder, version),
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

fn bytes(from: &mut Decoder) -> Result<LockBytes, DecodeError> {
    LockBytes::new(&from.opaque(MAX_BYTES)?).ok_or(DecodeError::TooLong)
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
        let empty = || LockBytes::new(b"").unwrap();
        Lock { caller_name: empty(), handle: empty(), oh: empty(), svid: -1, offset, length }
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
        let whole = |lock: Lock| (lock.offset, lock.range().unwrap().last());
        let end = LockRange::END;
        assert_eq!(whole(round(Version::Four, 10, u64::MAX)), (10, end));
        assert_eq!(whole(round(Version::Four, 10, 0xffff_ffff)), (10, 10 + 0xffff_fffe));
        assert_eq!(whole(round(Version::Three, 0xffff_ffff, 0xffff_ffff)), (0xffff_ffff, end));
        assert_eq!(whole(round(Version::One, 7, 0)), (7, end));
        assert_eq!(whole(round(Version::Three, 7, 3)), (7, 9));
        assert!(lock(LockRange::END + 1, 1).range().is_err());
    }
}
