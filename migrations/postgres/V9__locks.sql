-- Byte-range locks and share reservations of NLM clients, granted by any server of the database. A call is one of the functions
-- below, in a transaction of its own; none touches a row of `files`, so the lease has nothing to do with them. Every function can
-- be called again where its answer was lost. Rows of removed files stay until somebody looks for them (`tidy_locks`).

-- A client: its address, the caller_name of its calls, the address of the server that they came to. `seen` moves at most once
-- a minute.
CREATE TABLE lock_clients (
    id          integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    address     text        NOT NULL,
    caller_name bytea       NOT NULL CHECK (length(caller_name) <= 1024),
    server      text        NOT NULL,
    seen        timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (address, caller_name, server)
) WITH (fillfactor = 50);

-- What is held. Rows of one owner (client, svid) and file do not overlap. Rows come and go with every call, so vacuums go by
-- their number and not by the table's size.
CREATE TABLE locks (
    file_id   uuid        NOT NULL,
    client_id integer     NOT NULL,
    svid      integer     NOT NULL,
    first     bigint      NOT NULL CHECK (first >= 0),
    last      bigint      NOT NULL,
    exclusive boolean     NOT NULL,
    oh        bytea       NOT NULL CHECK (length(oh) <= 1024),
    state     integer     NOT NULL,
    since     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (file_id, client_id, svid, first),
    CHECK (first <= last)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_scale_factor = 0,
        autovacuum_analyze_threshold = 1000);
CREATE INDEX locks_client ON locks (client_id, file_id, svid);

-- What waits; with a cookie it has got the lock, and the client does not know yet. `instance` calls the client back.
CREATE TABLE lock_waiters (
    file_id   uuid        NOT NULL,
    client_id integer     NOT NULL,
    svid      integer     NOT NULL,
    first     bigint      NOT NULL CHECK (first >= 0),
    last      bigint      NOT NULL,
    exclusive boolean     NOT NULL,
    oh        bytea       NOT NULL CHECK (length(oh) <= 1024),
    state     integer     NOT NULL,
    handle    bytea       NOT NULL CHECK (length(handle) <= 1024),
    version   bigint      NOT NULL,
    transport text        NOT NULL CHECK (transport IN ('tcp', 'udp')),
    local     text        NOT NULL,
    instance  uuid        NOT NULL,
    since     timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen      timestamptz NOT NULL DEFAULT clock_timestamp(),
    cookie    uuid,
    PRIMARY KEY (file_id, client_id, svid, first, last, exclusive),
    CHECK (first <= last)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_scale_factor = 0,
        autovacuum_analyze_threshold = 1000);
-- Whichever index a plan takes that was made on small tables, it finds the rows of one file by it.
CREATE INDEX lock_waiters_owner ON lock_waiters (client_id, svid, file_id);
CREATE INDEX lock_waiters_instance ON lock_waiters (instance, file_id);
CREATE UNIQUE INDEX lock_waiters_cookie ON lock_waiters (cookie) WHERE cookie IS NOT NULL;

-- Share reservations: what others may not do (mode), what the client does (access); 1 reads, 2 writes, 3 both.
CREATE TABLE lock_shares (
    file_id   uuid        NOT NULL,
    client_id integer     NOT NULL,
    oh        bytea       NOT NULL CHECK (length(oh) <= 1024),
    mode      smallint    NOT NULL CHECK (mode BETWEEN 0 AND 3),
    access    smallint    NOT NULL CHECK (access BETWEEN 0 AND 3),
    since     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (file_id, client_id, oh)
);
CREATE INDEX lock_shares_client ON lock_shares (client_id, file_id);

-- What a function answers. One row; `reserve_waiters` and `unlock_range` add one for each reservation, with its cookie.
-- Verdicts: 0 done; 1 another owner has it; 2 as much as there may be; 3 waits; 4 the file is gone; 5 would wait for itself;
-- 6 the call is too old; 7 nothing was there; 8 held. `instances` have waiters on the file, and something was freed there.
CREATE TYPE lock_answer AS (
    verdict     smallint,
    instances   uuid[],
    cookie      uuid,
    file_id     uuid,
    svid        integer,
    first       bigint,
    last        bigint,
    exclusive   boolean,
    oh          bytea,
    handle      bytea,
    version     bigint,
    transport   text,
    local       text,
    address     text,
    caller_name bytea,
    server      text,
    locks       bigint,
    waiters     bigint,
    reserved    bigint,
    shares      bigint,
    files       bigint
);

