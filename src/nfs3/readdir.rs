//! READDIR (RFC 1813 section 3.3.16).
//!
//! Cookies are durable, so the cookie verifier is constant and what the client sends back is not looked
//! at; a cookie that was never given out is a place like any other.

use super::handle;
use super::listing::{Form, Limits, Listing};
use super::request::{Failure, Request};
use crate::rpc::Reply;
use crate::xdr::{DecodeError, Decoder, Encoder};

/// The memory of a call: the page and the entries that it is made from.
pub(super) fn memory(mut arguments: Decoder) -> Result<usize, DecodeError> {
    handle::skip(&mut arguments)?;
    arguments.fixed::<16>()?;
    Ok(Limits::of_readdir(arguments.u32()?).memory(Form::Names))
}

pub(super) async fn handle(
    request: &Request<'_>,
    mut arguments: Decoder,
) -> Result<Reply, DecodeError> {
    let directory = handle::decode(&mut arguments)?;
    let cookie = arguments.u64()?;
    let _verifier = arguments.fixed::<8>()?;
    let limits = Limits::of_readdir(arguments.u32()?);
    let work = async { Listing::read(request, &directory?, cookie, Form::Names, limits).await };
    let success = |reply: &mut Encoder, listing: Listing| listing.put(reply);
    Ok(request.answer(work, success, Failure::object).await)
}
