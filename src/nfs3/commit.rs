//! COMMIT (RFC 1813 section 3.3.21). The verifier is that of WRITE.
//! The range is not looked at: whatever is unstable in the file becomes stable, which is allowed and
//! costs one flush.

use super::request::{Failure, Request};
use super::{attributes, handle};
use crate::rpc::Reply;
use crate::vfs::CommitDone;
use crate::xdr::{DecodeError, Decoder, Encoder};

pub(super) async fn handle(
    request: &Request<'_>,
    mut arguments: Decoder,
) -> Result<Reply, DecodeError> {
    let file = handle::decode(&mut arguments)?;
    let _offset = arguments.u64()?;
    let _count = arguments.u32()?;
    let work =
        async { request.vfs.commit(&request.caller, &file?).await.map_err(Failure::of_file) };
    let success = |reply: &mut Encoder, done: CommitDone| {
        // What was shown is what becomes durable: a COMMIT changes no attribute, and others may have
        // changed the file between two looks at it.
        attributes::unchanged(reply, Some(&done.change.after));
        reply.fixed(&done.verifier);
    };
    Ok(request.answer(work, success, Failure::unchanged).await)
}
