//! The operations of [`crate::metadata::Namespace`] that change something, as calls that wait for the writer.
//! `None` where no writer will carry them out.

use std::sync::Arc;

use super::Queue;
use crate::metadata::single_writer::{self, Tables};
use crate::metadata::{
    Answer, CreateHow, Created, Flush, FlushOutcome, LinkTarget, Removed, Renamed, SetAttributes,
    SettingDone, ZeroingOutcome, replies,
};
use crate::types::{ContentRef, Context, DeviceNumbers, FileType, Name, ObjectId, SymlinkTarget};

/// Each with its arguments, the borrowed ones behind those that are copied.
macro_rules! operations {
    ($($name:ident($($value:ident: $copied:ty),*; $($lent:ident: $type:ty),*) -> $done:ty;)*) => {
        impl<T: Tables + 'static> Queue<T> {
            $(pub(in crate::metadata) async fn $name(
                self: &Arc<Self>,
                cx: &Context,
                $($value: $copied,)*
                $($lent: &$type,)*
            ) -> Option<Answer<$done>> {
                $(let $lent = $lent.clone();)*
                self.change(cx, move |tables, cx| {
                    let done = single_writer::$name(tables, cx, $($value,)* $(&$lent,)*)?;
                    replies::record(tables, cx, &done);
                    Ok(done)
                })
                .await
            })*
        }
    };
}

operations! {
    setattr(object: ObjectId; set: SetAttributes) -> SettingDone;
    create(directory: ObjectId; name: Name, how: CreateHow) -> Created;
    mkdir(directory: ObjectId; name: Name, set: SetAttributes) -> Created;
    symlink(directory: ObjectId; name: Name, target: SymlinkTarget, set: SetAttributes) -> Created;
    mknod(
        directory: ObjectId, node: (FileType, DeviceNumbers); name: Name, set: SetAttributes
    ) -> Created;
    remove(directory: ObjectId; name: Name) -> Removed;
    rmdir(directory: ObjectId; name: Name) -> Removed;
    rename(from: ObjectId, to: ObjectId; from_name: Name, to_name: Name) -> Renamed;
    link(object: ObjectId, directory: ObjectId; name: Name) -> LinkTarget;
    flush(file: ObjectId; flush: Flush) -> FlushOutcome;
    begin_zeroing(file: ObjectId, content: ContentRef;) -> ZeroingOutcome;
}
