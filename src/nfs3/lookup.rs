//! LOOKUP (RFC 1813 section 3.3.3). `.` and `..` are names like others; `..` of a share's root is the
//! root.

use super::request::{Failure, Request};
use super::{attributes, handle, names};
use crate::metadata;
use crate::rpc::Reply;
use crate::xdr::{DecodeError, Decoder, Encoder};

pub(super) async fn handle(
    request: &Request<'_>,
    mut arguments: Decoder,
) -> Result<Reply, DecodeError> {
    let directory = handle::decode(&mut arguments)?;
    let name = names::component(&mut arguments)?;
    let work = async {
        let handle = directory?;
        let found = request.vfs.lookup(&request.caller, &handle, &name?).await?;
        let (object, directory) = (found.object, found.directory);
        match object {
            Some(object) => Ok((handle::of(&handle, &object), object, directory)),
            None => Err(Failure::of(metadata::Error::NotFound, &directory)),
        }
    };
    let success = |reply: &mut Encoder, (handle, object, directory)| {
        handle::put(reply, &handle);
        attributes::post_op(reply, Some(&object));
        attributes::post_op(reply, Some(&directory));
    };
    Ok(request.answer(work, success, Failure::object).await)
}
