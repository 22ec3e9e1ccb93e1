//! CREATE (RFC 1813 section 3.3.8). EXCLUSIVE's verifier is kept with the file, in no attribute; the
//! file starts with mode 0 and ordinary times. A size is set for a new file, and with UNCHECKED for one
//! that is there.

use super::request::{Decoded, Failure, Request};
use super::{attributes, handle, names};
use crate::metadata::{CreateHow, Created};
use crate::rpc::Reply;
use crate::types::FileHandle;
use crate::xdr::{DecodeError, Decoder, Encoder};

pub(super) async fn handle(
    request: &Request<'_>,
    mut arguments: Decoder,
) -> Result<Reply, DecodeError> {
    let directory = handle::decode(&mut arguments)?;
    let name = names::to_make(&mut arguments)?;
    let how = how(&mut arguments)?;
    let work = async {
        let (directory, name, how) = (directory?, name?, how?);
        let created = request.vfs.create(&request.caller, &directory, &name, &how).await?;
        Ok((directory, created))
    };
    Ok(request.answer(work, success, Failure::unchanged).await)
}

/// Writes the results of what makes an object: CREATE, MKDIR, SYMLINK, MKNOD.
pub(super) fn success(reply: &mut Encoder, (directory, created): (FileHandle, Created)) {
    handle::post_op(reply, Some(&handle::of(&directory, &created.object)));
    attributes::post_op(reply, Some(&created.object));
    attributes::wcc(reply, &created.directory);
}

/// Reads createhow3.
fn how(arguments: &mut Decoder) -> Decoded<CreateHow> {
    Ok(match arguments.u32()? {
        0 => attributes::decode_set(arguments)?.map(CreateHow::Unchecked),
        1 => attributes::decode_set(arguments)?.map(CreateHow::Guarded),
        2 => Ok(CreateHow::Exclusive(arguments.u64()?)),
        _ => return Err(DecodeError::Value),
    })
}
