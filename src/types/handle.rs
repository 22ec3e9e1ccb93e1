//! File handles: base64 of the share's name and the object's UUID.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use smallvec::SmallVec;
use uuid::Uuid;

use super::name::MAX_SHARE_NAME_BYTES;
use super::{ObjectId, ShareName};

/// The longest handle, in bytes (RFC 1813 section 2.4, NFS3_FHSIZE).
pub const MAX_HANDLE_BYTES: usize = 64;
const UUID_BYTES: usize = 16;
/// The longest handle before it is encoded.
const MAX_RAW_BYTES: usize = MAX_SHARE_NAME_BYTES + UUID_BYTES;

/// Names an object to clients; valid across restarts, instances and renames.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileHandle {
    /// The share that holds the object.
    pub share: ShareName,
    pub object: ObjectId,
}

/// The bytes are no handle of this server's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a canonical file handle")]
pub struct HandleError;

impl FileHandle {
    /// The handle's bytes on the wire: at most [`MAX_HANDLE_BYTES`] of padded base64.
    #[must_use]
    pub fn to_wire(&self) -> String {
        STANDARD.encode(self.raw())
    }

    fn raw(&self) -> SmallVec<[u8; MAX_RAW_BYTES]> {
        let mut raw = SmallVec::from_slice(self.share.as_str().as_bytes());
        raw.extend_from_slice(self.object.0.as_bytes());
        raw
    }

    /// Parses a handle; only its canonical form is taken.
    ///
    /// # Errors
    /// Whatever [`FileHandle::to_wire`] cannot have made.
    pub fn parse(wire: &[u8]) -> Result<Self, HandleError> {
        if wire.len() > MAX_HANDLE_BYTES {
            return Err(HandleError);
        }
        let bytes = STANDARD.decode(wire).map_err(|_| HandleError)?;
        let split = bytes.len().checked_sub(UUID_BYTES).ok_or(HandleError)?;
        let (share, object) = bytes.split_at(split);
        let share = std::str::from_utf8(share).map_err(|_| HandleError)?;
        Ok(Self {
            share: ShareName::parse(share).map_err(|_| HandleError)?,
            object: ObjectId(Uuid::from_slice(object).map_err(|_| HandleError)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_survive_the_wire() {
        for share in ["/e", "/ex", "/exp", &format!("/{}", "x".repeat(31))] {
            let handle = FileHandle {
                share: ShareName::parse(share).unwrap(),
                object: ObjectId::generate(),
            };
            let wire = handle.to_wire();
            assert!(wire.len() <= MAX_HANDLE_BYTES);
            assert_eq!(FileHandle::parse(wire.as_bytes()), Ok(handle));
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        let handle =
            FileHandle { share: ShareName::parse("/e").unwrap(), object: ObjectId::generate() };
        let wire = handle.to_wire();
        for bad in [
            "",
            "AAAA",
            &wire[1..],
            &format!("{wire}="),
            &wire.replace('=', ""),
            &wire.replace("==", "=A"),
        ] {
            if bad != wire {
                assert_eq!(FileHandle::parse(bad.as_bytes()), Err(HandleError), "{bad}");
            }
        }
        assert_eq!(FileHandle::parse(&[0xff; 64]), Err(HandleError));
    }
}
