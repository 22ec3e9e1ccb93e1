//! The operations of [`crate::metadata::MetadataStore`] that change something, as calls that wait for the
//! writer. `None` where no writer will carry them out.

use std::sync::Arc;

use super::Queue;
use crate::metadata::single_writer::{self, Tables};
use crate::metadata::{
    Answer, CreateHow, Created, Flush, FlushOutcome, LinkTarget, Removed, Renamed, SetAttributes,
    SettingDone, ZeroingOutcome,
};
use crate::types::{ContentRef, Context, DeviceNumbers, FileType, Name, ObjectId, SymlinkTarget};

impl<T: Tables + 'static> Queue<T> {
    pub(in crate::metadata) async fn setattr(
        self: &Arc<Self>,
        cx: &Context,
        object: ObjectId,
        set: &SetAttributes,
    ) -> Option<Answer<SettingDone>> {
        let set = set.clone();
        self.change(cx, move |tables, cx| single_writer::setattr(tables, cx, object, &set)).await
    }

    pub(in crate::metadata) async fn create(
        self: &Arc<Self>,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        how: &CreateHow,
    ) -> Option<Answer<Created>> {
        let (name, how) = (name.clone(), how.clone());
        self.change(cx, move |tables, cx| single_writer::create(tables, cx, directory, &name, &how))
            .await
    }

    pub(in crate::metadata) async fn mkdir(
        self: &Arc<Self>,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        set: &SetAttributes,
    ) -> Option<Answer<Created>> {
        let (name, set) = (name.clone(), set.clone());
        self.change(cx, move |tables, cx| single_writer::mkdir(tables, cx, directory, &name, &set))
            .await
    }

    pub(in crate::metadata) async fn symlink(
        self: &Arc<Self>,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        target: &SymlinkTarget,
        set: &SetAttributes,
    ) -> Option<Answer<Created>> {
        let (name, target, set) = (name.clone(), target.clone(), set.clone());
        self.change(cx, move |tables, cx| {
            single_writer::symlink(tables, cx, directory, &name, &target, &set)
        })
        .await
    }

    pub(in crate::metadata) async fn mknod(
        self: &Arc<Self>,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        (kind, rdev): (FileType, DeviceNumbers),
        set: &SetAttributes,
    ) -> Option<Answer<Created>> {
        let (name, set) = (name.clone(), set.clone());
        self.change(cx, move |tables, cx| {
            single_writer::mknod(tables, cx, directory, &name, (kind, rdev), &set)
        })
        .await
    }

    pub(in crate::metadata) async fn remove(
        self: &Arc<Self>,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
    ) -> Option<Answer<Removed>> {
        let name = name.clone();
        self.change(cx, move |tables, cx| single_writer::remove(tables, cx, directory, &name)).await
    }

    pub(in crate::metadata) async fn rmdir(
        self: &Arc<Self>,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
    ) -> Option<Answer<Removed>> {
        let name = name.clone();
        self.change(cx, move |tables, cx| single_writer::rmdir(tables, cx, directory, &name)).await
    }

    pub(in crate::metadata) async fn rename(
        self: &Arc<Self>,
        cx: &Context,
        (from, from_name): (ObjectId, &Name),
        (to, to_name): (ObjectId, &Name),
    ) -> Option<Answer<Renamed>> {
        let (from_name, to_name) = (from_name.clone(), to_name.clone());
        self.change(cx, move |tables, cx| {
            single_writer::rename(tables, cx, (from, &from_name), (to, &to_name))
        })
        .await
    }

    pub(in crate::metadata) async fn link(
        self: &Arc<Self>,
        cx: &Context,
        object: ObjectId,
        directory: ObjectId,
        name: &Name,
    ) -> Option<Answer<LinkTarget>> {
        let name = name.clone();
        self.change(cx, move |tables, cx| single_writer::link(tables, cx, object, directory, &name))
            .await
    }

    pub(in crate::metadata) async fn flush(
        self: &Arc<Self>,
        cx: &Context,
        file: ObjectId,
        flush: &Flush,
    ) -> Option<Answer<FlushOutcome>> {
        let flush = flush.clone();
        self.change(cx, move |tables, cx| single_writer::flush(tables, cx, file, &flush)).await
    }

    pub(in crate::metadata) async fn begin_zeroing(
        self: &Arc<Self>,
        cx: &Context,
        file: ObjectId,
        content: ContentRef,
    ) -> Option<Answer<ZeroingOutcome>> {
        self.change(cx, move |tables, cx| single_writer::begin_zeroing(tables, cx, file, content))
            .await
    }
}
