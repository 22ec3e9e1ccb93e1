-- The bytes that a file takes on its content store (fattr3.used, RFC 1813 section 2.5): less than the size where it has holes.
-- A file that was there already is recorded with its size in whole blocks, the most that it can take, until its next flush.
-- The counters of a share follow: they sum up `used` in place of sizes.

-- The most that a file of a size takes: the size in whole blocks of 4096 bytes.
CREATE FUNCTION most_used(p_size bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN p_size > 9223372036854771712 THEN 9223372036854775807 ELSE (p_size + 4095) / 4096 * 4096 END
$$;

ALTER TABLE files ADD COLUMN used bigint NOT NULL DEFAULT 0;
-- Rewrites the table once, which leaves no dead rows as an UPDATE of every row would.
ALTER TABLE files
    ALTER COLUMN used TYPE bigint USING CASE WHEN file_type = 1 THEN most_used(size) ELSE size END,
    ALTER COLUMN used DROP DEFAULT,
    ADD CONSTRAINT files_used_check CHECK (used >= 0);

-- A type cannot get an attribute while a column has the type. What became of a call before this migration is not asked any more.
ALTER TABLE writer_slots DROP COLUMN last_answer;
ALTER TYPE object ADD ATTRIBUTE used bigint;
ALTER TYPE answer ADD ATTRIBUTE used bigint;
ALTER TABLE writer_slots ADD COLUMN last_answer object[];

CREATE OR REPLACE VIEW objects AS
SELECT f.id, f.fileid, f.file_type, f.mode,
       CASE WHEN f.file_type = 2 THEN 2 + f.subdirs::bigint
            ELSE COALESCE((SELECT l.link_count FROM link_counts l WHERE l.file_id = f.id), 1)::bigint
       END AS nlink,
       f.uid, f.gid, f.size, f.atime, f.mtime, f.ctime, f.rdev, f.content_id, f.content_version, f.mtime_version,
       f.parent_id, f.create_verifier, f.share_id, f.link_target, f.used
FROM files f;

-- The counters anew. A share's first slot gets the sum, the others nothing.
UPDATE writer_slots w
   SET last_batch = NULL,
       bytes = CASE WHEN w.slot > (SELECT min(o.slot) FROM writer_slots o WHERE o.share_id = w.share_id) THEN 0
                    ELSE (SELECT COALESCE(sum(f.used), 0) FROM files f
                           WHERE f.share_id = w.share_id AND f.file_type IN (1, 5)) END;

-- An object as it is now.
CREATE OR REPLACE FUNCTION object_now(p_id uuid) RETURNS object
LANGUAGE plpgsql AS $$
DECLARE
    o object;
BEGIN
    SELECT v.id, v.fileid, v.file_type, v.mode, v.nlink, v.uid, v.gid, v.size, v.atime, v.mtime, v.ctime, v.rdev,
           v.content_id, v.content_version, v.mtime_version, v.parent_id, v.create_verifier, v.used
      INTO o FROM objects v WHERE v.id = p_id;
    RETURN o;
END $$;

-- Bytes that count as used: what regular files and symbolic links take.
CREATE OR REPLACE FUNCTION bytes_of(p_object object) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN (p_object).file_type IN (1, 5) THEN (p_object).used ELSE 0 END
$$;

-- Makes a share and its root on first use. Takes the advisory lock of share making, so that several instances make one.
CREATE OR REPLACE FUNCTION open_share(p_name text, p_root uuid, p_fsid bigint, p_chunk_size bigint,
                           p_mode integer, p_uid bigint, p_gid bigint, p_size bigint, p_now bigint,
                           p_capabilities bigint[]) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    made smallint;
BEGIN
    IF EXISTS (SELECT FROM shares WHERE name = p_name) THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock(19791, 0);
    IF EXISTS (SELECT FROM shares WHERE name = p_name) THEN
        RETURN false;
    END IF;
    INSERT INTO shares (name, root, fsid, chunk_size) VALUES (p_name, p_root, p_fsid, p_chunk_size)
    RETURNING id INTO made;
    INSERT INTO filesystem_capabilities
    VALUES (made, p_capabilities[1], p_capabilities[2], p_capabilities[3], p_capabilities[4],
            p_capabilities[5], p_capabilities[6], p_capabilities[7], p_capabilities[8]);
    INSERT INTO files (id, share_id, file_type, mode, uid, gid, size, atime, mtime, ctime, parent_id, used)
    VALUES (p_root, made, 2, p_mode, p_uid, p_gid, p_size, p_now, p_now, p_now, p_root, p_size);
    INSERT INTO writer_slots (share_id, slot, epoch, files) VALUES (made, 0, 0, 1);
    RETURN true;
END $$;

-- CREATE, MKDIR, SYMLINK, MKNOD. Answers: the directory before, the directory after, the object.
-- Locks the directory, which is the lock on its edges; the new rows are seen by nobody yet. RMDIR of this directory
-- takes the same lock: whoever comes second finds the edge, or no directory.
CREATE OR REPLACE FUNCTION make_object(p_slot integer, p_epoch bigint, p_batch bigint, p_share smallint, p_now bigint,
                            p_directory uuid, p_name bytea, p_guard bigint[],
                            p_id uuid, p_type smallint, p_mode integer, p_uid bigint, p_gid bigint, p_size bigint,
                            p_atime bigint, p_mtime bigint, p_content uuid, p_target bytea, p_rdev bigint,
                            p_verifier bigint) RETURNS SETOF answer
LANGUAGE plpgsql AS $$
DECLARE
    before object;
    made   object;
BEGIN
    PERFORM 1 FROM files WHERE id = p_directory AND share_id = p_share AND file_type = 2 FOR NO KEY UPDATE;
    before := object_now(p_directory);
    IF NOT holds(before, p_guard) THEN
        RETURN QUERY SELECT * FROM refuse(1);
        RETURN;
    END IF;
    INSERT INTO parent_child_map (parent_id, child_name, child_id) VALUES (p_directory, p_name, p_id)
    ON CONFLICT (parent_id, child_name) DO NOTHING;
    IF NOT FOUND THEN
        RETURN QUERY SELECT * FROM refuse(1);
        RETURN;
    END IF;
    INSERT INTO files (id, share_id, file_type, mode, uid, gid, size, atime, mtime, ctime, content_id, parent_id,
                       link_target, rdev, create_verifier, used)
    VALUES (p_id, p_share, p_type, p_mode, p_uid, p_gid, p_size, p_atime, p_mtime, p_now, p_content,
            CASE WHEN p_type = 2 THEN p_directory END, p_target, p_rdev, p_verifier, p_size);
    UPDATE files
       SET ctime = GREATEST(p_now, ctime + 1), mtime = GREATEST(p_now, ctime + 1),
           subdirs = subdirs + CASE WHEN p_type = 2 THEN 1 ELSE 0 END
     WHERE id = p_directory;
    made := object_now(p_id);
    RETURN QUERY SELECT * FROM finish(p_slot, p_epoch, p_batch, p_share,
                                      ARRAY[before, object_now(p_directory), made], 1, bytes_of(made));
END $$;

-- SETATTR. NULL leaves a value; p_ctime is the ctime that the caller's guard was found equal to. A size cuts `used` to the
-- most that the new size takes. Answers: the object before, the object after. Locks the object.
CREATE OR REPLACE FUNCTION set_attributes(p_slot integer, p_epoch bigint, p_batch bigint, p_share smallint, p_now bigint,
                               p_id uuid, p_guard bigint[], p_ctime bigint,
                               p_mode integer, p_uid bigint, p_gid bigint, p_size bigint, p_atime bigint,
                               p_mtime bigint, p_explicit_mtime boolean, p_content uuid) RETURNS SETOF answer
LANGUAGE plpgsql AS $$
DECLARE
    before object;
    after  object;
BEGIN
    PERFORM 1 FROM files WHERE id = p_id AND share_id = p_share FOR NO KEY UPDATE;
    before := object_now(p_id);
    IF NOT holds(before, p_guard) OR before.ctime <> p_ctime THEN
        RETURN QUERY SELECT * FROM refuse(1);
        RETURN;
    END IF;
    UPDATE files
       SET mode = p_mode, uid = p_uid, gid = p_gid, size = COALESCE(p_size, size),
           used = CASE WHEN p_size IS NULL THEN used ELSE LEAST(used, most_used(p_size)) END,
           atime = COALESCE(p_atime, atime), mtime = COALESCE(p_mtime, mtime), ctime = GREATEST(p_now, ctime + 1),
           content_id = COALESCE(p_content, content_id),
           content_version = content_version + CASE WHEN p_size IS NULL THEN 0 ELSE 1 END,
           mtime_version = CASE WHEN NOT p_explicit_mtime THEN mtime_version
                                WHEN mtime_version = 2147483647 THEN -2147483648
                                ELSE mtime_version + 1 END,
           create_verifier = NULL
     WHERE id = p_id;
    after := object_now(p_id);
    RETURN QUERY SELECT * FROM finish(p_slot, p_epoch, p_batch, p_share, ARRAY[before, after],
                                      0, bytes_of(after) - bytes_of(before));
END $$;

DROP FUNCTION record_write(integer, bigint, bigint, smallint, uuid, bigint, uuid, bigint, bigint, bigint, integer, bigint, integer);
-- The size, `used`, times and cleared mode bits of writes, and the atime; NULL where there is none. p_used was measured behind the
-- writes. Where the file's ctime is not p_seen, another server has recorded writes since the first of them, and `used` only grows;
-- it is at least one byte and at most the size in whole blocks. p_mtime replaces p_replaced, also backwards, and is not moved back
-- over another mtime. Nothing of it is recorded where the content has another id or
-- version. Answers: the file before, the file after; with verdict 4 the file. Locks the file.
CREATE FUNCTION record_write(p_slot integer, p_epoch bigint, p_batch bigint, p_share smallint,
                             p_id uuid, p_atime bigint, p_content uuid, p_version bigint, p_end bigint,
                             p_mtime bigint, p_mtime_version integer, p_ctime bigint, p_clear_mode integer,
                             p_replaced bigint, p_used bigint, p_seen bigint)
RETURNS SETOF answer
LANGUAGE plpgsql AS $$
DECLARE
    wrote  boolean := p_content IS NOT NULL;
    before object;
    after  object;
BEGIN
    PERFORM 1 FROM files WHERE id = p_id AND share_id = p_share FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT * FROM refuse(5);
        RETURN;
    END IF;
    before := object_now(p_id);
    IF wrote AND (before.content_id IS DISTINCT FROM p_content OR before.content_version <> p_version) THEN
        RETURN QUERY SELECT 4::smallint, before.*;
        RETURN;
    END IF;
    UPDATE files
       SET atime = GREATEST(atime, p_atime), size = GREATEST(size, p_end),
           used = CASE WHEN NOT wrote THEN used
                       ELSE LEAST(GREATEST(p_used, 1, CASE WHEN ctime <> p_seen THEN used END),
                                  most_used(GREATEST(size, p_end))) END,
           mode = mode & ~COALESCE(p_clear_mode, 0),
           mtime = CASE WHEN NOT wrote OR mtime_version <> p_mtime_version THEN mtime
                        WHEN mtime = p_replaced THEN p_mtime
                        ELSE GREATEST(mtime, p_mtime) END,
           ctime = CASE WHEN wrote THEN GREATEST(p_ctime, ctime + 1) ELSE ctime END,
           create_verifier = CASE WHEN NOT wrote THEN create_verifier END
     WHERE id = p_id;
    after := object_now(p_id);
    RETURN QUERY SELECT * FROM finish(p_slot, p_epoch, p_batch, p_share, ARRAY[before, after],
                                      0, bytes_of(after) - bytes_of(before));
END $$;
