//! REMOVE (RFC 1813 section 3.3.12). A directory is ISDIR.

use super::request::{Failure, Request};
use super::{attributes, handle, names};
use crate::metadata::Change;
use crate::rpc::Reply;
use crate::xdr::{DecodeError, Decoder, Encoder};

pub(super) async fn handle(
    request: &Request<'_>,
    mut arguments: Decoder,
) -> Result<Reply, DecodeError> {
    let directory = handle::decode(&mut arguments)?;
    let name = names::to_take(&mut arguments)?;
    let work = async { Ok(request.vfs.remove(&request.caller, &directory?, &name?).await?) };
    let success = |reply: &mut Encoder, directory: Change| attributes::wcc(reply, &directory);
    Ok(request.answer(work, success, Failure::unchanged).await)
}
