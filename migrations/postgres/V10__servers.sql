-- Who the servers of the database are, for `trunkfs servers`: nothing is decided by these columns.
ALTER TABLE instances
    ADD COLUMN pid     integer,
    -- Where it serves NFS; NULL: a tool that changes rows, or a server of an older version.
    ADD COLUMN address text,
    -- When the count last moved, by the clock of the database.
    ADD COLUMN seen    timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- How many seconds its clock is ahead of the database's.
    ADD COLUMN ahead   double precision;