CREATE FUNCTION lock_verdict(p_verdict integer, p_instances uuid[] DEFAULT NULL) RETURNS lock_answer
LANGUAGE sql IMMUTABLE AS $$
    SELECT ROW(p_verdict, p_instances, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
               NULL, NULL, NULL, NULL)::lock_answer
$$;

-- Waits for the file's turn, which lasts until the commit. A statement of its own: what follows sees what it has waited for.
-- Whether the call is young enough then: a server that was paused must not undo what its client has done since by another.
-- The commit does not wait for the disk, so that the turn is over before: the caller sends a statement with a synchronous
-- commit right behind, and answers nobody before that has returned.
CREATE FUNCTION lock_turn(p_before timestamptz, p_file uuid) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the isolation level is not READ COMMITTED' USING ERRCODE = 'TF002';
    END IF;
    IF p_file IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(19795, uuid_hash(p_file));
    END IF;
    PERFORM set_config('synchronous_commit', 'off', true);
    RETURN clock_timestamp() < p_before;
END $$;

-- A client's number, NULL where it is not known.
CREATE FUNCTION lock_client(p_address text, p_name bytea, p_server text) RETURNS integer
LANGUAGE sql STABLE AS $$
    SELECT c.id FROM lock_clients c WHERE c.address = p_address AND c.caller_name = p_name AND c.server = p_server
$$;

-- A client's number; the client is seen.
CREATE FUNCTION lock_client_seen(p_address text, p_name bytea, p_server text) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    found_id integer;
    found_at timestamptz;
BEGIN
    LOOP
        SELECT c.id, c.seen INTO found_id, found_at FROM lock_clients c
         WHERE c.address = p_address AND c.caller_name = p_name AND c.server = p_server;
        IF found_id IS NULL THEN
            INSERT INTO lock_clients (address, caller_name, server) VALUES (p_address, p_name, p_server)
            ON CONFLICT (address, caller_name, server) DO NOTHING;
            CONTINUE;
        END IF;
        IF found_at > clock_timestamp() - interval '1 minute' THEN
            RETURN found_id;
        END IF;
        UPDATE lock_clients SET seen = clock_timestamp() WHERE id = found_id;
        -- `tidy_locks` may have removed it meanwhile.
        IF FOUND THEN
            RETURN found_id;
        END IF;
    END LOOP;
END $$;

-- Whether another owner holds a range, or has it reserved, so that one of this kind cannot be had. Client 0 is nobody's.
CREATE FUNCTION is_locked(p_file uuid, p_client integer, p_svid integer, p_first bigint, p_last bigint, p_exclusive boolean)
RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM locks l
                    WHERE l.file_id = p_file AND l.first <= p_last AND l.last >= p_first AND (l.exclusive OR p_exclusive)
                      AND (l.client_id <> p_client OR l.svid <> p_svid))
        OR EXISTS (SELECT FROM lock_waiters w
                    WHERE w.file_id = p_file AND w.cookie IS NOT NULL AND w.first <= p_last AND w.last >= p_first
                      AND (w.exclusive OR p_exclusive) AND (w.client_id <> p_client OR w.svid <> p_svid))
$$;

-- Puts a range of an owner in the place of whatever it has there, or nothing where p_exclusive is NULL. Neighbours of one kind
-- and state become one row; rows of two states stay apart, since a reboot of the client frees one and not the other. Answers
-- whether others may have more now.
CREATE FUNCTION carve_locks(p_file uuid, p_client integer, p_svid integer, p_first bigint, p_last bigint, p_exclusive boolean,
                            p_oh bytea, p_state integer) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    r         locks;
    new_first bigint := p_first;
    new_last  bigint := p_last;
    new_since timestamptz := clock_timestamp();
    lowest    bigint;
    frees     boolean := false;
