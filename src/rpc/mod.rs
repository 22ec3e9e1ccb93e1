//! ONC RPC version 2 (RFC 5531): records, messages, credentials, dispatch, and the replay of replies.

mod auth;
mod call_log;
mod dispatch;
mod message;
pub mod null_probe;
mod program;
mod record;
mod reply_cache;
mod reply_stream;
mod standing;

pub use dispatch::{Dispatcher, DuplicateProgram, Lacking, Session, Started, Waiting};
pub use message::Answer;
pub use program::{AuthStatus, CallMessage, Program, Reply};
pub use record::{FREE_BYTES, MAX_RECORD_BYTES, RecordError, RecordReader, Step};
pub use reply_stream::{PeerState, ReplyStream, Transport};
pub use standing::Standing;
