-- Destroys all locks and share reservations of NLM clients. The clients are not told. No file or name is lost.

DROP FUNCTION tidy_locks(timestamptz, double precision, uuid);
DROP FUNCTION unshare_file(timestamptz, uuid, text, bytea, text, bytea);
DROP FUNCTION share_file(timestamptz, uuid, text, bytea, text, bytea, smallint, smallint, bigint, bigint);
DROP FUNCTION free_locks(timestamptz, integer[], uuid, integer, integer, boolean);
DROP FUNCTION settle_reservation(timestamptz, uuid, boolean);
DROP FUNCTION merge_reservation(uuid);
DROP FUNCTION reserve_waiters(timestamptz, uuid, uuid, integer, boolean);
DROP FUNCTION cancel_waiter(timestamptz, uuid, text, bytea, text, integer, bigint, bigint, boolean);
DROP FUNCTION unlock_range(timestamptz, uuid, text, bytea, text, integer, bigint, bigint, uuid);
DROP FUNCTION lock_reservation(lock_waiters);
DROP FUNCTION lock_would_wait_for_itself(uuid, integer, integer, bigint, bigint, boolean);
DROP FUNCTION lock_holders(uuid, integer, integer, bigint, bigint, boolean);
DROP FUNCTION lock_adds_rows(uuid, integer, integer, bigint, bigint, boolean, integer);
DROP FUNCTION lock_range(timestamptz, uuid, text, bytea, text, integer, bigint, bigint, boolean, bytea, integer, uuid, bytea, bigint,
                         text, text, bigint, bigint, bigint, bigint);
DROP FUNCTION lock_file_is_gone(uuid);
DROP FUNCTION has_lock_room(integer, boolean, bigint, bigint);
DROP FUNCTION lock_instances(uuid);
DROP FUNCTION carve_locks(uuid, integer, integer, bigint, bigint, boolean, bytea, integer);
DROP FUNCTION is_locked(uuid, integer, integer, bigint, bigint, boolean);
DROP FUNCTION lock_client_seen(text, bytea, text);
DROP FUNCTION lock_client(text, bytea, text);
DROP FUNCTION lock_turn(timestamptz, uuid);
DROP FUNCTION lock_verdict(integer, uuid[]);
DROP TYPE lock_answer;
DROP TABLE lock_shares, lock_waiters, locks, lock_clients;