BEGIN
    -- The last row that begins before the range is the only one of those that may reach into it.
    SELECT l.first INTO lowest FROM locks l
     WHERE l.file_id = p_file AND l.client_id = p_client AND l.svid = p_svid AND l.first <= p_first
     ORDER BY l.first DESC LIMIT 1;
    IF p_exclusive IS NOT NULL AND EXISTS (
        SELECT FROM locks l
         WHERE l.file_id = p_file AND l.client_id = p_client AND l.svid = p_svid AND l.first = lowest
           AND l.last >= p_last AND l.exclusive = p_exclusive AND l.state = p_state) THEN
        RETURN false;
    END IF;
    IF lowest = p_first THEN
        SELECT l.first INTO lowest FROM locks l
         WHERE l.file_id = p_file AND l.client_id = p_client AND l.svid = p_svid AND l.first < p_first
         ORDER BY l.first DESC LIMIT 1;
    END IF;
    FOR r IN
        DELETE FROM locks l
         WHERE l.file_id = p_file AND l.client_id = p_client AND l.svid = p_svid
           AND l.first >= COALESCE(lowest, p_first)
           AND l.first <= CASE WHEN p_last = 9223372036854775807 THEN p_last ELSE p_last + 1 END
           AND l.last >= p_first - 1
        RETURNING l.*
    LOOP
        IF r.first <= p_last AND r.last >= p_first AND (p_exclusive IS NULL OR r.exclusive AND NOT p_exclusive) THEN
            frees := true;
        END IF;
        IF r.exclusive = p_exclusive AND r.state = p_state THEN
            new_first := LEAST(new_first, r.first);
            new_last := GREATEST(new_last, r.last);
            new_since := LEAST(new_since, r.since);
        ELSE
            IF r.first < p_first THEN
                INSERT INTO locks VALUES (p_file, p_client, p_svid, r.first, LEAST(r.last, p_first - 1), r.exclusive, r.oh,
                                          r.state, r.since);
            END IF;
            IF r.last > p_last THEN
                INSERT INTO locks VALUES (p_file, p_client, p_svid, GREATEST(r.first, p_last + 1), r.last, r.exclusive, r.oh,
                                          r.state, r.since);
            END IF;
        END IF;
    END LOOP;
    IF p_exclusive IS NOT NULL THEN
        INSERT INTO locks VALUES (p_file, p_client, p_svid, new_first, new_last, p_exclusive, p_oh, p_state, new_since);
    END IF;
    RETURN frees;
END $$;

-- Who has waiters on a file.
CREATE FUNCTION lock_instances(p_file uuid) RETURNS uuid[]
LANGUAGE sql STABLE AS $$
    SELECT array_agg(DISTINCT w.instance) FROM lock_waiters w WHERE w.file_id = p_file AND w.cookie IS NULL
$$;

-- Whether a client may have one row more. All rows of one client are counted at one call in 32 where they are more than 1000,
-- and those of all clients, with the clients themselves, are what the statistics of the tables say.
CREATE FUNCTION has_lock_room(p_client integer, p_waits boolean, p_most bigint, p_all bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    counted bigint;
    near    bigint := LEAST(p_most, 1000);
BEGIN
    IF (SELECT sum(GREATEST(c.reltuples, 0)) FROM pg_class c
         WHERE c.oid = ANY (ARRAY['locks'::regclass, 'lock_waiters'::regclass, 'lock_shares'::regclass,
                                   'lock_clients'::regclass]::oid[])) >= p_all THEN
        RETURN false;
    END IF;
    FOR turn IN 1 .. 2 LOOP
        IF p_waits THEN
            SELECT count(*) INTO counted FROM (SELECT FROM lock_waiters w WHERE w.client_id = p_client LIMIT near) n;
        ELSE
            SELECT (SELECT count(*) FROM (SELECT FROM locks l WHERE l.client_id = p_client LIMIT near) n)
                 + (SELECT count(*) FROM (SELECT FROM lock_shares s WHERE s.client_id = p_client LIMIT near) n) INTO counted;
        END IF;
        IF counted >= p_most THEN
            RETURN false;
        END IF;
        IF counted < near OR random() > 0.03125 THEN
            RETURN true;
        END IF;
        near := p_most;
    END LOOP;
    RETURN true;
END $$;

-- Whether a file is not there; the rows of one that is gone go.
CREATE FUNCTION lock_file_is_gone(p_file uuid) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM files f WHERE f.id = p_file) THEN
        RETURN false;
    END IF;
    DELETE FROM locks l WHERE l.file_id = p_file;
    DELETE FROM lock_waiters w WHERE w.file_id = p_file;
    DELETE FROM lock_shares s WHERE s.file_id = p_file;
    RETURN true;
END $$;

-- Takes a range, or waits for it.
CREATE FUNCTION lock_range(p_before timestamptz, p_file uuid, p_address text, p_name bytea, p_server text, p_svid integer,
                           p_first bigint, p_last bigint, p_exclusive boolean, p_oh bytea, p_state integer,
                           p_instance uuid, p_handle bytea, p_version bigint, p_transport text, p_local text,
                           p_ranges bigint, p_locks bigint, p_waiters bigint, p_all bigint) RETURNS SETOF lock_answer
LANGUAGE plpgsql AS $$
DECLARE
    client  integer;
    waits   boolean := false;
    frees   boolean;
    counted bigint;
