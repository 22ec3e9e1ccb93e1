//! A content store of which a test alters a few operations.

use std::fmt::Debug;
use std::ops::{Deref, Range};
use std::sync::Arc;

use bytes::Bytes;
use trunkfs::content::{Capacity, ContentStore, Error, Footprint};
use trunkfs::types::{Call, ContentId, ContentIdentity, FilePages, Timestamp};

/// What a test alters of `inner`.
#[async_trait::async_trait]
pub(crate) trait Alter: Debug + Send + Sync + 'static {
    fn inner(&self) -> &dyn ContentStore;

    /// Runs before and after each operation.
    async fn around(&self) {}

    async fn read(&self, call: &Call, id: ContentId, at: u64, size: usize) -> Result<Bytes, Error> {
        self.inner().read(call, id, at, size).await
    }

    async fn write(&self, call: &Call, id: ContentId, at: u64, data: Bytes) -> Result<(), Error> {
        self.inner().write(call, id, at, data).await
    }

    async fn commit(&self, call: &Call, id: ContentId) -> Result<(), Error> {
        self.inner().commit(call, id).await
    }

    async fn remove(&self, id: ContentId) -> Result<(), Error> {
        self.inner().remove(id).await
    }
}

/// The altered store.
#[derive(Debug)]
pub(crate) struct Altered<A>(pub(crate) A);

impl<A> Deref for Altered<A> {
    type Target = A;

    fn deref(&self) -> &A {
        &self.0
    }
}

macro_rules! altered {
    (
        now { $(fn $now:ident($($given:ident: $kind:ty),*) $(-> $value:ty)?;)* }
        altered { $(async fn $own:ident($($mine:ident: $form:ty),*) -> $made:ty;)* }
        inner { $(async fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)* }
    ) => {
        #[async_trait::async_trait]
        impl<A: Alter> ContentStore for Altered<A> {
            /// All is read by the altered operation.
            fn pages(&self, _: ContentId, _: u64, _: usize) -> Option<FilePages> {
                None
            }

            $(fn $now(&self, $($given: $kind),*) $(-> $value)? {
                self.0.inner().$now($($given),*)
            })*
            $(async fn $own(&self, $($mine: $form),*) -> Result<$made, Error> {
                self.0.around().await;
                let done = self.0.$own($($mine),*).await;
                self.0.around().await;
                done
            })*
            $(async fn $name(&self, $($argument: $type),*) -> Result<$answer, Error> {
                self.0.around().await;
                let done = self.0.inner().$name($($argument),*).await;
                self.0.around().await;
                done
            })*
        }
    };
}

altered! {
    now {
        fn max_length() -> u64;
        fn identity() -> Option<ContentIdentity>;
        fn observed(id: ContentId, state: Timestamp);
        fn has_dirty(id: ContentId) -> bool;
        fn shares_uncommitted() -> bool;
        fn discard_dirty(id: ContentId);
        fn with_chunk_size(chunk_size: u32) -> Option<Arc<dyn ContentStore>>;
    }
    altered {
        async fn read(call: &Call, id: ContentId, at: u64, size: usize) -> Bytes;
        async fn write(call: &Call, id: ContentId, at: u64, data: Bytes) -> ();
        async fn commit(call: &Call, id: ContentId) -> ();
        async fn remove(id: ContentId) -> ();
    }
    inner {
        async fn truncate(call: &Call, id: ContentId, length: u64) -> ();
        async fn extend(call: &Call, id: ContentId, length: u64) -> bool;
        async fn copy(call: &Call, from: ContentId, to: ContentId, length: u64) -> u64;
        async fn length(call: &Call, id: ContentId) -> u64;
        async fn data_extents(call: &Call, id: ContentId) -> Vec<Range<u64>>;
        async fn list(after: Option<ContentId>, limit: usize) -> Vec<ContentId>;
        async fn allocated(call: &Call, id: ContentId, length: u64, holes: bool) -> u64;
        async fn footprint(id: ContentId) -> Footprint;
        async fn leftovers(before: Timestamp, remove: bool) -> u64;
        async fn owners() -> Option<String>;
        async fn set_owners(seen: Option<&str>, text: &str) -> bool;
        async fn capacity() -> Option<Capacity>;
    }
}
