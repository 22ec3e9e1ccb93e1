//! WRITE (RFC 1813 section 3.3.7).
//!
//! A count that is not the data's length is GARBAGE_ARGS. All data that came is written: what is over
//! wtmax fitted into a record, whose limit is little more. No bytes change nothing.

use super::request::{Failure, Request};
use super::{attributes, handle};
use crate::rpc::Reply;
use crate::vfs::{Stability, WriteDone};
use crate::xdr::{DecodeError, Decoder, Encoder};

pub(super) async fn handle(
    request: &Request<'_>,
    mut arguments: Decoder,
) -> Result<Reply, DecodeError> {
    let file = handle::decode(&mut arguments)?;
    let offset = arguments.u64()?;
    let count = arguments.u32()?;
    let stability = stability(&mut arguments)?;
    let data = arguments.opaque_in_message()?;
    if usize::try_from(count) != Ok(data.len()) {
        return Err(DecodeError::Value);
    }
    let work = async {
        request
            .vfs
            .write(&request.caller, &file?, offset, data, stability)
            .await
            .map_err(Failure::of_file)
    };
    let success = |reply: &mut Encoder, done: WriteDone| {
        request.caller.call.timing.set_written(done.count);
        attributes::wcc(reply, &done.change);
        reply.u32(done.count);
        reply.u32(stable_how(done.stability));
        reply.fixed(&done.verifier);
    };
    Ok(request.answer(work, success, Failure::unchanged).await)
}

/// Reads stable_how.
fn stability(arguments: &mut Decoder) -> Result<Stability, DecodeError> {
    match arguments.u32()? {
        0 => Ok(Stability::Unstable),
        1 => Ok(Stability::DataSync),
        2 => Ok(Stability::FileSync),
        _ => Err(DecodeError::Value),
    }
}

fn stable_how(stability: Stability) -> u32 {
    match stability {
        Stability::Unstable => 0,
        Stability::DataSync => 1,
        Stability::FileSync => 2,
    }
}