BEGIN
    IF NOT lock_turn(p_before, p_file) THEN
        RETURN NEXT lock_verdict(6);
        RETURN;
    END IF;
    IF lock_file_is_gone(p_file) THEN
        RETURN NEXT lock_verdict(4);
        RETURN;
    END IF;
    client := COALESCE(lock_client(p_address, p_name, p_server), 0);
    waits := EXISTS (SELECT FROM lock_waiters w
                      WHERE w.file_id = p_file AND w.client_id = client AND w.svid = p_svid AND w.first = p_first
                        AND w.last = p_last AND w.exclusive = p_exclusive);
    IF is_locked(p_file, client, p_svid, p_first, p_last, p_exclusive) THEN
        IF p_instance IS NULL THEN
            RETURN NEXT lock_verdict(1);
            RETURN;
        END IF;
        IF NOT waits AND NOT has_lock_room(client, true, p_waiters, p_all) THEN
            RETURN NEXT lock_verdict(2);
            RETURN;
        END IF;
        -- Who else is about to wait goes first or comes after, on whatever file: two who begin at once do not miss each other.
        PERFORM pg_advisory_xact_lock(19796, 0);
        IF lock_would_wait_for_itself(p_file, client, p_svid, p_first, p_last, p_exclusive) THEN
            DELETE FROM lock_waiters w
             WHERE w.file_id = p_file AND w.client_id = client AND w.svid = p_svid AND w.first = p_first AND w.last = p_last
               AND w.exclusive = p_exclusive;
            RETURN NEXT lock_verdict(5);
            RETURN;
        END IF;
        client := lock_client_seen(p_address, p_name, p_server);
        INSERT INTO lock_waiters (file_id, client_id, svid, first, last, exclusive, oh, state, handle, version, transport, local,
                                  instance)
        VALUES (p_file, client, p_svid, p_first, p_last, p_exclusive, p_oh, p_state, p_handle, p_version, p_transport, p_local,
                p_instance)
        ON CONFLICT (file_id, client_id, svid, first, last, exclusive)
        DO UPDATE SET oh = p_oh, state = p_state, handle = p_handle, version = p_version, transport = p_transport,
                      local = p_local, instance = p_instance, seen = clock_timestamp();
        RETURN NEXT lock_verdict(3);
        RETURN;
    END IF;
    -- What waits was counted.
    IF NOT waits THEN
        SELECT count(*) INTO counted FROM (
            SELECT FROM locks l WHERE l.file_id = p_file AND l.client_id = client AND l.svid = p_svid LIMIT p_ranges) n;
        IF (counted >= p_ranges OR NOT has_lock_room(client, false, p_locks, p_all))
           AND lock_adds_rows(p_file, client, p_svid, p_first, p_last, p_exclusive, p_state) THEN
            RETURN NEXT lock_verdict(2);
            RETURN;
        END IF;
    END IF;
    client := lock_client_seen(p_address, p_name, p_server);
    frees := carve_locks(p_file, client, p_svid, p_first, p_last, p_exclusive, p_oh, p_state);
    IF waits THEN
        DELETE FROM lock_waiters w
         WHERE w.file_id = p_file AND w.client_id = client AND w.svid = p_svid AND w.first = p_first AND w.last = p_last
           AND w.exclusive = p_exclusive;
    END IF;
    RETURN NEXT lock_verdict(0, CASE WHEN frees THEN lock_instances(p_file) END);
END $$;

-- Whether a new range makes more rows than there are: unless one takes it in, or it takes one in and splits none.
CREATE FUNCTION lock_adds_rows(p_file uuid, p_client integer, p_svid integer, p_first bigint, p_last bigint, p_exclusive boolean,
                               p_state integer) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT 1 + COALESCE(sum(CASE WHEN l.exclusive = p_exclusive AND l.state = p_state THEN -1
                                 ELSE (l.first < p_first)::int + (l.last > p_last)::int - 1 END), 0) > 0
      FROM locks l
     WHERE l.file_id = p_file AND l.client_id = p_client AND l.svid = p_svid
       AND l.first <= CASE WHEN p_last = 9223372036854775807 THEN p_last ELSE p_last + 1 END AND l.last >= p_first - 1
$$;

-- Who holds a range, or has it reserved, so that an owner cannot have one of this kind.
CREATE FUNCTION lock_holders(p_file uuid, p_client integer, p_svid integer, p_first bigint, p_last bigint, p_exclusive boolean)
RETURNS TABLE (client integer, svid integer) LANGUAGE sql STABLE AS $$
    SELECT l.client_id, l.svid FROM locks l
     WHERE l.file_id = p_file AND l.first <= p_last AND l.last >= p_first AND (l.exclusive OR p_exclusive)
       AND (l.client_id <> p_client OR l.svid <> p_svid)
    UNION ALL
    SELECT w.client_id, w.svid FROM lock_waiters w
     WHERE w.file_id = p_file AND w.cookie IS NOT NULL AND w.first <= p_last AND w.last >= p_first
       AND (w.exclusive OR p_exclusive) AND (w.client_id <> p_client OR w.svid <> p_svid)
