//! SYMLINK (RFC 1813 section 3.3.10). The target is kept as sent; the mode is 0777 whatever is asked
//! for, as nothing looks at it.

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
    let target = names::target(&mut arguments)?;
    let work = async {
        let (directory, name, set, target) = (directory?, name?, set?, target?);
        let created =
            request.vfs.symlink(&request.caller, &directory, &name, &target, &set).await?;
        Ok((directory, created))
    };
    Ok(request.answer(work, success, Failure::unchanged).await)
}
