//! PATHCONF (RFC 1813 section 3.3.20). Names are bytes: too long ones are refused, case counts and is
//! kept; only the superuser gives files away.

use super::request::{Failure, Request};
use super::{attributes, handle};
use crate::metadata::Capabilities;
use crate::rpc::Reply;
use crate::types::Attributes;
use crate::xdr::{DecodeError, Decoder, Encoder};

const NO_TRUNC: bool = true;
const CHOWN_RESTRICTED: bool = true;
const CASE_INSENSITIVE: bool = false;
const CASE_PRESERVING: bool = true;

pub(super) async fn handle(
    request: &Request<'_>,
    mut arguments: Decoder,
) -> Result<Reply, DecodeError> {
    let object = handle::decode(&mut arguments)?;
    let work = async { Ok(request.vfs.pathconf(&request.caller, &object?).await?) };
    let success = |reply: &mut Encoder, (object, share): (Attributes, Capabilities)| {
        attributes::post_op(reply, Some(&object));
        reply.u32(share.max_links);
        reply.u32(share.max_name);
        for property in [NO_TRUNC, CHOWN_RESTRICTED, CASE_INSENSITIVE, CASE_PRESERVING] {
            reply.boolean(property);
        }
    };
    Ok(request.answer(work, success, Failure::object).await)
}