$$;

-- Follows those who are in the way, those who are in the way of what they wait for, and so on, up to 1000 owners.
CREATE FUNCTION lock_would_wait_for_itself(p_file uuid, p_client integer, p_svid integer, p_first bigint, p_last bigint,
                                           p_exclusive boolean) RETURNS boolean
LANGUAGE sql STABLE AS $$
    WITH RECURSIVE holders (client, svid) AS (
        SELECT h.client, h.svid FROM lock_holders(p_file, p_client, p_svid, p_first, p_last, p_exclusive) h
        UNION
        SELECT o.client, o.svid
          FROM holders h
          JOIN lock_waiters w ON w.client_id = h.client AND w.svid = h.svid AND w.cookie IS NULL
          CROSS JOIN LATERAL lock_holders(w.file_id, w.client_id, w.svid, w.first, w.last, w.exclusive) o)
    SELECT EXISTS (SELECT FROM (SELECT * FROM holders LIMIT 1000) m WHERE m.client = p_client AND m.svid = p_svid)
$$;

-- A reservation as an answer.
CREATE FUNCTION lock_reservation(w lock_waiters) RETURNS lock_answer
LANGUAGE sql STABLE AS $$
    SELECT ROW(0, NULL, w.cookie, w.file_id, w.svid, w.first, w.last, w.exclusive, w.oh, w.handle, w.version, w.transport, w.local,
               c.address, c.caller_name, c.server, NULL, NULL, NULL, NULL, NULL)::lock_answer
      FROM lock_clients c WHERE c.id = w.client_id
$$;

-- Gives a range back, with the owner's waiters and reservations of exactly this range. Answers with the reservations of
-- p_instance that overlap it.
CREATE FUNCTION unlock_range(p_before timestamptz, p_file uuid, p_address text, p_name bytea, p_server text, p_svid integer,
                             p_first bigint, p_last bigint, p_instance uuid) RETURNS SETOF lock_answer
LANGUAGE plpgsql AS $$
DECLARE
    client integer;
    frees  boolean;
    w      lock_waiters;
BEGIN
    IF NOT lock_turn(p_before, p_file) THEN
        RETURN NEXT lock_verdict(6);
        RETURN;
    END IF;
    client := lock_client(p_address, p_name, p_server);
    IF client IS NULL THEN
        RETURN NEXT lock_verdict(7);
        RETURN;
    END IF;
    client := lock_client_seen(p_address, p_name, p_server);
    frees := carve_locks(p_file, client, p_svid, p_first, p_last, NULL, NULL, NULL);
    FOR w IN
        DELETE FROM lock_waiters d
         WHERE d.file_id = p_file AND d.client_id = client AND d.svid = p_svid AND d.first = p_first AND d.last = p_last
        RETURNING d.*
    LOOP
        frees := frees OR w.cookie IS NOT NULL;
    END LOOP;
    RETURN NEXT lock_verdict(0, CASE WHEN frees THEN lock_instances(p_file) END);
    FOR w IN
        SELECT o.* FROM lock_waiters o
         WHERE o.file_id = p_file AND o.client_id = client AND o.svid = p_svid AND o.first <= p_last AND o.last >= p_first
           AND o.cookie IS NOT NULL AND o.instance = p_instance
    LOOP
        RETURN NEXT lock_reservation(w);
    END LOOP;
END $$;

-- Drops the waiter or the reservation of exactly this range and kind.
CREATE FUNCTION cancel_waiter(p_before timestamptz, p_file uuid, p_address text, p_name bytea, p_server text, p_svid integer,
                              p_first bigint, p_last bigint, p_exclusive boolean) RETURNS SETOF lock_answer
LANGUAGE plpgsql AS $$
DECLARE
    client integer := lock_client(p_address, p_name, p_server);
    gone   lock_waiters;
