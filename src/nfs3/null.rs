//! NULL (RFC 1813 section 3.3.0): nothing in, nothing out.

use super::request::Request;
use crate::rpc::Reply;
use crate::xdr::{DecodeError, Decoder, Message};

pub(super) async fn handle(_: &Request<'_>, _: Decoder) -> Result<Reply, DecodeError> {
    Ok(Reply::Success(Message::default()))
}
