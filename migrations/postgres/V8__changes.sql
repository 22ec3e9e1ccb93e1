-- What servers that share the database change is listed, so that each of them may answer reads from its memory: before it
-- does, it asks for the changes since it asked last (src/metadata/postgres/read_index).

-- One row a change, written in its transaction: the objects, and the entries by directory and name.
-- A snapshot (pg_current_snapshot) says which transactions it sees. So the rows that one snapshot sees and an earlier one did not
-- are those of transactions from the earlier one's xmax on, and of those that were in progress then. Nothing is counted, no
-- order of commits matters, and a transaction that takes long holds nothing back.
-- Not logged: memory lasts no longer than the connection that asks, and a crash of the database, which empties the table, ends
-- every connection.
CREATE UNLOGGED TABLE changes (
    xid         xid8    NOT NULL DEFAULT pg_current_xact_id(),
    objects     uuid[]  NOT NULL,
    directories uuid[]  NOT NULL,
    names       bytea[] NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 50000, autovacuum_vacuum_insert_threshold = -1);
CREATE INDEX changes_xid ON changes (xid);

-- One row. `term` moves where rows change that `changes` does not list: all that is in anybody's memory is void. Rows of
-- transactions below `pruned` are removed; `pruned` never goes back.
CREATE TABLE change_log (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    term     bigint  NOT NULL DEFAULT 0,
    pruned   xid8    NOT NULL DEFAULT '0'
) WITH (fillfactor = 20);
INSERT INTO change_log DEFAULT VALUES;

-- Voids what is in the memory of servers, once the transaction has committed. For whatever changes rows and does not list
-- them. Called last: the row is locked until the transaction ends.
CREATE FUNCTION begin_term() RETURNS void
LANGUAGE sql AS $$
    UPDATE change_log SET term = term + 1
$$;

-- Removes the rows of transactions below p_before, a number that was the next one some time ago. p_all looks for rows that
-- committed behind an earlier pass, too; otherwise the index entries of removed rows are passed over.
CREATE FUNCTION prune_changes(p_before bigint, p_all boolean) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    before  xid8 := p_before::text::xid8;
    earlier xid8;
    removed bigint;
BEGIN
    SELECT c.pruned INTO earlier FROM change_log c FOR NO KEY UPDATE;
    -- In a database that was restored from a dump the numbers begin anew.
    IF earlier > pg_snapshot_xmax(pg_current_snapshot()) THEN
        earlier := '0';
    END IF;
    -- Another server may have gone further.
    before := GREATEST(before, earlier);
    DELETE FROM changes c WHERE c.xid >= CASE WHEN p_all THEN '0' ELSE earlier END AND c.xid < before;
    GET DIAGNOSTICS removed = ROW_COUNT;
    UPDATE change_log SET pruned = before;
    RETURN removed;
END $$;

DROP FUNCTION finish(integer, bigint, bigint, smallint, object[], bigint, bigint);
-- Ends every mutation: records it in the writer's slot, the last lock, lists it, and answers. A slot that has another epoch was
-- given to another writer, or its call was given up; a slot without a row belongs to an older set of shares.
-- The objects of an answer are its first, or the first of each pair of before and after; there are no others.
CREATE FUNCTION finish(p_slot integer, p_epoch bigint, p_batch bigint, p_share smallint,
                       p_answer object[], p_files bigint, p_bytes bigint,
                       p_directories uuid[] DEFAULT '{}', p_names bytea[] DEFAULT '{}') RETURNS SETOF answer
LANGUAGE plpgsql AS $$
DECLARE
    ignored text;
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
    INSERT INTO changes (objects, directories, names)
    VALUES (ARRAY[p_answer[1].id, p_answer[3].id, p_answer[5].id, p_answer[6].id], p_directories, p_names);
    -- The locks are free as soon as the commit is in the log, before it is on the disk: whoever waits for a busy directory
    -- does not wait for the disk too. The caller sends a statement with a synchronous commit right behind this one,
    -- and answers nobody before that has returned.
    ignored := set_config('synchronous_commit', 'off', true);
    RETURN QUERY SELECT 0::smallint, o.* FROM unnest(p_answer) o;
END $$;

-- CREATE, MKDIR, SYMLINK, MKNOD. Answers: the directory before, the directory after, the object; with verdict 1 the
-- directory and the object that has the name.
-- Locks the directory, which is the lock on its edges; the new rows are seen by nobody yet. RMDIR of this directory
-- takes the same lock: whoever comes second finds the edge, or no directory.
CREATE OR REPLACE FUNCTION make_object(p_slot integer, p_epoch bigint, p_batch bigint, p_share smallint, p_now bigint,
                            p_directory uuid, p_name bytea, p_guard bigint[],
                            p_id uuid, p_type smallint, p_mode integer, p_uid bigint, p_gid bigint, p_size bigint,
                            p_atime bigint, p_mtime bigint, p_content uuid, p_target bytea, p_rdev bigint,
                            p_verifier bigint) RETURNS SETOF answer
