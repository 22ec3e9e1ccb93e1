//! The views for SQL, which every store has.

/// Columns in their order. Further ones come at the end: others may not.
pub(crate) const COLUMNS: &[(&str, &str)] = &[
    (
        "trunkfs_entries",
        "directory_id name raw_name share id ino type mode nlink uid gid size used atime mtime ctime mtime_ns target major \
         minor",
    ),
    (
        "trunkfs_files",
        "share path name raw_name directory_id id ino type mode nlink uid gid size used atime mtime ctime mtime_ns target \
         major minor",
    ),
    (
        "trunkfs_objects",
        "share id ino type mode nlink uid gid size used atime mtime ctime mtime_ns target major minor",
    ),
    ("trunkfs_shares", "share root_id fsid chunk_size"),
    ("trunkfs_usage", "share objects used"),
];
