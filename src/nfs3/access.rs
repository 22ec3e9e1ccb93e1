//! ACCESS (RFC 1813 section 3.3.4): what the mode bits grant out of what is asked for. Unknown bits
//! are never granted.

use super::request::{Failure, Request};
use super::{attributes, handle};
use crate::rpc::Reply;
use crate::vfs::AccessDone;
use crate::xdr::{DecodeError, Decoder, Encoder};

pub(super) async fn handle(
    request: &Request<'_>,
    mut arguments: Decoder,
) -> Result<Reply, DecodeError> {
    let object = handle::decode(&mut arguments)?;
    let requested = arguments.u32()?;
    let work = async { Ok(request.vfs.access(&request.caller, &object?, requested).await?) };
    let success = |reply: &mut Encoder, done: AccessDone| {
        attributes::post_op(reply, Some(&done.attributes));
        reply.u32(done.granted);
    };
    Ok(request.answer(work, success, Failure::object).await)
}
