//! ONC RPC version 2 (RFC 5531): records, messages, credentials, dispatch, and the replay of replies.

mod program;

pub use program::{AuthStatus, Call, Caller, Flavor, Program, Reply};