BEGIN
    IF NOT lock_turn(p_before, p_file) THEN
        RETURN NEXT lock_verdict(6);
        RETURN;
    END IF;
    DELETE FROM lock_waiters d
     WHERE d.file_id = p_file AND d.client_id = client AND d.svid = p_svid AND d.first = p_first AND d.last = p_last
       AND d.exclusive = p_exclusive
    RETURNING d.* INTO gone;
    IF FOUND THEN
        RETURN NEXT lock_verdict(0, CASE WHEN gone.cookie IS NOT NULL THEN lock_instances(p_file) END);
        RETURN;
    END IF;
    -- Numeric: the range may have 2^63 bytes.
    IF (SELECT sum(LEAST(l.last, p_last)::numeric - GREATEST(l.first, p_first) + 1) FROM locks l
         WHERE l.file_id = p_file AND l.client_id = client AND l.svid = p_svid AND l.first <= p_last AND l.last >= p_first
           AND l.exclusive = p_exclusive) = p_last::numeric - p_first + 1 THEN
        RETURN NEXT lock_verdict(8);
        RETURN;
    END IF;
    RETURN NEXT lock_verdict(7);
END $$;

-- Tries the waiters of an instance on a file, the oldest first; answers with those that have got their lock, with p_again also
-- with those that had it before: their answer may have been lost.
CREATE FUNCTION reserve_waiters(p_before timestamptz, p_file uuid, p_instance uuid, p_limit integer, p_again boolean)
RETURNS SETOF lock_answer
LANGUAGE plpgsql AS $$
DECLARE
    w    lock_waiters;
    done integer := 0;
BEGIN
    IF NOT lock_turn(p_before, p_file) THEN
        RETURN NEXT lock_verdict(6);
        RETURN;
    END IF;
    RETURN NEXT lock_verdict(0);
    IF NOT EXISTS (SELECT FROM files f WHERE f.id = p_file) THEN
        RETURN;
    END IF;
    FOR w IN
        SELECT o.* FROM lock_waiters o
         WHERE p_again AND o.file_id = p_file AND o.instance = p_instance AND o.cookie IS NOT NULL ORDER BY o.since
    LOOP
        RETURN NEXT lock_reservation(w);
    END LOOP;
    FOR w IN
        SELECT o.* FROM lock_waiters o WHERE o.file_id = p_file AND o.instance = p_instance AND o.cookie IS NULL ORDER BY o.since
    LOOP
        EXIT WHEN done >= p_limit;
        CONTINUE WHEN is_locked(p_file, w.client_id, w.svid, w.first, w.last, w.exclusive);
        UPDATE lock_waiters u SET cookie = gen_random_uuid()
         WHERE u.file_id = p_file AND u.client_id = w.client_id AND u.svid = w.svid AND u.first = w.first AND u.last = w.last
           AND u.exclusive = w.exclusive
        RETURNING u.* INTO w;
        -- `tidy_locks` may have dropped it meanwhile.
        CONTINUE WHEN NOT FOUND;
        done := done + 1;
        RETURN NEXT lock_reservation(w);
    END LOOP;
END $$;

-- Makes a reservation a lock; whether others may have more now. The caller has the file's turn.
CREATE FUNCTION merge_reservation(p_cookie uuid) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    w lock_waiters;
BEGIN
    DELETE FROM lock_waiters d WHERE d.cookie = p_cookie RETURNING d.* INTO w;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN carve_locks(w.file_id, w.client_id, w.svid, w.first, w.last, w.exclusive, w.oh, w.state);
END $$;

-- Ends a reservation: makes it a lock, or drops it.
CREATE FUNCTION settle_reservation(p_before timestamptz, p_cookie uuid, p_accepted boolean) RETURNS SETOF lock_answer
LANGUAGE plpgsql AS $$
DECLARE
    file   uuid := (SELECT w.file_id FROM lock_waiters w WHERE w.cookie = p_cookie);
    frees  boolean;
    answer lock_answer;
BEGIN
    IF NOT lock_turn(p_before, file) THEN
        RETURN NEXT lock_verdict(6);
        RETURN;
    END IF;
    IF p_accepted THEN
        frees := merge_reservation(p_cookie);
    ELSE
        DELETE FROM lock_waiters w WHERE w.cookie = p_cookie;
        frees := CASE WHEN FOUND THEN true END;
    END IF;
    IF frees IS NULL THEN
        RETURN NEXT lock_verdict(7);
        RETURN;
    END IF;
    answer := lock_verdict(0, CASE WHEN frees THEN lock_instances(file) END);
    answer.file_id := file;
    RETURN NEXT answer;
END $$;

-- Frees what there is of some clients (NULL: of all) on a file (NULL: on 256 of their files), of a svid (NULL: of all, and share
-- reservations), but for what was taken under the state p_but (NULL: nothing stays); with p_waiting only what waits. Answers with
-- counts and one row for each file on which somebody waits. To be called again until no file is left.
CREATE FUNCTION free_locks(p_before timestamptz, p_clients integer[], p_file uuid, p_svid integer, p_but integer,
                           p_waiting boolean) RETURNS SETOF lock_answer
