-- What becomes of waiters whose server has ended, or has lost the address that their calls came to, and of the locks of clients
-- that are silent. Nothing is stored that was not stored before.

-- Whether an instance does not look after its waiters any more: it has no row or none that moves, or p_own has the machine and the
-- address where it has served, so that it has ended.
CREATE FUNCTION lock_instance_is_gone(p_instance uuid, p_own uuid, p_silent double precision) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT p_instance <> p_own AND NOT EXISTS (
        SELECT FROM instances i
         WHERE i.instance = p_instance AND i.seen > clock_timestamp() - make_interval(secs => p_silent)
           AND NOT EXISTS (SELECT FROM instances o
                            WHERE o.instance = p_own AND o.host = i.host AND o.address = i.address))
$$;

-- Makes an instance the one of waiters that others have left, whose calls came to one of p_locals: on 256 files. Such reservations
-- become locks, since the clients may have heard of them. Answers with the number of rows (files), and a row for each of those
-- locks as the reservation that it was.
CREATE FUNCTION take_over_waiters(p_before timestamptz, p_instance uuid, p_locals text[], p_silent double precision)
RETURNS SETOF lock_answer
LANGUAGE plpgsql AS $$
DECLARE
    of_files uuid[];
    file     uuid;
    left_one lock_waiters;
    answer   lock_answer := lock_verdict(0);
BEGIN
    -- In the order of their turns: two calls do not wait for each other.
    of_files := ARRAY(
        SELECT f.file_id FROM (
            SELECT DISTINCT w.file_id FROM lock_waiters w
             WHERE w.local = ANY (p_locals) AND lock_instance_is_gone(w.instance, p_instance, p_silent) LIMIT 256) f
         ORDER BY uuid_hash(f.file_id));
    FOREACH file IN ARRAY of_files LOOP
        PERFORM pg_advisory_xact_lock(19795, uuid_hash(file));
    END LOOP;
    IF NOT lock_turn(p_before, NULL) THEN
        RETURN NEXT lock_verdict(6);
        RETURN;
    END IF;
    UPDATE lock_waiters u SET instance = p_instance
     WHERE u.file_id = ANY (of_files) AND u.local = ANY (p_locals) AND lock_instance_is_gone(u.instance, p_instance, p_silent)
       AND u.cookie IS NULL;
    GET DIAGNOSTICS answer.files = ROW_COUNT;
    RETURN NEXT answer;
    FOR left_one IN
        SELECT o.* FROM lock_waiters o
         WHERE o.file_id = ANY (of_files) AND o.local = ANY (p_locals)
           AND lock_instance_is_gone(o.instance, p_instance, p_silent) AND o.cookie IS NOT NULL
    LOOP
        RETURN NEXT lock_reservation(left_one);
        PERFORM merge_reservation(left_one.cookie);
    END LOOP;
END $$;

-- Makes a reservation, of which its client has not heard, a waiter again, of no instance.
CREATE FUNCTION hand_over_reservation(p_before timestamptz, p_cookie uuid) RETURNS SETOF lock_answer
LANGUAGE plpgsql AS $$
DECLARE
    file   uuid := (SELECT w.file_id FROM lock_waiters w WHERE w.cookie = p_cookie);
    answer lock_answer;
BEGIN
    IF NOT lock_turn(p_before, file) THEN
        RETURN NEXT lock_verdict(6);
        RETURN;
    END IF;
    UPDATE lock_waiters w SET cookie = NULL, instance = '00000000-0000-0000-0000-000000000000' WHERE w.cookie = p_cookie;
    answer := lock_verdict(0, CASE WHEN FOUND THEN lock_instances(file) END);
    answer.file_id := file;
    RETURN NEXT answer;
END $$;

-- Frees what the clients of an address have on 256 files, where none of them was seen in p_silent seconds; answers as `free_locks`
-- does. A client that comes back meanwhile is seen by the transaction that gives it its lock, under the turn of that lock's file.
CREATE FUNCTION free_silent_locks(p_before timestamptz, p_address text, p_silent double precision) RETURNS SETOF lock_answer
LANGUAGE plpgsql AS $$
DECLARE
    of_clients integer[] := ARRAY(SELECT c.id FROM lock_clients c WHERE c.address = p_address);
    of_files   uuid[];
    file       uuid;
    part       lock_answer;
    answer     lock_answer := lock_verdict(0);
    woken      lock_answer[] := '{}';
BEGIN
    of_files := ARRAY(
        SELECT f.file_id FROM (
            SELECT n.file_id FROM (
                SELECT l.file_id FROM locks l WHERE l.client_id = ANY (of_clients)
                UNION
                SELECT w.file_id FROM lock_waiters w WHERE w.client_id = ANY (of_clients)
                UNION
                SELECT s.file_id FROM lock_shares s WHERE s.client_id = ANY (of_clients)) n
             LIMIT 256) f
         ORDER BY uuid_hash(f.file_id));
    FOREACH file IN ARRAY of_files LOOP
        PERFORM pg_advisory_xact_lock(19795, uuid_hash(file));
    END LOOP;
    IF NOT lock_turn(p_before, NULL) THEN
        RETURN NEXT lock_verdict(6);
        RETURN;
    END IF;
    answer.locks := 0;
    answer.waiters := 0;
    answer.reserved := 0;
    answer.shares := 0;
    answer.files := 0;
    IF EXISTS (SELECT FROM lock_clients c
                WHERE c.address = p_address AND c.seen > clock_timestamp() - make_interval(secs => p_silent)) THEN
        RETURN NEXT answer;
        RETURN;
    END IF;
    FOREACH file IN ARRAY of_files LOOP
        FOR part IN SELECT * FROM free_locks(p_before, of_clients, file, NULL, NULL, false) LOOP
            IF part.file_id IS NOT NULL THEN
                woken := woken || part;
            ELSIF part.verdict = 0 THEN
                answer.locks := answer.locks + part.locks;
                answer.waiters := answer.waiters + part.waiters;
                answer.reserved := answer.reserved + part.reserved;
                answer.shares := answer.shares + part.shares;
            END IF;
        END LOOP;
    END LOOP;
    answer.files := cardinality(of_files);
    RETURN NEXT answer;
    FOREACH part IN ARRAY woken LOOP
        RETURN NEXT part;
    END LOOP;
END $$;
