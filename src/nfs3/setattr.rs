//! SETATTR (RFC 1813 section 3.3.2). All of it is applied or nothing.
//!
//! A guard or a time with a second's worth of nanoseconds is INVAL.

use super::request::{Failure, Request};
use super::{attributes, handle};
use crate::rpc::Reply;
use crate::xdr::{DecodeError, Decoder};

pub(super) async fn handle(
    request: &Request<'_>,
    mut arguments: Decoder,
) -> Result<Reply, DecodeError> {
    let object = handle::decode(&mut arguments)?;
    let set = attributes::decode_set(&mut arguments)?;
    let guard = attributes::optional(&mut arguments, attributes::decode_time)?;
    let work = async {
        let (object, mut set) = (object?, set?);
        set.guard = guard.transpose()?;
        request.vfs.setattr(&request.caller, &object, &set).await.map_err(Failure::of_file)
    };
    let success = |reply: &mut _, change| attributes::wcc(reply, &change);
    Ok(request.answer(work, success, Failure::unchanged).await)
}
