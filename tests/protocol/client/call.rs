//! Calls and replies (RFC 5531 section 9).

use super::{Reader, Writer};

/// Credentials or a verifier: any flavour with any body.
#[derive(Clone, Debug)]
pub(crate) struct Auth {
    /// The flavour's number.
    pub(crate) flavor: u32,
    /// The body's length as sent, which need not be true.
    pub(crate) length: u32,
    /// The body, sent with padding.
    pub(crate) body: Vec<u8>,
}

impl Auth {
    /// AUTH_NONE.
    pub(crate) fn none() -> Self {
        Self::new(0, Vec::new())
    }

    /// AUTH_SYS without supplementary groups.
    pub(crate) fn sys(uid: u32, gid: u32) -> Self {
        Self::sys_with(b"client", uid, gid, &[])
    }

    /// AUTH_SYS with everything (RFC 5531 appendix A).
    pub(crate) fn sys_with(machine: &[u8], uid: u32, gid: u32, gids: &[u32]) -> Self {
        let body = Writer::new()
            .u32(0x5eed)
            .opaque(machine)
            .u32(uid)
            .u32(gid)
            .u32(gids.len().try_into().unwrap());
        Self::new(1, gids.iter().fold(body, |body, &gid| body.u32(gid)))
    }

    /// Any flavour.
    pub(crate) fn new(flavor: u32, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self { flavor, length: body.len().try_into().unwrap(), body }
    }

    /// The same with another length before the body.
    pub(crate) fn claiming(self, length: u32) -> Self {
        Self { length, ..self }
    }
}

/// One call; every field can be set.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Transaction id; the connection's next one where `None`.
    pub(crate) xid: Option<u32>,
    /// CALL (0), or something wrong.
    pub(crate) direction: u32,
    /// 2, or something wrong.
    pub(crate) rpc_version: u32,
    /// The program.
    pub(crate) program: u32,
    /// Its version.
    pub(crate) version: u32,
    /// The procedure.
    pub(crate) procedure: u32,
    /// Who calls.
    pub(crate) credentials: Auth,
    /// AUTH_NONE, or something wrong.
    pub(crate) verifier: Auth,
    /// The arguments, encoded.
    pub(crate) arguments: Vec<u8>,
}

impl Call {
    /// A call by root under AUTH_SYS without arguments.
    pub(crate) fn new(program: u32, version: u32, procedure: u32) -> Self {
        Self {
            xid: None,
            direction: 0,
            rpc_version: 2,
            program,
            version,
            procedure,
            credentials: Auth::sys(0, 0),
            verifier: Auth::none(),
            arguments: Vec::new(),
        }
    }

    /// The same with a transaction id of one's own.
    pub(crate) fn xid(self, xid: u32) -> Self {
        Self { xid: Some(xid), ..self }
    }

    /// The same with other credentials.
    pub(crate) fn credentials(self, credentials: Auth) -> Self {
        Self { credentials, ..self }
    }

    /// The same with arguments.
    pub(crate) fn arguments(self, arguments: impl Into<Vec<u8>>) -> Self {
        Self { arguments: arguments.into(), ..self }
    }

    /// The record's bytes, without a mark.
    pub(crate) fn encode(&self, xid: u32) -> Vec<u8> {
        let auth = |writer: Writer, auth: &Auth| {
            writer.u32(auth.flavor).u32(auth.length).fixed(&auth.body)
        };
        let mut writer = Writer::new()
            .u32(xid)
            .u32(self.direction)
            .u32(self.rpc_version)
            .u32(self.program)
            .u32(self.version)
            .u32(self.procedure);
        writer = auth(writer, &self.credentials);
        writer = auth(writer, &self.verifier);
        writer.raw(&self.arguments).into_bytes()
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// SUCCESS with the results' bytes.
    Success(Vec<u8>),
    /// PROG_UNAVAIL.
    ProgramUnavailable,
    /// PROG_MISMATCH.
    ProgramMismatch { low: u32, high: u32 },
    /// PROC_UNAVAIL.
    ProcedureUnavailable,
    /// GARBAGE_ARGS.
    GarbageArguments,
    /// SYSTEM_ERR.
    SystemError,
    /// RPC_MISMATCH.
    RpcMismatch { low: u32, high: u32 },
    /// AUTH_ERROR with its auth_stat.
    AuthError(u32),
}

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The call's transaction id.
    pub(crate) xid: u32,
    /// How it ended.
    pub(crate) outcome: Outcome,
}

impl Reply {
    /// Decodes a reply's record; anything that RFC 5531 does not allow fails the case.
    pub(crate) fn decode(record: Vec<u8>) -> Self {
        let mut reader = Reader::new(record);
        let xid = reader.u32();
        assert_eq!(reader.u32(), 1, "msg_type REPLY");
        let outcome = match reader.u32() {
            0 => Self::accepted(&mut reader),
            1 => match reader.u32() {
                0 => Outcome::RpcMismatch { low: reader.u32(), high: reader.u32() },
                1 => Outcome::AuthError(reader.u32()),
                other => panic!("reject_stat {other}"),
            },
            other => panic!("reply_stat {other}"),
        };
        reader.end();
        Self { xid, outcome }
    }

    fn accepted(reader: &mut Reader) -> Outcome {
        assert_eq!((reader.u32(), reader.u32()), (0, 0), "the verifier is AUTH_NONE");
        match reader.u32() {
            0 => Outcome::Success(reader.fixed(reader.remaining())),
            1 => Outcome::ProgramUnavailable,
            2 => Outcome::ProgramMismatch { low: reader.u32(), high: reader.u32() },
            3 => Outcome::ProcedureUnavailable,
            4 => Outcome::GarbageArguments,
            5 => Outcome::SystemError,
            other => panic!("accept_stat {other}"),
        }
    }

    /// The results of a call that succeeded.
    #[track_caller]
    pub(crate) fn results(self) -> Reader {
        match self.outcome {
            Outcome::Success(bytes) => Reader::new(bytes),
            other => panic!("the call failed: {other:?}"),
        }
    }
}
