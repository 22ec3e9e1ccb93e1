//! The arguments of NFSv3's procedures (RFC 1813 section 3.3), one function each.

use super::types::{How, Sattr, Time};
use super::xdr::Args;

pub(crate) const NULL: u32 = 0;
pub(crate) const GETATTR: u32 = 1;
pub(crate) const SETATTR: u32 = 2;
pub(crate) const LOOKUP: u32 = 3;
pub(crate) const ACCESS: u32 = 4;
pub(crate) const READLINK: u32 = 5;
pub(crate) const READ: u32 = 6;
pub(crate) const WRITE: u32 = 7;
pub(crate) const CREATE: u32 = 8;
pub(crate) const MKDIR: u32 = 9;
pub(crate) const SYMLINK: u32 = 10;
pub(crate) const MKNOD: u32 = 11;
pub(crate) const REMOVE: u32 = 12;
pub(crate) const RMDIR: u32 = 13;
pub(crate) const RENAME: u32 = 14;
pub(crate) const LINK: u32 = 15;
pub(crate) const READDIR: u32 = 16;
pub(crate) const READDIRPLUS: u32 = 17;
pub(crate) const FSSTAT: u32 = 18;
pub(crate) const FSINFO: u32 = 19;
pub(crate) const PATHCONF: u32 = 20;
pub(crate) const COMMIT: u32 = 21;

/// A handle alone: GETATTR, READLINK, FSSTAT, FSINFO, PATHCONF.
pub(crate) fn handle(handle: &[u8]) -> Args {
    Args::new().opaque(handle)
}

/// A directory and a name: LOOKUP, REMOVE, RMDIR, and the start of the creating ones.
pub(crate) fn entry(directory: &[u8], name: &[u8]) -> Args {
    handle(directory).opaque(name)
}

pub(crate) fn setattr(object: &[u8], set: &Sattr, guard: Option<Time>) -> Args {
    let args = set.write(handle(object));
    match guard {
        Some((seconds, nanoseconds)) => args.choice(1).u32(seconds).u32(nanoseconds),
        None => args.choice(0),
    }
}

pub(crate) fn access(object: &[u8], bits: u32) -> Args {
    handle(object).u32(bits)
}

pub(crate) fn read(file: &[u8], offset: u64, count: u32) -> Args {
    handle(file).u64(offset).u32(count)
}

pub(crate) fn write(file: &[u8], offset: u64, count: u32, stable: u32, data: &[u8]) -> Args {
    handle(file).u64(offset).u32(count).choice(stable).opaque(data)
}

pub(crate) fn create(directory: &[u8], name: &[u8], how: &How) -> Args {
    let args = entry(directory, name);
    match how {
        How::Unchecked(set) => set.write(args.choice(0)),
        How::Guarded(set) => set.write(args.choice(1)),
        How::Exclusive(verifier) => args.choice(2).fixed(verifier),
    }
}

pub(crate) fn mkdir(directory: &[u8], name: &[u8], set: &Sattr) -> Args {
    set.write(entry(directory, name))
}

pub(crate) fn symlink(directory: &[u8], name: &[u8], target: &[u8], set: &Sattr) -> Args {
    set.write(entry(directory, name)).opaque(target)
}

/// Devices carry attributes and numbers, sockets and pipes attributes, other kinds nothing.
pub(crate) fn mknod(
    directory: &[u8],
    name: &[u8],
    kind: u32,
    set: &Sattr,
    rdev: (u32, u32),
) -> Args {
    let args = entry(directory, name).choice(kind);
    match kind {
        3 | 4 => set.write(args).u32(rdev.0).u32(rdev.1),
        6 | 7 => set.write(args),
        _ => args,
    }
}

pub(crate) fn rename(from: &[u8], from_name: &[u8], to: &[u8], to_name: &[u8]) -> Args {
    entry(from, from_name).opaque(to).opaque(to_name)
}

pub(crate) fn link(object: &[u8], directory: &[u8], name: &[u8]) -> Args {
    handle(object).opaque(directory).opaque(name)
}

pub(crate) fn readdir(directory: &[u8], cookie: u64, verifier: [u8; 8], count: u32) -> Args {
    handle(directory).u64(cookie).fixed(&verifier).u32(count)
}

pub(crate) fn readdirplus(
    directory: &[u8],
    cookie: u64,
    verifier: [u8; 8],
    dircount: u32,
    maxcount: u32,
) -> Args {
    handle(directory).u64(cookie).fixed(&verifier).u32(dircount).u32(maxcount)
}

pub(crate) fn commit(file: &[u8], offset: u64, count: u32) -> Args {
    handle(file).u64(offset).u32(count)
}
