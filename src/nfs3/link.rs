//! LINK (RFC 1813 section 3.3.15). A directory gets no second name: ISDIR.

use super::request::{Failure, Request};
use super::{attributes, handle, names};
use crate::metadata::LinkTarget;
use crate::rpc::Reply;
use crate::xdr::{DecodeError, Decoder, Encoder};

pub(super) async fn handle(
    request: &Request<'_>,
    mut arguments: Decoder,
) -> Result<Reply, DecodeError> {
    let object = handle::decode(&mut arguments)?;
    let directory = handle::decode(&mut arguments)?;
    let name = names::to_make(&mut arguments)?;
    let work = async {
        let (object, directory) = (object?, directory?);
        Ok(request.vfs.link(&request.caller, &object, &directory, &name?).await?)
    };
    let success = |reply: &mut Encoder, linked: LinkTarget| {
        attributes::post_op(reply, Some(&linked.object));
        attributes::wcc(reply, &linked.directory);
    };
    Ok(request.answer(work, success, Failure::object_and_unchanged).await)
}
