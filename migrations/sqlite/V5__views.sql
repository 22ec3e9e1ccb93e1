-- What administrators may ask by SQL (docs/asking.md), as in PostgreSQL (migrations/postgres). Columns of a view are not renamed or
-- removed by later versions, nor do they change their meaning; further ones come at the end. Names are bytes, shown as UTF-8; times are
-- UTC. Views that share a calculation repeat it: SQLite has no functions of a file's own.

CREATE VIEW trunkfs_shares AS
SELECT name AS share, root AS root_id, fsid, chunk_size FROM shares;

-- More than 2^63 bytes are a floating-point number.
CREATE VIEW trunkfs_usage AS
SELECT s.name AS share, COALESCE(u.objects, 0) AS objects,
       CASE WHEN u.bytes_high IS NULL THEN 0 ELSE u.bytes_high * 4611686018427387904 + u.bytes_low END AS used
  FROM shares s LEFT JOIN share_usage u ON u.share_id = s.id;

-- Objects by id, without their names.
CREATE VIEW trunkfs_objects AS
SELECT (SELECT s.name FROM shares s WHERE s.id = o.share_id) AS share, o.id, o.fileid AS ino,
       substr('fdbclsp', o.file_type, 1) AS type, o.mode, o.nlink, o.uid, o.gid, o.size, o.used,
       strftime('%Y-%m-%d %H:%M:%f', o.atime / 1000000000.0, 'unixepoch') AS atime,
       strftime('%Y-%m-%d %H:%M:%f', o.mtime / 1000000000.0, 'unixepoch') AS mtime,
       strftime('%Y-%m-%d %H:%M:%f', o.ctime / 1000000000.0, 'unixepoch') AS ctime, o.mtime AS mtime_ns,
       CAST(o.link_target AS TEXT) AS target, o.rdev >> 32 AS major, o.rdev & 4294967295 AS minor
  FROM objects o;

-- The names in directories, each with its object.
CREATE VIEW trunkfs_entries AS
SELECT e.parent_id AS directory_id, CAST(e.child_name AS TEXT) AS name, e.child_name AS raw_name,
       o.share, o.id, o.ino, o.type, o.mode, o.nlink, o.uid, o.gid, o.size, o.used, o.atime, o.mtime, o.ctime, o.mtime_ns,
       o.target, o.major, o.minor
  FROM parent_child_map e CROSS JOIN trunkfs_objects o ON o.id = e.child_id;

-- Every name below a share's root, and the root itself, with its path. The walk goes down from the roots of all shares, from key to key.
CREATE VIEW trunkfs_files AS
WITH RECURSIVE tree (share, directory_id, raw_name, path, id, file_type) AS (
    SELECT s.name, NULL, NULL, s.name, s.root, 2 FROM shares s
    UNION ALL
    SELECT t.share, e.parent_id, e.child_name, t.path || '/' || CAST(e.child_name AS TEXT), e.child_id,
           (SELECT f.file_type FROM files f WHERE f.id = e.child_id)
      FROM tree t CROSS JOIN parent_child_map e ON e.parent_id = t.id
     WHERE t.file_type = 2
)
SELECT t.share, t.path, CAST(t.raw_name AS TEXT) AS name, t.raw_name, t.directory_id, t.id, o.ino, o.type, o.mode, o.nlink, o.uid,
       o.gid, o.size, o.used, o.atime, o.mtime, o.ctime, o.mtime_ns, o.target, o.major, o.minor
  FROM tree t CROSS JOIN trunkfs_objects o ON o.id = t.id;