LANGUAGE plpgsql AS $$
DECLARE
    d           files;
    before      object;
    after       object;
    made        object;
    new_subdirs integer := CASE WHEN p_type = 2 THEN 1 ELSE 0 END;
BEGIN
    -- The row that is locked is the newest there is.
    SELECT * INTO d FROM files WHERE id = p_directory AND share_id = p_share AND file_type = 2 FOR NO KEY UPDATE;
    before := as_directory(d);
    IF NOT holds(before, p_guard) THEN
        RETURN QUERY SELECT * FROM again(ARRAY[before, child_now(p_directory, p_name)]);
        RETURN;
    END IF;
    INSERT INTO parent_child_map (parent_id, child_name, child_id) VALUES (p_directory, p_name, p_id)
    ON CONFLICT (parent_id, child_name) DO NOTHING;
    IF NOT FOUND THEN
        RETURN QUERY SELECT * FROM again(ARRAY[before, child_now(p_directory, p_name)]);
        RETURN;
    END IF;
    INSERT INTO files (id, share_id, file_type, mode, uid, gid, size, atime, mtime, ctime, content_id, parent_id,
                       link_target, rdev, create_verifier, used)
    VALUES (p_id, p_share, p_type, p_mode, p_uid, p_gid, p_size, p_atime, p_mtime, p_now, p_content,
            CASE WHEN p_type = 2 THEN p_directory END, p_target, p_rdev, p_verifier, p_size)
    RETURNING files.fileid INTO made.fileid;
    made := ROW(p_id, made.fileid, p_type, p_mode, 1 + new_subdirs, p_uid, p_gid, p_size, p_atime, p_mtime, p_now, p_rdev,
                p_content, 0, 0, CASE WHEN p_type = 2 THEN p_directory END, p_verifier, p_size);
    after := before;
    after.ctime := GREATEST(p_now, before.ctime + 1);
    after.mtime := after.ctime;
    after.nlink := before.nlink + new_subdirs;
    UPDATE files f SET ctime = after.ctime, mtime = after.mtime, subdirs = f.subdirs + new_subdirs
     WHERE f.id = p_directory;
    RETURN QUERY SELECT * FROM finish(p_slot, p_epoch, p_batch, p_share,
                                      ARRAY[before, after, made], 1, bytes_of(made),
                                      ARRAY[p_directory], ARRAY[p_name]);
END $$;

-- REMOVE. Answers: the directory before, the directory after, the object afterwards; with verdict 1 the directory and the
-- object that has the name.
-- Locks the directory, then the object: its link count is read once no LINK can be under way. The object's uid
-- matters in sticky directories.
CREATE OR REPLACE FUNCTION remove_name(p_slot integer, p_epoch bigint, p_batch bigint, p_share smallint, p_now bigint,
                            p_directory uuid, p_name bytea, p_guard bigint[], p_child uuid, p_child_uid bigint)
RETURNS SETOF answer
LANGUAGE plpgsql AS $$
DECLARE
    before object;
    after  object;
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
        RETURN QUERY SELECT * FROM again(ARRAY[before, object_now(edge.child)]);
        RETURN;
    END IF;
    DELETE FROM parent_child_map WHERE ctid = edge.place;
    gone := drop_name(child, p_now);
    after := before;
    after.ctime := GREATEST(p_now, before.ctime + 1);
    after.mtime := after.ctime;
    UPDATE files SET ctime = after.ctime, mtime = after.mtime WHERE id = p_directory;
    RETURN QUERY SELECT * FROM finish(p_slot, p_epoch, p_batch, p_share, ARRAY[before, after, gone],
                                      CASE WHEN gone.nlink = 0 THEN -1 ELSE 0 END,
                                      CASE WHEN gone.nlink = 0 THEN -bytes_of(child) ELSE 0 END,
                                      ARRAY[p_directory], ARRAY[p_name]);
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
    after  object;
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
        RETURN QUERY SELECT * FROM again(ARRAY[before, object_now(edge.child)]);
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM parent_child_map WHERE parent_id = p_child) THEN
        RETURN QUERY SELECT * FROM refuse(2);
        RETURN;
    END IF;
    DELETE FROM parent_child_map WHERE ctid = edge.place;
    DELETE FROM files WHERE id = p_child;
    after := before;
    after.ctime := GREATEST(p_now, before.ctime + 1);
    after.mtime := after.ctime;
    after.nlink := before.nlink - 1;
    UPDATE files SET ctime = after.ctime, mtime = after.mtime, subdirs = subdirs - 1 WHERE id = p_directory;
    gone.nlink := 0;
    gone.ctime := GREATEST(p_now, gone.ctime + 1);
    RETURN QUERY SELECT * FROM finish(p_slot, p_epoch, p_batch, p_share, ARRAY[before, after, gone],
                                      -1, 0,
                                      ARRAY[p_directory], ARRAY[p_name]);
END $$;

