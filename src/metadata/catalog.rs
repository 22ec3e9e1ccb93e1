//! What a store holds beside objects: its shares, settings that all instances share, and its place.

use super::{Error, Share, StorePlace};

/// The shares and settings of a store, or of what one keeps on disk, also while a server has it open.
#[async_trait::async_trait]
pub trait Catalog: std::fmt::Debug + Send + Sync + 'static {
    /// Every share.
    async fn shares(&self) -> Result<Vec<Share>, Error>;

    /// A setting that all instances share; `None` where it was never set.
    async fn setting(&self, key: &str) -> Result<Option<String>, Error>;

    /// Where the store is; `None` where it goes with the process.
    async fn place(&self) -> Result<Option<StorePlace>, Error>;
}