LANGUAGE plpgsql AS $$
DECLARE
    of_files uuid[];
    file     uuid;
    answer   lock_answer;
BEGIN
    IF p_file IS NOT NULL THEN
        of_files := ARRAY[p_file];
    ELSE
        -- In the order of their turns: two calls do not wait for each other.
        of_files := ARRAY(
            SELECT f.file_id FROM (
                SELECT n.file_id FROM (
                    SELECT l.file_id FROM locks l
                     WHERE l.client_id = ANY (p_clients) AND l.state IS DISTINCT FROM p_but AND NOT p_waiting
                       AND (p_svid IS NULL OR l.svid = p_svid)
                    UNION ALL
                    SELECT w.file_id FROM lock_waiters w
                     WHERE w.client_id = ANY (p_clients) AND w.state IS DISTINCT FROM p_but AND (p_svid IS NULL OR w.svid = p_svid)
                    UNION ALL
                    SELECT s.file_id FROM lock_shares s
                     WHERE s.client_id = ANY (p_clients) AND NOT p_waiting AND p_svid IS NULL) n
                 GROUP BY n.file_id LIMIT 256) f
             ORDER BY uuid_hash(f.file_id));
    END IF;
    FOREACH file IN ARRAY of_files LOOP
        PERFORM pg_advisory_xact_lock(19795, uuid_hash(file));
    END LOOP;
    IF NOT lock_turn(p_before, NULL) THEN
        RETURN NEXT lock_verdict(6);
        RETURN;
    END IF;
    answer := lock_verdict(0);
    answer.locks := 0;
    answer.shares := 0;
    IF NOT p_waiting THEN
        DELETE FROM locks l
         WHERE l.file_id = ANY (of_files) AND (p_clients IS NULL OR l.client_id = ANY (p_clients))
           AND l.state IS DISTINCT FROM p_but AND (p_svid IS NULL OR l.svid = p_svid);
        GET DIAGNOSTICS answer.locks = ROW_COUNT;
        IF p_svid IS NULL THEN
            DELETE FROM lock_shares s
             WHERE s.file_id = ANY (of_files) AND (p_clients IS NULL OR s.client_id = ANY (p_clients));
            GET DIAGNOSTICS answer.shares = ROW_COUNT;
        END IF;
    END IF;
    WITH gone AS (
        DELETE FROM lock_waiters w
         WHERE w.file_id = ANY (of_files) AND (p_clients IS NULL OR w.client_id = ANY (p_clients))
           AND w.state IS DISTINCT FROM p_but AND (p_svid IS NULL OR w.svid = p_svid)
        RETURNING w.cookie)
    SELECT count(*) FILTER (WHERE g.cookie IS NULL), count(*) FILTER (WHERE g.cookie IS NOT NULL)
      INTO answer.waiters, answer.reserved FROM gone g;
    answer.files := CASE WHEN p_file IS NULL THEN cardinality(of_files) ELSE 0 END;
    RETURN NEXT answer;
    FOREACH file IN ARRAY of_files LOOP
        answer := lock_verdict(0, lock_instances(file));
        answer.file_id := file;
        IF answer.instances IS NOT NULL THEN
            RETURN NEXT answer;
        END IF;
    END LOOP;
END $$;

-- Takes a share reservation; one of the same file, client and oh gives way.
CREATE FUNCTION share_file(p_before timestamptz, p_file uuid, p_address text, p_name bytea, p_server text, p_oh bytea,
                           p_mode smallint, p_access smallint, p_locks bigint, p_all bigint) RETURNS SETOF lock_answer
LANGUAGE plpgsql AS $$
DECLARE
    client integer;
BEGIN
    IF NOT lock_turn(p_before, p_file) THEN
        RETURN NEXT lock_verdict(6);
        RETURN;
    END IF;
    IF lock_file_is_gone(p_file) THEN
        RETURN NEXT lock_verdict(4);
        RETURN;
    END IF;
    client := COALESCE(lock_client(p_address, p_name, p_server), 0);
    IF EXISTS (SELECT FROM lock_shares s
                WHERE s.file_id = p_file AND (s.mode & p_access <> 0 OR p_mode & s.access <> 0)
                  AND (s.client_id <> client OR s.oh <> p_oh)) THEN
        RETURN NEXT lock_verdict(1);
        RETURN;
    END IF;
    IF NOT EXISTS (SELECT FROM lock_shares s WHERE s.file_id = p_file AND s.client_id = client AND s.oh = p_oh)
       AND NOT has_lock_room(client, false, p_locks, p_all) THEN
        RETURN NEXT lock_verdict(2);
        RETURN;
    END IF;
    client := lock_client_seen(p_address, p_name, p_server);
    INSERT INTO lock_shares (file_id, client_id, oh, mode, access) VALUES (p_file, client, p_oh, p_mode, p_access)
    ON CONFLICT (file_id, client_id, oh) DO UPDATE SET mode = p_mode, access = p_access, since = clock_timestamp();
    RETURN NEXT lock_verdict(0);
