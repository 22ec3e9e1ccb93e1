-- Puts the former functions back, and the CHECK constraints, which read both tables once. No file or name is lost.

ALTER TABLE parent_child_map RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
ALTER TABLE parent_child_map
    ADD CONSTRAINT parent_child_map_child_name_check CHECK (length(child_name) BETWEEN 1 AND 255);
ALTER TABLE files
    ADD CONSTRAINT files_file_type_check CHECK (file_type BETWEEN 1 AND 7),
    ADD CONSTRAINT files_size_check CHECK (size >= 0),
    ADD CONSTRAINT files_subdirs_check CHECK (subdirs >= 0),
    ADD CONSTRAINT files_check CHECK ((file_type = 2) = (parent_id IS NOT NULL)),
    ADD CONSTRAINT files_check1 CHECK ((file_type = 1) = (content_id IS NOT NULL)),
    ADD CONSTRAINT files_check2 CHECK ((file_type = 5) = (link_target IS NOT NULL)),
    ADD CONSTRAINT files_used_check CHECK (used >= 0);

-- The child that an edge names, and the edge's place. The form leaves the planner no index but the primary key, whatever
-- the statistics say. Holds as long as the directory is locked.
CREATE OR REPLACE FUNCTION edge_now(p_directory uuid, p_name bytea, OUT child uuid, OUT place tid)
LANGUAGE plpgsql AS $$
BEGIN
    SELECT e.child_id, e.place INTO child, place
      FROM (SELECT m.child_id, m.child_name, m.ctid AS place FROM parent_child_map m
             WHERE m.parent_id = p_directory AND m.child_name >= p_name
             ORDER BY m.child_name LIMIT 1) e
     WHERE e.child_name = p_name;
END $$;

-- Ends every mutation: records it in the writer's slot, the last lock, and answers. A slot that has another epoch was
-- given to another writer, or its call was given up; a slot without a row belongs to an older set of shares.
CREATE OR REPLACE FUNCTION finish(p_slot integer, p_epoch bigint, p_batch bigint, p_share smallint,
                       p_answer object[], p_files bigint, p_bytes bigint) RETURNS SETOF answer
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE writer_slots
       SET last_batch = p_batch, last_answer = p_answer, used_at = clock_timestamp(),
           files = files + p_files, bytes = bytes + p_bytes
     WHERE slot = p_slot AND share_id = p_share AND epoch = p_epoch;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'writer slot % is fenced', p_slot USING ERRCODE = 'TF001';
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the isolation level is not READ COMMITTED' USING ERRCODE = 'TF002';
    END IF;
    -- The locks are free as soon as the commit is in the log, before it is on the disk: whoever waits for a busy directory
    -- does not wait for the disk too. The caller sends a statement with a synchronous commit right behind this one,
    -- and answers nobody before that has returned.
    PERFORM set_config('synchronous_commit', 'off', true);
    RETURN QUERY SELECT 0::smallint, o.* FROM unnest(p_answer) o;
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

-- REMOVE. Answers: the directory before, the directory after, the object afterwards.
-- Locks the directory, then the object: its link count is read once no LINK can be under way. The object's uid
-- matters in sticky directories.
CREATE OR REPLACE FUNCTION remove_name(p_slot integer, p_epoch bigint, p_batch bigint, p_share smallint, p_now bigint,
                            p_directory uuid, p_name bytea, p_guard bigint[], p_child uuid, p_child_uid bigint)
RETURNS SETOF answer
LANGUAGE plpgsql AS $$
DECLARE
    before object;
    child  object;
    gone   object;
    edge   record;
BEGIN
    PERFORM 1 FROM files WHERE id = ANY (ARRAY[p_directory, p_child]) AND share_id = p_share
      ORDER BY (file_type <> 2), id FOR UPDATE;
    before := object_now(p_directory);
    child := object_now(p_child);
    edge := edge_now(p_directory, p_name);
    IF NOT holds(before, p_guard) OR edge.child IS DISTINCT FROM p_child OR child.uid IS DISTINCT FROM p_child_uid
       OR child.file_type = 2 THEN
        RETURN QUERY SELECT * FROM refuse(1);
        RETURN;
    END IF;
    DELETE FROM parent_child_map WHERE ctid = edge.place;
    gone := drop_name(child, p_now);
    UPDATE files SET ctime = GREATEST(p_now, ctime + 1), mtime = GREATEST(p_now, ctime + 1) WHERE id = p_directory;
    RETURN QUERY SELECT * FROM finish(p_slot, p_epoch, p_batch, p_share, ARRAY[before, object_now(p_directory), gone],
                                      CASE WHEN gone.nlink = 0 THEN -1 ELSE 0 END,
                                      CASE WHEN gone.nlink = 0 THEN -bytes_of(child) ELSE 0 END);
