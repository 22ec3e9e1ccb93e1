//! GETATTR (RFC 1813 section 3.3.1).

use super::request::{Failure, Request};
use super::{attributes, handle};
use crate::rpc::Reply;
use crate::xdr::{DecodeError, Decoder};

pub(super) async fn handle(
    request: &Request<'_>,
    mut arguments: Decoder,
) -> Result<Reply, DecodeError> {
    let object = handle::decode(&mut arguments)?;
    let work = async { Ok(request.vfs.getattr(&request.caller, &object?).await?) };
    let success = |reply: &mut _, found| attributes::object(reply, &found);
    Ok(request.answer(work, success, Failure::nothing).await)
}
