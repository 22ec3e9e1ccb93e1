-- The lease: the instance that holds it decides changes in its own memory, and answers reads from there. Everybody else who
-- changes rows joins first, which makes the holder give the lease up.

-- Who changes rows: servers, and tools for as long as they run. `count` moves as long as the instance lives; nobody compares
-- clocks. An instance that ends deletes its row.
CREATE TABLE instances (
    instance uuid        PRIMARY KEY,
    count    bigint      NOT NULL DEFAULT 0,
    host     text        NOT NULL,
    version  text        NOT NULL,
    started  timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 20);

-- One row. Who takes or ends the lease locks it FOR UPDATE; who changes rows without holding the lease shares it, in the
-- transaction that changes them or that gives it a writer slot. The lease's row is locked before all others.
CREATE TABLE lease (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    holder   uuid,
    wanted   boolean NOT NULL DEFAULT false
) WITH (fillfactor = 20);
INSERT INTO lease DEFAULT VALUES;

-- Keeps the lease from being taken until the transaction ends. Refuses where somebody holds it, the own instance included: what
-- a holder has in memory is not to change under it. Refuses an instance that has no row: whoever thought it dead has
-- taken it out, and it joins anew.
CREATE FUNCTION share_lease(p_instance uuid) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    present uuid;
BEGIN
    SELECT holder INTO present FROM lease FOR SHARE;
    IF present IS NOT NULL THEN
        RAISE EXCEPTION 'instance % decides all changes', present USING ERRCODE = 'TF004';
    END IF;
    IF NOT EXISTS (SELECT FROM instances WHERE instance = p_instance) THEN
        RAISE EXCEPTION 'instance % has not joined', p_instance USING ERRCODE = 'TF004';
    END IF;
END $$;

-- Gives a connection the lowest slot whose lock is free. The lock is the session's, so it ends with the connection. A slot
-- used a short while ago is left alone, since its last call's outcome may still be asked for. The new epoch fences
-- whatever an earlier holder still has under way.
CREATE FUNCTION take_slot(p_instance uuid, OUT slot integer, OUT epoch bigint)
LANGUAGE plpgsql AS $$
BEGIN
    epoch := nextval('writer_epochs');
    FOR n IN 1 .. 100000 LOOP
        CONTINUE WHEN NOT pg_try_advisory_lock(19790, n);
        IF EXISTS (SELECT FROM writer_slots w
                    WHERE w.slot = n AND w.used_at > clock_timestamp() - interval '5 minutes') THEN
            PERFORM pg_advisory_unlock(19790, n);
            CONTINUE;
        END IF;
        slot := n;
        INSERT INTO writer_slots AS w (share_id, slot, instance, epoch)
        SELECT s.id, n, p_instance, take_slot.epoch FROM shares s ORDER BY s.id
        ON CONFLICT ON CONSTRAINT writer_slots_pkey
        DO UPDATE SET instance = EXCLUDED.instance, epoch = EXCLUDED.epoch;
        RETURN;
    END LOOP;
    RAISE EXCEPTION 'no writer slot is free' USING ERRCODE = 'TF003';
END $$;

-- Gives a connection of an instance that has joined a slot. The lease is taken only after this has committed, and its holder
-- then fences the slot: no slot is claimed under a holder's memory.
CREATE OR REPLACE FUNCTION claim_slot(p_instance uuid, OUT slot integer, OUT epoch bigint)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM share_lease(p_instance);
    SELECT t.slot, t.epoch INTO slot, epoch FROM take_slot(p_instance) t;
END $$;

-- Gives up all slots with a positive epoch but one, of one instance or of all. A slot that `settle` has given up is negative
-- already and stays so. Locked first, in one order: an update by a plan of its own might meet another's in the middle. Waits
-- for calls under way.
CREATE FUNCTION fence_slots(p_instance uuid, p_but integer) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM writer_slots w
      WHERE w.epoch > 0 AND w.slot <> p_but AND (p_instance IS NULL OR w.instance = p_instance)
      ORDER BY w.slot, w.share_id FOR UPDATE;
    UPDATE writer_slots w SET epoch = -w.epoch
     WHERE w.epoch > 0 AND w.slot <> p_but AND (p_instance IS NULL OR w.instance = p_instance);
END $$;

-- What must not be forgotten in a crash of the database commits synchronously, whatever the session or the role has set.
CREATE FUNCTION commit_durably() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('synchronous_commit') IN ('off', 'local') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
END $$;

-- Gives the lease's holder its slot, and fences all others, those of its own instance included. Once this has committed nobody
-- else changes a row until the lease ends, so what is read afterwards may be kept. It waits for calls under way, longer than they may
-- take, unless the session's statement_timeout is over before; nothing is lost by calling it again.
CREATE FUNCTION claim_alone_slot(p_instance uuid, OUT slot integer, OUT epoch bigint)
LANGUAGE plpgsql AS $$
DECLARE
    present uuid;
BEGIN
    PERFORM commit_durably();
    PERFORM set_config('lock_timeout', '20s', true);
    SELECT holder INTO present FROM lease FOR SHARE;
    IF present IS DISTINCT FROM p_instance THEN
        RAISE EXCEPTION 'instance % does not hold the lease', p_instance USING ERRCODE = 'TF004';
    END IF;
    SELECT t.slot, t.epoch INTO slot, epoch FROM take_slot(p_instance) t;
    PERFORM fence_slots(NULL, slot);
END $$;

-- Takes the lease, where its holder is still the one that the caller has seen (NULL: nobody) and each other instance has the
-- count that the caller has seen standing still for a whole TTL. Their rows go: one that wakes finds that it has to
-- join. A renewal under way locks its row: it goes first and its count has moved, or it finds no row.
CREATE FUNCTION take_lease(p_instance uuid, p_holder uuid, p_seen uuid[], p_counts bigint[]) RETURNS boolean
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
    RETURN true;
END $$;

-- Ends the lease of p_holder: the own one, or that of an instance whose count (NULL: it has no row) the caller has seen
-- standing still for a whole TTL. Fences the holder's slots, so that nothing it decided in memory comes later. Answers
-- whether that holder's lease is over.
CREATE FUNCTION end_lease(p_instance uuid, p_holder uuid, p_count bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    present uuid;
BEGIN
    PERFORM commit_durably();
    SELECT holder INTO present FROM lease FOR UPDATE;
    IF present IS DISTINCT FROM p_holder THEN
        RETURN true;
    END IF;
    IF p_holder <> p_instance THEN
        PERFORM 1 FROM instances WHERE instance = p_holder FOR UPDATE;
        IF (SELECT count FROM instances WHERE instance = p_holder) IS DISTINCT FROM p_count THEN
            RETURN false;
        END IF;
        DELETE FROM instances WHERE instance = p_holder;
    END IF;
    PERFORM fence_slots(p_holder, 0);
    UPDATE lease SET holder = NULL, wanted = false;
    RETURN true;
END $$;

-- Deletes the rows of instances that ended without doing so, where their counts are still those that the caller has seen
-- standing still for long. A holder's row is ended with its lease alone.
CREATE FUNCTION forget_instances(p_seen uuid[], p_counts bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM instances WHERE instance = ANY (p_seen) ORDER BY instance FOR UPDATE;
    DELETE FROM instances i
     USING unnest(p_seen, p_counts) AS s (instance, count)
     WHERE s.instance = i.instance AND s.count = i.count
       AND NOT EXISTS (SELECT FROM lease WHERE holder = i.instance);
END $$;
