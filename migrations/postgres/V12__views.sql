-- What administrators may ask by SQL (docs/asking.md). Columns of a view are not renamed or removed by later versions, nor do they
-- change their meaning; further ones come at the end (CREATE OR REPLACE VIEW). The views have no schema of their own: one called
-- `trunkfs` would come before the tables' own in the search_path of a role of that name.

-- A name as text. Names are bytes: one that is no UTF-8, or that the database's encoding cannot hold, is written as encode(…, 'escape')
-- has it.
CREATE FUNCTION trunkfs_text(p_name bytea) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN convert_from(p_name, 'UTF8');
EXCEPTION WHEN data_exception OR character_not_in_repertoire OR untranslatable_character THEN
    RETURN encode(p_name, 'escape');
END $$;

-- A time in nanoseconds since 1970.
CREATE FUNCTION trunkfs_time(p_nanoseconds bigint) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT timestamptz 'epoch' + make_interval(secs => p_nanoseconds / 1000000000)
           + p_nanoseconds % 1000000000 / 1000 * interval '1 microsecond'
$$;

-- ftype3 of RFC 1813 as find(1) has it.
CREATE FUNCTION trunkfs_type(p_type smallint) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT substr('fdbclsp', p_type, 1)
$$;

CREATE VIEW trunkfs_shares AS
SELECT s.name AS share, s.root AS root_id, s.fsid, s.chunk_size FROM shares s;

CREATE VIEW trunkfs_usage AS
SELECT s.name AS share, COALESCE(sum(w.files), 0)::bigint AS objects, COALESCE(sum(w.bytes), 0)::numeric AS used
  FROM shares s LEFT JOIN writer_slots w ON w.share_id = s.id
 GROUP BY s.name;

-- Objects by id, without their names.
CREATE VIEW trunkfs_objects AS
SELECT s.name AS share, o.id, o.fileid AS ino, trunkfs_type(o.file_type) AS type, o.mode, o.nlink, o.uid, o.gid, o.size, o.used,
       trunkfs_time(o.atime) AS atime, trunkfs_time(o.mtime) AS mtime, trunkfs_time(o.ctime) AS ctime, o.mtime AS mtime_ns,
       trunkfs_text(o.link_target) AS target, o.rdev >> 32 AS major, o.rdev & 4294967295 AS minor
  FROM objects o LEFT JOIN shares s ON s.id = o.share_id;

-- The names in directories, each with its object.
CREATE VIEW trunkfs_entries AS
SELECT e.parent_id AS directory_id, trunkfs_text(e.child_name) AS name, e.child_name AS raw_name,
       s.name AS share, o.id, o.fileid AS ino, trunkfs_type(o.file_type) AS type, o.mode, o.nlink, o.uid, o.gid, o.size, o.used,
       trunkfs_time(o.atime) AS atime, trunkfs_time(o.mtime) AS mtime, trunkfs_time(o.ctime) AS ctime, o.mtime AS mtime_ns,
       trunkfs_text(o.link_target) AS target, o.rdev >> 32 AS major, o.rdev & 4294967295 AS minor
  FROM parent_child_map e JOIN objects o ON o.id = e.child_id LEFT JOIN shares s ON s.id = o.share_id;

-- Every name below a share's root, and the root itself, with its path. The walk goes down from the root of each share that is asked
-- for, from key to key: no plan reads a table as a whole for it.
CREATE VIEW trunkfs_files AS
SELECT s.name AS share, t.path, t.name, t.raw_name, t.directory_id, t.id, o.fileid AS ino, trunkfs_type(o.file_type) AS type, o.mode,
       o.nlink, o.uid, o.gid, o.size, o.used,
       trunkfs_time(o.atime) AS atime, trunkfs_time(o.mtime) AS mtime, trunkfs_time(o.ctime) AS ctime, o.mtime AS mtime_ns,
       trunkfs_text(o.link_target) AS target, o.rdev >> 32 AS major, o.rdev & 4294967295 AS minor
  FROM shares s
 CROSS JOIN LATERAL (
    WITH RECURSIVE tree (directory_id, raw_name, name, path, id, file_type) AS (
        SELECT NULL::uuid, NULL::bytea, NULL::text, s.name, s.root, 2::smallint
        UNION ALL
        SELECT e.parent_id, e.child_name, n.name, t.path || '/' || n.name, e.child_id,
               (SELECT f.file_type FROM files f WHERE f.id = e.child_id)
          FROM tree t
          JOIN parent_child_map e ON e.parent_id = t.id
         CROSS JOIN LATERAL (SELECT trunkfs_text(e.child_name) AS name OFFSET 0) n
         WHERE t.file_type = 2
    )
    SELECT * FROM tree
 ) t
 CROSS JOIN LATERAL (SELECT * FROM objects o WHERE o.id = t.id OFFSET 0) o;
