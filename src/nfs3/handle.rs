//! File handles on the wire (RFC 1813 section 2.3.3, nfs_fh3).

use super::request::Decoded;
use super::status::Error;
use crate::types::{Attributes, FileHandle, MAX_HANDLE_BYTES};
use crate::xdr::{DecodeError, Decoder, Encoder};

/// Reads a handle: more than 64 bytes cannot be decoded, and bytes that are no canonical handle are
/// BADHANDLE.
pub(super) fn decode(arguments: &mut Decoder) -> Decoded<FileHandle> {
    let bytes = arguments.opaque(MAX_HANDLE_BYTES)?;
    Ok(FileHandle::parse(&bytes).map_err(|_| Error::BadHandle))
}

/// Passes over a handle.
pub(super) fn skip(arguments: &mut Decoder) -> Result<(), DecodeError> {
    arguments.opaque(MAX_HANDLE_BYTES).map(drop)
}

/// The handle of an object in the share of `neighbour`.
pub(super) fn of(neighbour: &FileHandle, object: &Attributes) -> FileHandle {
    FileHandle { share: neighbour.share.clone(), object: object.id }
}

/// A call's first handle as the log shows it: share and object, or the bytes of what is no handle of this
/// server.
pub(super) fn shown(arguments: &Decoder) -> Option<String> {
    let bytes = arguments.clone().opaque(MAX_HANDLE_BYTES).ok()?;
    Some(match FileHandle::parse(&bytes) {
        Ok(handle) => format!("{}:{}", handle.share, handle.object),
        Err(_) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}

/// Writes a handle.
pub(super) fn put(reply: &mut Encoder, handle: &FileHandle) {
    reply.opaque(handle.to_wire().as_bytes());
}

/// Writes post_op_fh3.
pub(super) fn post_op(reply: &mut Encoder, handle: Option<&FileHandle>) {
    reply.boolean(handle.is_some());
    if let Some(handle) = handle {
        put(reply, handle);
    }
}
