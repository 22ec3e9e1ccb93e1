-- Changes of several callers in one transaction, while several servers use the database.

-- What became of each call of a slot's last batch (`run_batch`): the file number of what it made, 0 where it made nothing, or the
-- verdict below zero. NULL where the slot's last call was a single one.
ALTER TABLE writer_slots ADD COLUMN last_results bigint[];

-- Carries out changes of one share in the order of the arrays, each as the function of its kind does that is called alone: 1
-- make_object, 2 remove_name, 3 set_attributes, 4 record_write. p_place is the directory, or the object that is changed; p_object what is
-- made or removed. Of kind 3, p_ctime is the ctime that the caller's guard was found equal to; of kind 4, p_size is where the writes
-- end, and p_mode what they clear. Calls with a key are recorded where they are done.
-- p_locks has what is there before: all rows are locked by the first statement, in the order of locks. Later statements, and later
-- calls, see what earlier ones have changed: a call whose name was taken by one before it finds that out as from another transaction.
-- A directory is written when the batch goes on to another one, so that each batch leaves one version of its row.
-- Answers as the single functions do, with the number of the call from 1. A call that is refused has changed nothing. Nothing is
-- recorded where all are refused.
-- A lock is waited for no longer than p_patience milliseconds: the caller then has each call wait by itself.
CREATE FUNCTION run_batch(
    p_slot integer, p_epoch bigint, p_batch bigint, p_share smallint, p_patience integer, p_locks uuid[],
    p_kind smallint[], p_now bigint[], p_place uuid[], p_name bytea[], p_object uuid[],
    p_guard_mode integer[], p_guard_uid bigint[], p_guard_gid bigint[],
    p_type smallint[], p_mode integer[], p_uid bigint[], p_gid bigint[], p_size bigint[], p_used bigint[],
    p_atime bigint[], p_mtime bigint[], p_ctime bigint[], p_content uuid[], p_version bigint[], p_mtime_version integer[],
    p_explicit_mtime boolean[], p_replaced bigint[], p_seen bigint[],
    p_target bytea[], p_rdev bigint[], p_verifier bigint[], p_peer bigint[], p_key uuid[])
RETURNS TABLE (call smallint, verdict smallint, o object)
LANGUAGE plpgsql AS $$
DECLARE
    c           record;
    d           files;
    directory   object;            -- as the calls so far leave it
    is_changed  boolean := false;  -- its row is older
    before      object;
    after       object;
    edge        record;
    results     bigint[] := '{}';
    result      bigint;
    more_files  bigint  := 0;
    more_bytes  numeric := 0;
    listed      uuid;
    objects     uuid[]  := '{}';
    directories uuid[]  := '{}';
    names       bytea[] := '{}';
    peers       bigint[] := '{}';
    keys        uuid[]  := '{}';
    makes       uuid[]  := '{}';
    is_done     boolean := false;
    ignored     text;
