//! A client that hides nothing: record marks, header fields and credentials are the caller's to
//! choose, right or wrong. It shares no code with the server, so that one error cannot hide in both.
//!
//! ```ignore
//! let mut connection = Connection::open(address).await;
//! let results = connection.call(Call::new(100_003, 3, 1).arguments(Writer::new().opaque(&handle)))
//!     .await.results();
//! ```
//! Everything that waits gives up (and fails the case) after [`PATIENCE`].

#![allow(dead_code, unused_imports, reason = "cases use what they need of the client")]

mod call;
mod connection;
mod xdr;

pub(crate) use call::{Auth, Call, Outcome, Reply};
pub(crate) use connection::{Connection, PATIENCE};
pub(crate) use xdr::{Reader, Writer};
