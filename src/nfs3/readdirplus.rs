//! READDIRPLUS (RFC 1813 section 3.3.17): as READDIR, with every entry's handle and attributes. Those of `..`
//! are left out where the operation did not read them; all are for who may read the directory and not search
//! it, as LOOKUP would refuse them.

use super::handle;
use super::listing::{Form, Limits, Listing};
use super::request::{Failure, Request};
use crate::rpc::Reply;
use crate::xdr::{DecodeError, Decoder, Encoder};

/// The memory of a call: the page and the entries that it is made from.
pub(super) fn memory(mut arguments: Decoder) -> Result<usize, DecodeError> {
    handle::skip(&mut arguments)?;
    arguments.fixed::<16>()?;
    Ok(Limits::of_readdirplus(arguments.u32()?, arguments.u32()?).memory(Form::Plus))
}

pub(super) async fn handle(
    request: &Request<'_>,
    mut arguments: Decoder,
) -> Result<Reply, DecodeError> {
    let directory = handle::decode(&mut arguments)?;
    let cookie = arguments.u64()?;
    let _verifier = arguments.fixed::<8>()?;
    let limits = Limits::of_readdirplus(arguments.u32()?, arguments.u32()?);
    let work = async { Listing::read(request, &directory?, cookie, Form::Plus, limits).await };
    let success = |reply: &mut Encoder, listing: Listing| listing.put(reply);
    Ok(request.answer(work, success, Failure::object).await)
}