END $$;

CREATE FUNCTION unshare_file(p_before timestamptz, p_file uuid, p_address text, p_name bytea, p_server text, p_oh bytea)
RETURNS SETOF lock_answer
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT lock_turn(p_before, p_file) THEN
        RETURN NEXT lock_verdict(6);
        RETURN;
    END IF;
    DELETE FROM lock_shares s
     WHERE s.file_id = p_file AND s.client_id = lock_client(p_address, p_name, p_server) AND s.oh = p_oh;
    RETURN NEXT lock_verdict(0);
END $$;

-- Drops waiters that were not seen for p_unseen seconds, makes the reservations of servers that have ended locks, forgets
-- clients that have had nothing for a day, and drops what is left of removed files among 1000 behind p_after. Answers with the
-- waiters, reservations (reserved) and clients (files) that are gone, and with the last of those files, NULL where there are no
-- more.
CREATE FUNCTION tidy_locks(p_before timestamptz, p_unseen double precision, p_after uuid) RETURNS SETOF lock_answer
LANGUAGE plpgsql AS $$
DECLARE
    answer   lock_answer := lock_verdict(0);
    cookies  uuid[];
    searched uuid[];
    turn     record;
    merged   boolean;
BEGIN
    cookies := ARRAY(
        SELECT w.cookie FROM lock_waiters w
         WHERE w.cookie IS NOT NULL AND NOT EXISTS (SELECT FROM instances i WHERE i.instance = w.instance)
         ORDER BY uuid_hash(w.file_id) LIMIT 256);
    FOR turn IN
        SELECT w.cookie, w.file_id FROM lock_waiters w WHERE w.cookie = ANY (cookies) ORDER BY uuid_hash(w.file_id)
    LOOP
        PERFORM pg_advisory_xact_lock(19795, uuid_hash(turn.file_id));
    END LOOP;
    IF NOT lock_turn(p_before, NULL) THEN
        RETURN NEXT lock_verdict(6);
        RETURN;
    END IF;
    answer.reserved := 0;
    FOR turn IN SELECT unnest(cookies) AS cookie LOOP
        merged := merge_reservation(turn.cookie);
        answer.reserved := answer.reserved + CASE WHEN merged IS NULL THEN 0 ELSE 1 END;
    END LOOP;
    DELETE FROM lock_waiters w WHERE w.cookie IS NULL AND w.seen < clock_timestamp() - make_interval(secs => p_unseen);
    GET DIAGNOSTICS answer.waiters = ROW_COUNT;
    searched := ARRAY(
        SELECT n.file_id FROM (
            (SELECT DISTINCT l.file_id FROM locks l WHERE p_after IS NULL OR l.file_id > p_after ORDER BY l.file_id LIMIT 1000)
            UNION
            (SELECT DISTINCT w.file_id FROM lock_waiters w WHERE p_after IS NULL OR w.file_id > p_after
              ORDER BY w.file_id LIMIT 1000)
            UNION
            (SELECT DISTINCT s.file_id FROM lock_shares s WHERE p_after IS NULL OR s.file_id > p_after
              ORDER BY s.file_id LIMIT 1000)) n
         ORDER BY n.file_id LIMIT 1000);
    answer.file_id := searched[1000];
    searched := ARRAY(SELECT s.file_id FROM unnest(searched) s (file_id)
                       WHERE NOT EXISTS (SELECT FROM files f WHERE f.id = s.file_id));
    DELETE FROM locks l WHERE l.file_id = ANY (searched);
    DELETE FROM lock_waiters w WHERE w.file_id = ANY (searched);
    DELETE FROM lock_shares s WHERE s.file_id = ANY (searched);
    DELETE FROM lock_clients c
     WHERE c.seen < clock_timestamp() - interval '1 day'
       AND NOT EXISTS (SELECT FROM locks l WHERE l.client_id = c.id)
       AND NOT EXISTS (SELECT FROM lock_waiters w WHERE w.client_id = c.id)
       AND NOT EXISTS (SELECT FROM lock_shares s WHERE s.client_id = c.id);
    GET DIAGNOSTICS answer.files = ROW_COUNT;
    RETURN NEXT answer;
END $$;
