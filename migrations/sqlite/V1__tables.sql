-- The namespace's tables, as PostgreSQL's (migrations/postgres). Identities are UUIDs of 16 bytes and of version 7, so that new
-- rows lie beside each other. There are no foreign keys, whose checks would cost every change a search;
-- `inconsistencies` (src/metadata/sqlite/check.sql) looks for what they would refuse.

PRAGMA application_id = 1414678099; -- "TRFS"

CREATE TABLE shares (
    id         INTEGER PRIMARY KEY CHECK (id BETWEEN 1 AND 32767),
    name       TEXT    NOT NULL UNIQUE,
    root       BLOB    NOT NULL CHECK (length(root) = 16),
    fsid       INTEGER NOT NULL UNIQUE,
    chunk_size INTEGER NOT NULL
) STRICT;

-- What FSINFO and PATHCONF answer (RFC 1813 sections 3.3.19 and 3.3.20).
CREATE TABLE filesystem_capabilities (
    share_id          INTEGER PRIMARY KEY,
    max_read          INTEGER NOT NULL,
    max_write         INTEGER NOT NULL,
    multiple          INTEGER NOT NULL,
    preferred_readdir INTEGER NOT NULL,
    max_file_size     INTEGER NOT NULL,
    time_delta        INTEGER NOT NULL,
    max_links         INTEGER NOT NULL,
    max_name          INTEGER NOT NULL
) STRICT;

-- Settings of the store.
CREATE TABLE server_config (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What was not given out yet. Fileids and cookies are taken in runs and never used again; cookies 0 to 2 have a
-- meaning in READDIR.
CREATE TABLE sequences (
    name TEXT    PRIMARY KEY,
    next INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO sequences VALUES ('fileids', 1024), ('cookies', 1024);

-- What a share uses, kept with every change. The sum of sizes may need more than 63 bits: bytes_high counts 2^62.
CREATE TABLE share_usage (
    share_id   INTEGER PRIMARY KEY,
    objects    INTEGER NOT NULL,
    bytes_high INTEGER NOT NULL,
    bytes_low  INTEGER NOT NULL
) STRICT;

-- One row an object. Times are nanoseconds since 1970.
CREATE TABLE files (
    id              BLOB    PRIMARY KEY CHECK (length(id) = 16),
    share_id        INTEGER NOT NULL,
    fileid          INTEGER NOT NULL,
    file_type       INTEGER NOT NULL CHECK (file_type BETWEEN 1 AND 7),
    mode            INTEGER NOT NULL,
    uid             INTEGER NOT NULL,
    gid             INTEGER NOT NULL,
    size            INTEGER NOT NULL CHECK (size >= 0),
    atime           INTEGER NOT NULL,
    mtime           INTEGER NOT NULL,
    ctime           INTEGER NOT NULL,
    subdirs         INTEGER NOT NULL CHECK (subdirs >= 0),
    content_id      BLOB,             -- regular files
    content_version INTEGER NOT NULL,
    mtime_version   INTEGER NOT NULL,
    parent_id       BLOB,             -- directories; the root's is the root
    link_target     BLOB,             -- symbolic links
    rdev            INTEGER,          -- devices: major in the upper 32 bits, minor in the lower
    create_verifier INTEGER,          -- files of an exclusive create that nothing has touched since
    CHECK ((file_type = 2) = (parent_id IS NOT NULL)),
    CHECK ((file_type = 1) = (content_id IS NOT NULL)),
    CHECK ((file_type = 5) = (link_target IS NOT NULL))
) STRICT, WITHOUT ROWID;

-- One row an entry. A rename keeps the cookie, so that a scan under way neither misses nor repeats the entry.
CREATE TABLE parent_child_map (
    parent_id  BLOB    NOT NULL,
    child_name BLOB    NOT NULL CHECK (length(child_name) BETWEEN 1 AND 255),
    child_id   BLOB    NOT NULL,
    cookie     INTEGER NOT NULL,
    PRIMARY KEY (parent_id, child_name)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX parent_child_map_cookie ON parent_child_map (parent_id, cookie);

-- Names of what has more than one; no row means one.
CREATE TABLE link_counts (
    file_id    BLOB    PRIMARY KEY,
    link_count INTEGER NOT NULL CHECK (link_count >= 2)
) STRICT, WITHOUT ROWID;

-- Objects as operations answer with them.
CREATE VIEW objects AS
SELECT f.id, f.share_id, f.fileid, f.file_type, f.mode,
       CASE WHEN f.file_type = 2 THEN 2 + f.subdirs
            ELSE COALESCE((SELECT l.link_count FROM link_counts l WHERE l.file_id = f.id), 1)
       END AS nlink,
       f.uid, f.gid, f.size, f.atime, f.mtime, f.ctime, f.rdev, f.content_id, f.content_version, f.mtime_version,
       f.parent_id, f.create_verifier, f.link_target
  FROM files f;
