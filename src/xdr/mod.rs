//! XDR (RFC 4506): a bounded reader of what peers send, and a writer that shares file data
//! instead of copying it.

mod decode;
mod encode;

pub use decode::{DecodeError, Decoder};
pub use encode::{Encoder, Message, Part};
