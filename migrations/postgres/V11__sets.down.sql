-- A server that is alone writes its rows one by one again, as in version 7. No data is lost.
CREATE OR REPLACE FUNCTION apply_rows(
    p_slot integer, p_epoch bigint, p_batch bigint,
    s_share smallint[], s_files bigint[], s_bytes text[],
    d_parent uuid[], d_name bytea[],
    m_parent uuid[], m_name bytea[], m_child uuid[], m_cookie bigint[],
    e_parent uuid[], e_name bytea[], e_child uuid[], e_cookie bigint[],
    g_id uuid[],
    f_id uuid[], f_share smallint[], f_fileid bigint[], f_type smallint[], f_mode integer[], f_uid bigint[], f_gid bigint[],
    f_size bigint[], f_used bigint[], f_atime bigint[], f_mtime bigint[], f_ctime bigint[], f_subdirs integer[],
    f_content uuid[], f_version bigint[], f_mtime_version integer[], f_parent uuid[], f_verifier bigint[],
    f_target bytea[], f_rdev bigint[],
    u_id uuid[], u_mode integer[], u_uid bigint[], u_gid bigint[], u_size bigint[], u_used bigint[],
    u_atime bigint[], u_mtime bigint[], u_ctime bigint[], u_subdirs integer[],
    u_content uuid[], u_version bigint[], u_mtime_version integer[], u_parent uuid[], u_verifier bigint[],
    l_id uuid[], l_count integer[], k_id uuid[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    counted bigint;
    s record; d record; m record; u record;
BEGIN
    UPDATE writers SET last_batch = p_batch
     WHERE ctid = (SELECT w.ctid FROM writers w WHERE w.slot >= p_slot AND w.slot <= p_slot ORDER BY w.slot DESC LIMIT 1)
       AND epoch = p_epoch AND last_batch = p_batch - 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the batch before % of writer slot % was not applied', p_batch, p_slot USING ERRCODE = 'TF005';
    END IF;
    FOR s IN SELECT * FROM unnest(s_share, s_files, s_bytes) AS s(share, files, bytes) LOOP
        UPDATE writer_slots SET used_at = now(), files = files + s.files, bytes = bytes + s.bytes::numeric
         WHERE ctid = (SELECT w.ctid FROM writer_slots w
                        WHERE w.slot = p_slot AND w.share_id >= s.share AND w.share_id <= s.share
                        ORDER BY w.share_id DESC LIMIT 1)
           AND epoch = p_epoch;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'writer slot % is fenced', p_slot USING ERRCODE = 'TF001';
        END IF;
    END LOOP;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the isolation level is not READ COMMITTED' USING ERRCODE = 'TF002';
    END IF;
    IF cardinality(d_parent) > 0 THEN
        FOR d IN SELECT * FROM unnest(d_parent, d_name) AS d(parent, name) LOOP
            DELETE FROM parent_child_map
             WHERE ctid = (SELECT e.ctid FROM parent_child_map e
                            WHERE e.parent_id = d.parent AND e.child_name >= d.name AND e.child_name <= d.name
                            ORDER BY e.child_name LIMIT 1);
            IF NOT FOUND THEN
                PERFORM row_is_missing('the entry of directory', d.parent);
            END IF;
        END LOOP;
    END IF;
    IF cardinality(m_parent) > 0 THEN
        FOR m IN SELECT * FROM unnest(m_parent, m_name, m_child, m_cookie) AS m(parent, name, child, cookie) LOOP
            UPDATE parent_child_map SET child_id = m.child, cookie = m.cookie
             WHERE ctid = (SELECT e.ctid FROM parent_child_map e
                            WHERE e.parent_id = m.parent AND e.child_name >= m.name AND e.child_name <= m.name
                            ORDER BY e.child_name LIMIT 1);
            IF NOT FOUND THEN
                PERFORM row_is_missing('the entry of directory', m.parent);
            END IF;
        END LOOP;
    END IF;
    IF cardinality(e_parent) > 0 THEN
        INSERT INTO parent_child_map (parent_id, child_name, child_id, cookie)
        SELECT * FROM unnest(e_parent, e_name, e_child, e_cookie);
    END IF;
    IF cardinality(g_id) > 0 THEN
        DELETE FROM files WHERE id = ANY (g_id);
        GET DIAGNOSTICS counted = ROW_COUNT;
        IF counted <> cardinality(g_id) THEN
            PERFORM row_is_missing('one of the removed objects from', g_id[1]);
        END IF;
    END IF;
    IF cardinality(f_id) > 0 THEN
        INSERT INTO files (id, share_id, fileid, file_type, mode, uid, gid, size, used, atime, mtime, ctime, subdirs,
                           content_id, content_version, mtime_version, parent_id, create_verifier, link_target, rdev)
        SELECT * FROM unnest(f_id, f_share, f_fileid, f_type, f_mode, f_uid, f_gid, f_size, f_used, f_atime, f_mtime, f_ctime,
                             f_subdirs, f_content, f_version, f_mtime_version, f_parent, f_verifier, f_target, f_rdev);
    END IF;
    IF cardinality(u_id) > 0 THEN
        FOR u IN
            SELECT * FROM unnest(u_id, u_mode, u_uid, u_gid, u_size, u_used, u_atime, u_mtime, u_ctime, u_subdirs, u_content,
                                 u_version, u_mtime_version, u_parent, u_verifier)
                AS u(id, mode, uid, gid, size, used, atime, mtime, ctime, subdirs, content, version, mtime_version, parent, verifier)
        LOOP
            UPDATE files
               SET mode = u.mode, uid = u.uid, gid = u.gid, size = u.size, used = u.used, atime = u.atime, mtime = u.mtime,
                   ctime = u.ctime, subdirs = u.subdirs, content_id = u.content, content_version = u.version,
                   mtime_version = u.mtime_version, parent_id = u.parent, create_verifier = u.verifier
             WHERE ctid = (SELECT f.ctid FROM files f WHERE f.id >= u.id AND f.id <= u.id ORDER BY f.id DESC LIMIT 1);
            IF NOT FOUND THEN
                PERFORM row_is_missing('object', u.id);
            END IF;
        END LOOP;
    END IF;
    IF cardinality(l_id) > 0 THEN
        INSERT INTO link_counts (file_id, link_count) SELECT * FROM unnest(l_id, l_count)
        ON CONFLICT (file_id) DO UPDATE SET link_count = EXCLUDED.link_count;
    END IF;
    IF cardinality(k_id) > 0 THEN
        DELETE FROM link_counts WHERE file_id = ANY (k_id);
    END IF;
END $$;
