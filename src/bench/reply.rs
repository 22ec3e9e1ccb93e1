//! Replies, decoded down to their status and, where a workload looks at more, beyond.

use bytes::Bytes;

use super::error::Error;
use super::fault::Fault;
use crate::xdr::{DecodeError, Decoder};

/// The longest body of a verifier (RFC 5531 section 8.2).
const MAX_VERIFIER_BYTES: usize = 400;
/// The longest handle (RFC 1813 section 2.4).
pub(super) const MAX_HANDLE_BYTES: usize = 64;
/// fattr3 behind its type (section 2.5).
const ATTRIBUTES_BYTES: usize = 80;

/// A reply that was accepted: the status, and what follows it.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u32,
    pub(super) results: Results,
}

impl Reply {
    /// Decodes a reply behind its xid; NULL's has no status.
    ///
    /// # Errors
    /// The reply cannot be decoded. Why a call was not accepted is the inner error.
    pub(super) fn decode(reply: Bytes, has_status: bool) -> Result<Result<Self, Fault>, Error> {
        let mut reply = Decoder::new(reply);
        let _xid = reply.u32()?;
        if reply.u32()? != 1 {
            return Err(Error::Protocol("a call where a reply was expected"));
        }
        if reply.u32()? != 0 {
            return Ok(Err(Fault::Rpc("RPC: MSG_DENIED")));
        }
        reply.u32()?;
        reply.opaque(MAX_VERIFIER_BYTES)?;
        let refusal = match reply.u32()? {
            0 => {
                let status = if has_status { reply.u32()? } else { 0 };
                return Ok(Ok(Self { status, results: Results(reply) }));
            }
            1 => "RPC: PROG_UNAVAIL",
            2 => "RPC: PROG_MISMATCH",
            3 => "RPC: PROC_UNAVAIL",
            4 => "RPC: GARBAGE_ARGS",
            5 => "RPC: SYSTEM_ERR",
            _ => "RPC: unknown accept_stat",
        };
        Ok(Err(Fault::Rpc(refusal)))
    }

    /// The results where the call succeeded.
    pub(super) fn succeeded(self) -> Result<Results, Fault> {
        if self.status == 0 { Ok(self.results) } else { Err(Fault::status(self.status)) }
    }
}

/// An entry of READDIRPLUS.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Bytes,
    pub(super) cookie: u64,
    /// Whether it is a directory, where the server says so.
    pub(super) is_directory: Option<bool>,
    pub(super) handle: Option<Bytes>,
}

/// What follows a status.
#[derive(Debug)]
pub(super) struct Results(pub(super) Decoder);

impl Results {
    pub(super) fn word(&mut self) -> Result<u32, DecodeError> {
        self.0.u32()
    }

    pub(super) fn hyper(&mut self) -> Result<u64, DecodeError> {
        self.0.u64()
    }

    pub(super) fn handle(&mut self) -> Result<Bytes, DecodeError> {
        self.0.opaque(MAX_HANDLE_BYTES)
    }

    /// post_op_fh3.
    pub(super) fn optional_handle(&mut self) -> Result<Option<Bytes>, DecodeError> {
        if self.0.boolean()? { self.handle().map(Some) } else { Ok(None) }
    }

    /// post_op_attr: whether it is a directory.
    pub(super) fn attributes(&mut self) -> Result<Option<bool>, DecodeError> {
        const DIRECTORY: u32 = 2;
        if !self.0.boolean()? {
            return Ok(None);
        }
        let kind = self.0.u32()?;
        self.0.fixed::<ATTRIBUTES_BYTES>()?;
        Ok(Some(kind == DIRECTORY))
    }

    /// wcc_data.
    pub(super) fn changes(&mut self) -> Result<(), DecodeError> {
        const BEFORE_BYTES: usize = 24;
        if self.0.boolean()? {
            self.0.fixed::<BEFORE_BYTES>()?;
        }
        self.attributes().map(drop)
    }

    /// The next entry of READDIR, or of READDIRPLUS with `plus`; `None` behind the last one of the page.
    pub(super) fn entry(&mut self, plus: bool) -> Result<Option<Entry>, DecodeError> {
        if !self.0.boolean()? {
            return Ok(None);
        }
        let _file_number = self.0.u64()?;
        let name = self.0.opaque_in_message()?;
        let cookie = self.0.u64()?;
        let (is_directory, handle) =
            if plus { (self.attributes()?, self.optional_handle()?) } else { (None, None) };
        Ok(Some(Entry { name, cookie, is_directory, handle }))
    }

    /// READDIR's eof.
    pub(super) fn is_end(&mut self) -> Result<bool, DecodeError> {
        self.0.boolean()
    }
}
