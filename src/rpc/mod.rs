//! ONC RPC version 2 (RFC 5531): records, messages, credentials, dispatch, and the replay of replies.

mod auth;
mod call_log;
pub mod client;
mod dispatch;
mod message;
pub mod null_probe;
mod own_address;
mod program;
mod record;
mod reply_cache;
mod reply_stream;
mod standing;

pub use dispatch::{
    CallTimes, Dispatcher, DuplicateProgram, Lacking, Origin, Running, Session, Started, Task,
};
pub use message::Answer;
pub(crate) use own_address::is_own_address;
pub use program::{Arrival, AuthStatus, CallMessage, Program, Protocol, Reply};
pub use record::{FREE_BYTES, MAX_RECORD_BYTES, RecordError, RecordReader, Step};
pub use reply_stream::{PeerState, ReplyStream, Transport};
pub use standing::Standing;
