//! MKDIR (RFC 1813 section 3.3.9).

use super::create::success;
use super::request::{Failure, Request};
use super::{attributes, handle, names};
use crate::rpc::Reply;
use crate::xdr::{DecodeError, Decoder};

pub(super) async fn handle(
    request: &Request<'_>,
    mut arguments: Decoder,
) -> Result<Reply, DecodeError> {
    let directory = handle::decode(&mut arguments)?;
    let name = names::to_make(&mut arguments)?;
    let set = attributes::decode_set(&mut arguments)?;
    let work = async {
        let (directory, name, set) = (directory?, name?, set?);
        let created = request.vfs.mkdir(&request.caller, &directory, &name, &set).await?;
        Ok((directory, created))
    };
    Ok(request.answer(work, success, Failure::unchanged).await)
}
