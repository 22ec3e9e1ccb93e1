//! READ (RFC 1813 section 3.3.6). A count over rtmax is shortened; a read at or behind the end has no
//! bytes and eof set.

use super::request::{Failure, Request};
use super::{attributes, handle};
use crate::rpc::Reply;
use crate::vfs::ReadDone;
use crate::xdr::{DecodeError, Decoder, Encoder};

pub(super) async fn handle(
    request: &Request<'_>,
    mut arguments: Decoder,
) -> Result<Reply, DecodeError> {
    let file = handle::decode(&mut arguments)?;
    let offset = arguments.u64()?;
    let count = arguments.u32()?;
    let work = async { Ok(request.vfs.read(&request.caller, &file?, offset, count).await?) };
    let success = |reply: &mut Encoder, done: ReadDone| {
        attributes::post_op(reply, Some(&done.attributes));
        // No more bytes than `count`, which has 32 bits.
        reply.u32(u32::try_from(done.data.len()).unwrap_or(u32::MAX));
        reply.boolean(done.eof);
        reply.shared_opaque(done.data);
    };
    Ok(request.answer(work, success, Failure::object).await)
}
