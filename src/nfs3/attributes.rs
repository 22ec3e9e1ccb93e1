//! Attributes on the wire: fattr3, post_op_attr, wcc_data (RFC 1813 sections 2.5 and 2.6), and
//! sattr3 as an argument.

use nfsserve::nfs::{
    fattr3, ftype3, nfstime3, post_op_attr, pre_op_attr, specdata3, wcc_attr, wcc_data,
};
use nfsserve::xdr::XDR;

use super::request::Decoded;
use super::status::Error;
use crate::metadata::{self, Change, SetAttributes, SetTime};
use crate::types::{Attributes, FileType, Timestamp};
use crate::xdr::{DecodeError, Decoder, Encoder};

/// The unit in which the space of files is counted, in bytes, as `stat(2)` does.
const BLOCK_BYTES: u64 = 512;

/// The bytes of fattr3.
pub(super) const FATTR3_BYTES: usize = 84;

/// Writes what nfsserve has a codec for.
pub(super) fn put(reply: &mut Encoder, item: &impl XDR) {
    // Writing to memory does not fail.
    let _written = item.serialize(reply);
}

/// Writes fattr3, at once: a page of a listing has a thousand of them.
pub(super) fn object(reply: &mut Encoder, attributes: &Attributes) {
    let mut bytes = [0; FATTR3_BYTES];
    let _written = fattr(attributes).serialize(&mut &mut bytes[..]);
    reply.fixed(&bytes);
}

/// Writes post_op_attr.
pub(super) fn post_op(reply: &mut Encoder, attributes: Option<&Attributes>) {
    reply.boolean(attributes.is_some());
    if let Some(attributes) = attributes {
        object(reply, attributes);
    }
}

/// Writes wcc_data of a change. Its halves were read atomically with it.
pub(super) fn wcc(reply: &mut Encoder, change: &Change) {
    let before = change.before.as_ref().map_or(pre_op_attr::Void, before);
    put(reply, &wcc_data { before, after: after(Some(&change.after)) });
}

/// Writes wcc_data of an object that a failed call did not change.
pub(super) fn unchanged(reply: &mut Encoder, attributes: Option<&Attributes>) {
    let before = attributes.map_or(pre_op_attr::Void, before);
    put(reply, &wcc_data { before, after: after(attributes) });
}

/// post_op_attr, for structures that hold one.
pub(super) fn after(attributes: Option<&Attributes>) -> post_op_attr {
    attributes.map_or(post_op_attr::Void, |known| post_op_attr::attributes(fattr(known)))
}

fn before(attributes: &Attributes) -> pre_op_attr {
    pre_op_attr::attributes(wcc_attr {
        size: attributes.size,
        mtime: time(attributes.mtime),
        ctime: time(attributes.ctime),
    })
}

fn fattr(attributes: &Attributes) -> fattr3 {
    fattr3 {
        ftype: kind(attributes.file_type),
        mode: attributes.mode,
        nlink: attributes.nlink,
        uid: attributes.uid,
        gid: attributes.gid,
        size: attributes.size,
        used: attributes.used.div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES),
        rdev: specdata3 { specdata1: attributes.rdev.major, specdata2: attributes.rdev.minor },
        fsid: attributes.fsid.0,
        fileid: attributes.fileid.0,
        atime: time(attributes.atime),
        mtime: time(attributes.mtime),
        ctime: time(attributes.ctime),
    }
}

fn kind(file_type: FileType) -> ftype3 {
    match file_type {
        FileType::Regular => ftype3::NF3REG,
        FileType::Directory => ftype3::NF3DIR,
        FileType::BlockDevice => ftype3::NF3BLK,
        FileType::CharacterDevice => ftype3::NF3CHR,
        FileType::Symlink => ftype3::NF3LNK,
        FileType::Socket => ftype3::NF3SOCK,
        FileType::Fifo => ftype3::NF3FIFO,
    }
}

fn time(time: Timestamp) -> nfstime3 {
    let (seconds, nseconds) = time.to_parts();
    nfstime3 { seconds, nseconds }
}

/// Reads sattr3 by hand: a boolean other than 0 and 1 cannot be decoded, which nfsserve's codec would
/// take for true.
pub(super) fn decode_set(arguments: &mut Decoder) -> Decoded<SetAttributes> {
    let mode = optional(arguments, Decoder::u32)?;
    let uid = optional(arguments, Decoder::u32)?;
    let gid = optional(arguments, Decoder::u32)?;
    let size = optional(arguments, Decoder::u64)?;
    let atime = set_time(arguments)?;
    let mtime = set_time(arguments)?;
    Ok(atime.and_then(|atime| {
        Ok(SetAttributes { mode, uid, gid, size, atime, mtime: mtime?, guard: None, content: None })
    }))
}

/// Reads an item behind the boolean that says whether it is there.
pub(super) fn optional<T>(
    arguments: &mut Decoder,
    item: impl FnOnce(&mut Decoder) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    if arguments.boolean()? { item(arguments).map(Some) } else { Ok(None) }
}

