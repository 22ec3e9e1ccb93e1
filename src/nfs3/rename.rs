//! RENAME (RFC 1813 section 3.3.14). `.` and `..` are INVAL on either side; another share is XDEV.

use super::request::{Failure, Request};
use super::{attributes, handle, names};
use crate::metadata::Change;
use crate::rpc::Reply;
use crate::xdr::{DecodeError, Decoder, Encoder};

pub(super) async fn handle(
    request: &Request<'_>,
    mut arguments: Decoder,
) -> Result<Reply, DecodeError> {
    let from = handle::decode(&mut arguments)?;
    let from_name = names::to_take(&mut arguments)?;
    let to = handle::decode(&mut arguments)?;
    let to_name = names::to_take(&mut arguments)?;
    let work = async {
        let ((from, from_name), (to, to_name)) = ((from?, from_name?), (to?, to_name?));
        Ok(request.vfs.rename(&request.caller, &from, &from_name, &to, &to_name).await?)
    };
    let success = |reply: &mut Encoder, [from, to]: [Change; 2]| {
        attributes::wcc(reply, &from);
        attributes::wcc(reply, &to);
    };
    Ok(request.answer(work, success, Failure::both_unchanged).await)
}
