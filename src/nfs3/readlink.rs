//! READLINK (RFC 1813 section 3.3.5). What is no symbolic link is INVAL.

use super::request::{Failure, Request};
use super::{attributes, handle};
use crate::metadata::Link;
use crate::rpc::Reply;
use crate::xdr::{DecodeError, Decoder, Encoder};

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
