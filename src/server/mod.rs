//! From a configuration to a server: stores, shares and their content, the programs; and the maintenance of stores.

mod copying;
mod foresight;
mod gc;
mod home_error;
mod homes;
mod instance;
mod owners;
mod probe;
mod shares;
mod size_limit;
mod stores;
mod waiting;

pub use self::copying::{CopyError, CopyHow, CopyOutcome, CopyStep, CopyWatch, copy_content};
pub use self::gc::{Collected, GcError, GcHow, GcStep, GcWatch, Outcome, collect, lasting_content};
pub use self::home_error::HomeError;
pub use self::homes::{Home, settle_home};
pub use self::instance::{AFTER_DRAIN, Control, Instance, StartError};
pub use self::probe::{ProbeError, Service, own_address, probe};
pub use self::size_limit::{Oversized, SizeCheck, largest_file};
pub use self::stores::{
    Keeper, KeepingError, StoreError, open_for_check, open_for_dump, open_for_load,
    open_for_repair, try_stores,
};
pub(crate) use self::stores::{open_schema, open_schema_at, stores_with_schema};
