//! FSSTAT (RFC 1813 section 3.3.18). invarsec is 0: the numbers change with every write.

use super::request::{Failure, Request};
use super::{attributes, handle};
use crate::rpc::Reply;
use crate::vfs::FsStat;
use crate::xdr::{DecodeError, Decoder, Encoder};

pub(super) async fn handle(
    request: &Request<'_>,
    mut arguments: Decoder,
) -> Result<Reply, DecodeError> {
    let object = handle::decode(&mut arguments)?;
    let work = async { Ok(request.vfs.fsstat(&request.caller, &object?).await?) };
    let success = |reply: &mut Encoder, stat: FsStat| {
        attributes::post_op(reply, Some(&stat.attributes));
        reply.u64(stat.total_bytes);
        reply.u64(stat.free_bytes);
        reply.u64(stat.available_bytes);
        reply.u64(stat.total_files);
        reply.u64(stat.free_files);
        reply.u64(stat.available_files);
        reply.u32(0);
    };
    Ok(request.answer(work, success, Failure::object).await)
}
