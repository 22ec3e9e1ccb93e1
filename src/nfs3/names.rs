//! Names and symbolic links' targets as arguments. The wire format bounds neither (RFC 1813 section
//! 2.4, filename3 and nfspath3), so what is too long is NAMETOOLONG and can be decoded.

use super::request::Decoded;
use super::status::Error;
use crate::metadata;
use crate::types::{Component, Name, SymlinkTarget};
use crate::xdr::Decoder;

/// LOOKUP's name, which may be `.` or `..`.
pub(super) fn component(arguments: &mut Decoder) -> Decoded<Component> {
    Ok(Component::parse(&arguments.opaque_in_message()?).map_err(Error::from))
}

/// A name to be made: `.` and `..` are always there, so EXIST.
pub(super) fn to_make(arguments: &mut Decoder) -> Decoded<Name> {
    named(arguments, || metadata::Error::Exists, || metadata::Error::Exists)
}

/// A name to be removed or renamed: `.` and `..` are INVAL.
pub(super) fn to_take(arguments: &mut Decoder) -> Decoded<Name> {
    named(arguments, || metadata::Error::Invalid, || metadata::Error::Invalid)
}

/// RMDIR's name: `.` is INVAL, and `..`, which is not empty, EXIST (section 3.3.13).
pub(super) fn of_directory(arguments: &mut Decoder) -> Decoded<Name> {
    named(arguments, || metadata::Error::Invalid, || metadata::Error::Exists)
}

/// A symbolic link's target.
pub(super) fn target(arguments: &mut Decoder) -> Decoded<SymlinkTarget> {
    Ok(SymlinkTarget::parse(&arguments.opaque_in_message()?).map_err(Error::from))
}

fn named(
    arguments: &mut Decoder,
    current: impl FnOnce() -> metadata::Error,
    parent: impl FnOnce() -> metadata::Error,
) -> Decoded<Name> {
    Ok(component(arguments)?.and_then(|component| match component {
        Component::Current => Err(current().into()),
        Component::Parent => Err(parent().into()),
        Component::Name(name) => Ok(name),
    }))
}

#[cfg(test)]
mod tests {
    use nfsserve::nfs::nfsstat3;

    use super::*;
    use crate::nfs3::status::{Verdict, verdict};
    use crate::xdr::Encoder;

    fn argument(bytes: &[u8]) -> Decoder {
        let mut encoder = Encoder::new();
        encoder.opaque(bytes);
        Decoder::new(encoder.finish().segments().concat().into())
    }

    fn status<T: std::fmt::Debug>(
        decode: fn(&mut Decoder) -> Decoded<T>,
        bytes: &[u8],
    ) -> Option<u32> {
        match verdict(&decode(&mut argument(bytes)).unwrap().err()?) {
            Verdict::Status(status) => Some(status as u32),
            Verdict::Credentials(refusal) => panic!("{refusal:?}"),
        }
    }

    const INVAL: Option<u32> = Some(nfsstat3::NFS3ERR_INVAL as u32);
    const EXIST: Option<u32> = Some(nfsstat3::NFS3ERR_EXIST as u32);
    const NAMETOOLONG: Option<u32> = Some(nfsstat3::NFS3ERR_NAMETOOLONG as u32);

    #[test]
    fn no_procedure_takes_what_is_no_name() {
        for decode in [to_make, to_take, of_directory] {
            assert_eq!(status(decode, b""), INVAL);
            assert_eq!(status(decode, b"a/b"), INVAL);
            assert_eq!(status(decode, b"a\0"), INVAL);
            assert_eq!(status(decode, &[b'x'; 256]), NAMETOOLONG);
            assert_eq!(status(decode, &[0xff; 255]), None);
        }
        assert_eq!(status(component, b""), INVAL);
        assert_eq!(status(component, &[b'x'; 5000]), NAMETOOLONG);
    }

    #[test]
    fn dots_are_answered_by_procedure() {
        assert_eq!([status(to_make, b"."), status(to_make, b"..")], [EXIST, EXIST]);
        assert_eq!([status(to_take, b"."), status(to_take, b"..")], [INVAL, INVAL]);
        assert_eq!([status(of_directory, b"."), status(of_directory, b"..")], [INVAL, EXIST]);
        assert_eq!([status(component, b"."), status(component, b"..")], [None, None]);
    }

    #[test]
    fn targets_are_not_names() {
        assert_eq!(status(target, b""), Some(nfsstat3::NFS3ERR_NOENT as u32));
        assert_eq!(status(target, b"a\0"), INVAL);
        assert_eq!(status(target, &[b'x'; 4096]), NAMETOOLONG);
        assert_eq!(status(target, &[b'/'; 4095]), None);
    }
}