BEGIN
    ignored := set_config('lock_timeout', p_patience::text, true);
    PERFORM 1 FROM files WHERE id = ANY (p_locks) AND share_id = p_share
      ORDER BY (file_type <> 2), id FOR NO KEY UPDATE;
    FOR c IN
        SELECT * FROM unnest(p_kind, p_now, p_place, p_name, p_object, p_guard_mode, p_guard_uid, p_guard_gid, p_type, p_mode, p_uid,
                             p_gid, p_size, p_used, p_atime, p_mtime, p_ctime, p_content, p_version, p_mtime_version,
                             p_explicit_mtime, p_replaced, p_seen, p_target, p_rdev, p_verifier, p_peer, p_key)
               WITH ORDINALITY
            AS c(kind, now, place, name, object, guard_mode, guard_uid, guard_gid, type, mode, uid,
                 gid, size, used, atime, mtime, ctime, content, version, mtime_version,
                 explicit_mtime, replaced, seen, target, rdev, verifier, peer, key, number)
    LOOP
        call := c.number;
        -- Behind the directory at hand is another one, or its own row is needed.
        IF directory.id IS DISTINCT FROM c.place OR c.kind > 2 THEN
            IF is_changed AND (c.kind <= 2 OR directory.id = c.place) THEN
                UPDATE files f SET ctime = directory.ctime, mtime = directory.mtime, subdirs = directory.nlink - 2
                 WHERE f.id = directory.id;
                is_changed := false;
            END IF;
            IF c.kind <= 2 THEN
                SELECT * INTO d FROM files f WHERE f.id = c.place AND f.share_id = p_share AND f.file_type = 2;
                directory := as_directory(d);
            ELSIF directory.id = c.place THEN
                directory := NULL;
            END IF;
        END IF;
        verdict := 1;
        result := 0;
        IF c.kind = 1 THEN
            IF directory.mode = c.guard_mode AND directory.uid = c.guard_uid AND directory.gid = c.guard_gid THEN
                INSERT INTO parent_child_map (parent_id, child_name, child_id) VALUES (c.place, c.name, c.object)
                ON CONFLICT (parent_id, child_name) DO NOTHING;
                IF FOUND THEN
                    verdict := 0;
                END IF;
            END IF;
            IF verdict = 1 THEN
                o := directory;
                RETURN NEXT;
                o := child_now(c.place, c.name);
                RETURN NEXT;
            ELSE
                INSERT INTO files AS f (id, share_id, file_type, mode, uid, gid, size, atime, mtime, ctime, content_id, parent_id,
                                        link_target, rdev, create_verifier, used)
                VALUES (c.object, p_share, c.type, c.mode, c.uid, c.gid, c.size, c.atime, c.mtime, c.now, c.content,
                        CASE WHEN c.type = 2 THEN c.place END, c.target, c.rdev, c.verifier, c.size)
                RETURNING f.fileid INTO result;
                o := directory;
                RETURN NEXT;
                directory.ctime := GREATEST(c.now, directory.ctime + 1);
                directory.mtime := directory.ctime;
                directory.nlink := directory.nlink + CASE WHEN c.type = 2 THEN 1 ELSE 0 END;
                is_changed := true;
                o := directory;
                RETURN NEXT;
                o := ROW(c.object, result, c.type, c.mode, CASE WHEN c.type = 2 THEN 2 ELSE 1 END, c.uid, c.gid, c.size,
                         c.atime, c.mtime, c.now, c.rdev, c.content, 0, 0, CASE WHEN c.type = 2 THEN c.place END, c.verifier,
                         c.size);
                RETURN NEXT;
                more_files := more_files + 1;
                more_bytes := more_bytes + bytes_of(o);
                directories := directories || c.place;
                names := names || c.name;
            END IF;
        ELSIF c.kind = 2 THEN
            edge := edge_now(c.place, c.name);
            before := object_now(edge.child);
            IF directory.mode = c.guard_mode AND directory.uid = c.guard_uid AND directory.gid = c.guard_gid
               AND edge.child = c.object AND before.uid = c.uid AND before.file_type <> 2 THEN
                verdict := 0;
                DELETE FROM parent_child_map WHERE ctid = edge.place;
                o := directory;
                RETURN NEXT;
                directory.ctime := GREATEST(c.now, directory.ctime + 1);
                directory.mtime := directory.ctime;
                is_changed := true;
                o := directory;
                RETURN NEXT;
                o := drop_name(before, c.now);
                RETURN NEXT;
                IF o.nlink = 0 THEN
                    more_files := more_files - 1;
                    more_bytes := more_bytes - bytes_of(before);
                END IF;
                directories := directories || c.place;
                names := names || c.name;
            ELSE
                o := directory;
                RETURN NEXT;
                o := before;
                RETURN NEXT;
            END IF;
        ELSIF c.kind = 3 THEN
            before := object_now(c.place);
            IF before.mode = c.guard_mode AND before.uid = c.guard_uid AND before.gid = c.guard_gid
               AND before.ctime = COALESCE(c.ctime, before.ctime) THEN
                verdict := 0;
                after := before;
                UPDATE files f
                   SET mode = c.mode, uid = c.uid, gid = c.gid, size = COALESCE(c.size, f.size),
                       used = CASE WHEN c.size IS NULL THEN f.used ELSE LEAST(f.used, most_used(c.size)) END,
                       atime = COALESCE(c.atime, f.atime), mtime = COALESCE(c.mtime, f.mtime),
                       ctime = GREATEST(c.now, f.ctime + 1), content_id = COALESCE(c.content, f.content_id),
                       content_version = f.content_version + CASE WHEN c.size IS NULL THEN 0 ELSE 1 END,
                       mtime_version = CASE WHEN NOT c.explicit_mtime THEN f.mtime_version
                                            WHEN f.mtime_version = 2147483647 THEN -2147483648
                                            ELSE f.mtime_version + 1 END,
                       create_verifier = NULL
                 WHERE f.id = c.place
                RETURNING f.mode, f.uid, f.gid, f.size, f.used, f.atime, f.mtime, f.ctime, f.content_id, f.content_version,
                          f.mtime_version, f.create_verifier
                     INTO after.mode, after.uid, after.gid, after.size, after.used, after.atime, after.mtime, after.ctime,
                          after.content_id, after.content_version, after.mtime_version, after.create_verifier;
            END IF;
        ELSE
            before := object_now(c.place);
            IF before.id IS NULL THEN
                verdict := 5;
            ELSIF c.content IS NOT NULL
                  AND (before.content_id IS DISTINCT FROM c.content OR before.content_version <> c.version) THEN
                verdict := 4;
            ELSE
                verdict := 0;
                after := before;
                UPDATE files f
                   SET atime = GREATEST(f.atime, c.atime), size = GREATEST(f.size, c.size),
                       used = CASE WHEN c.content IS NULL THEN f.used
                                   ELSE LEAST(GREATEST(c.used, 1, CASE WHEN f.ctime <> c.seen THEN f.used END),
                                              most_used(GREATEST(f.size, c.size))) END,
                       mode = f.mode & ~COALESCE(c.mode, 0),
                       mtime = CASE WHEN c.content IS NULL OR f.mtime_version <> c.mtime_version THEN f.mtime
                                    WHEN f.mtime = c.replaced THEN c.mtime
                                    ELSE GREATEST(f.mtime, c.mtime) END,
                       ctime = CASE WHEN c.content IS NULL THEN f.ctime ELSE GREATEST(c.ctime, f.ctime + 1) END,
                       create_verifier = CASE WHEN c.content IS NULL THEN f.create_verifier END
                 WHERE f.id = c.place
                RETURNING f.mode, f.size, f.used, f.atime, f.mtime, f.ctime, f.create_verifier
                     INTO after.mode, after.size, after.used, after.atime, after.mtime, after.ctime, after.create_verifier;
            END IF;
        END IF;
        IF c.kind > 2 THEN
            o := before;
            RETURN NEXT;
            IF verdict = 0 THEN
                o := after;
                RETURN NEXT;
                more_bytes := more_bytes + bytes_of(after) - bytes_of(before);
            END IF;
        END IF;
        IF verdict = 0 THEN
            is_done := true;
            IF listed IS DISTINCT FROM c.place THEN
                objects := objects || c.place;
                listed := c.place;
            END IF;
            IF c.kind = 2 THEN
                objects := objects || c.object;
            END IF;
            IF c.key IS NOT NULL THEN
                peers := peers || c.peer;
                keys := keys || c.key;
                makes := makes || CASE WHEN c.kind = 1 THEN c.object END;
            END IF;
            results := results || result;
        ELSE
            results := results || -verdict::bigint;
        END IF;
    END LOOP;
    IF NOT is_done THEN
        RETURN;
    END IF;
    IF is_changed THEN
        UPDATE files f SET ctime = directory.ctime, mtime = directory.mtime, subdirs = directory.nlink - 2
         WHERE f.id = directory.id;
    END IF;
    IF cardinality(keys) > 0 THEN
        INSERT INTO replies (peer, key, made) SELECT * FROM unnest(peers, keys, makes);
    END IF;
    UPDATE writer_slots w
       SET last_batch = p_batch, last_answer = NULL, last_results = results, used_at = clock_timestamp(),
           files = w.files + more_files, bytes = w.bytes + more_bytes
     WHERE w.slot = p_slot AND w.share_id = p_share AND w.epoch = p_epoch;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'writer slot % is fenced', p_slot USING ERRCODE = 'TF001';
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the isolation level is not READ COMMITTED' USING ERRCODE = 'TF002';
    END IF;
    INSERT INTO changes AS n (objects, directories, names) VALUES (objects, directories, names);
    -- As `finish` does: the caller waits for the disk.
    ignored := set_config('synchronous_commit', 'off', true);
END $$;

-- Finds out what became of a batch whose answer was lost, as `settle` does. No row where nothing was changed, and nothing ever will be.
CREATE FUNCTION settle_batch(p_share smallint, p_slot integer, p_epoch bigint, p_batch bigint) RETURNS SETOF bigint[]
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE writer_slots SET epoch = -epoch WHERE slot = p_slot AND share_id = p_share AND epoch = p_epoch;
    -- Something to commit in any case, so that what is answered is durable.
    PERFORM pg_logical_emit_message(true, 'trunkfs', '');
    RETURN QUERY SELECT w.last_results FROM writer_slots w
                  WHERE w.slot = p_slot AND w.share_id = p_share AND w.last_batch = p_batch AND w.last_results IS NOT NULL;
END $$;