/// Reads nfstime3; a second's worth of nanoseconds or more is INVAL.
pub(super) fn decode_time(arguments: &mut Decoder) -> Decoded<Timestamp> {
    let (seconds, nanoseconds) = (arguments.u32()?, arguments.u32()?);
    let time = Timestamp::from_parts(seconds, nanoseconds);
    Ok(time.ok_or_else(|| Error::from(metadata::Error::Invalid)))
}

fn set_time(arguments: &mut Decoder) -> Decoded<SetTime> {
    Ok(match arguments.u32()? {
        0 => Ok(SetTime::Keep),
        1 => Ok(SetTime::Now),
        2 => decode_time(arguments)?.map(SetTime::To),
        _ => return Err(DecodeError::Value),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{DeviceNumbers, Fileid, Fsid, ObjectId};

    fn device() -> Attributes {
        Attributes {
            id: ObjectId::generate(),
            fileid: Fileid(0x0102_0304_0506_0708),
            fsid: Fsid(9),
            file_type: FileType::CharacterDevice,
            mode: 0o4755,
            nlink: 3,
            uid: 4_294_967_294,
            gid: 5,
            size: 1500,
            used: 513,
            atime: Timestamp(1_000_000_001),
            mtime: Timestamp(-1),
            ctime: Timestamp(i64::MAX),
            rdev: DeviceNumbers { major: 8, minor: 1 },
            content: None,
            mtime_version: 0,
            parent: None,
        }
    }

    fn words(write: impl FnOnce(&mut Encoder)) -> Vec<u32> {
        let mut encoder = Encoder::new();
        write(&mut encoder);
        let bytes = encoder.finish().segments().concat();
        bytes.chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect()
    }

    #[test]
    fn fattr3_has_every_field_in_its_place() {
        let expected = [
            [4, 0o4755, 3, 4_294_967_294, 5, 0, 1500].as_slice(),
            &[0, 1024, 8, 1, 0, 9, 0x0102_0304, 0x0506_0708],
            &[1, 1, 0, 0, u32::MAX, 999_999_999],
        ]
        .concat();
        let written = words(|reply| object(reply, &device()));
        assert_eq!(written, expected);
        assert_eq!(written.len() * 4, FATTR3_BYTES);
    }

    #[test]
    fn wcc_data_shows_before_and_after() {
        let mut change = Change::none(device());
        change.before.as_mut().unwrap().size = 7;
        let written = words(|reply| wcc(reply, &change));
        assert_eq!(written[..7], [1, 0, 7, 0, 0, u32::MAX, 999_999_999]);
        assert_eq!(written[7..10], [1, 4, 0o4755]);
        change.before = None;
        assert_eq!(words(|reply| wcc(reply, &change))[..3], [0, 1, 4]);
        assert_eq!(words(|reply| unchanged(reply, None)), [0, 0]);
        let kept = words(|reply| unchanged(reply, Some(&device())));
        assert_eq!(kept[..3], [1, 0, 1500]);
        assert_eq!(kept.len(), 1 + 6 + 1 + FATTR3_BYTES / 4);
    }

    fn set(words: &[u32]) -> Decoded<SetAttributes> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        decode_set(&mut Decoder::new(bytes.into()))
    }

    #[test]
    fn sattr3_tells_unset_from_server_and_client_time() {
        let all = [1, 0o644, 1, 7, 1, 8, 1, 2, 3, 1, 2, u32::MAX, 999_999_999];
        let expected = SetAttributes {
            mode: Some(0o644),
            uid: Some(7),
            gid: Some(8),
            size: Some((2 << 32) + 3),
            atime: SetTime::Now,
            mtime: SetTime::To(Timestamp(4_294_967_295_999_999_999)),
            guard: None,
            content: None,
        };
        assert_eq!(set(&all).unwrap().unwrap(), expected);
        assert_eq!(set(&[0; 6]).unwrap().unwrap(), SetAttributes::default());
    }

    #[test]
    fn sattr3_is_decoded_strictly() {
        assert_eq!(set(&[2, 0, 0, 0, 0, 0, 0]).unwrap_err(), DecodeError::Value);
        assert_eq!(set(&[0, 0, 0, 0, 3, 0]).unwrap_err(), DecodeError::Value);
        assert_eq!(set(&[0, 0, 0, 0, 0]).unwrap_err(), DecodeError::Truncated);
        let late = set(&[0, 0, 0, 0, 0, 2, 1, 1_000_000_000]).unwrap().unwrap_err();
        assert!(matches!(late, Error::Vfs(crate::vfs::Error::Metadata(metadata::Error::Invalid))));
        // What cannot be decoded outweighs what is refused.
        assert_eq!(set(&[0, 0, 0, 0, 2, 1, 1_000_000_000, 9]).unwrap_err(), DecodeError::Value);
    }
}