END $$;

-- RMDIR. Answers as REMOVE.
-- Locks both directories by UUID. Emptiness is read by a later statement, so a CREATE that held the lock is seen;
-- one that waits for it finds no directory.
CREATE OR REPLACE FUNCTION remove_directory(p_slot integer, p_epoch bigint, p_batch bigint, p_share smallint, p_now bigint,
                                 p_directory uuid, p_name bytea, p_guard bigint[], p_child uuid, p_child_uid bigint)
RETURNS SETOF answer
LANGUAGE plpgsql AS $$
DECLARE
    before object;
    gone   object;
    edge   record;
BEGIN
    PERFORM 1 FROM files WHERE id = ANY (ARRAY[p_directory, p_child]) AND share_id = p_share AND file_type = 2
      ORDER BY id FOR UPDATE;
    before := object_now(p_directory);
    gone := object_now(p_child);
    edge := edge_now(p_directory, p_name);
    IF NOT holds(before, p_guard) OR edge.child IS DISTINCT FROM p_child OR gone.uid IS DISTINCT FROM p_child_uid
       OR gone.file_type <> 2 THEN
        RETURN QUERY SELECT * FROM refuse(1);
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM parent_child_map WHERE parent_id = p_child) THEN
        RETURN QUERY SELECT * FROM refuse(2);
        RETURN;
    END IF;
    DELETE FROM parent_child_map WHERE ctid = edge.place;
    DELETE FROM files WHERE id = p_child;
    UPDATE files
       SET ctime = GREATEST(p_now, ctime + 1), mtime = GREATEST(p_now, ctime + 1), subdirs = subdirs - 1
     WHERE id = p_directory;
    gone.nlink := 0;
    gone.ctime := GREATEST(p_now, gone.ctime + 1);
    RETURN QUERY SELECT * FROM finish(p_slot, p_epoch, p_batch, p_share, ARRAY[before, object_now(p_directory), gone],
                                      -1, 0);
END $$;

-- LINK. Answers: the directory before, the directory after, the object afterwards.
-- Locks the directory, then the object: a REMOVE of its last name goes first or waits, never between.
CREATE OR REPLACE FUNCTION link_object(p_slot integer, p_epoch bigint, p_batch bigint, p_share smallint, p_now bigint,
                            p_directory uuid, p_name bytea, p_guard bigint[], p_object uuid, p_max_links bigint)
RETURNS SETOF answer
LANGUAGE plpgsql AS $$
DECLARE
    before object;
    linked object;
BEGIN
    PERFORM 1 FROM files WHERE id = ANY (ARRAY[p_directory, p_object]) AND share_id = p_share
      ORDER BY (file_type <> 2), id FOR NO KEY UPDATE;
    before := object_now(p_directory);
    linked := object_now(p_object);
    IF NOT holds(before, p_guard) OR linked.id IS NULL OR linked.file_type = 2 OR linked.nlink >= p_max_links THEN
        RETURN QUERY SELECT * FROM refuse(1);
        RETURN;
    END IF;
    INSERT INTO parent_child_map (parent_id, child_name, child_id) VALUES (p_directory, p_name, p_object)
    ON CONFLICT (parent_id, child_name) DO NOTHING;
    IF NOT FOUND THEN
        RETURN QUERY SELECT * FROM refuse(1);
        RETURN;
    END IF;
    INSERT INTO link_counts VALUES (p_object, linked.nlink + 1)
    ON CONFLICT (file_id) DO UPDATE SET link_count = EXCLUDED.link_count;
    UPDATE files SET ctime = GREATEST(p_now, ctime + 1), create_verifier = NULL WHERE id = p_object;
    UPDATE files SET ctime = GREATEST(p_now, ctime + 1), mtime = GREATEST(p_now, ctime + 1) WHERE id = p_directory;
    RETURN QUERY SELECT * FROM finish(p_slot, p_epoch, p_batch, p_share,
                                      ARRAY[before, object_now(p_directory), object_now(p_object)], 0, 0);
END $$;

