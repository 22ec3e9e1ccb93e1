-- Waiters of a server that has ended wait for their clients' own polls again, and no client's locks expire. No data is lost.

DROP FUNCTION free_silent_locks(timestamptz, text, double precision);
DROP FUNCTION hand_over_reservation(timestamptz, uuid);
DROP FUNCTION take_over_waiters(timestamptz, uuid, text[], double precision);
DROP FUNCTION lock_instance_is_gone(uuid, uuid, double precision);
