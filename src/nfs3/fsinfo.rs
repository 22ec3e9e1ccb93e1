//! FSINFO (RFC 1813 section 3.3.19). The preferred sizes are the largest ones.

use nfsserve::nfs::{FSF_CANSETTIME, FSF_HOMOGENEOUS, FSF_LINK, FSF_SYMLINK, fsinfo3, nfstime3};

use super::request::{Failure, Request};
use super::{attributes, handle};
use crate::metadata::Capabilities;
use crate::rpc::Reply;
use crate::types::Attributes;
use crate::xdr::{DecodeError, Decoder, Encoder};

pub(super) async fn handle(
    request: &Request<'_>,
    mut arguments: Decoder,
) -> Result<Reply, DecodeError> {
    let object = handle::decode(&mut arguments)?;
    let work = async { Ok(request.vfs.fsinfo(&request.caller, &object?).await?) };
    let success =
        |reply: &mut Encoder, (object, share)| attributes::put(reply, &info(&object, &share));
    Ok(request.answer(work, success, Failure::object).await)
}

fn info(object: &Attributes, share: &Capabilities) -> fsinfo3 {
    const NANOSECONDS: u32 = 1_000_000_000;
    fsinfo3 {
        obj_attributes: attributes::after(Some(object)),
        rtmax: share.max_read,
        rtpref: share.max_read,
        rtmult: share.multiple,
        wtmax: share.max_write,
        wtpref: share.max_write,
        wtmult: share.multiple,
        dtpref: share.preferred_readdir,
        maxfilesize: share.max_file_size,
        time_delta: nfstime3 {
            seconds: share.time_delta / NANOSECONDS,
            nseconds: share.time_delta % NANOSECONDS,
        },
        properties: FSF_LINK | FSF_SYMLINK | FSF_HOMOGENEOUS | FSF_CANSETTIME,
    }
}
