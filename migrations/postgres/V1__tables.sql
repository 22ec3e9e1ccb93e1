-- The namespace's tables. There are no foreign keys: their checks would take row locks of their own, out
-- of the order that the functions keep; `inconsistencies` (src/metadata/postgres/check.sql) looks for what they would refuse.

-- Fileids and cookies are never used again. A cache per connection keeps the sequences out of the way;
-- neither is dense nor in the order of commits. Cookies 0 to 2 have a meaning in READDIR.
CREATE SEQUENCE fileids AS bigint START 1024 CACHE 256;
CREATE SEQUENCE cookies AS bigint START 1024 CACHE 256;
CREATE SEQUENCE share_ids AS smallint;
CREATE SEQUENCE writer_epochs AS bigint;

CREATE TABLE shares (
    id         smallint PRIMARY KEY DEFAULT nextval('share_ids'),
    name       text     NOT NULL UNIQUE,
    root       uuid     NOT NULL,
    fsid       bigint   NOT NULL,
    chunk_size bigint   NOT NULL
);

-- What FSINFO and PATHCONF answer (RFC 1813 sections 3.3.19 and 3.3.20).
CREATE TABLE filesystem_capabilities (
    share_id          smallint PRIMARY KEY,
    max_read          bigint NOT NULL,
    max_write         bigint NOT NULL,
    multiple          bigint NOT NULL,
    preferred_readdir bigint NOT NULL,
    max_file_size     bigint NOT NULL,
    time_delta        bigint NOT NULL,
    max_links         bigint NOT NULL,
    max_name          bigint NOT NULL
);

-- Settings that all instances share.
CREATE TABLE server_config (
    key   text PRIMARY KEY,
    value text NOT NULL
);

-- One row an object. Times are nanoseconds since 1970; uid and gid have the protocol's 32 bits. No column that changes is
-- indexed and pages keep room, so that updates of attributes touch no index (heap-only tuples).
CREATE TABLE files (
    id              uuid     PRIMARY KEY,
    share_id        smallint NOT NULL,
    fileid          bigint   NOT NULL DEFAULT nextval('fileids'),
    file_type       smallint NOT NULL CHECK (file_type BETWEEN 1 AND 7),
    mode            integer  NOT NULL,
    uid             bigint   NOT NULL,
    gid             bigint   NOT NULL,
    size            bigint   NOT NULL CHECK (size >= 0),
    atime           bigint   NOT NULL,
    mtime           bigint   NOT NULL,
    ctime           bigint   NOT NULL,
    subdirs         integer  NOT NULL DEFAULT 0 CHECK (subdirs >= 0),
    content_id      uuid,                        -- regular files
    content_version bigint   NOT NULL DEFAULT 0,
    mtime_version   integer  NOT NULL DEFAULT 0,
    parent_id       uuid,                        -- directories; the root's is the root
    link_target     bytea,                       -- symbolic links
    rdev            bigint,                      -- devices: major in the upper 32 bits, minor in the lower
    create_verifier bigint,                      -- files of an exclusive create that nothing has touched since
    CHECK ((file_type = 2) = (parent_id IS NOT NULL)),
    CHECK ((file_type = 1) = (content_id IS NOT NULL)),
    CHECK ((file_type = 5) = (link_target IS NOT NULL))
) WITH (fillfactor = 90);

-- One row an entry. A rename keeps the cookie, so that a scan under way neither misses nor repeats the entry.
CREATE TABLE parent_child_map (
    parent_id  uuid   NOT NULL,
    child_name bytea  NOT NULL CHECK (length(child_name) BETWEEN 1 AND 255),
    child_id   uuid   NOT NULL,
    cookie     bigint NOT NULL DEFAULT nextval('cookies'),
    PRIMARY KEY (parent_id, child_name)
);
CREATE UNIQUE INDEX parent_child_map_cookie ON parent_child_map (parent_id, cookie);

-- Names of what has more than one; no row means one.
CREATE TABLE link_counts (
    file_id    uuid    PRIMARY KEY,
    link_count integer NOT NULL CHECK (link_count >= 2)
) WITH (fillfactor = 90);

-- An object as operations answer with it: a row of `files` with its link count.
CREATE TYPE object AS (
    id              uuid,
    fileid          bigint,
    file_type       smallint,
    mode            integer,
    nlink           bigint,
    uid             bigint,
    gid             bigint,
    size            bigint,
    atime           bigint,
    mtime           bigint,
    ctime           bigint,
    rdev            bigint,
    content_id      uuid,
    content_version bigint,
    mtime_version   integer,
    parent_id       uuid,
    create_verifier bigint
);

-- What a connection that writes did last, one row a share and slot. A slot belongs to the connection that
-- holds its advisory lock and gave it its epoch; every mutation updates its row last, WHERE the epoch is still its own.
-- last_batch and last_answer tell the outcome of a call whose answer was lost. files and bytes sum up over the
-- slots to what the share uses. Slot 0 belongs to nobody.
CREATE TABLE writer_slots (
    share_id    smallint NOT NULL,
    slot        integer  NOT NULL,
    instance    uuid,
    epoch       bigint   NOT NULL,
    last_batch  bigint,
    last_answer object[],
    used_at     timestamptz,
    files       bigint   NOT NULL DEFAULT 0,
    bytes       numeric  NOT NULL DEFAULT 0, -- two files of the largest size already need more than 64 bits
    PRIMARY KEY (slot, share_id)
) WITH (fillfactor = 20);

-- Objects as operations answer with them. The link count is a scalar subquery, so that no plan can join it otherwise
-- than by its key. Read it in a later statement than the one that locks the row.
CREATE VIEW objects AS
SELECT f.id, f.fileid, f.file_type, f.mode,
       CASE WHEN f.file_type = 2 THEN 2 + f.subdirs::bigint
            ELSE COALESCE((SELECT l.link_count FROM link_counts l WHERE l.file_id = f.id), 1)::bigint
       END AS nlink,
       f.uid, f.gid, f.size, f.atime, f.mtime, f.ctime, f.rdev, f.content_id, f.content_version, f.mtime_version,
       f.parent_id, f.create_verifier, f.share_id, f.link_target
FROM files f;
