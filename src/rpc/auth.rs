//! Who calls: credentials and verifier of a call's header (RFC 5531 sections 8.2 and 10).
//!
//! Choices where the RFC leaves one:
//! - A flavour that is not spoken here is AUTH_REJECTEDCRED for every procedure, NULL too, as Linux's
//!   sunrpc answers; clients that probe for AUTH_TLS or RPCSEC_GSS with NULL fall back on it.
//! - AUTH_NONE's body and the verifier are undefined there: they are bounded, and not looked at.

use bytes::Bytes;

use super::AuthStatus;
use crate::types::{Credentials, MAX_GIDS};
use crate::xdr::{DecodeError, Decoder};

/// The longest body of credentials or a verifier, in bytes (RFC 5531 section 8.2).
const MAX_BODY_BYTES: usize = 400;
/// The longest machine name in AUTH_SYS, in bytes (RFC 5531 appendix A).
const MAX_MACHINE_BYTES: usize = 255;

const AUTH_NONE: u32 = 0;
const AUTH_SYS: u32 = 1;

/// A caller as its call's header names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) credentials: Option<Credentials>,
    /// AUTH_SYS's machine name; empty under AUTH_NONE.
    pub(super) machine: Bytes,
}

impl Identity {
    /// Reads credentials and verifier.
    ///
    /// # Errors
    /// The auth_stat to answer with.
    pub(super) fn decode(header: &mut Decoder) -> Result<Self, AuthStatus> {
        let (flavor, body) = opaque_auth(header).map_err(|_| AuthStatus::BadCredentials)?;
        let identity = match flavor {
            AUTH_NONE => Self { credentials: None, machine: Bytes::new() },
            AUTH_SYS => auth_sys(Decoder::new(body)).map_err(|_| AuthStatus::BadCredentials)?,
            _ => return Err(AuthStatus::RejectedCredentials),
        };
        opaque_auth(header).map_err(|_| AuthStatus::BadVerifier)?;
        Ok(identity)
    }
}

fn opaque_auth(header: &mut Decoder) -> Result<(u32, Bytes), DecodeError> {
    Ok((header.u32()?, header.opaque(MAX_BODY_BYTES)?))
}

/// The body of AUTH_SYS, to its last byte. The stamp is arbitrary (RFC 5531 appendix A).
fn auth_sys(mut body: Decoder) -> Result<Identity, DecodeError> {
    let _stamp = body.u32()?;
    let machine = body.opaque(MAX_MACHINE_BYTES)?;
    let (uid, gid) = (body.u32()?, body.u32()?);
    let gids = body.u32_array(MAX_GIDS)?;
    if body.remaining() > 0 {
        return Err(DecodeError::TooLong);
    }
    Ok(Identity { credentials: Some(Credentials { uid, gid, gids }), machine })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xdr::Encoder;

    fn sys(machine: &[u8], gids: u32, extra: bool) -> Result<Identity, AuthStatus> {
        let mut body = Encoder::new();
        body.u32(7);
        body.opaque(machine);
        body.u32(u32::MAX - 1);
        body.u32(2);
        body.u32(gids);
        (0..gids).for_each(|gid| body.u32(gid));
        if extra {
            body.u32(0);
        }
        let mut header = Encoder::new();
        header.u32(AUTH_SYS);
        header.opaque(&body.finish().segments()[0]);
        header.u32(AUTH_NONE);
        header.u32(0);
        let mut header = Decoder::new(header.finish().segments()[0].clone());
        let identity = Identity::decode(&mut header)?;
        assert_eq!(header.remaining(), 0);
        Ok(identity)
    }

    #[test]
    fn auth_sys_is_taken_within_its_bounds() {
        let identity = sys(&[b'm'; 255], 16, false).unwrap();
        assert_eq!(identity.machine.len(), 255);
        let credentials = identity.credentials.unwrap();
        assert_eq!((credentials.uid, credentials.gid), (u32::MAX - 1, 2));
        assert_eq!(credentials.gids, (0..16).collect::<Vec<_>>());
    }

    #[test]
    fn auth_sys_beyond_its_bounds_is_bad() {
        assert_eq!(sys(&[b'm'; 256], 0, false), Err(AuthStatus::BadCredentials));
        assert_eq!(sys(b"m", 17, false), Err(AuthStatus::BadCredentials));
        assert_eq!(sys(b"m", 1, true), Err(AuthStatus::BadCredentials));
    }
}
