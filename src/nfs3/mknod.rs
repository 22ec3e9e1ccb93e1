//! MKNOD (RFC 1813 section 3.3.11). Regular files, directories and symbolic links are BADTYPE; a number
//! that is no ftype3 cannot be decoded.

use super::create::success;
use super::request::{Decoded, Failure, Request};
use super::{attributes, handle, names};
use crate::metadata::SetAttributes;
use crate::rpc::Reply;
use crate::types::{DeviceNumbers, FileType};
use crate::xdr::{DecodeError, Decoder};

pub(super) async fn handle(
    request: &Request<'_>,
    mut arguments: Decoder,
) -> Result<Reply, DecodeError> {
    let directory = handle::decode(&mut arguments)?;
    let name = names::to_make(&mut arguments)?;
    let (kind, what) = what(&mut arguments)?;
    let work = async {
        let (directory, name, (rdev, set)) = (directory?, name?, what?);
        let created =
            request.vfs.mknod(&request.caller, &directory, &name, kind, rdev, &set).await?;
        Ok((directory, created))
    };
    Ok(request.answer(work, success, Failure::unchanged).await)
}

type What = (DeviceNumbers, SetAttributes);

/// Reads mknoddata3, whose form depends on the kind.
fn what(
    arguments: &mut Decoder,
) -> Result<(FileType, Result<What, super::status::Error>), DecodeError> {
    let number = i16::try_from(arguments.u32()?).map_err(|_| DecodeError::Value)?;
    let kind = FileType::from_number(number).ok_or(DecodeError::Value)?;
    let what: Decoded<What> = match kind {
        FileType::BlockDevice | FileType::CharacterDevice => {
            let set = attributes::decode_set(arguments)?;
            let rdev = DeviceNumbers { major: arguments.u32()?, minor: arguments.u32()? };
            Ok(set.map(|set| (rdev, set)))
        }
        FileType::Socket | FileType::Fifo => {
            let set = attributes::decode_set(arguments)?;
            Ok(set.map(|set| (DeviceNumbers::default(), set)))
        }
        FileType::Regular | FileType::Directory | FileType::Symlink => Ok(Ok(What::default())),
    };
    Ok((kind, what?))
}
