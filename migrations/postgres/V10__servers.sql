-- Who the servers of the database are, for `trunkfs servers`: nothing is decided by these columns.
ALTER TABLE instances
    ADD COLUMN pid     integer,
    -- Where it serves NFS; NULL: a tool that changes rows, or a server of an older version.
    ADD COLUMN address text,
    -- When the count last moved, by the clock of the database.
    ADD COLUMN seen    timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- How many seconds its clock is ahead of the database's.
    ADD COLUMN ahead   double precision;

-- Calls that must not be done twice and were done, each recorded by its own transaction: a server that gets a repeat finds what
-- another has answered (src/metadata/replies.rs). `peer` is the client's address and port, `key` all that the call is known by. Rows
-- go after two minutes.
CREATE TABLE replies (
    peer bigint      NOT NULL,
    key  uuid        NOT NULL,
    made uuid,
    at   timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 50000, autovacuum_vacuum_insert_threshold = -1);
-- The calls of a client lie side by side, the newest last.
CREATE INDEX replies_peer ON replies (peer, at);
CREATE INDEX replies_at ON replies USING brin (at);