-- RENAME. Answers: the source directory before and after, the target directory before and after, the object
-- afterwards, what it replaced afterwards.
-- A directory that moves to another parent takes the share's lock of directory moves first, in a statement of its own, so
-- that the walk to the root sees what the last holder committed. Then all rows in the order of locks. The caller names the
-- object and what stands in its way; others there mean `again`.
CREATE OR REPLACE FUNCTION rename_entry(p_slot integer, p_epoch bigint, p_batch bigint, p_share smallint, p_now bigint,
                             p_from uuid, p_from_name bytea, p_from_guard bigint[],
                             p_to uuid, p_to_name bytea, p_to_guard bigint[],
                             p_object uuid, p_object_guard bigint[], p_is_directory boolean,
                             p_replaced uuid, p_replaced_guard bigint[]) RETURNS SETOF answer
LANGUAGE plpgsql AS $$
DECLARE
    moves       boolean := p_is_directory AND p_from <> p_to;
    from_before object;
    to_before   object;
    moved       object;
    replaced    object;
    gone        object;
    from_edge   record;
    to_edge     record;
    files_gone  integer := 0;
    bytes_gone  bigint := 0;
    dirs_gone   integer := 0;
BEGIN
    IF moves THEN
        PERFORM pg_advisory_xact_lock(19792, p_share);
    END IF;
    PERFORM 1 FROM files WHERE id = ANY (ARRAY[p_from, p_to, p_object, p_replaced]) AND share_id = p_share
      ORDER BY (file_type <> 2), id FOR UPDATE;
    from_before := object_now(p_from);
    to_before := object_now(p_to);
    moved := object_now(p_object);
    from_edge := edge_now(p_from, p_from_name);
    to_edge := edge_now(p_to, p_to_name);
    IF NOT holds(from_before, p_from_guard) OR NOT holds(to_before, p_to_guard)
       OR NOT holds(moved, p_object_guard)
       OR from_edge.child IS DISTINCT FROM p_object OR to_edge.child IS DISTINCT FROM p_replaced THEN
        RETURN QUERY SELECT * FROM refuse(1);
        RETURN;
    END IF;
    IF p_replaced IS NOT NULL THEN
        replaced := object_now(p_replaced);
        IF NOT holds(replaced, p_replaced_guard) THEN
            RETURN QUERY SELECT * FROM refuse(1);
            RETURN;
        END IF;
    END IF;
    IF moves AND lies_under(p_to, p_object) THEN
        RETURN QUERY SELECT * FROM refuse(3);
        RETURN;
    END IF;
    IF p_replaced IS NOT NULL AND replaced.file_type = 2 THEN
        IF EXISTS (SELECT FROM parent_child_map WHERE parent_id = p_replaced) THEN
            RETURN QUERY SELECT * FROM refuse(2);
            RETURN;
        END IF;
        DELETE FROM files WHERE id = p_replaced;
        gone := replaced;
        gone.nlink := 0;
        gone.ctime := GREATEST(p_now, gone.ctime + 1);
        dirs_gone := 1;
    ELSIF p_replaced IS NOT NULL THEN
        gone := drop_name(replaced, p_now);
    END IF;
    IF gone.nlink = 0 THEN
        files_gone := 1;
        bytes_gone := bytes_of(replaced);
    END IF;
    IF p_replaced IS NULL THEN
        UPDATE parent_child_map SET parent_id = p_to, child_name = p_to_name WHERE ctid = from_edge.place;
    ELSE
        DELETE FROM parent_child_map WHERE ctid = from_edge.place;
        UPDATE parent_child_map SET child_id = p_object WHERE ctid = to_edge.place;
    END IF;
    UPDATE files
       SET ctime = GREATEST(p_now, ctime + 1), create_verifier = NULL,
           parent_id = CASE WHEN p_is_directory THEN p_to END
     WHERE id = p_object;
    UPDATE files f
       SET ctime = GREATEST(p_now, f.ctime + 1), mtime = GREATEST(p_now, f.ctime + 1),
           subdirs = f.subdirs - CASE WHEN moves AND f.id = p_from THEN 1 ELSE 0 END
                               + CASE WHEN moves AND f.id = p_to THEN 1 ELSE 0 END
                               - CASE WHEN f.id = p_to THEN dirs_gone ELSE 0 END
     WHERE f.id = ANY (ARRAY[p_from, p_to]);
    RETURN QUERY SELECT * FROM finish(p_slot, p_epoch, p_batch, p_share,
                                      ARRAY[from_before, object_now(p_from), to_before, object_now(p_to),
                                            object_now(p_object), gone], -files_gone, -bytes_gone);
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

DROP FUNCTION again(object[]);
DROP FUNCTION child_now(uuid, bytea);
DROP FUNCTION as_directory(files);
