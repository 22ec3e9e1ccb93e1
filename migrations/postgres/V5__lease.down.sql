-- Takes away who holds the lease, and the list of instances. No file or name is lost.

CREATE OR REPLACE FUNCTION claim_slot(p_instance uuid, OUT slot integer, OUT epoch bigint)
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
        SELECT s.id, n, p_instance, claim_slot.epoch FROM shares s ORDER BY s.id
        ON CONFLICT ON CONSTRAINT writer_slots_pkey
        DO UPDATE SET instance = EXCLUDED.instance, epoch = EXCLUDED.epoch;
        RETURN;
    END LOOP;
    RAISE EXCEPTION 'no writer slot is free' USING ERRCODE = 'TF003';
END $$;

DROP FUNCTION share_lease, take_slot, fence_slots, commit_durably, claim_alone_slot, take_lease, end_lease, forget_instances;
DROP TABLE lease, instances;
