//! READLINK (RFC 1813 section 3.3.5). What is no symbolic link is INVAL.

use super::attributes::{self, FATTR3_BYTES};
use super::handle;
use super::request::{Failure, Request};
use crate::metadata::Link;
use crate::rpc::Reply;
use crate::types::MAX_TARGET_BYTES;
use crate::xdr::{DecodeError, Decoder, Encoder};

/// The most bytes of READLINK3res beside the target: status, attributes, and the target's length and padding.
const HEAD_BYTES: usize = FATTR3_BYTES + 16;

/// The memory of a call: the longest target.
pub(super) fn memory(_arguments: Decoder) -> Result<usize, DecodeError> {
    Ok(MAX_TARGET_BYTES + HEAD_BYTES)
}

pub(super) async fn handle(
    request: &Request<'_>,
    mut arguments: Decoder,
) -> Result<Reply, DecodeError> {
    let link = handle::decode(&mut arguments)?;
    let work = async { Ok(request.vfs.readlink(&request.caller, &link?).await?) };
    let success = |reply: &mut Encoder, link: Link| {
        attributes::post_op(reply, Some(&link.attributes));
        reply.opaque(link.target.as_bytes());
    };
    Ok(request.answer(work, success, Failure::object).await)
}