-- LINK. Answers: the directory before, the directory after, the object afterwards; with verdict 1 the directory, the
-- object that has the name, and the object that was to get it.
-- Locks the directory, then the object: a REMOVE of its last name goes first or waits, never between.
CREATE OR REPLACE FUNCTION link_object(p_slot integer, p_epoch bigint, p_batch bigint, p_share smallint, p_now bigint,
                            p_directory uuid, p_name bytea, p_guard bigint[], p_object uuid, p_max_links bigint)
RETURNS SETOF answer
LANGUAGE plpgsql AS $$
DECLARE
    before object;
    after  object;
    linked object;
BEGIN
    PERFORM 1 FROM files WHERE id = ANY (ARRAY[p_directory, p_object]) AND share_id = p_share
      ORDER BY (file_type <> 2), id FOR NO KEY UPDATE;
    before := object_now(p_directory);
    linked := object_now(p_object);
    IF NOT holds(before, p_guard) OR linked.id IS NULL OR linked.file_type = 2 OR linked.nlink >= p_max_links THEN
        RETURN QUERY SELECT * FROM again(ARRAY[before, child_now(p_directory, p_name), linked]);
        RETURN;
    END IF;
    INSERT INTO parent_child_map (parent_id, child_name, child_id) VALUES (p_directory, p_name, p_object)
    ON CONFLICT (parent_id, child_name) DO NOTHING;
    IF NOT FOUND THEN
        RETURN QUERY SELECT * FROM again(ARRAY[before, child_now(p_directory, p_name), linked]);
        RETURN;
    END IF;
    INSERT INTO link_counts VALUES (p_object, linked.nlink + 1)
    ON CONFLICT (file_id) DO UPDATE SET link_count = EXCLUDED.link_count;
    linked.nlink := linked.nlink + 1;
    linked.ctime := GREATEST(p_now, linked.ctime + 1);
    linked.create_verifier := NULL;
    UPDATE files SET ctime = linked.ctime, create_verifier = NULL WHERE id = p_object;
    after := before;
    after.ctime := GREATEST(p_now, before.ctime + 1);
    after.mtime := after.ctime;
    UPDATE files SET ctime = after.ctime, mtime = after.mtime WHERE id = p_directory;
    RETURN QUERY SELECT * FROM finish(p_slot, p_epoch, p_batch, p_share,
                                      ARRAY[before, after, linked], 0, 0,
                                      ARRAY[p_directory], ARRAY[p_name]);
END $$;

-- RENAME. Answers: the source directory before and after, the target directory before and after, the object
-- afterwards, what it replaced afterwards; with verdict 1 the source directory, the object that has the old name, the target
-- directory, the object that has the new name.
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
    IF p_replaced IS NOT NULL THEN
        replaced := object_now(p_replaced);
    END IF;
    from_edge := edge_now(p_from, p_from_name);
    to_edge := edge_now(p_to, p_to_name);
    IF NOT holds(from_before, p_from_guard) OR NOT holds(to_before, p_to_guard)
       OR NOT holds(moved, p_object_guard)
       OR from_edge.child IS DISTINCT FROM p_object OR to_edge.child IS DISTINCT FROM p_replaced
       OR (p_replaced IS NOT NULL AND NOT holds(replaced, p_replaced_guard)) THEN
        RETURN QUERY SELECT * FROM again(ARRAY[from_before, object_now(from_edge.child), to_before, object_now(to_edge.child)]);
        RETURN;
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
                                            object_now(p_object), gone], -files_gone, -bytes_gone,
                                      ARRAY[p_from, p_to], ARRAY[p_from_name, p_to_name]);
END $$;

-- Takes the lease, where its holder is still the one that the caller has seen (NULL: nobody) and each other instance has the
-- count that the caller has seen standing still for a whole TTL. Their rows go: one that wakes finds that it has to
-- join. A renewal under way locks its row: it goes first and its count has moved, or it finds no row.
CREATE OR REPLACE FUNCTION take_lease(p_instance uuid, p_holder uuid, p_seen uuid[], p_counts bigint[]) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    present uuid;
BEGIN
    PERFORM commit_durably();
    SELECT holder INTO present FROM lease FOR UPDATE;
    IF present IS DISTINCT FROM p_holder THEN
        RETURN false;
    END IF;
    PERFORM 1 FROM instances ORDER BY instance FOR UPDATE;
    IF NOT EXISTS (SELECT FROM instances WHERE instance = p_instance) OR EXISTS (
        SELECT FROM instances i
         WHERE i.instance <> p_instance
           AND NOT EXISTS (SELECT FROM unnest(p_seen, p_counts) AS s (instance, count)
                            WHERE s.instance = i.instance AND s.count = i.count)) THEN
        RETURN false;
    END IF;
    DELETE FROM instances WHERE instance <> p_instance;
    UPDATE instances SET count = count + 1 WHERE instance = p_instance;
    UPDATE lease SET holder = p_instance, wanted = false;
    -- Its changes are not listed.
    PERFORM begin_term();
    RETURN true;
END $$;
