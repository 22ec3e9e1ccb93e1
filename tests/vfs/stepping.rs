//! Stores that wait before and after everything they do, so that a call can be given up at each of these
//! places.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::yield_now;
use trunkfs::content::{Capacity, ContentStore, Footprint};
use trunkfs::metadata::memory::MemoryStore;
use trunkfs::metadata::{
    Answer, CreateHow, Created, Error, Flush, FlushOutcome, Link, LinkTarget, Lookup, Namespace,
    Page, Removed, Renamed, SetAttributes, SettingDone, Usage, ZeroingOutcome,
};
use trunkfs::types::{
    Attributes, Call, ContentId, ContentIdentity, ContentRef, Context, Cookie, DeviceNumbers,
    FileType, Name, ObjectId, ShareId, SymlinkTarget, Timestamp,
};

/// A store that takes its time.
#[derive(Debug)]
pub(crate) struct Stepping<S: ?Sized>(pub(crate) Arc<S>);

macro_rules! stepping {
    ($trait:ident for $store:ty {
        $(fn $now:ident($($given:ident: $kind:ty),*) $(-> $value:ty)?;)*
        $(async fn $name:ident($($argument:ident: $type:ty),*) $(-> $answer:ty)?;)*
    }) => {
        #[async_trait::async_trait]
        impl $trait for Stepping<$store> {
            $(fn $now(&self, $($given: $kind),*) $(-> $value)? {
                self.0.$now($($given),*)
            })*
            $(async fn $name(&self, $($argument: $type),*) $(-> $answer)? {
                yield_now().await;
                let done = self.0.$name($($argument),*).await;
                yield_now().await;
                done
            })*
        }
    };
}

stepping! {
    ContentStore for dyn ContentStore {
        fn max_length() -> u64;
        fn identity() -> Option<ContentIdentity>;
        fn observed(id: ContentId, state: Timestamp);
        fn has_dirty(id: ContentId) -> bool;
        fn discard_dirty(id: ContentId);
        fn with_chunk_size(chunk_size: u32) -> Option<Arc<dyn ContentStore>>;
        async fn data_extents(call: &Call, id: ContentId)
            -> Result<Vec<std::ops::Range<u64>>, trunkfs::content::Error>;
        async fn leftovers(before: Timestamp, remove: bool) -> Result<u64, trunkfs::content::Error>;
        async fn read(call: &Call, id: ContentId, offset: u64, length: usize)
            -> Result<Bytes, trunkfs::content::Error>;
        async fn write(call: &Call, id: ContentId, offset: u64, data: Bytes)
            -> Result<(), trunkfs::content::Error>;
        async fn truncate(call: &Call, id: ContentId, length: u64)
            -> Result<(), trunkfs::content::Error>;
        async fn length(call: &Call, id: ContentId) -> Result<u64, trunkfs::content::Error>;
        async fn commit(call: &Call, id: ContentId) -> Result<(), trunkfs::content::Error>;
        async fn remove(id: ContentId) -> Result<(), trunkfs::content::Error>;
        async fn allocated(call: &Call, id: ContentId, length: u64, holes: bool)
            -> Result<u64, trunkfs::content::Error>;
        async fn footprint(id: ContentId) -> Result<Footprint, trunkfs::content::Error>;
        async fn list(after: Option<ContentId>, limit: usize)
            -> Result<Vec<ContentId>, trunkfs::content::Error>;
        async fn owners() -> Result<Option<String>, trunkfs::content::Error>;
        async fn set_owners(seen: Option<&str>, text: &str) -> Result<bool, trunkfs::content::Error>;
        async fn capacity() -> Result<Option<Capacity>, trunkfs::content::Error>;
    }
}

stepping! {
    Namespace for MemoryStore {
        async fn getattr(cx: &Context, object: ObjectId) -> Result<Attributes, Error>;
        async fn lookup(cx: &Context, directory: ObjectId, name: &Name) -> Answer<Lookup>;
        async fn lookup_parent(cx: &Context, directory: ObjectId) -> Answer<Lookup>;
        async fn readlink(cx: &Context, link: ObjectId) -> Answer<Link>;
        async fn readdir(
            cx: &Context, directory: ObjectId, after: Cookie, most: usize, attributes: bool
        ) -> Answer<Page>;
        async fn setattr(cx: &Context, object: ObjectId, set: &SetAttributes)
            -> Answer<SettingDone>;
        async fn create(cx: &Context, directory: ObjectId, name: &Name, how: &CreateHow)
            -> Answer<Created>;
        async fn mkdir(cx: &Context, directory: ObjectId, name: &Name, set: &SetAttributes)
            -> Answer<Created>;
        async fn symlink(
            cx: &Context, directory: ObjectId, name: &Name, target: &SymlinkTarget,
            set: &SetAttributes
        ) -> Answer<Created>;
        async fn mknod(
            cx: &Context, directory: ObjectId, name: &Name, kind: FileType, rdev: DeviceNumbers,
            set: &SetAttributes
        ) -> Answer<Created>;
        async fn remove(cx: &Context, directory: ObjectId, name: &Name) -> Answer<Removed>;
        async fn rmdir(cx: &Context, directory: ObjectId, name: &Name) -> Answer<Removed>;
        async fn rename(
            cx: &Context, from: ObjectId, from_name: &Name, to: ObjectId, to_name: &Name
        ) -> Answer<Renamed>;
        async fn link(cx: &Context, object: ObjectId, directory: ObjectId, name: &Name)
            -> Answer<LinkTarget>;
        async fn flush(cx: &Context, file: ObjectId, flush: &Flush) -> Answer<FlushOutcome>;
        async fn begin_zeroing(cx: &Context, file: ObjectId, content: ContentRef)
            -> Answer<ZeroingOutcome>;
        async fn usage(share: ShareId) -> Result<Usage, Error>;
    }
}
