//! Stores that wait before and after everything they do, so that a call can be given up at each of these
//! places; and one that other servers use too.

use std::sync::Arc;

use tokio::task::yield_now;
use trunkfs::content::ContentStore;
use trunkfs::metadata::memory::MemoryStore;
use trunkfs::metadata::{
    Answer, CreateHow, Created, Error, Flush, FlushOutcome, Link, LinkTarget, Lookup, Namespace,
    Page, Removed, Renamed, Replayed, SetAttributes, SettingDone, Sole, Usage, ZeroingOutcome,
};
use trunkfs::types::{
    Attributes, ContentRef, Context, Cookie, DeviceNumbers, FileType, Name, ObjectId, Replay,
    ShareId, SymlinkTarget,
};

use crate::altered::Alter;

/// A store that takes its time.
#[derive(Debug)]
pub(crate) struct Stepping<S: ?Sized>(pub(crate) Arc<S>);

#[async_trait::async_trait]
impl Alter for Stepping<dyn ContentStore> {
    fn inner(&self) -> &dyn ContentStore {
        &*self.0
    }

    async fn around(&self) {
        yield_now().await;
    }
}

/// A store of which no process is ever alone.
#[derive(Debug)]
pub(crate) struct Several(pub(crate) Arc<MemoryStore>);

macro_rules! namespace {
    ($store:ty, $around:expr, $sole:expr, {
        $(async fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*
    }) => {
        #[async_trait::async_trait]
        impl Namespace for $store {
            $(async fn $name(&self, $($argument: $type),*) -> $answer {
                $around.await;
                let done = self.0.$name($($argument),*).await;
                $around.await;
                done
            })*

            fn sole(&self) -> Option<Sole> {
                ($sole)(&*self.0)
            }
        }
    };
    ($store:ty, $around:expr, $sole:expr) => {
        namespace! { $store, $around, $sole, {
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
            async fn replayed(cx: &Context, call: &Replay) -> Result<Option<Replayed>, Error>;
        } }
    };
}

namespace!(Stepping<MemoryStore>, yield_now(), |inner: &MemoryStore| inner.sole());
namespace!(Several, std::future::ready(()), |_: &MemoryStore| None);
