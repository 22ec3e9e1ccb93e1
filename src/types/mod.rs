//! What crosses layers: identities, names, credentials, times and the context of a call.
//!
//! This module imports nothing from the rest of the crate.

mod atomic_duration;
mod attributes;
mod call;
mod client_address;
mod client_places;
mod credentials;
mod error_chain;
mod failed;
mod fair_permits;
mod fair_queue;
mod file_facts;
mod file_pages;
mod handle;
mod ids;
mod name;
mod replay;
mod retention;
mod secret_file;
pub mod settings;
mod time;
mod timing;
mod vital;

pub use self::time::{Timestamp, since_boot, utc_now};
pub use atomic_duration::AtomicDuration;
pub use attributes::{Attributes, ContentRef, DeviceNumbers, FileType};
pub use call::{Call, Caller, Context};
pub use client_address::ClientAddress;
pub use client_places::{ClientPlace, ClientPlaces};
pub use credentials::{Credentials, MAX_GIDS};
pub use error_chain::{BoundedChain, Chain};
pub use failed::Failed;
pub use fair_permits::{Claimant, FairPermits, NoPermit, Permit};
pub use fair_queue::{Bounds, FairQueue, QueueFull, Ticket};
pub use file_facts::FileFacts;
pub use file_pages::FilePages;
pub use handle::{FileHandle, HandleError, MAX_HANDLE_BYTES};
pub use ids::{
    ContentId, ContentIdentity, ContentVersion, Cookie, Fileid, Fsid, ObjectId, ShareId,
};
pub use name::{
    Component, MAX_NAME_BYTES, MAX_SHARE_NAME_BYTES, MAX_TARGET_BYTES, Name, NameError, ShareName,
    ShareNameError, SymlinkTarget, TargetError,
};
pub use replay::Replay;
pub use retention::Retention;
pub use secret_file::{SecretFile, SecretFileError};
pub use timing::{CallTiming, Phase};
pub use vital::Vital;
